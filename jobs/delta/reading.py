"""Rows of a snapshot, exactly as they stand in the table: partition values, deletion vectors, mapped columns and
widened types applied, filtered by a predicate. pyarrow reads the Parquet files itself: deltalake's reader shifts INT96
timestamps before 1678 and after 2262, and refuses tables with widened types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.delta.datafile import DataFile, Snapshot, first_line
from vae_model.errors import DataError

BATCH_ROWS: Final = 65_536
# Spark still writes timestamps as INT96; read as nanoseconds they would overflow outside 1678 to 2262.
_INT96_UNIT: Final = "us"


@dataclass(frozen=True)
class Condition:
    """Which rows to read: an expression over the table's columns, and the names of those that it uses."""

    expression: pc.Expression
    columns: tuple[str, ...]


def read_file(
    snapshot: Snapshot,
    file: DataFile,
    columns: Sequence[str],
    condition: Condition | None = None,
    row_groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream the live rows of one file that match, `columns` in that order; batches may be empty.

    Args:
        snapshot: the version that the file belongs to.
        file: one of its files.
        columns: names in the table's schema.
        condition: rows where it is false or NULL are left out.
        row_groups: read only these; not for files with a deletion vector.

    Raises:
        DataError: the file is missing or corrupt, or the condition cannot be computed (a division by zero).
    """
    wanted = pa.schema([snapshot.schema.field(name) for name in columns])
    pushed = condition if file.live is None and not snapshot.is_mapped else None
    needed = list(columns)
    if condition and pushed is None:
        needed += [name for name in condition.columns if name not in needed]
    try:
        offset = 0
        for batch in _scan(snapshot, file, needed, pushed.expression if pushed else None, row_groups):
            live = batch if file.live is None else batch.filter(_mask(file.live, offset, batch.num_rows))
            offset += batch.num_rows
            if condition and pushed is None:
                live = live.filter(condition.expression)
            yield pa.RecordBatch.from_arrays(live.columns[: len(columns)], schema=wanted)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(snapshot, file, error) from error


def read_row_group(
    snapshot: Snapshot, file: DataFile, metadata: pq.FileMetaData, number: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Stream one row group of a file whose columns have the table's names and types: as `read_file`, for less.

    Raises:
        DataError: the file is missing or corrupt.
    """
    wanted = pa.schema([snapshot.schema.field(name) for name in columns])
    try:
        opened = pq.ParquetFile(
            file.path, metadata=metadata, filesystem=snapshot.filesystem, coerce_int96_timestamp_unit=_INT96_UNIT
        )
        there = [name for name in columns if name in opened.schema_arrow.names]
        for batch in opened.iter_batches(BATCH_ROWS, [number], there, use_threads=False):
            yield pa.RecordBatch.from_arrays([_find(batch, file, field) for field in wanted], schema=wanted)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(snapshot, file, error) from error


def _find(batch: pa.RecordBatch, file: DataFile, field: pa.Field) -> pa.Array:
    if field.name in batch.schema.names:
        array = batch.column(field.name)
        return array if array.type == field.type else array.cast(field.type)
    if field.name in file.partition:
        return pa.repeat(file.partition[field.name], batch.num_rows)
    return pa.nulls(batch.num_rows, field.type)


def _unreadable(snapshot: Snapshot, file: DataFile, error: BaseException) -> DataError:
    return DataError(
        f"readable rows in {file.path} of {snapshot.ref.name}",
        first_line(error),
        "restore the file or correct the condition",
    )


def count_matching(snapshot: Snapshot, file: DataFile, condition: Condition) -> int:
    """Live rows of one file that match."""
    return sum(batch.num_rows for batch in read_file(snapshot, file, condition.columns[:1], condition))


def _scan(
    snapshot: Snapshot,
    file: DataFile,
    columns: Sequence[str],
    condition: pc.Expression | None,
    row_groups: Sequence[int] | None,
) -> Iterator[pa.RecordBatch]:
    # It brings pandas along, which takes a worker a second, and is not needed for whole row groups.
    import pyarrow.dataset as pads

    parquet = pads.ParquetFileFormat(read_options=pads.ParquetReadOptions(coerce_int96_timestamp_unit=_INT96_UNIT))
    physical = {name: snapshot.physical.field(i) for i, name in enumerate(snapshot.schema.names)}
    fragment = parquet.make_fragment(file.path, snapshot.filesystem, _partition_expression(file, physical))
    if row_groups is not None:
        fragment = fragment.subset(row_group_ids=list(row_groups))
    scanner = fragment.scanner(
        schema=snapshot.physical,
        columns=[physical[name].name for name in columns],
        filter=condition,
        batch_size=BATCH_ROWS,
        batch_readahead=1,
        fragment_readahead=1,
        use_threads=False,
    )
    types = [snapshot.schema.field(name).type for name in columns]
    for batch in scanner.to_batches():
        arrays = [
            array if array.type == dtype else array.view(dtype)
            for array, dtype in zip(batch.columns, types, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _partition_expression(file: DataFile, physical: Mapping[str, pa.Field]) -> pc.Expression:
    expression = pc.scalar(True)
    for name, value in file.partition.items():
        column = pc.field(physical[name].name)
        expression &= (column == value) if value.is_valid else column.is_null()
    return expression


def _mask(live: pa.BooleanArray, offset: int, rows: int) -> pa.BooleanArray:
    part = live.slice(offset, rows)
    # Rows after the mask's end are live.
    return part if len(part) == rows else pa.concat_arrays([part, pa.array([True] * (rows - len(part)), pa.bool_())])
