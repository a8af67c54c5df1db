"""What a predicate means for one version of a table: the files that can hold a matching row, how many rows match, and
the condition that a reader of rows needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import pyarrow as pa

from jobs.delta.datafile import DataFile, first_line
from jobs.delta.filelist import FileList
from jobs.delta.reading import Condition, Filter, count_matching
from jobs.delta.version import Snapshot
from jobs.predicates.predicate import Predicate
from vae_model.errors import DataError
from vae_model.features.arrays import to_arrow, to_numpy

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


def count_rows(snapshot: Snapshot, files: FileList, predicate: Predicate | None) -> int:
    """Rows of the files that match; from the log alone where the predicate decides whole partitions."""
    if predicate is None or predicate.partition_only(snapshot.partition_columns):
        return files.total_rows
    condition = bind(predicate, snapshot)
    return sum(count_matching(snapshot, file, condition) for file in files)


def count_by_file(snapshot: Snapshot, files: Sequence[DataFile], condition: Filter) -> dict[str, int]:
    """How many rows of each file match, by path."""
    return {file.path: count_matching(snapshot, file, condition) for file in files}


def prune_files(snapshot: Snapshot, predicate: Predicate | None) -> FileList:
    """The files whose partition values let a row match."""
    narrowed = predicate.restricted_to(snapshot.partition_columns) if predicate else None
    if narrowed is None or not snapshot.files:
        return snapshot.files
    schema = pa.schema([snapshot.schema.field(name) for name in snapshot.partition_columns])
    table = snapshot.files.partitions.select(schema.names).append_column(
        _INDEX, to_arrow(np.arange(len(snapshot.files)))
    )
    try:
        kept = table.filter(narrowed.to_pyarrow(schema))
    except pa.ArrowException as error:
        raise DataError(f"a condition that can be computed: {predicate}", first_line(error), "correct it") from error
    return snapshot.files.take(to_numpy(kept.column(_INDEX).combine_chunks()))
