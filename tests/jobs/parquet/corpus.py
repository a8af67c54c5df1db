"""Parquet files as several libraries write them: every type, and the encodings, codecs, page versions, page indexes and
bloom filters that each can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import WriterProperties, write_deltalake

ROWS = 700
UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")

# One for each thing that pyarrow can be asked for.
PYARROW: dict[str, dict[str, Any]] = {
    "defaults": {},
    "plain": {"use_dictionary": False, "compression": "none"},
    "old format": {"version": "1.0", "data_page_version": "1.0", "compression": "gzip"},
    "pages of version 2": {"data_page_version": "2.0", "compression": "brotli"},
    "page index": {"write_page_index": True, "data_page_size": 512},
    "page checksums": {"write_page_checksum": True, "compression": "lz4"},
    "no statistics": {"write_statistics": False, "compression": "zstd"},
    "INT96": {"use_deprecated_int96_timestamps": True},
    "byte stream split": {"use_byte_stream_split": ["f32", "f64"], "use_dictionary": False},
    "delta encodings": {
        "use_dictionary": False,
        "column_encoding": {"i32": "DELTA_BINARY_PACKED", "i64": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY"},
    },
    "no stored schema": {"store_schema": False},
    "decimals as integers": {"store_decimal_as_integer": True},
    "sorted": {"sorting_columns": [pq.SortingColumn(2)]},
    "a bloom filter": {"bloom_filter_options": {"i64": {"ndv": 1000}, "text": True}},
}


def make_rows(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """Every type that a Delta table can have, with NULL, NaN, infinity, -0.0 and empty values."""
    rng = np.random.default_rng(seed)
    numbers = range(rows)

    def some(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if rng.random() < 0.1 else values[i % len(values)] for i in numbers], kind)

    return pa.table(
        {
            "i8": some([-128, 127, 0], pa.int8()),
            "i16": some([-32768, 5], pa.int16()),
            "i32": some([2**31 - 1, -7, 3], pa.int32()),
            "i64": pa.array(rng.integers(-(2**62), 2**62, rows)),
            "f32": some([1.5, float("nan"), float("-inf"), -0.0], pa.float32()),
            "f64": pa.array([float("nan") if i % 97 == 0 else v for i, v in enumerate(rng.normal(size=rows))]),
            "flag": some([True, False], pa.bool_()),
            "text": some(["", "Zürich", "漢字", "a" * 300], pa.string()),
            "blob": some([b"", b"\x00\xff"], pa.binary()),
            "money": some([Decimal("1.50"), Decimal("-99999999.99")], pa.decimal128(10, 2)),
            "wide": some([Decimal(10) ** 30], pa.decimal128(38, 4)),
            "day": some([date(1969, 12, 31), date(2024, 2, 29)], pa.date32()),
            "at": some([datetime(2024, 5, 1, 12, 30, 1, 5, UTC), datetime(1900, 1, 1, tzinfo=UTC)], UTC_MICROSECONDS),
            "local": some([datetime(2024, 5, 1, 12, 30, 1, 5)], pa.timestamp("us")),  # noqa: DTZ001
            "list": some([[1.0, None], [], [float("nan")]], pa.list_(pa.float64())),
            "struct": some(
                [{"a": 1, "b": "x"}, {"a": None, "b": None}], pa.struct([("a", pa.int32()), ("b", pa.string())])
            ),
            "map": some([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
            "deep": some([[{"x": [1, None]}], None], pa.list_(pa.struct([("x", pa.list_(pa.int32()))]))),
            "nothing": pa.nulls(rows, pa.int32()),
        }
    )


def write_pyarrow(path: Path, name: str) -> pa.Table:
    rows = make_rows()
    options = dict(PYARROW[name])
    pq.write_table(rows, path, row_group_size=250, **options)
    return rows


def write_others(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files by DuckDB, polars and delta-rs, of what each of them can write."""
    rows = make_rows()
    for version in ("V1", "V2"):
        for codec in ("snappy", "zstd", "uncompressed"):
            path = folder / f"duckdb-{version}-{codec}.parquet"
            found = duckdb.connect().from_arrow(rows.drop_columns(["map"]))
            found.query("t", f"COPY t TO '{path}' (PARQUET_VERSION {version}, CODEC '{codec}', ROW_GROUP_SIZE 2048)")
            yield f"duckdb {version} {codec}", path
    path = folder / "polars.parquet"
    pl.DataFrame(pl.from_arrow(rows.drop_columns(["map"]))).write_parquet(path, row_group_size=250, statistics="full")
    yield "polars", path
    properties = WriterProperties(compression="SNAPPY", max_row_group_size=250, data_page_size_limit=1024)
    write_deltalake(folder / "delta", rows, writer_properties=properties)
    yield "delta-rs", next((folder / "delta").glob("*.parquet"))
