"""Nested columns as plain ones: by path, by length, by members."""

from __future__ import annotations

import pyarrow as pa
import pytest

import vae_model as vm
from vae_model.features.nested import expand_batch, expand_schema, expand_table, source_columns

GEO = pa.struct([("lat", pa.float64()), ("tags", pa.list_(pa.string()))])
NESTED = pa.table(
    {
        "n": pa.array([1, 2, 3]),
        "place": pa.array(
            [{"city": "rome", "geo": {"lat": 1.5, "tags": ["b", "a"]}}, None, {"city": None, "geo": None}],
            pa.struct([("city", pa.string()), ("geo", GEO)]),
        ),
        "texts": pa.array([[("k2", "1"), ("k1", "2")], None, []], pa.map_(pa.string(), pa.string())),
        "numbers": pa.array([[("k2", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "parts": pa.array([[{"x": 1}, {"x": 2}], None, []], pa.list_(pa.struct([("x", pa.int32())]))),
        "words": pa.array([["z", None, "a"], [], None], pa.large_list(pa.string())),
        "vector": pa.array([[1.0], [2.0], None]),
    }
)
ROWS = [
    {"n": 1, "place.city": "rome", "place.geo.lat": 1.5, "place.geo.tags.length": 2, "place.geo.tags.members": "a, b",
     "texts.length": 2, "texts.keys": "k1, k2", "texts.values": "1, 2", "numbers.length": 1, "numbers.keys": "k2",
     "parts.length": 2, "words.length": 3, "words.members": "a, z", "vector": [1.0]},
    {"n": 2, "place.city": None, "place.geo.lat": None, "place.geo.tags.length": None, "place.geo.tags.members": None,
     "texts.length": None, "texts.keys": None, "texts.values": None, "numbers.length": None, "numbers.keys": None,
     "parts.length": None, "words.length": 0, "words.members": "", "vector": [2.0]},
    {"n": 3, "place.city": None, "place.geo.lat": None, "place.geo.tags.length": None, "place.geo.tags.members": None,
     "texts.length": 0, "texts.keys": "", "texts.values": "", "numbers.length": 0, "numbers.keys": "",
     "parts.length": 0, "words.length": None, "words.members": None, "vector": None},
]  # fmt: skip


def test_fields_come_by_path_and_lists_by_length_and_members():
    assert expand_table(NESTED).to_pylist() == ROWS
    assert expand_schema(NESTED.schema) == expand_table(NESTED).schema


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_parts_of_a_table_come_out_as_the_whole_does(start):
    found = [row for batch in NESTED.slice(start).to_batches() for row in expand_batch(batch).to_pylist()]
    assert found == ROWS[start:]
    assert expand_table(NESTED.slice(start)).to_pylist() == ROWS[start:]


def test_a_batch_of_plain_columns_is_not_touched():
    batch = NESTED.select(["n", "vector"]).to_batches()[0]
    assert expand_batch(batch) is batch


def test_a_plain_column_goes_before_a_path_of_the_same_name():
    place = NESTED.column("place")
    both = pa.table({"place": place, "place.city": pa.array(["plain", "plain", "plain"])})
    assert expand_table(both).column("place.city").to_pylist() == ["plain"] * 3
    assert source_columns(["place.city"], both.schema) == ["place.city"]


def test_columns_to_read_are_those_that_hold_the_paths():
    paths = ["place.geo.lat", "place.city", "words.members", "n", "nowhere.x"]
    assert source_columns(paths, NESTED.schema) == ["place", "words", "n"]


def make_orders(rows: int) -> pa.Table:
    """Orders whose town decides the country, within a struct."""
    towns = [("rome", "it"), ("milan", "it"), ("paris", "fr"), ("lyon", "fr"), ("bonn", "de")]
    chosen = [towns[(7 * i + i // 11) % len(towns)] for i in range(rows)]
    return pa.table(
        {
            "id": pa.array(range(rows)),
            "ship": pa.array([{"town": town, "country": country} for town, country in chosen]),
            "tags": pa.array([["new"] if i % 3 else ["gift", "new"] for i in range(rows)]),
        }
    )


def test_a_value_that_does_not_fit_within_a_struct_is_an_alert_with_its_path():
    orders = make_orders(3_000)
    bundle = vm.fit(orders, vm.ColumnOptions(exclude=("id",)), epochs=4, members=1)
    assert bundle.feature_names == ["ship.town", "ship.country", "tags.length", "tags.members"]
    broken = orders.slice(0, 2).set_column(
        1, "ship", pa.array([{"town": "rome", "country": "fr"}, {"town": "paris", "country": "fr"}])
    )
    scored = vm.score(broken, bundle).to_pylist()
    assert [row["is_anomaly"] for row in scored] == [True, False]
    assert scored[0]["top_columns"][0]["column"] in ("ship.town", "ship.country")
    assert scored[0]["ship"] == {"town": "rome", "country": "fr"}


def test_options_name_a_path_or_the_whole_column():
    orders = make_orders(100)

    def features(**options: object) -> list[str]:
        return vm.fit(orders, vm.ColumnOptions(**options), epochs=1, members=1).feature_names

    assert features(exclude=("id", "ship")) == ["tags.length", "tags.members"]
    assert features(exclude=("id", "ship.town", "tags.length")) == ["ship.country", "tags.members"]
    assert features(include=("ship",)) == ["ship.town", "ship.country"]
    assert features(include=("ship",), kinds={"ship.town": "ignored"}) == ["ship.country"]
    with pytest.raises(vm.DataError, match=r"ship\.twon.*ship\.town"):
        features(exclude=("ship.twon",))
