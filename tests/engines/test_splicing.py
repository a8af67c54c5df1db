"""Scored tables whose files are the source's bytes and more: when they are, and that the rows do not show it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake

import vae_model as vm
from tests.engines.workbench import AT, Workbench, assert_same_cells, assert_same_scores

ROWS = 600


@pytest.fixture(params=["local", "spark"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "spark":
        request.getfixturevalue("spark")
    return str(request.param)


def make_rows(rows: int = ROWS) -> pa.Table:
    """Two features, one of them with NaN, and floats that are only carried, one of them with NaN."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=rows)
    holes = np.where(np.arange(rows) % 50 == 0, np.nan, x)
    days = [date(2024, 1, 1 + 3 * i // rows) for i in range(rows)]
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "day": pa.array(days, pa.date32()),
            "x": x,
            "y": holes,
            "whole": x + 1,
            "holes": holes,
            "note": pa.array([f"note {i}" for i in range(rows)]),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> vm.Bundle:
    bench = Workbench(tmp_path_factory.mktemp("trained"))
    return bench.fit(make_rows(), ["day", "whole", "holes", "note"])


@pytest.fixture
def bench(tmp_path: Path, trained: vm.Bundle) -> Workbench:
    trained.save(tmp_path / "bundle")
    return Workbench(tmp_path)


def carries(bench: Workbench) -> list[bool]:
    """Of each file of the scored table, whether it begins with the pages of one of the source's."""
    old = [(bench.folder / "source" / path).read_bytes() for path in bench.files("source")]
    pages = [data[: len(data) - 8 - int.from_bytes(data[-8:-4], "little")] for data in old]
    new = [(bench.folder / "scored" / path).read_bytes() for path in sorted(bench.files("scored"))]
    return [any(data.startswith(page) for page in pages) for data in new]


def check(bench: Workbench, engine: str, rows: pa.Table) -> None:
    assert bench.score(engine, "scored") == rows.num_rows
    found = bench.read("local", "scored")
    assert_same_cells(found, rows)
    assert_same_scores(found, vm.score(rows, bench.bundle, explain="all", scored_at=AT))


@pytest.mark.parametrize("partition", [None, ["day"]])
def test_whole_files_keep_their_bytes(bench, engine, partition):
    write_deltalake(bench.folder / "source", make_rows(), partition_by=partition)
    check(bench, engine, make_rows())
    assert carries(bench) == [True] * (3 if partition else 1)


def test_a_partition_again_keeps_its_bytes(bench, engine):
    write_deltalake(bench.folder / "source", make_rows(), partition_by=["day"])
    check(bench, engine, make_rows())
    assert bench.score(engine, "scored", "day = '2024-01-02'") == 200
    assert carries(bench) == [True] * 3
    assert bench.score(engine, "scored", "x > 0") > 0
    assert not any(carries(bench)), "rows were filtered"
    assert_same_cells(bench.read("local", "scored"), make_rows())


def test_small_files_of_one_partition_become_one(bench, engine):
    for start in range(0, ROWS, 100):
        write_deltalake(bench.folder / "source", make_rows().slice(start, 100), mode="append")
    check(bench, engine, make_rows())
    assert len(bench.files("scored")) < 6


def test_a_column_that_came_later_is_null_in_older_files(bench, engine):
    write_deltalake(bench.folder / "source", make_rows().drop_columns(["whole"]).slice(0, 400), partition_by=["day"])
    write_deltalake(bench.folder / "source", make_rows().slice(400), mode="append", schema_mode="merge")
    rows = pa.Table.from_pylist(bench.read("local", "source").to_pylist(), make_rows().schema).sort_by("id")
    assert rows["whole"].null_count == 400
    assert bench.score(engine, "scored") == ROWS
    assert_same_cells(bench.read("local", "scored"), rows, [*rows.column_names])
    assert all(carries(bench))


def test_key_columns_alone_carry_no_other_bytes(bench, engine):
    write_deltalake(bench.folder / "source", make_rows())
    narrow = Workbench(bench.folder, sections={"columns": "key"})
    assert narrow.score(engine, "scored") == ROWS
    assert not any(carries(bench))
    assert bench.read("local", "scored").column_names == ["id", *vm.SCORE_COLUMNS]


def test_a_large_file_is_shared_among_tasks(bench, engine, monkeypatch):
    from jobs.engines import splitting

    monkeypatch.setattr(splitting, "MIN_TASK_BYTES", 1)
    write_deltalake(bench.folder / "source", make_rows(), writer_properties=WriterProperties(max_row_group_size=100))
    check(bench, engine, make_rows())
    sizes = [pq.read_metadata(bench.folder / "scored" / path).num_row_groups for path in bench.files("scored")]
    assert sum(sizes) == 6 and len(sizes) > 1


def test_bounds_are_there_where_they_are_certain(bench, engine):
    write_deltalake(bench.folder / "source", make_rows())
    check(bench, engine, make_rows())
    actions = pa.table(DeltaTable(str(bench.folder / "scored")).get_add_actions(flatten=True)).to_pylist()
    (stats,) = actions
    assert (stats["num_records"], stats["null_count.y"], stats["min.id"], stats["max.id"]) == (ROWS, 0, 0, ROWS - 1)
    scores = bench.read("local", "scored")["anomaly_score"].to_pylist()
    assert stats["max.anomaly_score"] == pytest.approx(max(scores))
    assert stats["max.x"] == max(make_rows()["x"].to_pylist())
    # A NaN is larger than any bound, and of a float that is not read nobody knows whether it has one.
    assert {stats.get(f"max.{name}") for name in ("y", "holes", "whole")} == {None}


def test_an_in_place_run_writes_its_columns_anew(bench, engine):
    write_deltalake(bench.folder / "source", make_rows(), partition_by=["day"])
    from tests.jobs.job import invoke

    config = bench.folder / "job.json"
    job = bench.config(engine, "source").model_dump(mode="json")
    job["score"]["mode"] = "in_place"
    job["source"]["partition"] = "day"
    config.write_text(json.dumps(job))
    for _ in range(2):
        outcome = invoke("score", "--config", str(config), "--full")
        assert outcome.code == 0, outcome.stderr
    found = bench.read("local", "source")
    assert found.column_names == [*make_rows().column_names, *vm.SCORE_COLUMNS]
    assert_same_cells(found, make_rows())
