"""Delta's per-file statistics, from the Parquet footer: readers skip files by them, so a bound may be too wide, never
too narrow. NaN and infinity have no place in JSON: a column that holds one goes without bounds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

MAX_TEXT = 32
MAX_INDEXED_COLUMNS = 32
_LAST_CHARACTER = "\U0010ffff"
_US_PER_MS = 1000

Bound: TypeAlias = int | float | str | Decimal


def choose_columns(schema: pa.Schema, always: Collection[str]) -> tuple[str, ...]:
    """The columns to keep statistics of: the first 32, and `always`; plain types only."""
    plain = [name for i, name in enumerate(schema.names) if i < MAX_INDEXED_COLUMNS or name in always]
    return tuple(name for name in plain if not pt.is_nested(schema.field(name).type))


def creation_properties(
    schema: pa.Schema, partition_columns: Collection[str], always: Collection[str], floats: bool = True
) -> dict[str, str]:
    """Properties of a new scored table: readers skip files by `always`, which in a wide table lie beyond the columns
    that Delta keeps statistics of.

    Args:
        schema: of the table.
        partition_columns: need no statistics.
        always: columns that keep them, wherever they stand.
        floats: whether other floating-point columns keep them too. Files are rarely told apart by a measured number,
            and Spark collects bounds row by row.
    """
    if floats and len(schema) <= MAX_INDEXED_COLUMNS:
        return {}
    plain = [name for name in choose_columns(schema, always) if re.fullmatch(r"\w+", name, re.ASCII)]
    kept = [name for name in plain if name not in partition_columns and _has_bounds(schema.field(name).type)]
    if not floats:
        kept = [name for name in kept if name in always or not pt.is_floating(schema.field(name).type)]
    return {"delta.dataSkippingStatsColumns": ",".join(kept)}


def _has_bounds(dtype: pa.DataType) -> bool:
    return not (pt.is_boolean(dtype) or pt.is_binary(dtype) or pt.is_large_binary(dtype))


def summarise(
    metadata: pq.FileMetaData,
    schema: pa.Schema,
    columns: Collection[str],
    nulls: Mapping[str, int],
    nan: Collection[str],
) -> str:
    """The statistics of one file as the JSON text of its add action.

    Args:
        metadata: the footer.
        schema: of the file.
        columns: to describe, of plain types.
        nulls: NULLs in each of them, where that is known.
        nan: columns with a NaN.
    """
    lows: dict[str, Bound] = {}
    highs: dict[str, Bound] = {}
    positions = {metadata.schema.column(j).path: j for j in range(metadata.num_columns)}
    for name in columns:
        dtype = schema.field(name).type
        if name in nan or name not in positions or pt.is_boolean(dtype) or pt.is_binary(dtype):
            continue
        chunks = [metadata.row_group(i).column(positions[name]).statistics for i in range(metadata.num_row_groups)]
        low, high = _bounds(chunks, dtype)
        if low is not None:
            lows[name] = low
        if high is not None:
            highs[name] = high
    parts = {
        "numRecords": str(metadata.num_rows),
        "minValues": _to_json(lows),
        "maxValues": _to_json(highs),
        "nullCount": json.dumps({name: nulls[name] for name in columns if name in nulls}),
    }
    return "{" + ",".join(f'"{key}":{value}' for key, value in parts.items()) + "}"


def _bounds(chunks: Iterable[pq.Statistics | None], dtype: pa.DataType) -> tuple[Bound | None, Bound | None]:
    """Bounds over the row groups that have values; none at all if one row group does not say."""
    known = []
    for chunk in chunks:
        if chunk is None or not (chunk.has_min_max or _is_all_null(chunk)):
            return None, None
        if chunk.has_min_max:
            known.append(chunk)
    if not known:
        return None, None
    if pt.is_timestamp(dtype):
        low, high = min(chunk.min_raw for chunk in known), max(chunk.max_raw for chunk in known)
        # Milliseconds are all that Delta keeps: down for the lower bound, up for the upper.
        return _format_ms(low // _US_PER_MS, dtype), _format_ms(-(-high // _US_PER_MS), dtype)
    low, high = min(chunk.min for chunk in known), max(chunk.max for chunk in known)
    if isinstance(low, float) and not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    if isinstance(low, date):
        return low.isoformat(), high.isoformat()
    if isinstance(low, str):
        return low[:MAX_TEXT], _cut_up(high)
    return low, high


def _is_all_null(chunk: pq.Statistics) -> bool:
    return bool(chunk.has_null_count and chunk.num_values == 0)


def _cut_up(text: str) -> str | None:
    """A short text that sorts after `text`, by code points as Delta's readers compare."""
    if len(text) <= MAX_TEXT:
        return text
    return None if text[MAX_TEXT] == _LAST_CHARACTER else text[:MAX_TEXT] + _LAST_CHARACTER


def _format_ms(ms: int, dtype: pa.DataType) -> str | None:
    text = str(np.datetime_as_string(np.datetime64(ms, "ms")))
    # A year below 1 or above 9999 has a sign or more digits, which readers do not expect.
    if len(text) != len("2013-06-01T00:00:00.000"):
        return None
    return f"{text}Z" if dtype.tz else text


def _to_json(bounds: Mapping[str, Bound]) -> str:
    """JSON with decimals as plain numbers of all their digits."""
    texts = {k: format(v, "f") if isinstance(v, Decimal) else json.dumps(v) for k, v in bounds.items()}
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items()) + "}"
