"""The Spark engine. Route `files` maps the tasks that the local engine runs over the executors; route `dataframe` is in
a module of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from jobs.common.console import Advance
from jobs.common.engine_names import EngineName
from jobs.common.errors import ConfigError
from jobs.common.sampling import Sample
from jobs.delta import snapshot as snapshots
from jobs.delta.mapping import plain_schema
from jobs.delta.storage import TableRef
from jobs.engines.base import (
    Lineage,
    LogEntry,
    Route,
    ScoreIntent,
    ScorePlan,
    ScoreResult,
    Summarise,
    TableState,
    Work,
)
from jobs.engines.files import RunTasks, find_obstacle, measure_files, score_files
from jobs.engines.logs import describe_table
from jobs.engines.spark.dataframe import FrameRows, FrameRun
from jobs.engines.spark.errors import FAILURES, explain_failure, is_missing_table
from jobs.engines.spark.merge import add_columns_statement, mapping_options, upsert_statement
from jobs.engines.spark.tables import SparkTables, explaining, identifier, to_column, to_path
from jobs.engines.spark.tasks import run_tasks
from jobs.engines.spark.udf import is_connect, sample_udf, send_scorer, ship_packages
from jobs.engines.spark.worker import ScorerSpec
from jobs.predicates.predicate import Predicate
from vae_model import Bundle, ScoringOptions
from vae_model.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkEngine:
    """Runs on the cluster of a Spark session, classic or Connect."""

    name: EngineName = "spark"

    def __init__(self, session: SparkSession) -> None:
        self._session, self._tables = session, SparkTables(session)
        # Dates and times in conditions and in reasons must mean the same on every engine.
        session.conf.set("spark.sql.session.timeZone", "UTC")

    def describe(self, ref: TableRef, version: int | None = None) -> TableState:
        """See `Engine`."""
        known = self._tables.from_log(ref, lambda: describe_table(ref, version))
        return known or self._describe(ref, version)

    def _describe(self, ref: TableRef, version: int | None) -> TableState:
        tables = self._tables
        with explaining(ref):
            detail = tables.sql(f"DESCRIBE DETAIL {identifier(ref)}")[0]
            if detail["format"] != "delta":
                raise DataError(
                    f"a Delta table at {ref.name}", f"a {detail['format']} table", "convert it to Delta first"
                )
            if version is None:
                version = int(tables.sql(f"DESCRIBE HISTORY {identifier(ref)} LIMIT 1")[0]["version"])
            fields = tables.frame(ref, version).schema
        try:
            schema = to_arrow_schema(fields, timezone="UTC")
        except (TypeError, ValueError, AnalysisException) as error:
            raise DataError(
                f"column types that Arrow has in {ref.name}", str(error), "leave that column out"
            ) from error
        # A scored table may hold NULL wherever it likes.
        nullable = plain_schema(pa.schema([field.with_nullable(True) for field in schema]))
        location = TableRef(str(detail["location"]), ref.storage_options)
        return TableState(ref, version, str(detail["id"]), nullable, tuple(detail["partitionColumns"]), location)

    def exists(self, ref: TableRef) -> bool:
        """See `Engine`."""
        known = self._tables.from_log(ref, lambda: snapshots.exists(ref))
        if known is not None:
            return known
        try:
            self._tables.sql(f"DESCRIBE HISTORY {identifier(ref)} LIMIT 1")
        except FAILURES as error:
            if is_missing_table(error):
                return False
            raise explain_failure(error, ref) from error
        return True

    def choose_route(self, intent: ScoreIntent, wanted: Literal["auto", "files", "dataframe"]) -> tuple[Route, str]:
        """See `Engine`."""
        if wanted == "dataframe":
            return "dataframe", "as asked; Spark reads and writes with Delta's own reader and writer"
        connected = is_connect(self._session)
        obstacle = "a Connect client hands no tasks to executors" if connected else find_obstacle(intent)
        if wanted == "files" and obstacle:
            raise ConfigError(
                "a run that score.route: files can do", obstacle, "set score.route to auto, or --engine local"
            )
        if obstacle:
            return "dataframe", f"Spark reads and writes with Delta's own reader and writer, since {obstacle}"
        return "files", "executors read and write the Parquet files themselves"

    def count(self, table: TableState, where: Predicate | None) -> int:
        """See `Engine`."""
        return self._tables.count(table, where)

    def history(self, table: TableState) -> list[LogEntry]:
        """See `Engine`."""
        return self._tables.history(table.ref, table.version)

    def has_change_feed(self, table: TableState, since: int, keys: Sequence[str]) -> bool:
        """See `Engine`."""
        try:
            self._tables.feed(table, since).select(*map(to_column, keys)).count()
        except FAILURES:
            return False
        return True

    def measure(self, intent: ScoreIntent, route: Route) -> Work:
        """See `Engine`."""
        if route == "files":
            return measure_files(intent)
        with explaining(intent.source.ref):
            return FrameRows(self._tables, intent).measure()

    def read(self, table: TableState, columns: Sequence[str], where: Predicate | None, limit: int) -> pa.Table:
        """See `Engine`."""
        with explaining(table.ref):
            found = self._tables.read(table, where).select(*map(to_column, columns)).limit(limit).toArrow()
        return _cast(found, table, columns)

    def sample(self, table: TableState, columns: Sequence[str], where: Predicate | None, sample: Sample) -> pa.Table:
        """See `Engine`."""
        with explaining(table.ref):
            is_chosen = sample_udf(sample, self._session)(F.struct(*map(to_column, sample.columns)))
            found = self._tables.read(table, where).where(is_chosen).select(*map(to_column, columns)).toArrow()
        return _cast(found, table, columns)

    def upsert(self, ref: TableRef, rows: pa.Table, keys: Sequence[str]) -> int:
        """See `Engine`."""
        tables = self._tables
        with explaining(ref):
            frame = self._session.createDataFrame(rows)
            if self.exists(ref):
                known = self.describe(ref).schema.names
                if lacking := [field for field in rows.schema if field.name not in known]:
                    tables.sql(add_columns_statement(identifier(ref), lacking))
                tables.sql(upsert_statement(identifier(ref), frame, keys))
            else:
                writer = frame.write.format("delta").mode("error").options(**mapping_options(rows.schema.names))
                writer.saveAsTable(ref.name) if ref.in_catalog else writer.save(to_path(ref))
            return int(tables.sql(f"DESCRIBE HISTORY {identifier(ref)} LIMIT 1")[0]["version"])

    def summarise(
        self,
        table: TableState,
        columns: Sequence[str],
        where: Predicate | None,
        schema: pa.Schema,
        summarise: Summarise,
    ) -> pa.Table:
        """See `Engine`."""
        wanted = pa.schema([table.schema.field(name) for name in columns])
        # pyspark looks columns up by their names as they are, where a dot or a backtick means something.
        aliases = [f"c{number}" for number in range(len(columns))]
        results = pa.schema([field.with_name(f"c{number}") for number, field in enumerate(schema)])

        def run_part(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            tables = (pa.Table.from_batches([b]).rename_columns(wanted.names).cast(wanted) for b in batches)
            found = summarise(batch for part in tables for batch in part.to_batches())
            yield pa.RecordBatch.from_arrays(found.columns, schema=results)

        ship_packages(self._session)
        with explaining(table.ref):
            named = (to_column(name).alias(alias) for name, alias in zip(columns, aliases, strict=True))
            rows = self._tables.read(table, where).select(*named)
            found = rows.mapInArrow(run_part, from_arrow_schema(results)).toArrow()
        return found.rename_columns(schema.names).cast(schema)

    def score(
        self, plan: ScorePlan, bundle: Bundle, options: ScoringOptions, lineage: Lineage, advance: Advance
    ) -> ScoreResult:
        """See `Engine`."""
        with explaining(plan.target_ref):
            if plan.route == "files":
                cores = int(self._session.sparkContext.defaultParallelism)
                return score_files(plan, lineage, cores, self._run_tasks(bundle, options, advance))
            result = FrameRun(self._tables, plan).score(bundle, options, lineage)
        advance(result.rows)
        return result

    def _run_tasks(self, bundle: Bundle, options: ScoringOptions, advance: Advance) -> RunTasks:
        spec = ScorerSpec(bundle.model_id, options)
        return partial(run_tasks, self._session, send_scorer(bundle, spec, self._session), advance)


def _cast(found: pa.Table, table: TableState, columns: Sequence[str]) -> pa.Table:
    return found.cast(pa.schema([table.schema.field(name) for name in columns]))
