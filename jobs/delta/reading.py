"""Rows of a snapshot, exactly as they stand in the table: partition values, deletion vectors, mapped columns and
widened types applied, filtered by a condition. pyarrow reads the Parquet files itself: deltalake's reader shifts INT96
timestamps before 1678 and after 2262, and refuses tables with widened types.

Memory holds a batch of rows, bounded by bytes, however large a row group is: see `jobs.delta.streaming`. A condition
reads its own columns first, and the others only of row groups where a row matches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.delta.datafile import DataFile, first_line
from jobs.delta.keys import KeySet
from jobs.delta.streaming import OpenFile
from jobs.delta.version import Snapshot
from vae_model.errors import DataError
from vae_model.features.arrays import to_arrow, to_numpy

_ROW = "\0row"


class Filter(Protocol):
    """Chooses rows by some of their columns."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that it looks at."""

    def keeps(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """[n] whether a row is chosen, never NULL; `batch` has the columns by name."""

    def choose_groups(self, opened: OpenFile, numbers: Sequence[int]) -> Sequence[int]:
        """The row groups, of those given, that can hold a chosen row."""


@dataclass(frozen=True)
class Condition:
    """Which rows to read: an expression over the table's columns, and the names of those that it uses."""

    expression: pc.Expression
    columns: tuple[str, ...]

    def keeps(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """See `Filter`; rows where the expression is NULL are not chosen."""
        rows = to_arrow(np.arange(batch.num_rows))
        numbered = pa.RecordBatch.from_arrays([*batch.columns, rows], names=[*batch.schema.names, _ROW])
        found = np.zeros(batch.num_rows, np.bool_)
        found[to_numpy(numbered.filter(self.expression).column(_ROW))] = True
        return to_arrow(found)

    def choose_groups(self, opened: OpenFile, numbers: Sequence[int]) -> Sequence[int]:
        """See `Filter`: by the footer's statistics."""
        return opened.prune(self.expression, numbers)


@dataclass(frozen=True)
class HasKey:
    """Rows whose key is in a set, or those whose key is not; further narrowed by a condition, if there is one."""

    keys: KeySet
    wanted: bool = True
    also: Condition | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Filter`."""
        return tuple(dict.fromkeys([*self.keys.columns, *(self.also.columns if self.also else ())]))

    def keeps(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """See `Filter`."""
        found = self.keys.keeps(batch)
        found = found if self.wanted else pc.invert(found)
        return pc.and_(found, self.also.keeps(batch)) if self.also else found

    def choose_groups(self, opened: OpenFile, numbers: Sequence[int]) -> Sequence[int]:
        """See `Filter`."""
        chosen = self.also.choose_groups(opened, numbers) if self.also else numbers
        return [i for i in chosen if self._may_hold(opened, i)] if self.wanted else chosen

    def _may_hold(self, opened: OpenFile, number: int) -> bool:
        bounds = ((name, opened.bounds(number, name)) for name in self.keys.columns)
        return all(bound is None or self.keys.may_hold(name, *bound) for name, bound in bounds)


def read_file(
    snapshot: Snapshot,
    file: DataFile,
    columns: Sequence[str],
    condition: Filter | None = None,
    row_groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream the live rows of one file that match, `columns` in that order; batches may be empty.

    Args:
        snapshot: the version that the file belongs to.
        file: one of its files.
        columns: names in the table's schema.
        condition: rows that it does not choose are left out.
        row_groups: read only these.

    Raises:
        DataError: the file is missing or corrupt, or the condition cannot be computed (a division by zero).
    """
    try:
        opened = OpenFile(snapshot, file)
        for number in _choose_groups(opened, condition, row_groups):
            kept = _choose_rows(opened, number, condition)
            if kept is not None and kept.true_count == 0:
                continue
            offset = 0
            for batch in opened.read(number, columns):
                yield batch if kept is None else batch.filter(kept.slice(offset, batch.num_rows))
                offset += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(snapshot, file, error) from error


def read_row_group(
    snapshot: Snapshot, file: DataFile, metadata: pq.FileMetaData, number: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Stream one row group of a file whose footer is known and that has no deletion vector.

    Raises:
        DataError: the file is missing or corrupt.
    """
    try:
        yield from OpenFile(snapshot, file, metadata).read(number, columns)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(snapshot, file, error) from error


def count_matching(snapshot: Snapshot, file: DataFile, condition: Filter) -> int:
    """Live rows of one file that match.

    Raises:
        DataError: the file is missing or corrupt, or the condition cannot be computed.
    """
    try:
        opened = OpenFile(snapshot, file)
        masks = (_choose_rows(opened, number, condition) for number in _choose_groups(opened, condition, None))
        return sum(int(mask.true_count) for mask in masks if mask is not None)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(snapshot, file, error) from error


def _choose_groups(opened: OpenFile, condition: Filter | None, row_groups: Sequence[int] | None) -> Sequence[int]:
    numbers = range(opened.metadata.num_row_groups) if row_groups is None else row_groups
    return condition.choose_groups(opened, numbers) if condition else numbers


def _choose_rows(opened: OpenFile, number: int, condition: Filter | None) -> pa.BooleanArray | None:
    """[rows of the group] those that are live and match; None: all of them."""
    live_mask = opened.live_mask(number)
    if condition is None:
        return live_mask
    parts: list[pa.BooleanArray] = [pa.nulls(0, pa.bool_())]
    offset = 0
    for batch in opened.read(number, condition.columns):
        if live_mask is None:
            parts.append(condition.keeps(batch))
        else:
            # Of hidden rows nothing is computed: a hidden zero is nothing to divide by.
            there = live_mask.slice(offset, batch.num_rows)
            kept = to_numpy(there)
            kept[kept] = to_numpy(condition.keeps(batch.filter(there)))
            parts.append(to_arrow(kept))
        offset += batch.num_rows
    return pa.concat_arrays(parts)


def _unreadable(snapshot: Snapshot, file: DataFile, error: BaseException) -> DataError:
    return DataError(
        f"readable rows in {file.path} of {snapshot.ref.name}",
        first_line(error),
        "restore the file or correct the condition",
    )
