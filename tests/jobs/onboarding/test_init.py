"""A config for someone's own table: what it guesses and why, and that every command runs with it as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.common.config_file import load_config
from tests.jobs.job import invoke


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder: init writes beside it, under conf/ and data/."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trips(rows: int = 400) -> pa.Table:
    """Everything that the guesses tell apart, with names and types that Delta refuses."""
    rng = np.random.default_rng(3)
    night = np.arange(rows) % 4
    return pa.table(
        {
            "line": pa.array(rng.choice(["red", "blue"], rows)).dictionary_encode(),
            "run number": pa.array([number // 4 for number in range(rows)], pa.uint16()),
            "day": [f"2024-01-{1 + number:02}" for number in night],
            "zone_id": pa.array(rng.integers(1, 9, rows), pa.int32()),
            "driver_id": pa.array(rng.integers(1, 90_000, rows), pa.int64()),
            "left at": pa.array(np.sort(rng.integers(0, 10**18, rows)) // 10 * 10, pa.timestamp("ns", "Europe/Rome")),
            "fare": rng.gamma(2.0, 5.0, rows),
            "dep": rng.integers(5, 24, rows) * 100 + rng.integers(0, 60, rows),
            "note": [f"note {number}" for number in range(rows)],
            "empty": pa.nulls(rows, pa.float64()),
            "took": pa.array(range(rows), pa.int32()).cast(pa.time32("s")),
        }
    )


def read_config(path: str) -> dict[str, Any]:
    return load_config(Path(path)).model_dump(mode="json")


def test_every_command_runs_with_it_as_it_stands(here: Path, orders: pa.Table) -> None:
    write_deltalake(str(here / "lake" / "orders"), orders, partition_by=["day"])
    outcome = invoke("init", "lake/orders")
    assert outcome.code == 0, outcome.stderr
    config = read_config("conf/orders.yaml")
    assert config["source"]["key"] == ["order_id"]
    assert config["source"]["partition"] == "day"
    assert config["columns"]["kinds"] == {
        "quantity": "number", "price": "number", "total": "number", "shop": "category", "currency": "category",
    }  # fmt: skip
    for command in (["extract"], ["train", "--set", "train.epochs=1"], ["score"]):
        outcome = invoke(*command, "--config", "conf/orders.yaml")
        assert outcome.code == 0, outcome.stderr
    assert DeltaTable("data/orders_scored").to_pyarrow_table().num_rows == orders.num_rows
    assert {path.name for path in here.iterdir()} == {"lake", "conf", "data"}


@pytest.mark.parametrize("shape", ["file", "folder", "partitions"])
def test_plain_parquet_becomes_delta(shape: str, here: Path) -> None:
    rows, place = trips(), here / ("trips.parquet" if shape == "file" else "trips")
    if shape == "file":
        pq.write_table(rows, place)
    elif shape == "folder":
        place.mkdir()
        pq.write_table(rows.slice(0, 100), place / "a.parquet")
        # Another order, and a column that the first file has not got.
        pq.write_table(rows.slice(100).append_column("extra", pa.array(range(300))), place / "b.parquet")
    else:
        pq.write_to_dataset(rows, place, partition_cols=["day"])
    outcome = invoke("init", str(place), "--output", "conf/mine.yaml")
    assert outcome.code == 0, outcome.stderr
    made = DeltaTable("data/trips_delta")
    there = made.to_pyarrow_table().sort_by("note")
    assert there["note"].to_pylist() == sorted(rows["note"].to_pylist())
    assert there["fare"].to_pylist() == rows.sort_by("note")["fare"].to_pylist()
    assert {"run_number", "left_at"} < set(there.column_names) and "took" not in there.column_names
    assert (shape == "folder") == ("extra" in there.column_names)
    assert made.metadata().partition_columns == (["day"] if shape == "partitions" else [])
    assert pa.types.is_date(there.schema.field("day").type) == (shape == "partitions")
    said = " ".join(event["message"] for event in outcome.events)
    assert "trips is Parquet" in said or "trips.parquet is Parquet" in said
    assert "took: left out" in said and "run number: called run_number" in said
    config = read_config("conf/mine.yaml")
    assert config["source"]["table"] == "data/trips_delta"
    assert invoke("extract", "--config", "conf/mine.yaml").code == 0


def test_kinds_come_with_reasons(here: Path) -> None:
    pq.write_table(trips(), "trips.parquet")
    assert invoke("init", "trips.parquet").code == 0
    config, text = read_config("conf/trips.yaml"), Path("conf/trips.yaml").read_text(encoding="utf-8")
    kinds = {
        name: config["columns"]["kinds"].get(name) for name in ("zone_id", "dep", "fare", "line", "note", "driver_id")
    }
    assert kinds == {
        "zone_id": "category",
        "dep": "clock",
        "fare": "number",
        "line": "category",
        "note": "text",
        "driver_id": None,
    }
    assert set(config["columns"]["exclude"]) >= {"driver_id", "empty"}
    for reason in (
        "a code: 8 values",
        "a number that names something",
        "different: forms such as",
        "no value in the sample",
    ):
        assert reason in text


def test_the_smallest_key_that_holds_for_all_rows(here: Path) -> None:
    rows = trips().drop_columns(["note", "driver_id", "left at", "fare"])
    pq.write_table(rows, "trips.parquet")
    assert invoke("init", "trips.parquet").code == 0
    assert sorted(read_config("conf/trips.yaml")["source"]["key"]) == ["day", "run_number"]


def test_no_key_is_said(here: Path, orders: pa.Table) -> None:
    write_deltalake("twice", pa.concat_tables([orders, orders]))
    outcome = invoke("init", "twice")
    assert outcome.code == 0, outcome.stderr
    assert outcome.last["key"] == []
    assert "tell" in Path("conf/twice.yaml").read_text(encoding="utf-8")


def test_nothing_is_overwritten_unless_asked(here: Path) -> None:
    pq.write_table(trips(), "trips.parquet")
    assert invoke("init", "trips.parquet").code == 0
    before = Path("conf/trips.yaml").read_text(encoding="utf-8")
    Path("conf/trips.yaml").write_text(before + "# mine\n", encoding="utf-8")
    for extra in ([], ["--output", "conf/other.yaml"]):
        outcome = invoke("init", "trips.parquet", *extra)
        assert outcome.code == 2 and "--force" in outcome.error["remedy"]
    assert Path("conf/trips.yaml").read_text(encoding="utf-8").endswith("# mine\n")
    assert DeltaTable("data/trips_delta").version() == 0
    assert invoke("init", "trips.parquet", "--force").code == 0
    assert Path("conf/trips.yaml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("kind", ["nothing", "text", "empty", "broken"])
def test_what_is_no_table(kind: str, here: Path, orders: pa.Table) -> None:
    if kind == "text":
        Path("mine").write_text("a,b\n1,2\n", encoding="utf-8")
    elif kind == "empty":
        write_deltalake("mine", orders.schema.empty_table())
    elif kind == "broken":
        Path("mine").write_bytes(b"PAR1 and then nothing that reads")
    outcome = invoke("init", "mine")
    assert outcome.code == 3, outcome.stderr
    assert "mine" in outcome.error["expected"]
    assert not Path("conf/mine.yaml").exists()


def test_odd_names_and_values_stay_one_comment(here: Path) -> None:
    names = ["yes", "1", "a: b", "#c", "day"]
    odd = pa.table({name: ["x\n# y", "\x1b[31mred", "z"] * 40 for name in names})
    write_deltalake("odd", odd)
    outcome = invoke("init", "odd")
    assert outcome.code == 0, outcome.stderr
    assert set(read_config("conf/odd.yaml")["columns"]["kinds"]) == set(names)


def test_a_table_that_spark_names(here: Path, orders: pa.Table, spark: object) -> None:
    write_deltalake("orders", orders, partition_by=["day"])
    outcome = invoke("init", "orders", "--engine", "spark")
    assert outcome.code == 0, outcome.stderr
    config = read_config("conf/orders.yaml")
    assert (config["score"]["engine"], config["source"]["key"]) == ("spark", ["order_id"])
