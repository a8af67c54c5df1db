"""Tables of every build: empty, one row, many files, row groups, deletion vectors, mapped columns, odd names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake

import vae_model as vm
from jobs.delta.storage import TableRef
from jobs.engines import splitting
from jobs.engines.local import LocalEngine
from tests.engines.workbench import AT, ENGINES, WRITERS, Workbench, assert_same_cells, assert_same_scores

MAPPED = "TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
VECTORS = "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"


def make_rows(rows: int = 400) -> pa.Table:
    rng = np.random.default_rng(11)
    x = rng.normal(size=rows)
    city = [None if i % 31 == 0 else "abc"[i % 3] for i in range(rows)]
    return pa.table({"id": pa.array(range(rows), pa.int64()), "x": x, "y": -x, "city": pa.array(city, pa.string())})


@pytest.fixture(params=WRITERS)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param != "local":
        request.getfixturevalue("spark")
    return str(request.param)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> vm.Bundle:
    return Workbench(tmp_path_factory.mktemp("trained")).fit(make_rows())


@pytest.fixture
def bench(tmp_path: Path, trained: vm.Bundle) -> Workbench:
    trained.save(tmp_path / "bundle")
    return Workbench(tmp_path)


def check(bench: Workbench, engine: str, rows: pa.Table, target: str = "scored") -> None:
    """Score the whole table; it must hold these rows with the scores of the Python API."""
    assert bench.score(engine, target) == rows.num_rows
    found = bench.read(engine, target)
    assert found.column_names == [*rows.column_names, *vm.SCORE_COLUMNS]
    assert_same_cells(found, rows)
    assert_same_scores(found, vm.score(rows, bench.bundle, explain="all", scored_at=AT))


def test_an_empty_table_has_nothing_to_score(bench, engine):
    write_deltalake(bench.folder / "source", make_rows(0))
    assert bench.plan(engine, "scored").is_empty
    assert bench.score(engine, "scored") == 0
    assert not (bench.folder / "scored").exists()


def test_a_table_that_was_emptied_empties_the_scored_table(bench, engine):
    write_deltalake(bench.folder / "source", make_rows(30))
    check(bench, engine, make_rows(30))
    DeltaTable(bench.folder / "source").delete()
    assert bench.score(engine, "scored") == 0
    assert bench.read(engine, "scored").num_rows == 0
    assert bench.plan(engine, "scored").is_empty


def test_a_condition_without_rows_changes_nothing(bench, engine):
    write_deltalake(bench.folder / "source", make_rows(30))
    check(bench, engine, make_rows(30))
    files = bench.files("scored")
    assert bench.score(engine, "scored", "x > 1e9") == 0
    assert bench.files("scored") == files


def test_one_row(bench, engine):
    write_deltalake(bench.folder / "source", make_rows(1))
    check(bench, engine, make_rows(1))


def test_many_tiny_files(bench, engine):
    rows = make_rows(60)
    write_deltalake(bench.folder / "source", rows.slice(0, 0))
    for start in range(0, 60, 2):
        write_deltalake(bench.folder / "source", rows.slice(start, 2), mode="append")
    assert len(bench.files("source")) == 30
    check(bench, engine, rows)


def test_row_groups_are_scored_apart(bench, engine, monkeypatch):
    write_deltalake(bench.folder / "source", make_rows(), writer_properties=WriterProperties(max_row_group_size=64))
    (file,) = bench.files("source")
    assert pq.read_metadata(bench.folder / "source" / file).num_row_groups > 3
    monkeypatch.setattr(splitting, "MIN_TASK_BYTES", 1)
    check(bench, engine, make_rows())


def test_deleted_rows_stay_deleted(bench, engine, spark):
    create(spark, bench, "id BIGINT, x DOUBLE, y DOUBLE, city STRING", VECTORS, make_rows())
    spark.sql(f"DELETE FROM delta.`{bench.folder}/source` WHERE id % 7 = 3 OR id < 5")
    rows = make_rows().filter(pa.array([not (i % 7 == 3 or i < 5) for i in range(400)]))
    assert "deletionVectors" in (DeltaTable(bench.folder / "source").protocol().reader_features or ())
    check(bench, engine, rows)
    assert bench.score(engine, "scored", "id < 9") == 4
    assert_same_cells(bench.read(engine, "scored"), rows)


def test_a_target_with_deletion_vectors_is_refused_or_right(bench, engine, spark):
    write_deltalake(bench.folder / "source", make_rows())
    bench.score(engine, "scored")
    where = f"delta.`{bench.folder}/scored`"
    spark.sql(f"ALTER TABLE {where} SET {VECTORS}")
    spark.sql(f"DELETE FROM {where} WHERE id = 17")
    if engine == "local":
        with pytest.raises(vm.DataError, match=r"deletionVectors.*--engine spark"):
            bench.score(engine, "scored", "city = 'a'")
        return
    bench.score(engine, "scored", "city = 'a'")
    assert bench.read(engine, "scored").num_rows == 399
    check(bench, engine, make_rows())


def test_renamed_and_dropped_columns(bench, engine, spark):
    create(spark, bench, "id BIGINT, x DOUBLE, old DOUBLE, city STRING, gone INT", MAPPED, make_rows())
    where = f"delta.`{bench.folder}/source`"
    spark.sql(f"ALTER TABLE {where} RENAME COLUMN old TO y")
    spark.sql(f"ALTER TABLE {where} DROP COLUMN gone")
    spark.sql(f"ALTER TABLE {where} ADD COLUMN gone STRING")
    rows = make_rows().append_column("gone", pa.nulls(400, pa.string()))
    check(bench, engine, rows)
    assert bench.score(engine, "scored", "y > 0") == int((make_rows()["y"].to_numpy() > 0).sum())
    assert_same_cells(bench.read(engine, "scored"), rows)


def create(spark: Any, bench: Workbench, columns: str, properties: str, rows: pa.Table) -> None:
    """A table made by Spark's SQL, in two files; columns that the rows lack are NULL."""
    spark.sql(f"CREATE TABLE delta.`{bench.folder}/source` ({columns}) USING delta {properties}")
    names = [part.split()[0] for part in columns.split(", ")]
    frame = spark.createDataFrame(rows.rename_columns(names[: rows.num_columns]))
    frame.repartition(2).write.format("delta").mode("append").save(f"{bench.folder}/source")


ALLOWED = (
    "dot.ted",
    "ünï†",
    "back`tick",
    "it's",
    'say"x"',
    "50%",
    "a/b",
    "a:b",
    "#",
    "SELECT",
    "Mixed",
    "1st",
    "-",
    "*",
)
FORBIDDEN = ("with space", "com,ma", "semi;colon", "par(en)s", "curly{}", "k=v", "tab\tx")


def make_named(names: tuple[str, ...]) -> pa.Table:
    rng = np.random.default_rng(2)
    columns = {name: rng.normal(size=90) for name in names}
    return pa.table({"id": pa.array(range(90), pa.int64()), **columns})


@pytest.mark.parametrize("writer", WRITERS)
def test_odd_names_that_delta_allows(tmp_path, spark, writer):
    bench, rows = Workbench(tmp_path), make_named(ALLOWED)
    write_deltalake(bench.folder / "source", rows)
    bench.fit(rows)
    assert set(bench.bundle.feature_names) == set(ALLOWED)
    check(bench, writer, rows, writer)
    for reader in ENGINES:
        assert_same_cells(bench.read(reader, writer), rows)
    where = " AND ".join("`{}` > -1".format(name.replace("`", "``")) for name in ALLOWED)
    counts = {bench.score(engine, writer, where) for engine in ENGINES}
    assert counts == {int(np.all([rows[name].to_numpy() > -1 for name in ALLOWED], axis=0).sum())}
    assert_same_cells(bench.read(writer, writer), rows)


def test_odd_names_that_need_column_mapping(tmp_path, spark):
    bench, rows = Workbench(tmp_path), make_named(FORBIDDEN)
    frame = spark.createDataFrame(rows).write.format("delta").option("delta.columnMapping.mode", "name")
    frame.save(f"{bench.folder}/source")
    bench.fit(rows)
    with pytest.raises(vm.DataError, match=r"with space.*--engine spark"):
        bench.score("local", "local")
    assert not (bench.folder / "local").exists()
    check(bench, "spark", rows)
    assert_same_cells(LocalEngine().read(LocalEngine().describe(TableRef(f"{tmp_path}/scored")), rows.column_names,
                                         None, 100).sort_by("id"), rows)  # fmt: skip
    assert bench.score("spark", "scored", "`with space` > 0") == int((rows["with space"].to_numpy() > 0).sum())
    with pytest.raises(vm.DataError, match="--engine spark"):
        bench.score("local", "scored", "`with space` > 0")
    assert_same_cells(bench.read("spark", "scored"), rows)
