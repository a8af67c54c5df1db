"""The Spark engine, and everything that Spark needs of a machine."""
