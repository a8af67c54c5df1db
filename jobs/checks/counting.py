"""Rows of each night, of each value of a few columns in it, and without a key, in one pass over a table. Pure functions
that run on Spark's executors too, so that this module imports numpy, pyarrow and the model alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.tables.summaries import name_nights, to_batch
from vae_model.features.arrays import to_arrow, to_numpy
from vae_model.features.nested import expand_batch

# What a line counts: the night's rows, those with a value in a column, those without one in a key column.
ROWS: Final = "rows"
SEGMENT: Final = "segment"
NO_KEY: Final = "no key"
LINES: Final = pa.schema(
    [
        ("night", pa.string()),
        ("what", pa.string()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("rows", pa.int64()),
    ]
)
_KEYS = ["night", "what", "column", "value"]


def count_nights(
    night: str, segments: Sequence[str], key: Sequence[str], batches: Iterator[pa.RecordBatch]
) -> pa.RecordBatch:
    """The counts of one part of the table; NULL is the value 'NULL' of a segment."""
    table = LINES.empty_table()
    for batch in batches:
        if batch.num_rows:
            nights = name_nights(batch.column(night)).dictionary_encode()
            parts = [_lines(nights, ROWS, "", None)]
            plain = expand_batch(batch, [*segments]) if segments else batch
            parts += [_lines(nights, SEGMENT, name, plain.column(name)) for name in segments]
            for name in key:
                empty = batch.column(name).is_null()
                if batch.column(name).null_count:
                    parts.append(_lines(nights.filter(empty), NO_KEY, name, None))
            table = merge_lines(pa.concat_tables([table, *parts]))
    return to_batch(table)


def merge_lines(table: pa.Table) -> pa.Table:
    """Lines of the same name as one, in order."""
    merged = table.group_by(_KEYS, use_threads=False).aggregate([("rows", "sum")])
    named = merged.select([*_KEYS, "rows_sum"]).rename_columns(LINES.names)
    return named.cast(LINES).sort_by([(name, "ascending") for name in _KEYS])


def _lines(nights: pa.DictionaryArray, what: str, column: str, values: pa.Array | None) -> pa.Table:
    codes = to_numpy(nights.indices).astype(np.int64)
    names = nights.dictionary
    levels = pa.array([""])
    if values is not None:
        coded = pc.fill_null(values.cast(pa.string()), "NULL").dictionary_encode()
        levels = coded.dictionary
        codes = codes * len(levels) + to_numpy(coded.indices)
    counts = np.bincount(codes, minlength=len(names) * len(levels))
    there = np.flatnonzero(counts)
    night, level = np.divmod(there, len(levels))
    rows = len(there)
    return pa.table(
        [
            names.take(to_arrow(night)),
            pa.repeat(pa.scalar(what), rows),
            pa.repeat(pa.scalar(column), rows),
            levels.take(to_arrow(level)),
            to_arrow(counts[there]),
        ],
        schema=LINES,
    )
