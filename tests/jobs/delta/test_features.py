"""Tables that Spark wrote with deletion vectors and mapped columns: the local engine reads them exactly, and refuses to
write what it would not honour."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.delta.pruning import bind
from jobs.delta.reading import read_file
from jobs.delta.snapshot import open_snapshot
from jobs.delta.storage import TableRef
from jobs.engines.local import LocalEngine
from jobs.predicates.predicate import parse_where
from tests.jobs.job import Job, fingerprint

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GONE = {7, 8, 9, 300, 599}


@pytest.fixture(scope="module")
def tables(spark: SparkSession, orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`deleted`: partitioned, five rows hidden; `mapped`: a column renamed; `both`."""
    folder = tmp_path_factory.mktemp("features")
    write_deltalake(str(folder / "plain"), orders)
    rows = spark.read.format("delta").load(str(folder / "plain")).coalesce(1)
    vectors, mapping = {"delta.enableDeletionVectors": "true"}, {"delta.columnMapping.mode": "name"}
    for name, properties in {"deleted": vectors, "mapped": mapping, "both": vectors | mapping}.items():
        writer = rows.write.format("delta").partitionBy("day").options(**properties)
        if name != "deleted":
            writer = writer.option("delta.minReaderVersion", "2").option("delta.minWriterVersion", "5")
        writer.save(str(folder / name))
        table = f"delta.`{folder / name}`"
        if name != "deleted":
            spark.sql(f"ALTER TABLE {table} RENAME COLUMN price TO `unit price, net`")
            spark.sql(f"ALTER TABLE {table} RENAME COLUMN day TO night")
        if name != "mapped":
            spark.sql(f"DELETE FROM {table} WHERE order_id IN ({', '.join(map(str, GONE))})")
    return folder


def read_all(path: Path, where: str | None = None) -> pa.Table:
    snapshot = open_snapshot(TableRef(str(path)))
    predicate = parse_where(where) if where else None
    names = snapshot.schema.names
    condition = bind(predicate, snapshot)
    batches = [batch for file in snapshot.files for batch in read_file(snapshot, file, names, condition)]
    return pa.Table.from_batches(batches, snapshot.schema).sort_by("order_id")


def test_hidden_rows_stay_hidden(tables: Path, orders: pa.Table) -> None:
    snapshot = open_snapshot(TableRef(str(tables / "deleted")))
    assert any(file.live_mask is not None for file in snapshot.files), "Spark rewrote the files instead"
    expected = [i for i in range(600) if i not in GONE]
    assert snapshot.rows == len(expected)
    found = read_all(tables / "deleted")
    assert found["order_id"].to_pylist() == expected
    assert found["price"].to_pylist() == [orders["price"][i].as_py() for i in expected]
    assert read_all(tables / "deleted", "order_id < 10")["order_id"].to_pylist() == list(range(7))


@pytest.mark.parametrize("name", ["mapped", "both"])
def test_renamed_columns_have_their_new_names(name: str, tables: Path, orders: pa.Table) -> None:
    found = read_all(tables / name)
    ids = [i for i in range(600) if name == "mapped" or i not in GONE]
    assert found["order_id"].to_pylist() == ids
    assert found["unit price, net"].to_pylist() == [orders["price"][i].as_py() for i in ids]
    assert found["night"].to_pylist() == [orders["day"][i].as_py() for i in ids]
    night = read_all(tables / name, "night = '2024-01-02' AND `unit price, net` > 30")
    wanted = [i for i in ids if i % 3 == 1 and orders["price"][i].as_py() > 30]
    assert night["order_id"].to_pylist() == wanted


@pytest.mark.parametrize("name", ["deleted", "mapped", "both"])
def test_engines_count_and_read_the_same(name: str, tables: Path, spark: SparkSession) -> None:
    from jobs.engines.spark.engine import SparkEngine

    where = parse_where("order_id < 320 AND shop <> 'oslo'")
    ref, found = TableRef(str(tables / name)), []
    for engine in (LocalEngine(), SparkEngine(spark)):
        table = engine.describe(ref)
        rows = engine.read(table, table.schema.names, where, 1000).sort_by("order_id")
        found.append(
            (table.version, table.schema, table.partition_columns, engine.count(table, where), rows.to_pylist())
        )
    assert found[0] == found[1]


def test_scoring_a_source_with_hidden_rows(any_job: Job, tables: Path) -> None:
    shutil.rmtree(any_job.target)
    any_job.settings["source"]["table"] = str(tables / "deleted")
    outcome = any_job.run("score")
    assert outcome.code == 0, outcome.stderr
    assert set(any_job.read()["order_id"].to_pylist()) == set(range(600)) - GONE
    night = any_job.run("score", "--where", "day = '2024-01-01'")
    assert (night.code, night.last["rows"]) == (0, 200 - sum(i % 3 == 0 for i in GONE))


@pytest.mark.parametrize(
    "properties", ["'delta.enableDeletionVectors' = 'true'", "'delta.columnMapping.mode' = 'name'"]
)
def test_the_local_engine_refuses_to_write_what_it_would_not_honour(
    properties: str, job: Job, spark: SparkSession
) -> None:
    spark.sql(f"ALTER TABLE delta.`{job.target}` SET TBLPROPERTIES ({properties})")
    before = fingerprint(job.target)
    outcome = job.run("score", "--full")
    assert outcome.code == 3
    assert "--engine spark" in outcome.error["remedy"]
    assert fingerprint(job.target) == before
    assert job.run("score", "--full", "--engine", "spark").code == 0
    assert open_snapshot(TableRef(str(job.target))).rows == 600
