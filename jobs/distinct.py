"""What is asked of each part of a table beside the report's counts: the values of a column, and rows that a list names.
Pure functions that run on Spark's executors too, so that this module imports numpy and pyarrow alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.delta.keys import has_keys


def list_values(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch:
    """The distinct values of the one column of a part."""
    found = pa.array([], schema.field(0).type)
    for batch in batches:
        found = pc.unique(pa.concat_arrays([found, batch.column(0)]))
    return pa.RecordBatch.from_arrays([found], schema=schema)


def pick_named(keys: pa.Table, schema: pa.Schema, limit: int, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of a part that have one of the keys (NULL equals NULL), at most so many."""
    parts, left = [schema.empty_table()], limit
    for batch in batches:
        if left > 0 and batch.num_rows:
            chosen = np.flatnonzero(_have_keys(batch, keys))[:left]
            parts.append(pa.Table.from_batches([batch.take(pa.array(chosen))], schema))
            left -= len(chosen)
    rows = pa.concat_tables(parts).combine_chunks()
    return rows.to_batches()[0] if rows.num_rows else pa.RecordBatch.from_pylist([], schema)


def _have_keys(batch: pa.RecordBatch, keys: pa.Table) -> npt.NDArray[np.bool_]:
    """[n] whether a row's key is among some; by the parts of the key that are there, since a join knows no NULL."""
    found = np.zeros(batch.num_rows, np.bool_)
    filled = np.array([column.is_valid().to_numpy() for column in keys.columns]).reshape(len(keys.columns), -1)
    for pattern in np.unique(filled, axis=1).T:
        some = keys.filter(pa.array((filled == pattern[:, None]).all(axis=0)))
        there = [name for name, is_there in zip(keys.column_names, pattern, strict=True) if is_there]
        inside = np.ones(batch.num_rows, np.bool_)
        for name in set(keys.column_names) - set(there):
            inside &= batch.column(name).is_null().to_numpy(zero_copy_only=False)
        found |= inside & has_keys(batch, some.select(there)) if there else inside
    return found
