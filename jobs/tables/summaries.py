"""What the report asks of each part of a table, wherever the engine reads it: pure functions from batches to a few rows
that merge. They run on Spark's executors too, so that this module imports numpy, pyarrow and the model alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_model.features.arrays import rank_values
from vae_model.features.encoder import Encoder
from vae_model.features.nested import expand_batch
from vae_model.features.scales import to_doubles

NIGHTS = pa.schema(
    [
        pa.field("night", pa.string()),
        pa.field("column", pa.string()),  # "" for the night as a whole
        pa.field("rows", pa.int64()),
        pa.field("alerts", pa.int64()),
        pa.field("share", pa.float64()),
    ]
)
_NIGHT_KEYS = ["night", "column"]
_NIGHT_SUMS = [("rows", "sum"), ("alerts", "sum"), ("share", "sum")]

BIN: Final = 0.1  # of the anomaly score
_LAST_BIN = 1_000
MAX_UNSEEN = 1_000
COUNTS = pa.schema(
    [
        pa.field("what", pa.string()),
        pa.field("name", pa.string()),
        pa.field("value", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("total", pa.float64()),
    ]
)
_COUNT_KEYS = ["what", "name", "value"]
_MERGES = [("rows", "sum"), ("low", "min"), ("high", "max"), ("total", "sum")]


def summarise_nights(night: str, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch:
    """Counts of one part of the table; pure, and runs wherever the engine reads."""
    parts: list[pa.Table] = [NIGHTS.empty_table()]
    for batch in batches:
        if batch.num_rows:
            names = name_nights(batch.column(night))
            parts += [_count_night(names, batch.column("is_anomaly")), _blame(names, batch)]
    return to_batch(merge_nights(pa.concat_tables(parts)))


def name_nights(values: pa.Array) -> pa.Array:
    """Nights as text that sorts by time: dates in ISO format, moments as their date."""
    dates = values.cast(pa.timestamp("us")).cast(pa.date32()) if pt.is_timestamp(values.type) else values
    return pc.fill_null(dates.cast(pa.string()), "NULL")


def to_batch(table: pa.Table) -> pa.RecordBatch:
    """A small table in one piece."""
    return pa.RecordBatch.from_arrays(
        [pa.concat_arrays(c.chunks) if c.num_chunks else pa.array([], c.type) for c in table.columns],
        schema=table.schema,
    )


def _count_night(names: pa.Array, flags: pa.Array) -> pa.Table:
    scored = flags.is_valid().cast(pa.int64())
    alerts = pc.fill_null(flags, False).cast(pa.int64())
    none = pa.array(np.zeros(len(names)))
    return pa.table([names, pa.array([""] * len(names), pa.string()), scored, alerts, none], schema=NIGHTS)


def _blame(names: pa.Array, batch: pa.RecordBatch) -> pa.Table:
    chosen = pc.fill_null(batch.column("is_anomaly"), False)
    names, reasons = names.filter(chosen), batch.column("top_columns").filter(chosen)
    parents = pc.list_parent_indices(reasons)
    flat = pc.list_flatten(reasons)
    is_first = np.diff(parents.to_numpy(zero_copy_only=False).astype(np.int64), prepend=-1) != 0
    columns = [
        names.take(parents),
        pc.struct_field(flat, "column"),
        pa.array(np.zeros(len(flat), np.int64)),
        pa.array(is_first.astype(np.int64)),
        pc.struct_field(flat, "share").cast(pa.float64()),
    ]
    return pa.table(columns, schema=NIGHTS)


def merge_nights(table: pa.Table) -> pa.Table:
    """Lines of the same night and column as one."""
    # One thread: the order of a sum decides its last digits.
    merged = table.group_by(_NIGHT_KEYS, use_threads=False).aggregate(_NIGHT_SUMS)
    named = merged.select([*_NIGHT_KEYS, *(f"{name}_sum" for name, _ in _NIGHT_SUMS)]).rename_columns(NIGHTS.names)
    return named.cast(NIGHTS).sort_by([(key, "ascending") for key in _NIGHT_KEYS])


def summarise_rows(
    encoders: Mapping[str, Encoder], columns: Sequence[str], batches: Iterator[pa.RecordBatch]
) -> pa.RecordBatch:
    """The counts of one part of the table; pure, and runs wherever the engine reads."""
    table = COUNTS.empty_table()
    for batch in batches:
        scored = expand_batch(batch.filter(batch.column("anomaly_score").is_valid()))
        if not scored.num_rows:
            continue
        lines = [*_count_scores(scored), *_count_models(scored)]
        for name in columns:
            lines += _count_column(name, encoders.get(name), scored.column(name))
        fields = ({field: line[i] for i, field in enumerate(COUNTS.names)} for line in lines)
        table = merge_counts(pa.concat_tables([table, pa.Table.from_pylist(list(fields), COUNTS)]))
    return to_batch(table)


def merge_counts(table: pa.Table) -> pa.Table:
    """Lines of the same name as one."""
    merged = table.group_by(_COUNT_KEYS, use_threads=False).aggregate(_MERGES)
    named = merged.select([*_COUNT_KEYS, *(f"{name}_{how}" for name, how in _MERGES)]).rename_columns(COUNTS.names)
    return named.cast(COUNTS).sort_by([(key, "ascending") for key in _COUNT_KEYS])


Line: TypeAlias = tuple[str, str, str, int, float | None, float | None, float]  # the fields of COUNTS


def _count_scores(batch: pa.RecordBatch) -> list[Line]:
    scores = batch.column("anomaly_score").to_numpy(zero_copy_only=False)
    bins = np.minimum(np.maximum(scores, 0.0) / BIN, _LAST_BIN).astype(np.int64)
    counts = np.bincount(bins)
    return [("score", "", str(i), int(counts[i]), None, None, 0.0) for i in np.flatnonzero(counts)]


def _count_models(batch: pa.RecordBatch) -> list[Line]:
    table = pa.table({"model": batch.column("model_id"), "alert": batch.column("is_anomaly").cast(pa.int64())})
    grouped = table.group_by("model", use_threads=False).aggregate([("alert", "count"), ("alert", "sum")])
    return [
        ("model", "", str(row["model"]), row["alert_count"], None, None, float(row["alert_sum"] or 0))
        for row in grouped.to_pylist()
    ]


def _count_column(name: str, encoder: Encoder | None, values: pa.Array) -> list[Line]:
    lines: list[Line] = [
        ("seen", name, "", len(values), None, None, 0.0),
        ("null", name, "", values.null_count, None, None, 0.0),
    ]
    new = encoder.find_new(values) if encoder else None
    if new is not None:
        return lines + _count_unseen(name, new)
    dtype = values.type
    if pt.is_temporal(dtype) and not pt.is_duration(dtype):
        values = _to_seconds(values)
    elif not (pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype)):
        return lines
    x = to_doubles(values)
    nans = int(np.isnan(x).sum()) - values.null_count
    infinite = int(np.isinf(x).sum())
    x = x[np.isfinite(x)]
    lines.append(("nan", name, "", nans, None, None, 0.0))
    lines.append(("infinite", name, "", infinite, None, None, 0.0))
    if x.size:
        with np.errstate(over="ignore"):  # a few of the largest numbers have an infinite sum
            lines.append(("range", name, "", x.size, float(x.min()), float(x.max()), float(x.sum())))
    if encoder and encoder.is_quantity and encoder.bounds:
        low, high = encoder.bounds
        outside = int(((x < low) | (x > high)).sum())
        lines.append(("outside", name, "", outside, None, None, 0.0))
    return lines


def _count_unseen(name: str, new: pa.Array) -> list[Line]:
    found = rank_values(new)[:MAX_UNSEEN]
    lines: list[Line] = [("unseen", name, "", len(new), None, None, 0.0)]
    return lines + [("unseen value", name, value[:200], rows, None, None, 0.0) for value, rows in found]


def _to_seconds(values: pa.Array) -> pa.Array:
    """Seconds since the epoch, or since midnight."""
    dtype = values.type
    if pt.is_date(dtype):
        return pc.multiply(values.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), 86_400)
    if pt.is_time(dtype):
        microseconds = values.cast(pa.time64("us")).cast(pa.int64())
    else:
        microseconds = values.cast(pa.timestamp("us", tz=dtype.tz)).cast(pa.int64())
    # Before 1684 and after 2255 there are more of them than a double counts exactly; for a range that is no matter.
    return pc.divide(microseconds.cast(pa.float64(), safe=False), 1e6)


def pick_top(
    schema: pa.Schema, order: list[tuple[str, str]], limit: int, batches: Iterator[pa.RecordBatch]
) -> pa.RecordBatch:
    """The first rows of one part of the table in that order; pure, and runs wherever the engine reads."""
    top = schema.empty_table()
    for batch in batches:
        if batch.num_rows:
            both = pa.concat_tables([top, pa.Table.from_batches([batch], schema)])
            top = both.sort_by(order).slice(0, limit).combine_chunks()
    return to_batch(top)
