"""The Spark engine, route `dataframe`: Delta's own reader, a scalar Arrow function over the feature columns, Delta's
own writer. Spark itself refuses a batch of scores with another number of rows, and the result is counted once more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.types as pt
from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from jobs.config import EngineName
from jobs.delta.mapping import plain_schema
from jobs.delta.storage import TableRef
from jobs.engines.base import Lineage, Route, ScorePlan, ScoreResult, ScoringOptions, TableState, Work
from jobs.engines.spark_errors import FAILURES, explain_failure, is_missing_table
from jobs.errors import ConfigError
from jobs.events import Advance
from jobs.predicate import Predicate
from jobs.sampling import Sample
from jobs.spark import sample_udf, score_udf
from vae_model import SCORE_SCHEMA, Bundle
from vae_model.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, DataFrameWriter, Row, SparkSession

_SCORES = "__sandtimer_scores"
# What Delta allows in names only with column mapping.
_ODD_IN_NAMES = frozenset(" ,;{}()\n\t=")


class SparkEngine:
    """Runs on the cluster of a Spark session, classic or Connect."""

    name: EngineName = "spark"

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        # Dates and times in conditions and in reasons must mean the same on every engine.
        session.conf.set("spark.sql.session.timeZone", "UTC")

    def describe(self, ref: TableRef, version: int | None = None) -> TableState:
        """See `Engine`."""
        with _explaining(ref):
            detail = self._sql(f"DESCRIBE DETAIL {_identifier(ref)}")[0]
            if detail["format"] != "delta":
                raise DataError(
                    f"a Delta table at {ref.name}", f"a {detail['format']} table", "convert it to Delta first"
                )
            at = self._sql(f"DESCRIBE HISTORY {_identifier(ref)} LIMIT 1")[0]["version"] if version is None else version
            fields = self._frame(ref, at).schema
        try:
            schema = to_arrow_schema(fields, timezone="UTC")
        except (TypeError, ValueError, AnalysisException) as error:
            raise DataError(
                f"column types that Arrow has in {ref.name}", str(error), "leave that column out"
            ) from error
        # A scored table may hold NULL wherever it likes.
        nullable = plain_schema(pa.schema([field.with_nullable(True) for field in schema]))
        return TableState(ref, at, str(detail["id"]), nullable, tuple(detail["partitionColumns"]))

    def exists(self, ref: TableRef) -> bool:
        """See `Engine`."""
        try:
            self._sql(f"DESCRIBE HISTORY {_identifier(ref)} LIMIT 1")
        except FAILURES as error:
            if is_missing_table(error):
                return False
            raise explain_failure(error, ref) from error
        return True

    def choose_route(self, source: TableState, wanted: Literal["auto", "files", "dataframe"]) -> tuple[Route, str]:
        """See `Engine`."""
        if wanted == "files":
            raise ConfigError(
                "score.route: auto or dataframe with --engine spark", "files", "use --engine local for it"
            )
        return "dataframe", "Spark reads and writes with Delta's own reader and writer"

    def count(self, table: TableState, where: Predicate | None) -> int:
        """See `Engine`."""
        with _explaining(table.ref):
            return int(self._read(table, where).count())

    def measure(
        self, source: TableState, target: TableState | None, read: Predicate | None, scope: Predicate | None
    ) -> Work:
        """See `Engine`."""
        replaced = self.count(target, scope) if target else 0
        return Work(self.count(source, read), replaced, None, None, None, None)

    def read(self, table: TableState, columns: Sequence[str], where: Predicate | None, limit: int) -> pa.Table:
        """See `Engine`."""
        with _explaining(table.ref):
            found = self._read(table, where).select(*map(_column, columns)).limit(limit).toArrow()
        return _cast(found, table, columns)

    def sample(self, table: TableState, columns: Sequence[str], where: Predicate | None, sample: Sample) -> pa.Table:
        """See `Engine`."""
        with _explaining(table.ref):
            is_chosen = sample_udf(sample, self._session)(F.struct(*map(_column, sample.columns)))
            found = self._read(table, where).where(is_chosen).select(*map(_column, columns)).toArrow()
        return _cast(found, table, columns)

    def score(
        self, plan: ScorePlan, bundle: Bundle, options: ScoringOptions, lineage: Lineage, advance: Advance
    ) -> ScoreResult:
        """See `Engine`."""
        with _explaining(plan.target_ref):
            udf = score_udf(
                bundle,
                alert_budget=options.alert_budget,
                explain=options.explain,
                scored_at=options.scored_at,
                samples=options.samples,
                spark=self._session,
            )
            features = [_column(name) for name in bundle.feature_names]
            carried = [_carry(plan.schema.field(name)) for name in plan.carried]
            scored = (
                self._read(plan.source, plan.read)
                .select(*carried, udf(F.struct(*features)).alias(_SCORES))
                .select(*map(_column, plan.carried), *map(_score_column, SCORE_SCHEMA))
            )
            self._write(plan, scored, lineage)
            version = self._find_version(plan.target_ref, lineage)
            rows = self._check_rows(plan, version)
        advance(rows)
        return ScoreResult(version, rows)

    def _write(self, plan: ScorePlan, scored: DataFrame, lineage: Lineage) -> None:
        writer: DataFrameWriter = scored.write.format("delta").mode("overwrite")
        writer = writer.option("userMetadata", json.dumps(dict(lineage), sort_keys=True))
        if plan.source.partition_columns:
            writer = writer.partitionBy(*plan.source.partition_columns)
        if plan.scope:
            writer = writer.option("partitionOverwriteMode", "static")
            if plan.target:
                writer = writer.option("replaceWhere", _condition(plan.scope, plan.target))
        elif plan.target and plan.target.schema != plan.schema:
            writer = writer.option("overwriteSchema", "true")
        if any(_ODD_IN_NAMES & set(name) for name in plan.schema.names):
            writer = writer.option("delta.columnMapping.mode", "name")
        if plan.target_ref.in_catalog:
            writer.saveAsTable(plan.target_ref.name)
        else:
            writer.save(_path(plan.target_ref))

    def _find_version(self, ref: TableRef, lineage: Lineage) -> int:
        """The version of the commit that carries our run id."""
        for row in self._sql(f"DESCRIBE HISTORY {_identifier(ref)} LIMIT 100"):
            if row["userMetadata"] and str(lineage["run_id"]) in row["userMetadata"]:
                return int(row["version"])
        raise DataError(f"our commit in the history of {ref.name}", "none", "run it again")

    def _check_rows(self, plan: ScorePlan, version: int) -> int:
        after = TableState(plan.target_ref, version, "", plan.schema, plan.source.partition_columns)
        rows = self.count(after, plan.scope)
        if rows == plan.work.rows:
            return rows
        name = _identifier(plan.target_ref)
        self._sql(
            f"RESTORE TABLE {name} TO VERSION AS OF {plan.target.version}" if plan.target else f"DELETE FROM {name}"  # noqa: S608
        )
        raise DataError(
            f"{plan.work.rows:,} rows in scope of {plan.target_ref.name}, as many as the source has",
            f"{rows:,} rows",
            "the target was restored; run it again, and report it if it comes back",
        )

    def _read(self, table: TableState, where: Predicate | None) -> DataFrame:
        frame = self._frame(table.ref, table.version)
        return frame.where(_condition(where, table)) if where else frame

    def _frame(self, ref: TableRef, version: int) -> DataFrame:
        if ref.in_catalog:
            return self._session.sql(f"SELECT * FROM {_identifier(ref)} VERSION AS OF {version}")  # noqa: S608
        return self._session.read.format("delta").option("versionAsOf", version).load(_path(ref))

    def _sql(self, statement: str) -> list[Row]:
        rows: list[Row] = self._session.sql(statement).collect()
        return rows


@contextmanager
def _explaining(ref: TableRef) -> Iterator[None]:
    """Spark's failures as sentences."""
    try:
        yield
    except FAILURES as error:
        raise explain_failure(error, ref) from error


def _identifier(ref: TableRef) -> str:
    if ref.in_catalog:
        return ".".join(_quote(part) for part in ref.name.split("."))
    return f"delta.{_quote(_path(ref))}"


def _path(ref: TableRef) -> str:
    # Hadoop's file system for S3 has a name of its own.
    return ref.uri.replace("s3://", "s3a://", 1) if ref.uri.startswith("s3://") else ref.uri


def _quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _condition(where: Predicate, table: TableState) -> str:
    floats = {field.name: str(field.type) for field in table.schema if pt.is_floating(field.type)}
    return where.sql({name: dtype for name, dtype in floats.items() if name not in table.partition_columns})


def _column(name: str) -> Column:
    return F.col(_quote(name))


def _carry(field: pa.Field) -> Column:
    """A source column with its comment, and without the source table's own metadata: generation, identity, mapping."""
    return _column(field.name).alias(field.name, metadata=_comment(field))


def _score_column(field: pa.Field) -> Column:
    return F.col(f"{_SCORES}.{field.name}").alias(field.name, metadata=_comment(field))


def _comment(field: pa.Field) -> Mapping[str, str]:
    comment = (field.metadata or {}).get(b"comment")
    return {"comment": comment.decode()} if comment else {}


def _cast(found: pa.Table, table: TableState, columns: Sequence[str]) -> pa.Table:
    return found.cast(pa.schema([table.schema.field(name) for name in columns]))
