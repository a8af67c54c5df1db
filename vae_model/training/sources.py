"""What `fit` can read: a table, a pyarrow dataset larger than memory, or record batches; all as repeatable batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from vae_model.errors import DataError
from vae_model.features.nested import expand_batch

BATCH_ROWS = 32_768

Source: TypeAlias = pa.Table | ds.Dataset | Iterable[pa.RecordBatch]


@dataclass(frozen=True)
class TrainingRows:
    """Rows that can be read more than once, always in the same order.

    Attributes:
        count: number of rows.
        batches: starts a new pass, in batches of at most BATCH_ROWS rows.
    """

    count: int
    batches: Callable[[], Iterator[pa.RecordBatch]]

    def sample(self, rows: int) -> pa.Table:
        """All rows when they are at most `rows`, else every n-th."""
        stride, start, parts = max(1, -(-self.count // rows)), 0, []
        for batch in self.batches():
            offset = -start % stride
            start += batch.num_rows
            parts.append(batch if stride == 1 else batch.take(pa.array(np.arange(offset, batch.num_rows, stride))))
        return pa.Table.from_batches(parts)


def open_rows(source: Source) -> TrainingRows:
    """Wrap any source, nested columns expanded; batches from an iterator are kept in memory.

    Raises:
        DataError: an iterator without any batch.
    """
    if isinstance(source, ds.Dataset):
        return TrainingRows(source.count_rows(), lambda: map(expand_batch, _read(source)))
    if not isinstance(source, pa.Table):
        batches = list(source)
        if not batches:
            raise DataError("rows to train on", "no batch at all", "extract some rows first")
        source = pa.Table.from_batches(batches)
    table = source
    # An empty table has no batches, but its schema must come through.
    empty = pa.RecordBatch.from_pylist([], schema=table.schema)
    return TrainingRows(table.num_rows, lambda: map(expand_batch, table.to_batches(BATCH_ROWS) or [empty]))


def _read(dataset: ds.Dataset) -> Iterator[pa.RecordBatch]:
    """Fragments one after the other, with little read-ahead: memory stays bounded and the order is always the same."""
    for fragment in dataset.get_fragments():
        yield from fragment.to_batches(
            schema=dataset.schema, batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1
        )
