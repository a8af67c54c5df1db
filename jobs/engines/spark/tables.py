"""Delta tables as a Spark session sees them: names and columns as Spark spells them, frames of their rows, and its
failures as sentences. What a table's log says is read by this process where it can reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pyarrow.types as pt
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from jobs.common.errors import SandtimerError
from jobs.delta.changes import parse_lineage
from jobs.delta.storage import TableRef
from jobs.engines.base import LogEntry, TableState
from jobs.engines.logs import count_logged, read_history
from jobs.engines.spark.errors import FAILURES, explain_failure
from jobs.engines.spark.merge import quote
from jobs.engines.spark.udf import is_connect
from jobs.predicates.predicate import Predicate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row, SparkSession

T = TypeVar("T")
# Commits to look back for our last run.
_HISTORY = 1_000


class SparkTables:
    """The tables of a session, classic or Connect."""

    def __init__(self, session: SparkSession) -> None:
        self.session = session

    def from_log(self, ref: TableRef, read: Callable[[], T]) -> T | None:
        """What the log says where this process can read it: Spark's own statements cost 15 CPU seconds in a new
        session. None where only Spark can: a catalog's table, a Connect server's files, a store it has the key of."""
        if ref.in_catalog or is_connect(self.session):
            return None
        try:
            return read()
        except SandtimerError:
            return None

    def count(self, table: TableState, where: Predicate | None) -> int:
        """Rows that match."""
        known = None if where else self.from_log(table.ref, lambda: count_logged(table))
        if known is not None:
            return known
        with explaining(table.ref):
            return int(self.read(table, where).count())

    def history(self, ref: TableRef, version: int | None = None) -> list[LogEntry]:
        """The commits up to a version (None: the latest), newest first."""
        known = self.from_log(ref, lambda: read_history(ref, version))
        if known is not None:
            return known
        with explaining(ref):
            rows = self.sql(f"DESCRIBE HISTORY {identifier(ref)} LIMIT {_HISTORY}")
        return [
            LogEntry(
                row["version"],
                row["timestamp"],
                row["operation"] or "",
                parse_lineage(row["userMetadata"]),
                row["readVersion"],
            )
            for row in rows
            if version is None or row["version"] <= version
        ]

    def read(self, table: TableState, where: Predicate | None) -> DataFrame:
        """The matching rows."""
        frame = self.frame(table.ref, table.version)
        return frame.where(to_condition(where, table)) if where else frame

    def frame(self, ref: TableRef, version: int) -> DataFrame:
        """All rows of a version."""
        if ref.in_catalog:
            return self.session.sql(f"SELECT * FROM {identifier(ref)} VERSION AS OF {version}")  # noqa: S608
        return self.session.read.format("delta").option("versionAsOf", version).load(to_path(ref))

    def latest(self, ref: TableRef) -> DataFrame:
        """All rows of the version that is there when they are read: where that is in a write to the same table, of the
        version that the write's transaction builds on."""
        reader = self.session.read.format("delta")
        return reader.table(identifier(ref)) if ref.in_catalog else reader.load(to_path(ref))

    def scan(self, rows: DataFrame) -> int:
        """Count rows by reading their files, not by what the log says of them."""
        with self.settings({"spark.databricks.delta.optimizeMetadataQuery.enabled": "false"}):
            return int(rows.count())

    def feed(self, table: TableState, since: int) -> DataFrame:
        """The change data feed after version `since`."""
        reader = self.session.read.format("delta").option("readChangeFeed", "true")
        reader = reader.option("startingVersion", since + 1).option("endingVersion", table.version)
        return reader.table(identifier(table.ref)) if table.ref.in_catalog else reader.load(to_path(table.ref))

    def sql(self, statement: str) -> list[Row]:
        """The rows that a statement returns."""
        rows: list[Row] = self.session.sql(statement).collect()
        return rows

    @contextmanager
    def settings(self, values: Mapping[str, str], yielding: bool = False) -> Iterator[None]:
        """Set within a block; `yielding`: what the session has of its own stays."""
        before = {key: value for key, value in self.session.conf.getAll.items() if key in values}
        chosen = {key: value for key, value in values.items() if not (yielding and key in before)}
        for key, value in chosen.items():
            self.session.conf.set(key, value)
        try:
            yield
        finally:
            for key in chosen:
                self.session.conf.unset(key)
                if key in before:
                    self.session.conf.set(key, before[key])


@contextmanager
def explaining(ref: TableRef) -> Iterator[None]:
    """Spark's failures as sentences."""
    try:
        yield
    except FAILURES as error:
        raise explain_failure(error, ref) from error


def identifier(ref: TableRef) -> str:
    """A table's name in SQL."""
    if ref.in_catalog:
        return ".".join(quote(part) for part in ref.name.split("."))
    return f"delta.{quote(to_path(ref))}"


def to_path(ref: TableRef) -> str:
    """A table's folder; Hadoop's file system for S3 has a name of its own."""
    return ref.uri.replace("s3://", "s3a://", 1) if ref.uri.startswith("s3://") else ref.uri


def to_condition(where: Predicate, table: TableState) -> str:
    """A predicate in Spark's SQL."""
    floats = {field.name: str(field.type) for field in table.schema if pt.is_floating(field.type)}
    guarded = {name: dtype for name, dtype in floats.items() if name not in table.partition_columns}
    plain = [field for field in table.schema if field.name in where.columns and not pt.is_nested(field.type)]
    return where.sql(guarded, {field.name: from_arrow_type(field.type).simpleString() for field in plain})


def to_column(name: str) -> Column:
    """A column by its name, whatever is in it."""
    return F.col(quote(name))
