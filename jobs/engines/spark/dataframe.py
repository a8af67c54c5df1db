"""Route `dataframe`, for what route `files` cannot do: Delta's own reader, a scalar Arrow function over the feature
columns, and Delta's own writer. Rows are counted before anything is written; Spark itself refuses a batch of scores
with another number of rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow.types import is_primitive
from pyspark.sql import functions as F

from jobs.common.errors import ConflictError
from jobs.delta.files import text_leaves
from jobs.delta.statistics import creation_properties
from jobs.engines.base import Lineage, ScoreIntent, ScorePlan, ScoreResult, Work
from jobs.engines.spark.merge import (
    add_columns_statement,
    changed_keys,
    mapping_options,
    merge_statement,
    with_keys,
)
from jobs.engines.spark.tables import SparkTables, identifier, to_column, to_condition, to_path
from jobs.engines.spark.udf import score_type, score_udf
from vae_model import SCORE_COLUMNS, SCORE_SCHEMA, Bundle, ScoringOptions
from vae_model.errors import DataError
from vae_model.features.nested import source_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, DataFrameWriter

_SCORES = "__sandtimer_scores"
_DICTIONARY = "parquet.enable.dictionary"
_DELTA = "spark.databricks.delta"
_ARROW = "spark.sql.execution.arrow"
# The score columns that queries filter by.
_FILTERED = ("anomaly_score", "anomaly_p_value", "scored_at")
_BATCH_ROWS = 32_768
_BATCH_BYTES = 64 * 2**20
_NO_LIMIT = str(2**31 - 1)


class FrameRows:
    """The rows that an intent is about, on one session."""

    def __init__(self, tables: SparkTables, intent: ScoreIntent) -> None:
        self._tables, self._intent = tables, intent

    def measure(self) -> Work:
        """How much it would touch."""
        plan, tables = self._intent, self._tables
        if plan.action == "merge" and plan.target:
            there = with_keys(tables.read(plan.target, None), self._touched(), plan.keys)
            return Work(self._rows().count(), there.count(), None, None, None, None)
        if plan.action == "append":
            return Work(self._rows().count(), 0, None, None, None, None)
        replaced = tables.count(plan.target, plan.scope) if plan.target else 0
        return Work(tables.count(plan.source, plan.read), replaced, None, None, None, None)

    def _rows(self) -> DataFrame:
        """The source rows to score."""
        plan, tables = self._intent, self._tables
        if plan.in_place:
            # Read by the write's own transaction: of another writer's rows none are lost, whenever they come.
            frame = tables.latest(plan.source.ref)
            return frame.where(to_condition(plan.read, plan.source)) if plan.read else frame
        if plan.action == "merge":
            return with_keys(tables.read(plan.source, plan.read), self._touched(), plan.keys)
        if plan.action != "append":
            return tables.read(plan.source, plan.read)
        frames = []
        for piece in plan.pieces:
            names = [path.rsplit("/", 1)[-1] for path in piece.paths]
            frame = tables.frame(plan.source.ref, piece.version)
            frames.append(frame.where(F.col("_metadata.file_name").isin(names)).select("*"))
        rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
        return rows.where(to_condition(plan.read, plan.source)) if plan.read else rows

    def _touched(self) -> DataFrame:
        return changed_keys(self._tables.feed(self._intent.source, self._intent.since or 0), self._intent.keys)


class FrameRun(FrameRows):
    """One plan of this route on one session."""

    def __init__(self, tables: SparkTables, plan: ScorePlan) -> None:
        super().__init__(tables, plan)
        self._plan = plan

    def score(self, bundle: Bundle, options: ScoringOptions, lineage: Lineage) -> ScoreResult:
        """Carry it out."""
        plan, tables = self._plan, self._tables
        # They need not travel with every row.
        constants = {"model_id": F.lit(bundle.model_id), "scored_at": F.lit(options.scored_at)}
        udf = score_udf(
            bundle,
            alert_budget=options.alert_budget,
            explain=options.explain,
            scored_at=options.scored_at,
            samples=options.samples,
            columns=[name for name in SCORE_COLUMNS if name not in constants],
            spark=tables.session,
        )
        columns = source_columns(bundle.feature_names, plan.source.schema)
        features = [to_column(name) for name in columns]
        is_plain = columns == bundle.feature_names
        score = _Scored(plan, udf(*features) if is_plain else udf(F.struct(*features)), constants)
        self._check_before()
        types = [plan.source.schema.field(name).type for name in columns]
        with tables.settings(_choose_batches(types) | _choose_dictionaries(plan.schema), yielding=True):
            if plan.action == "merge":
                self._merge(score, lineage)
            else:
                self._write(score.of(self._rows()), lineage)
        return ScoreResult(self._find_version(lineage), plan.work.rows)

    def _check_before(self) -> None:
        """Count the rows that go in by reading them, before anything is written.

        From there on Spark guarantees the number: what is written is a projection of these rows, of one version of the
        table, and an Arrow function that returns another number of rows than it got fails its task and with it the
        write. A failed write commits nothing.
        """
        plan, tables = self._plan, self._tables
        if plan.in_place and tables.history(plan.source.ref)[0].version != plan.source.version:
            raise _overtaken(plan, "the source changed since the plan was made")
        rows, source = tables.scan(self._rows()), plan.source
        if rows != plan.work.rows:
            raise DataError(
                f"{plan.work.rows:,} rows, as many as {source.ref.name} version {source.version} has in scope",
                f"{rows:,} rows in its files",
                "nothing was committed; check the source table's files, then run it again",
            )

    def _merge(self, score: _Scored, lineage: Lineage) -> None:
        plan, tables = self._plan, self._tables
        name = identifier(plan.target_ref)
        there = plan.target.schema.names if plan.target else []
        missing = [field for field in plan.schema if field.name not in there]
        if missing:
            tables.sql(add_columns_statement(name, missing))
        columns = [name for name in plan.schema.names if name in (*plan.carried, *SCORE_SCHEMA.names)]
        settings = {f"{_DELTA}.commitInfo.userMetadata": _to_text(lineage)}
        settings |= {f"{_DELTA}.write.{key}": str(value) for key, value in self._transaction().items()}
        with tables.settings(settings):
            rows = score.of(self._rows())
            tables.sql(merge_statement(name, rows, self._touched(), plan.keys, columns))

    def _transaction(self) -> dict[str, str | int]:
        """Delta skips a write whose version, or a later one, was recorded before."""
        transaction = self._plan.transaction
        return {} if transaction is None else dict(zip(("txnAppId", "txnVersion"), transaction, strict=True))

    def _write(self, scored: DataFrame, lineage: Lineage) -> None:
        plan = self._plan
        writer: DataFrameWriter = scored.write.format("delta").mode(
            "append" if plan.action == "append" else "overwrite"
        )
        writer = writer.option("userMetadata", _to_text(lineage))
        for key, value in self._transaction().items():
            writer = writer.option(key, value)
        if plan.source.partition_columns:
            writer = writer.partitionBy(*plan.source.partition_columns)
        if plan.scope:
            writer = writer.option("partitionOverwriteMode", "static")
            if plan.target:
                writer = writer.option("replaceWhere", to_condition(plan.scope, plan.target))
        elif plan.action == "replace" and plan.target and plan.target.schema != plan.schema:
            writer = writer.option("overwriteSchema", "true")
        if plan.target and (plan.scope or plan.action == "append"):
            writer = writer.option("mergeSchema", "true")
        writer = writer.options(**mapping_options(plan.schema.names))
        if plan.target is None:
            writer = writer.options(
                **creation_properties(_choose_bounded(plan), plan.source.partition_columns, _FILTERED, floats=False)
            )
        # Rows that were not scored and now are do not match the condition that they replace.
        checked = "false" if plan.in_place else "true"
        with self._tables.settings({f"{_DELTA}.replaceWhere.constraintCheck.enabled": checked}):
            if plan.target_ref.in_catalog:
                writer.saveAsTable(plan.target_ref.name)
            else:
                writer.save(to_path(plan.target_ref))

    def _find_version(self, lineage: Lineage) -> int:
        """The version of the commit that carries our run id."""
        plan = self._plan
        for entry in self._tables.history(plan.target_ref):
            if entry.lineage and entry.lineage.get("run_id") == lineage["run_id"]:
                return entry.version
        raise _overtaken(plan, "another run, which scored the same changes")


class _Scored:
    """Rows with their carried and score columns."""

    def __init__(self, plan: ScorePlan, score: Column, constants: Mapping[str, Column]) -> None:
        self._plan, self._score, self._constants = plan, score, constants
        self.fields = score_type().fields

    def of(self, rows: DataFrame) -> DataFrame:
        carried = [_carry(self._plan.schema.field(name)) for name in self._plan.carried]
        names = map(to_column, self._plan.carried)
        scored = rows.select(*carried, self._score.alias(_SCORES))
        return scored.select(*names, *map(self._score_column, SCORE_SCHEMA))

    def _score_column(self, field: pa.Field) -> Column:
        found = self._constants.get(field.name, F.col(f"{_SCORES}.{field.name}"))
        return found.alias(field.name, metadata=_comment(field))


def _choose_bounded(plan: ScorePlan) -> pa.Schema:
    """The columns to keep statistics of, as far as they are no measured numbers."""
    return pa.schema([field for field in plan.schema if field.name in (*plan.carried, *_FILTERED)])


def _choose_batches(features: Sequence[pa.DataType]) -> dict[str, str]:
    """How features cross into Python: as many rows at once as the network likes, in 64 MB at most."""
    # Columnar input pays where a source brings Arrow: from Parquet, rows would become columns twice.
    settings = {f"{_ARROW}.pythonUDF.columnarInput.enabled": "false", f"{_ARROW}.maxRecordsPerBatch": str(_BATCH_ROWS)}
    if any(not is_primitive(dtype) for dtype in features):
        return settings
    # Where all rows are of one size, Spark need not add up a batch's bytes after each row.
    row_bytes = sum(dtype.bit_width for dtype in features) / 8
    rows = min(_BATCH_ROWS, max(1, int(_BATCH_BYTES / row_bytes)))
    return settings | {f"{_ARROW}.maxRecordsPerBatch": str(rows), f"{_ARROW}.maxBytesPerBatch": _NO_LIMIT}


def _choose_dictionaries(schema: pa.Schema) -> dict[str, str]:
    """Parquet as route `files` writes it: dictionaries for text; for numbers they cost more than they save."""
    return {_DICTIONARY: "false", **{f"{_DICTIONARY}#{leaf}": "true" for leaf in text_leaves(schema)}}


def _to_text(lineage: Lineage) -> str:
    return json.dumps(dict(lineage), sort_keys=True)


def _overtaken(plan: ScorePlan, found: str) -> ConflictError:
    return ConflictError(f"no other writer in this part of {plan.target_ref.name}", found, "run it again")


def _carry(field: pa.Field) -> Column:
    """A source column with its comment, and without the source table's own metadata: generation, identity, mapping."""
    return to_column(field.name).alias(field.name, metadata=_comment(field))


def _comment(field: pa.Field) -> Mapping[str, str]:
    comment = (field.metadata or {}).get(b"comment")
    return {"comment": comment.decode()} if comment else {}
