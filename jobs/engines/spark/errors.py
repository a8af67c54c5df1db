"""What Spark, Delta and py4j raise, told apart by what the reader can do about it."""

from __future__ import annotations

import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from jobs.common.errors import ConflictError, DataError, InterferenceError, SandtimerError, SetupError
from jobs.common.s3 import is_s3
from jobs.delta.storage import TableRef

FAILURES = (PySparkException, Py4JJavaError)

_MISSING = ("DELTA_MISSING_DELTA_TABLE", "DELTA_TABLE_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND", "PATH_NOT_FOUND",
            "DELTA_PATH_DOES_NOT_EXIST", "is not a Delta table", "SCHEMA_NOT_FOUND")  # fmt: skip
_CONFLICT = ("DELTA_CONCURRENT", "DELTA_PROTOCOL_CHANGED", "DELTA_METADATA_CHANGED", "ConcurrentModification",
             "DELTA_CONCURRENT_TRANSACTION")  # fmt: skip
_DATA = ("DELTA_", "CAST_INVALID_INPUT", "DIVIDE_BY_ZERO", "ARITHMETIC_OVERFLOW", "UNRESOLVED_COLUMN",
         "DATATYPE_MISMATCH", "FAILED_READ_FILE", "CANNOT_READ_FILE", "INVALID_", "UNSUPPORTED_")  # fmt: skip
# A store that refuses, or cannot be reached.
_ACCESS = ("UnknownStoreException", "AccessDeniedException", "NoAuthWithAWSException", "net.ConnectException",
           "UnknownHostException", "NoRouteToHostException", "SocketTimeoutException")  # fmt: skip
# A worker's own error, at the end of the traceback that Spark passes on.
_FROM_WORKER = re.compile(r"vae_model\.errors\.\w+: expected (.+?); found (.+?); (.+)")


def is_missing_table(error: BaseException) -> bool:
    """Whether the failure says that there is no Delta table."""
    return any(mark in str(error) for mark in _MISSING)


def explain_failure(error: BaseException, ref: TableRef) -> SandtimerError:
    """One of ours for one of Spark's."""
    text = str(error)
    worker = _FROM_WORKER.search(text)
    if worker:
        return DataError(*worker.groups())
    if is_missing_table(error):
        return DataError(
            f"a Delta table at {ref.name}",
            "none there",
            "check the path, or write the table first (`sandtimer demo` makes one)",
        )
    reason = _find_raised(text) or _shorten(text)
    if reason.startswith("ModuleNotFoundError"):
        return SetupError(
            "a Python on the executors with all that the scorer needs",
            reason,
            "set PYSPARK_PYTHON (or spark.pyspark.python) to one with numpy and pyarrow; `sandtimer doctor` looks",
        )
    if is_s3(ref.name) and any(mark in text for mark in _ACCESS):
        return DataError(f"access to {ref.name}", reason, "check path, endpoint and credentials")
    if any(mark in text for mark in _CONFLICT):
        return ConflictError(
            f"no other writer in this part of {ref.name}", reason, "nothing was committed; run it again"
        )
    if any(mark in text for mark in _DATA):
        return DataError(f"Spark to accept {ref.name}", reason, "correct the table or the condition")
    return InterferenceError(f"Spark to finish its work on {ref.name}", reason, "see Spark's log, then run it again")


def _find_raised(text: str) -> str:
    """The error at the end of a Python worker's traceback; empty without one."""
    trace = text.partition("Traceback (most recent call last):")[2]
    raised = [line for line in trace.splitlines() if line and not line[0].isspace()]
    return raised[0].strip()[:300] if raised else ""


def _shorten(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("at ")]
    # py4j's first line only says that there is an exception.
    useful = [line for line in lines if not line.startswith("An error occurred while calling")]
    return (useful or lines or ["no message"])[0].removeprefix(": ")[:300]
