"""The Spark engine. Route `files` maps the tasks that the local engine runs over the executors. Route `dataframe`, for
what they cannot do, is Delta's own reader, a scalar Arrow function over the feature columns, and Delta's own writer;
Spark itself refuses a batch of scores with another number of rows, and the result is counted once more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Literal, TypeVar

import pyarrow as pa
import pyarrow.types as pt
from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from jobs.config import EngineName
from jobs.delta import snapshot as snapshots
from jobs.delta.changes import parse_lineage
from jobs.delta.mapping import plain_schema
from jobs.delta.statistics import creation_properties
from jobs.delta.storage import TableRef
from jobs.engines.base import Lineage, LogEntry, Route, ScorePlan, ScoreResult, ScoringOptions, TableState, Work
from jobs.engines.files import RunTasks, find_obstacle, measure_files, score_files
from jobs.engines.logs import describe_table, read_history
from jobs.engines.spark_errors import FAILURES, explain_failure, is_missing_table
from jobs.engines.spark_merge import (
    ALIVE,
    add_columns_statement,
    check_keys,
    merge_statement,
    net_change,
    quote,
    upsert_statement,
)
from jobs.engines.spark_tasks import run_tasks
from jobs.errors import ConfigError, ConflictError, SandtimerError
from jobs.events import Advance
from jobs.predicate import Predicate
from jobs.sampling import Sample
from jobs.spark import is_connect, sample_udf, score_udf, send_scorer
from jobs.worker import ScorerSpec
from vae_model import SCORE_SCHEMA, Bundle
from vae_model.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, DataFrameWriter, Row, SparkSession

T = TypeVar("T")
_SCORES = "__sandtimer_scores"
# Commits to look back for our last run.
_HISTORY = 1_000
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
        known = self._from_log(ref, lambda: describe_table(ref, version))
        return known or self._describe(ref, version)

    def _from_log(self, ref: TableRef, read: Callable[[], T]) -> T | None:
        """What the log says where this process can read it: Spark's own statements cost 15 CPU seconds in a new
        session. None where only Spark can: a catalog's table, a Connect server's files, a store it has the key of."""
        if ref.in_catalog or is_connect(self._session):
            return None
        try:
            return read()
        except SandtimerError:
            return None

    def _describe(self, ref: TableRef, version: int | None) -> TableState:
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
        location = TableRef(str(detail["location"]), ref.storage_options)
        return TableState(ref, at, str(detail["id"]), nullable, tuple(detail["partitionColumns"]), location)

    def exists(self, ref: TableRef) -> bool:
        """See `Engine`."""
        known = self._from_log(ref, lambda: snapshots.exists(ref))
        if known is not None:
            return known
        try:
            self._sql(f"DESCRIBE HISTORY {_identifier(ref)} LIMIT 1")
        except FAILURES as error:
            if is_missing_table(error):
                return False
            raise explain_failure(error, ref) from error
        return True

    def choose_route(self, plan: ScorePlan, wanted: Literal["auto", "files", "dataframe"]) -> tuple[Route, str]:
        """See `Engine`."""
        if wanted == "dataframe":
            return "dataframe", "as asked; Spark reads and writes with Delta's own reader and writer"
        connected = is_connect(self._session)
        obstacle = "a Connect client hands no tasks to executors" if connected else find_obstacle(plan)
        if wanted == "files" and obstacle:
            raise ConfigError(
                "a run that score.route: files can do", obstacle, "set score.route to auto, or --engine local"
            )
        if obstacle:
            return "dataframe", f"Spark reads and writes with Delta's own reader and writer, since {obstacle}"
        return "files", "executors read and write the Parquet files themselves"

    def count(self, table: TableState, where: Predicate | None) -> int:
        """See `Engine`."""
        with _explaining(table.ref):
            return int(self._read(table, where).count())

    def history(self, table: TableState) -> list[LogEntry]:
        """See `Engine`."""
        known = self._from_log(table.ref, lambda: read_history(table))
        if known is not None:
            return known
        with _explaining(table.ref):
            rows = self._sql(f"DESCRIBE HISTORY {_identifier(table.ref)} LIMIT {_HISTORY}")
        return [
            LogEntry(row["version"], row["timestamp"], row["operation"] or "", parse_lineage(row["userMetadata"]))
            for row in rows
            if row["version"] <= table.version
        ]

    def has_change_feed(self, table: TableState, since: int) -> bool:
        """See `Engine`."""
        try:
            self._feed(table, since).count()
        except FAILURES:
            return False
        return True

    def measure(self, plan: ScorePlan) -> Work:
        """See `Engine`."""
        if plan.route == "files":
            return measure_files(plan)
        with _explaining(plan.source.ref):
            if plan.action == "merge":
                check_keys(self._changes(plan), plan.keys, plan.source.ref.name)
                counts = {row[ALIVE]: row["count"] for row in self._net_change(plan).groupBy(ALIVE).count().collect()}
                rows, replaced = counts.get(True, 0), sum(counts.values())
            else:
                rows = self._rows(plan).count()
                scope_counts = plan.target is not None and plan.action == "replace"
                replaced = self.count(plan.target, plan.scope) if plan.target and scope_counts else 0
        return Work(rows, replaced, None, None, None, None)

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

    def upsert(self, ref: TableRef, rows: pa.Table, keys: Sequence[str]) -> int:
        """See `Engine`."""
        with _explaining(ref):
            frame = self._session.createDataFrame(rows)
            if self.exists(ref):
                self._sql(upsert_statement(_identifier(ref), frame, keys))
            elif ref.in_catalog:
                frame.write.format("delta").mode("error").saveAsTable(ref.name)
            else:
                frame.write.format("delta").mode("error").save(_path(ref))
            return int(self._sql(f"DESCRIBE HISTORY {_identifier(ref)} LIMIT 1")[0]["version"])

    def score(
        self, plan: ScorePlan, bundle: Bundle, options: ScoringOptions, lineage: Lineage, advance: Advance
    ) -> ScoreResult:
        """See `Engine`."""
        if plan.route == "files":
            with _explaining(plan.target_ref):
                cores = int(self._session.sparkContext.defaultParallelism)
                return score_files(plan, lineage, cores, self._run_tasks(bundle, options, advance))
        with _explaining(plan.target_ref):
            udf = score_udf(
                bundle,
                alert_budget=options.alert_budget,
                explain=options.explain,
                scored_at=options.scored_at,
                samples=options.samples,
                spark=self._session,
            )
            score = _Scored(plan, udf(F.struct(*(_column(name) for name in bundle.feature_names))))
            if plan.action == "merge":
                self._merge(plan, score, lineage)
            else:
                self._write(plan, score.of(self._rows(plan)), lineage)
            version = self._find_version(plan, lineage)
            rows = self._check_rows(plan, version)
        advance(rows)
        return ScoreResult(version, rows)

    def _run_tasks(self, bundle: Bundle, options: ScoringOptions, advance: Advance) -> RunTasks:
        spec = ScorerSpec(bundle.model_id, options.alert_budget, options.explain, options.scored_at, options.samples)
        return partial(run_tasks, self._session, send_scorer(bundle, spec, self._session), advance)

    def _rows(self, plan: ScorePlan) -> DataFrame:
        """The source rows to score."""
        if plan.action != "append":
            return self._read(plan.source, plan.read)
        frames = []
        for piece in plan.pieces:
            names = [path.rsplit("/", 1)[-1] for path in piece.paths]
            frame = self._frame(plan.source.ref, piece.version)
            frames.append(frame.where(F.col("_metadata.file_name").isin(names)).select("*"))
        rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
        return rows.where(_condition(plan.read, plan.source)) if plan.read else rows

    def _net_change(self, plan: ScorePlan) -> DataFrame:
        matches = _condition(plan.read, plan.source) if plan.read else None
        return net_change(self._changes(plan), plan.keys, matches)

    def _changes(self, plan: ScorePlan) -> DataFrame:
        return self._feed(plan.source, plan.since or 0)

    def _feed(self, table: TableState, since: int) -> DataFrame:
        reader = self._session.read.format("delta").option("readChangeFeed", "true")
        reader = reader.option("startingVersion", since + 1).option("endingVersion", table.version)
        return reader.table(_identifier(table.ref)) if table.ref.in_catalog else reader.load(_path(table.ref))

    def _merge(self, plan: ScorePlan, score: _Scored, lineage: Lineage) -> None:
        name = _identifier(plan.target_ref)
        there = plan.target.schema.names if plan.target else []
        missing = [field for field in plan.schema if field.name not in there]
        if missing:
            self._sql(add_columns_statement(name, missing))
        changes = self._net_change(plan)
        dead = [F.lit(None).cast(field.dataType).alias(field.name) for field in score.fields]
        rows = score.of(changes.where(ALIVE), F.lit(True).alias(ALIVE)).unionByName(
            changes.where(~F.col(ALIVE)).select(*map(_column, plan.carried), *dead, F.lit(False).alias(ALIVE))
        )
        columns = [name for name in plan.schema.names if name in (*plan.carried, *SCORE_SCHEMA.names)]
        settings = {"commitInfo.userMetadata": json.dumps(dict(lineage), sort_keys=True)}
        settings |= {f"write.{key}": str(value) for key, value in self._transaction(plan).items()}
        with self._settings(settings):
            self._sql(merge_statement(name, rows, plan.keys, columns))

    def _transaction(self, plan: ScorePlan) -> dict[str, str | int]:
        """Delta skips a write whose version, or a later one, was recorded before."""
        return {} if plan.transaction is None else dict(zip(("txnAppId", "txnVersion"), plan.transaction, strict=True))

    @contextmanager
    def _settings(self, values: Mapping[str, str]) -> Iterator[None]:
        for key, value in values.items():
            self._session.conf.set(f"spark.databricks.delta.{key}", value)
        try:
            yield
        finally:
            for key in values:
                self._session.conf.unset(f"spark.databricks.delta.{key}")

    def _write(self, plan: ScorePlan, scored: DataFrame, lineage: Lineage) -> None:
        writer: DataFrameWriter = scored.write.format("delta").mode(
            "append" if plan.action == "append" else "overwrite"
        )
        writer = writer.option("userMetadata", json.dumps(dict(lineage), sort_keys=True))
        for key, value in self._transaction(plan).items():
            writer = writer.option(key, value)
        if plan.source.partition_columns:
            writer = writer.partitionBy(*plan.source.partition_columns)
        if plan.scope:
            writer = writer.option("partitionOverwriteMode", "static")
            if plan.target:
                writer = writer.option("replaceWhere", _condition(plan.scope, plan.target))
        elif plan.action == "replace" and plan.target and plan.target.schema != plan.schema:
            writer = writer.option("overwriteSchema", "true")
        if plan.target and (plan.scope or plan.action == "append"):
            writer = writer.option("mergeSchema", "true")
        if any(_ODD_IN_NAMES & set(name) for name in plan.schema.names):
            writer = writer.option("delta.columnMapping.mode", "name")
        if plan.target is None:
            writer = writer.options(
                **creation_properties(plan.schema, plan.source.partition_columns, SCORE_SCHEMA.names)
            )
        # Rows that were not scored and now are do not match the condition that they replace.
        checked = "false" if plan.in_place else "true"
        with self._settings({"replaceWhere.constraintCheck.enabled": checked}):
            if plan.target_ref.in_catalog:
                writer.saveAsTable(plan.target_ref.name)
            else:
                writer.save(_path(plan.target_ref))

    def _find_version(self, plan: ScorePlan, lineage: Lineage) -> int:
        """The version of the commit that carries our run id."""
        name = _identifier(plan.target_ref)
        for row in self._sql(f"DESCRIBE HISTORY {name} LIMIT 100"):
            if row["userMetadata"] and str(lineage["run_id"]) in row["userMetadata"]:
                if plan.in_place and row["readVersion"] != plan.source.version:
                    self._sql(f"RESTORE TABLE {name} TO VERSION AS OF {row['version'] - 1}")
                    raise _overtaken(plan, "the source changed before the commit, which was undone")
                return int(row["version"])
        raise _overtaken(plan, "another run, which scored the same changes")

    def _check_rows(self, plan: ScorePlan, version: int) -> int:
        after = TableState(plan.target_ref, version, "", plan.schema, plan.source.partition_columns)
        if plan.action == "merge":
            touched = self._changes(plan).select(*map(_column, plan.keys))
            there = self._read(after, None).join(touched, list(plan.keys), "left_semi")
            rows, expected = there.count(), plan.work.rows
        elif plan.in_place or (plan.action == "append" and plan.target):
            before = replace(after, version=version - 1)
            rows, expected = self.count(after, None), self.count(before, None)
            expected += 0 if plan.in_place else plan.work.rows
        else:
            rows, expected = self.count(after, plan.scope), plan.work.rows
        if rows == expected:
            return plan.work.rows
        name = _identifier(plan.target_ref)
        self._sql(
            f"RESTORE TABLE {name} TO VERSION AS OF {version - 1}" if plan.target else f"DELETE FROM {name}"  # noqa: S608
        )
        raise DataError(
            f"{expected:,} rows in {plan.target_ref.name}, as many as the source has",
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


class _Scored:
    """Rows with their carried and score columns."""

    def __init__(self, plan: ScorePlan, score: Column) -> None:
        self._plan, self._score = plan, score
        self.fields = from_arrow_schema(SCORE_SCHEMA).fields

    def of(self, rows: DataFrame, *more: Column) -> DataFrame:
        carried = [_carry(self._plan.schema.field(name)) for name in self._plan.carried]
        names = map(_column, self._plan.carried)
        scored = rows.select(*carried, self._score.alias(_SCORES))
        return scored.select(*names, *map(_score_column, SCORE_SCHEMA), *more)


@contextmanager
def _explaining(ref: TableRef) -> Iterator[None]:
    """Spark's failures as sentences."""
    try:
        yield
    except FAILURES as error:
        raise explain_failure(error, ref) from error


def _identifier(ref: TableRef) -> str:
    if ref.in_catalog:
        return ".".join(quote(part) for part in ref.name.split("."))
    return f"delta.{quote(_path(ref))}"


def _overtaken(plan: ScorePlan, found: str) -> ConflictError:
    return ConflictError(f"no other writer in this part of {plan.target_ref.name}", found, "run it again")


def _path(ref: TableRef) -> str:
    # Hadoop's file system for S3 has a name of its own.
    return ref.uri.replace("s3://", "s3a://", 1) if ref.uri.startswith("s3://") else ref.uri


def _condition(where: Predicate, table: TableState) -> str:
    floats = {field.name: str(field.type) for field in table.schema if pt.is_floating(field.type)}
    return where.sql({name: dtype for name, dtype in floats.items() if name not in table.partition_columns})


def _column(name: str) -> Column:
    return F.col(quote(name))


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
