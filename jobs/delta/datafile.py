"""What is known of one version of a Delta table: its schema, and its data files with their partition values and
deletion vectors. It can travel to a worker, which needs pyarrow alone to read the rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs

from jobs.delta.storage import TableRef, open_filesystem

if TYPE_CHECKING:
    from jobs.delta.filelist import FileList

# How deltalake lists the causes of an error, and how a store that speaks S3 says no.
_CAUSE = re.compile(r"\s*\x1b\[\d+m↳\x1b\[0m (.*)")
_ANSWER = re.compile(r"<Code>(.+?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


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


def first_line(error: BaseException) -> str:
    """An error of another library in one line; what a store answered in XML, or the causes that deltalake lists below
    each other, belong to it."""
    lines = (str(error).strip() or "no details").splitlines()
    answer = _ANSWER.search(str(error))
    causes = [found[1] for found in map(_CAUSE.match, lines[1:]) if found]
    said = ": ".join([lines[0], *(answer.groups() if answer else causes)])
    return f"{error.__class__.__name__}: {said[:500]}"
