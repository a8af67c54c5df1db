"""Sampling: whether a row is chosen depends on its key and the seed alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.common.sampling import Sample, hash_rows, hashable_columns
from jobs.delta.storage import TableRef
from jobs.engines.local import LocalEngine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAN = float("nan")


def chosen(rows: pa.Table, seed: int = 7, wanted: int = 100) -> set[int]:
    sample = Sample(("order_id",), wanted, rows.num_rows, seed)
    kept = [sample.keeps(sample.hash(batch)) for batch in rows.to_batches()]
    return set(rows["order_id"].to_numpy()[np.concatenate(kept)].tolist())


def test_about_as_many_as_wanted_and_the_same_in_any_order(orders: pa.Table) -> None:
    found = chosen(orders)
    assert 70 < len(found) < 130
    shuffled = orders.take(np.random.default_rng(0).permutation(orders.num_rows))
    assert chosen(shuffled) == found
    assert chosen(pa.concat_tables([orders.slice(0, 7), orders.slice(7)])) == found


def test_another_seed_is_another_sample_and_more_rows_are_a_superset(orders: pa.Table) -> None:
    assert chosen(orders, seed=8) != chosen(orders)
    assert chosen(orders) < chosen(orders, wanted=300)
    assert len(chosen(orders, wanted=600)) == len(chosen(orders, wanted=10**9)) == 600


def test_hashes_spread_evenly() -> None:
    hashes = hash_rows([pa.array(range(100_000))], seed=0)
    assert len(np.unique(hashes)) == 100_000
    counts = np.histogram((hashes >> np.uint64(56)).astype(int), bins=16, range=(0, 256))[0]
    assert abs(counts / 6250 - 1).max() < 0.05


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([1, None, -3], [pa.int8(), pa.int32(), pa.int64()]),
        ([0.5, None, NAN], [pa.float32(), pa.float64()]),
        (["a", None, ""], [pa.string(), pa.large_string()]),
        ([b"a", None, b""], [pa.binary(), pa.large_binary()]),
        ([date(2024, 1, 1), None, date(1, 1, 1)], [pa.date32(), pa.date64()]),
        ([datetime(2024, 1, 1, tzinfo=UTC), None], [pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="UTC")]),
        ([Decimal("1.50"), None], [pa.decimal128(5, 2), pa.decimal128(20, 2)]),
        ([True, None, False], [pa.bool_()]),
    ],
)
def test_equal_values_of_wider_types_hash_alike(values: list[object], types: list[pa.DataType]) -> None:
    first, *others = [hash_rows([pa.array(values, dtype)], 7) for dtype in types]
    assert len(set(first.tolist())) == len(values)
    for other in others:
        assert other.tolist() == first.tolist()


def test_what_is_equal_hashes_alike_and_what_is_not_does_not() -> None:
    zeros = hash_rows([pa.array([0.0, -0.0])], 7)
    assert zeros[0] == zeros[1]
    nans = hash_rows([pa.array(np.array([0x7FF8000000000000, 0xFFF8000000000001], dtype=np.uint64).view(float))], 7)
    assert nans[0] == nans[1]
    pairs = hash_rows([pa.array(["ab", "a", ""]), pa.array(["", "b", "ab"])], 7)
    assert len(set(pairs.tolist())) == 3
    swapped = hash_rows([pa.array([1, 2]), pa.array([2, 1])], 7)
    assert swapped[0] != swapped[1]


def test_slices_and_chunks_hash_as_the_whole() -> None:
    column = pa.array(["x", None, "", "øre", "y" * 100, "x"])
    whole = hash_rows([column], 7).tolist()
    assert hash_rows([column.slice(2, 3)], 7).tolist() == whole[2:5]
    assert hash_rows([pa.chunked_array([column.slice(0, 2), column.slice(2)])], 7).tolist() == whole
    assert hash_rows([column.slice(0, 0)], 7).tolist() == []
    assert whole[0] == whole[5]


def test_nested_columns_are_not_hashed() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.int64())), ("c", pa.struct([("d", pa.int64())]))])
    assert hashable_columns(schema) == ("a",)


def test_engines_and_file_layouts_choose_the_same_rows(orders: pa.Table, tmp_path: Path, spark: SparkSession) -> None:
    from jobs.engines.spark.engine import SparkEngine

    write_deltalake(str(tmp_path / "one"), orders)
    for start in range(0, 600, 200):
        part = orders.slice(400 - start, 200)
        write_deltalake(str(tmp_path / "many"), part, mode="append", partition_by=["shop"])
    sample = Sample(("order_id", "shop", "price", "day"), 100, 600, 7)
    found = []
    for engine in (LocalEngine(), SparkEngine(spark)):
        for name in ("one", "many"):
            table = engine.describe(TableRef(str(tmp_path / name)))
            rows = engine.sample(table, ["order_id", "price"], None, sample)
            assert rows.column_names == ["order_id", "price"]
            found.append(sorted(rows["order_id"].to_pylist()))
    assert 70 < len(found[0]) < 130
    assert found == [found[0]] * 4
