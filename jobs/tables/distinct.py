"""What is asked of each part of a table beside the report's counts: the values of a column, and rows that a list names.
Pure functions that run on Spark's executors too, so that this module imports numpy and pyarrow alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.delta.keys import KeySet
from vae_model.features.arrays import to_numpy


def list_values(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch:
    """The distinct values of the one column of a part."""
    found = pa.array([], schema.field(0).type)
    for batch in batches:
        found = pc.unique(pa.concat_arrays([found, batch.column(0)]))
    return pa.RecordBatch.from_arrays([found], schema=schema)


def pick_named(keys: pa.Table, schema: pa.Schema, limit: int, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of a part that have one of the keys (NULL equals NULL), at most so many."""
    wanted, parts, left = KeySet(keys), [schema.empty_table()], limit
    for batch in batches:
        if left > 0 and batch.num_rows:
            chosen = np.flatnonzero(to_numpy(wanted.keeps(batch)))[:left]
            parts.append(pa.Table.from_batches([batch.take(pa.array(chosen))], schema))
            left -= len(chosen)
    rows = pa.concat_tables(parts).combine_chunks()
    return rows.to_batches()[0] if rows.num_rows else pa.RecordBatch.from_pylist([], schema)
