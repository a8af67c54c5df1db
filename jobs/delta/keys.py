"""Rows by their key. A key may name one row, several, or none: whatever is done for a key is done for all of its rows,
so that nothing depends on keys being unique. NULL is a key like any other."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_model.errors import DataError
from vae_model.features.arrays import to_arrow, to_numpy

_NOWHERE = to_arrow(np.array([-1], np.int32))[0]


class KeySet:
    """Combinations of values of the key columns, each once; it can travel to a worker.

    Args:
        keys: the combinations; NULLs and NaN among them are values too.
    """

    def __init__(self, keys: pa.Table) -> None:
        self.table = distinct(keys)
        self.columns = tuple(keys.column_names)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getstate__(self) -> dict[str, object]:
        return {"table": self.table, "columns": self.columns}

    def keeps(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """[n] whether a row's key is in the set; the columns of `batch` by name, in any order."""
        found = np.ones(batch.num_rows, np.bool_)
        codes = np.zeros(batch.num_rows, np.int64)
        for name, (values, prefixes) in zip(self.columns, self._levels, strict=True):
            positions = _find(batch.column(name), values)
            found &= positions >= 0
            # The prefixes are renumbered column by column, so that numbers stay small however many columns there are.
            wanted = codes * (len(values) + 1) + positions
            codes = np.minimum(np.searchsorted(prefixes, wanted), max(len(prefixes) - 1, 0))
            found &= prefixes[codes] == wanted if len(prefixes) else False
        return to_arrow(found)

    def may_hold(self, column: str, low: object, high: object) -> bool:
        """Whether a key of the set can lie among rows whose values of one column go from `low` to `high`, no NULLs."""
        values, _ = self._levels[self.columns.index(column)]
        try:
            bounds = pa.array([low, high], values.type)
            inside = pc.and_(pc.greater_equal(values, bounds[0]), pc.less_equal(values, bounds[1]))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return True
        return bool(pc.any(inside, min_count=0).as_py())

    @cached_property
    def _levels(self) -> list[tuple[pa.Array, npt.NDArray[np.int64]]]:
        """For each column its values, and the numbers of the combinations of all columns up to it."""
        levels = []
        codes = np.zeros(self.table.num_rows, np.int64)
        for name in self.columns:
            column = _combine(self.table[name])
            values = pc.unique(column)
            wanted = codes * (len(values) + 1) + _find(column, values)
            prefixes, codes = np.unique(wanted, return_inverse=True)
            levels.append((values, prefixes))
        return levels


def distinct(keys: pa.Table) -> pa.Table:
    """Each row once.

    Raises:
        DataError: a column of a type that rows cannot be told by.
    """
    try:
        return keys.group_by(keys.column_names, use_threads=False).aggregate([])
    except pa.ArrowNotImplementedError as error:
        types = ", ".join(f"{field.name}: {field.type}" for field in keys.schema)
        raise DataError("key columns of plain types", types, "use other columns in source.key") from error


def collect(parts: Iterable[pa.Table], schema: pa.Schema) -> KeySet:
    """The keys of many tables; memory holds each key about twice, however often it comes."""
    known, pending, rows = schema.empty_table(), [], 0
    for part in parts:
        pending.append(part.select(schema.names).cast(schema))
        rows += part.num_rows
        if rows > max(1_000_000, known.num_rows):
            known, pending, rows = distinct(pa.concat_tables([known, *pending])), [], 0
    return KeySet(pa.concat_tables([known, *pending]))


def _find(column: pa.Array, values: pa.Array) -> npt.NDArray[np.int64]:
    """[n] where among `values` each value is; -1: nowhere."""
    same = column if column.type == values.type else column.cast(values.type)
    found = pc.fill_null(pc.index_in(same, value_set=values), _NOWHERE)
    return to_numpy(found).astype(np.int64)


def _combine(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
