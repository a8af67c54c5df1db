"""What a predicate means for one version of a table: the files that can hold a matching row, how many rows match, and
the condition that a reader of rows needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import pyarrow as pa

from jobs.delta.datafile import DataFile, Snapshot, first_line
from jobs.delta.reading import Condition, Filter, count_matching
from jobs.predicate import Predicate
from vae_model.errors import DataError

_INDEX = "\0index"


@overload
def bind(predicate: Predicate, snapshot: Snapshot) -> Condition: ...
@overload
def bind(predicate: Predicate | None, snapshot: Snapshot) -> Condition | None: ...
def bind(predicate: Predicate | None, snapshot: Snapshot) -> Condition | None:
    """The predicate over the columns of a table.

    Raises:
        ConfigError: a literal or a type that does not fit its column.
        DataError: an unknown column.
    """
    if predicate is None:
        return None
    columns = predicate.check_columns(snapshot.schema, snapshot.ref.name)
    return Condition(predicate.to_pyarrow(snapshot.schema), columns)


def count_rows(snapshot: Snapshot, files: Sequence[DataFile], predicate: Predicate | None) -> int:
    """Rows of the files that match; from the log alone where the predicate decides whole partitions."""
    if predicate is None or predicate.partition_only(snapshot.partition_columns):
        return sum(file.rows for file in files)
    condition = bind(predicate, snapshot)
    return sum(count_matching(snapshot, file, condition) for file in files)


def count_by_file(snapshot: Snapshot, files: Sequence[DataFile], condition: Filter | None) -> dict[str, int]:
    """How many rows of each file match, by path; from the log alone without a condition."""
    return {file.path: count_matching(snapshot, file, condition) if condition else file.rows for file in files}


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
