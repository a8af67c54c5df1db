"""What is known of one version of a Delta table: its schema, and its data files with their partition values and
deletion vectors. It can travel to a worker, which needs pyarrow alone to read the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.fs as pafs

from jobs.delta.storage import TableRef, open_filesystem


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table.

    Attributes:
        path: relative to the table's folder.
        rows: live rows, without those that a deletion vector hides.
        partition: typed value of each partition column, NULLs included.
        live: False where a deletion vector hides the row; None without one.
        removable: whether deltalake would spell the path as the log does; a removal spelt otherwise removes nothing.
    """

    path: str
    size_bytes: int
    rows: int
    partition: Mapping[str, pa.Scalar]
    live: pa.BooleanArray | None = field(default=None, repr=False)
    removable: bool = True


@dataclass(frozen=True)
class Snapshot:
    """One version of a Delta table.

    Attributes:
        schema: plain Arrow types under the table's own column names, partition columns included.
        physical: the schema of the Parquet files; differs from `schema` by names where columns are mapped.
        writer_features: what a writer must know, by the Delta protocol's names.
    """

    ref: TableRef
    version: int
    table_id: str
    schema: pa.Schema
    physical: pa.Schema
    partition_columns: tuple[str, ...]
    files: tuple[DataFile, ...]
    writer_features: frozenset[str]

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def filesystem(self) -> pafs.FileSystem:
        """Rooted at the table's folder."""
        return open_filesystem(self.ref.uri, self.ref.storage_options)

    @property
    def is_mapped(self) -> bool:
        """Whether the files' columns have other names than the table's."""
        return bool(self.physical.names != self.schema.names)


def first_line(error: BaseException) -> str:
    """An error of another library in one line."""
    return f"{error.__class__.__name__}: {(str(error).strip() or 'no details').splitlines()[0][:300]}"
