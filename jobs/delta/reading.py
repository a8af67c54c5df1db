"""Rows of a snapshot, exactly as they stand in the table: partition values, deletion vectors, mapped columns and
widened types applied, filtered by a predicate. pyarrow reads the Parquet files itself: deltalake's reader shifts INT96
timestamps before 1678 and after 2262, and refuses tables with widened types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake.exceptions import DeltaError

from jobs.delta.snapshot import DataFile, Snapshot, first_line
from jobs.predicate import Predicate
from vae_model.errors import DataError

BATCH_ROWS: Final = 65_536
# Spark still writes timestamps as INT96; read as nanoseconds they would overflow outside 1678 to 2262.
_PARQUET = pads.ParquetFileFormat(read_options=pads.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
_INDEX = "\0index"


def read_file(
    snapshot: Snapshot,
    file: DataFile,
    columns: Sequence[str],
    predicate: Predicate | None = None,
    row_groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream the live rows of one file that match, `columns` in that order; batches may be empty.

    Args:
        snapshot: the version that the file belongs to.
        file: one of its files.
        columns: names in the table's schema.
        predicate: rows where it is false or NULL are left out.
        row_groups: read only these; not for files with a deletion vector.

    Raises:
        DataError: the file is missing or corrupt, or the predicate cannot be computed (a division by zero).
    """
    wanted = pa.schema([snapshot.schema.field(name) for name in columns])
    condition = predicate.to_pyarrow(snapshot.schema) if predicate else None
    pushed = condition if file.live is None and not snapshot.is_mapped else None
    needed = list(columns)
    if predicate and pushed is None:
        needed += [name for name in predicate.check_columns(snapshot.schema, snapshot.ref.name) if name not in needed]
    try:
        offset = 0
        for batch in _scan(snapshot, file, needed, pushed, row_groups):
            live = batch if file.live is None else batch.filter(_mask(file.live, offset, batch.num_rows))
            offset += batch.num_rows
            if predicate and pushed is None:
                live = live.filter(condition)
            yield pa.RecordBatch.from_arrays(live.columns[: len(columns)], schema=wanted)
    except (pa.ArrowException, OSError, DeltaError) as error:
        raise DataError(
            f"readable rows in {file.path} of {snapshot.ref.name}",
            first_line(error),
            "restore the file or correct the condition",
        ) from error


def count_rows(snapshot: Snapshot, files: Sequence[DataFile], predicate: Predicate | None) -> int:
    """Rows of the files that match; from the log alone where the predicate decides whole partitions."""
    if predicate is None or predicate.partition_only(snapshot.partition_columns):
        return sum(file.rows for file in files)
    columns = predicate.check_columns(snapshot.schema, snapshot.ref.name)
    return sum(batch.num_rows for file in files for batch in read_file(snapshot, file, columns[:1], predicate))


def prune_files(snapshot: Snapshot, predicate: Predicate | None) -> tuple[DataFile, ...]:
    """The files whose partition values let a row match."""
    narrowed = predicate.restricted_to(snapshot.partition_columns) if predicate else None
    if narrowed is None or not snapshot.files:
        return snapshot.files
    schema = pa.schema([snapshot.schema.field(name) for name in snapshot.partition_columns])
    columns = [
        pa.array([file.partition[field.name].as_py() for file in snapshot.files], field.type) for field in schema
    ]
    table = pa.Table.from_arrays([*columns, pa.array(range(len(snapshot.files)))], names=[*schema.names, _INDEX])
    try:
        kept = table.filter(narrowed.to_pyarrow(schema))
    except pa.ArrowException as error:
        raise DataError(f"a condition that can be computed: {predicate}", first_line(error), "correct it") from error
    return tuple(snapshot.files[i] for i in kept.column(_INDEX).to_pylist())


def _scan(
    snapshot: Snapshot,
    file: DataFile,
    columns: Sequence[str],
    condition: pc.Expression | None,
    row_groups: Sequence[int] | None,
) -> Iterator[pa.RecordBatch]:
    physical = {name: snapshot.physical.field(i) for i, name in enumerate(snapshot.schema.names)}
    fragment = _PARQUET.make_fragment(file.path, snapshot.filesystem, _partition_expression(file, physical))
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
