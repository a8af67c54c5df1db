"""Conditions on rows: parsed from SQL, built from values, and carried out by Arrow or Spark."""
