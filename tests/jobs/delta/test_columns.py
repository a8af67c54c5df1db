"""Commits that change no file and yet what rows read as: renames, drops, wider types; and those that do not: columns,
comments, defaults. On both engines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from jobs.delta.columns import compare_columns
from jobs.delta.storage import TableRef
from jobs.engines.local import LocalEngine
from tests.jobs.job import Job, fingerprint
from tests.jobs.scoring.test_increment import nothing, refused, why
from vae_model import SCORE_COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FEED = "'delta.enableChangeDataFeed' = 'true'"
MAPPED = "'delta.columnMapping.mode' = 'name', 'delta.enableTypeWidening' = 'true'"
DEFAULTS = "'delta.feature.allowColumnDefaults' = 'supported'"
ROWS = (
    "SELECT id AS order_id, DATE '2024-01-01' AS day, CAST(id % 7 AS INT) AS quantity, id * 1.5D AS price,"
    " id * 2.5D AS total, concat('old ', id) AS note, named_struct('a', id, 'b', id + 1) AS more"
    " FROM range({first}, {last})"
)


def make(job: Job, spark: SparkSession, mode: str) -> str:
    """A mapped source of 100 rows, scored; its name in SQL."""
    for folder in (job.source, job.target, job.bundle):
        shutil.rmtree(folder)
    name = f"delta.`{job.source}`"
    spark.sql(f"CREATE TABLE {name} USING delta TBLPROPERTIES ({MAPPED}) AS {ROWS.format(first=0, last=100)}")
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({FEED})")
    job.settings["source"]["partition"] = None
    job.settings["score"]["mode"] = mode
    ignored = ("order_id", "day", "note", "more")
    vm.fit(read(job), vm.ColumnOptions(ignore=ignored), seed=1, epochs=1, members=1).save(job.bundle)
    assert job.run("score").last["rows"] == 100
    nothing(job)
    return name


def read(job: Job, table: str = "source") -> pa.Table:
    engine = LocalEngine()
    state = engine.describe(TableRef(job.settings["source" if table == "source" else "score"]["table"]))
    return engine.read(state, state.schema.names, None, 10**6).sort_by("order_id")


def same_rows(job: Job) -> None:
    """The scored table is the source with the model's scores, column by column."""
    source, scored = read(job), read(job, "scored")
    assert set(scored.column_names) == {*source.column_names, *SCORE_COLUMNS}
    for name in source.column_names:
        assert scored[name].to_pylist() == source[name].to_pylist(), name
    expected = vm.score(source, vm.load(job.bundle), explain="none")
    for name in ("anomaly_score", "reconstruction_nll"):
        np.testing.assert_allclose(scored[name].to_numpy(), expected[name].to_numpy(), 1e-5, 1e-9)


def run(job: Job) -> str:
    outcome = job.run("score")
    assert outcome.code == 0, outcome.stderr
    same_rows(job)
    nothing(job)
    return why(outcome)


RENAME = "ALTER TABLE {0} RENAME COLUMN {1} TO {2}"
CHANGES: dict[str, tuple[Sequence[str], str]] = {
    "renamed": ([RENAME.format("{0}", "note", "note2")], "note was renamed to note2"),
    "renamed and added": (
        [RENAME.format("{0}", "note", "note3"), "ALTER TABLE {0} ADD COLUMN (note STRING)"],
        "note was renamed to note3",
    ),
    "dropped": (["ALTER TABLE {0} DROP COLUMN note"], "note was dropped"),
    "dropped and added": (
        ["ALTER TABLE {0} DROP COLUMN note", "ALTER TABLE {0} ADD COLUMN (note STRING)"],
        "note was dropped, and added again",
    ),
    "features swapped": (
        [RENAME.format("{0}", *pair) for pair in (("price", "spare"), ("total", "price"), ("spare", "total"))],
        "price was renamed to total; total was renamed to price",
    ),
    "fields swapped": (
        [RENAME.format("{0}", *pair) for pair in (("more.a", "c"), ("more.b", "a"), ("more.c", "b"))],
        "more.a was renamed to more.b",
    ),
    "feature widened": (["ALTER TABLE {0} ALTER COLUMN quantity TYPE BIGINT"], "quantity: integer before, long now"),
}


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_what_rows_read_as(mode: str, any_job: Job, spark: SparkSession) -> None:
    """One change after the other; rows with a note come before each, and after every other one more."""
    name = make(any_job, spark, mode)
    for number, (statements, said) in enumerate(CHANGES.values()):
        append(any_job, spark, 100 + 20 * number)
        run(any_job)
        for statement in statements:
            spark.sql(statement.format(name))
        if number % 2:
            append(any_job, spark, 110 + 20 * number)
        assert said in run(any_job)


def append(job: Job, spark: SparkSession, first: int) -> None:
    rows = spark.sql(ROWS.format(first=first, last=first + 10))
    rows.write.format("delta").mode("append").option("mergeSchema", "true").save(str(job.source))


@pytest.mark.parametrize("change", ["renamed", "dropped", "features swapped"])
def test_a_part_is_not_put_beside_rows_under_other_names(change: str, any_job: Job, spark: SparkSession) -> None:
    name = make(any_job, spark, "replace")
    statements, said = CHANGES[change]
    for statement in statements:
        spark.sql(statement.format(name))
    before = fingerprint(any_job.target)
    outcome = any_job.run("score", "--where", "order_id < 10")
    assert (outcome.code, fingerprint(any_job.target)) == (3, before)
    assert said in outcome.error["found"] and "--full" in outcome.error["remedy"]
    assert any_job.run("score", "--full").code == 0
    same_rows(any_job)
    assert any_job.run("score", "--where", "order_id < 10").code == 0


def test_what_changes_no_row(any_job: Job, spark: SparkSession) -> None:
    name = make(any_job, spark, "merge")
    for statement in (
        f"ALTER TABLE {name} SET TBLPROPERTIES ({DEFAULTS})",
        f"ALTER TABLE {name} ADD COLUMN (later STRING)",
        f"ALTER TABLE {name} ALTER COLUMN later SET DEFAULT 'new'",
        f"ALTER TABLE {name} ALTER COLUMN note COMMENT 'what was said'",
        f"ALTER TABLE {name} ALTER COLUMN note AFTER total",
        f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.logRetentionDuration' = 'interval 60 days')",
    ):
        spark.sql(statement)
        nothing(any_job, "no row changed")
    spark.sql(f"INSERT INTO {name} (order_id, price, total) VALUES (900, 1.0D, 2.0D)")
    outcome = any_job.run("score")
    assert (outcome.code, outcome.last["rows"]) == (0, 1), outcome.stderr
    assert read(any_job, "scored")["later"].to_pylist() == [None] * 100 + ["new"]


def test_a_renamed_key_or_feature_is_refused(any_job: Job, spark: SparkSession) -> None:
    name = make(any_job, spark, "merge")
    spark.sql(RENAME.format(name, "price", "net"))
    refused(any_job, 3, "'price'", "retrain")
    spark.sql(RENAME.format(name, "net", "price"))
    nothing(any_job)
    spark.sql(RENAME.format(name, "order_id", "number"))
    outcome = any_job.run("score")
    assert outcome.code in (2, 3) and "order_id" in outcome.stderr


def schema(*fields: dict[str, Any]) -> str:

    return json.dumps({"type": "struct", "fields": list(fields)})


def field(name: str, dtype: Any = "long", stored: str | None = None, **metadata: str) -> dict[str, Any]:
    more = {"delta.columnMapping.physicalName": stored} if stored else {}
    return {"name": name, "type": dtype, "nullable": True, "metadata": metadata | more}


def test_schemas_are_compared_by_where_values_lie() -> None:
    items = {"type": "array", "elementType": {"type": "struct", "fields": [field("x", stored="c1")]}}
    renamed = {"type": "array", "elementType": {"type": "struct", "fields": [field("y", stored="c1")]}}
    pairs = [
        ([field("a")], [field("a"), field("b")], ""),
        ([field("a")], [field("a", stored="a", comment="now mapped")], ""),
        ([field("a", stored="c1")], [field("b", stored="c1")], "a was renamed to b"),
        ([field("a", stored="c1")], [field("a", stored="c2")], "a was dropped, and added again"),
        ([field("a"), field("b")], [field("b")], "a was dropped"),
        ([field("a", "integer")], [field("a", "long")], "a: integer before, long now"),
        ([field("l", items)], [field("l", renamed)], "l.element.x was renamed to l.element.y"),
    ]
    for before, after, said in pairs:
        assert compare_columns(schema(*before), schema(*after)) == said
