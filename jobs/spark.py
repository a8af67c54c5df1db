"""What users of Spark import: a column function that scores, and its registration for SQL."""

from jobs.engines.spark.udf import register, score_udf

__all__ = ["register", "score_udf"]
