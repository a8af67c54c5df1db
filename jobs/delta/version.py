"""One version of a Delta table. It can travel to a worker, which needs pyarrow alone to read the rows."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs

from jobs.delta.filelist import FileList
from jobs.delta.storage import TableRef, open_filesystem


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
    files: FileList
    writer_features: frozenset[str]

    @property
    def rows(self) -> int:
        return self.files.total_rows

    @property
    def filesystem(self) -> pafs.FileSystem:
        """Rooted at the table's folder."""
        return open_filesystem(self.ref.uri, self.ref.storage_options)

    @property
    def is_mapped(self) -> bool:
        """Whether the files' columns have other names than the table's."""
        return bool(self.physical.names != self.schema.names)
