"""Partition values with odd characters, NULL, empty text; tables without rows; and both engines agree on them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.delta.files import partition_folder
from tests.jobs.job import Job, fingerprint, live_files

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ODD = [
    "a b",
    "a/b",
    "a=b",
    "100%",
    "%41",
    "ø",
    "it's",
    'say "x"',
    "a:b?c#d",
    "[x]{y}",
    "back\\slash",
    ".",
    "..",
    "日本",
    None,
]
# The Delta protocol has no empty text in partitions: it is NULL.
PICKED = ["a/b", "%41", "it's", "ø", "."]


def make_source(job: Job, orders: pa.Table) -> pa.Table:
    """Orders by a partition of odd values, 40 of each; the day stays a column."""
    rows = orders.append_column("batch", pa.array([ODD[i % len(ODD)] for i in range(orders.num_rows)]))
    shutil.rmtree(job.source)
    shutil.rmtree(job.target)
    write_deltalake(str(job.source), rows, partition_by=["batch"])
    job.settings["source"]["partition"] = "batch"
    return rows


def quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def test_odd_partitions_are_carried_and_replaced(any_job: Job, orders: pa.Table, spark: SparkSession) -> None:
    rows = make_source(any_job, orders)
    assert any_job.run("score").code == 0
    assert any_job.read()["batch"].to_pylist() == rows["batch"].to_pylist()
    for value in PICKED:
        before = live_files(any_job.target)
        outcome = any_job.run("score", "--where", f"batch = {quote(value)}")
        assert outcome.code == 0, outcome.stderr
        assert outcome.last["rows"] == 40, value
        assert len(before & live_files(any_job.target)) == len(before) - 1, value
    outcome = any_job.run("score", "--where", "batch IS NULL")
    assert (outcome.code, outcome.last["rows"]) == (0, 40)
    assert any_job.read()["batch"].to_pylist() == rows["batch"].to_pylist()
    by_spark = spark.read.format("delta").load(str(any_job.target)).orderBy("order_id").select("batch").collect()
    assert [row["batch"] for row in by_spark] == rows["batch"].to_pylist()


def test_a_folder_has_no_character_that_a_store_mishandles() -> None:
    folder = partition_folder(("day", "a b"), ("x/y=z %", None))
    assert folder == "day=x%2Fy%3Dz%20%25/a%20b=__HIVE_DEFAULT_PARTITION__/"


def test_two_partition_columns_of_other_types(any_job: Job, orders: pa.Table) -> None:
    rows = orders.append_column("big", pa.array([None if i % 3 else i % 2 == 0 for i in range(600)], pa.bool_()))
    shutil.rmtree(any_job.source)
    shutil.rmtree(any_job.target)
    write_deltalake(str(any_job.source), rows, partition_by=["day", "big"])
    assert any_job.run("score").code == 0
    outcome = any_job.run("score", "--where", "day = '2024-01-01' AND big")
    assert outcome.code == 0, outcome.stderr
    wanted = [d.day == 1 and b is True for d, b in zip(rows["day"].to_pylist(), rows["big"].to_pylist(), strict=True)]
    assert outcome.last["rows"] == sum(wanted) > 0
    assert any_job.read()["big"].to_pylist() == rows["big"].to_pylist()


def test_an_empty_source(any_job: Job, orders: pa.Table) -> None:
    shutil.rmtree(any_job.source)
    write_deltalake(str(any_job.source), orders.schema.empty_table(), partition_by=["day"])
    assert any_job.run("extract").code == 3
    before = fingerprint(any_job.target)
    night = any_job.run("score", "--where", "day = '1999-01-01'")
    assert (night.code, fingerprint(any_job.target)) == (0, before)
    assert any_job.run("score").code == 3, "another table of that name"
    assert any_job.run("score", "--full").code == 0, "what is gone from the source goes from the target"
    assert any_job.read().num_rows == 0


def test_an_empty_source_without_a_target_is_nothing_to_do(any_job: Job, orders: pa.Table) -> None:
    shutil.rmtree(any_job.source)
    shutil.rmtree(any_job.target)
    write_deltalake(str(any_job.source), orders.schema.empty_table(), partition_by=["day"])
    outcome = any_job.run("score")
    assert outcome.code == 0
    assert outcome.last["message"].startswith("nothing to do")
    assert not DeltaTable.is_deltatable(str(any_job.target))


@pytest.mark.parametrize("kept", [0, 1])
def test_tables_that_were_emptied_and_filled(kept: int, job: Job, orders: pa.Table) -> None:
    DeltaTable(str(job.source)).delete(f"order_id >= {kept}")
    assert job.run("score").code == 0
    assert job.read()["order_id"].to_pylist() == list(range(kept))
    write_deltalake(str(job.source), orders.slice(kept), mode="append")
    assert job.run("score").code == 0
    assert job.read()["order_id"].to_pylist() == list(range(600))
