"""Spark's failures as sentences."""

import pytest
from pyspark.errors import PySparkException

from jobs.common.errors import InterferenceError, SetupError
from jobs.delta.storage import TableRef
from jobs.engines.spark.errors import explain_failure

FROM_A_WORKER = """
  An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "/opt/spark/python/pyspark/serializers.py", line 460, in loads
    return cloudpickle.loads(obj, encoding=encoding)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
{raised}

JVM stacktrace:
org.apache.spark.api.python.PythonException
\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:645)
"""


@pytest.mark.parametrize(
    ("raised", "family"),
    [("ModuleNotFoundError: No module named 'numpy'", SetupError), ("MemoryError: no more", InterferenceError)],
)
def test_a_worker_that_fails_is_quoted_with_what_it_raised(raised, family):
    error = explain_failure(PySparkException(FROM_A_WORKER.format(raised=raised)), TableRef("lake/flights"))
    assert isinstance(error, family)
    assert raised in str(error)
