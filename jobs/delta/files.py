"""Writes rows as the Parquet files of a Delta table: partition folders, files of a sensible size, and what a commit
says of each. A file that no commit mentions is invisible: a writer that dies leaves the table as it was."""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pyarrow.types as pt

from jobs.delta.statistics import choose_columns, summarise
from jobs.delta.storage import create_folder
from vae_model.features.arrays import count_bytes, to_arrow

FILE_BYTES: Final = 128 * 2**20
ROW_GROUP_ROWS: Final = 131_072
ROW_GROUP_BYTES: Final = 64 * 2**20
MAX_OPEN_FILES: Final = 64
# Of all open files together, in memory.
PENDING_BYTES: Final = 128 * 2**20
_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
# What Hive escapes in the names of folders, and the space, which some object stores mishandle.
_ESCAPED = frozenset("\"#%'*/:=?\\\x7f{}[]^ ")

PartitionKey: TypeAlias = tuple[str | None, ...]


@dataclass(frozen=True)
class NewFile:
    """A Parquet file that a commit can add.

    Attributes:
        partition: serialised value of each partition column.
        modified_ms: milliseconds since 1970.
        stats: Delta's statistics, JSON.
        rows: as its footer counts them.
        is_new_data: whether its rows are new; not where they only moved here from other files of the table.
    """

    path: str
    size_bytes: int
    partition: Mapping[str, str | None]
    modified_ms: int
    stats: str
    rows: int
    is_new_data: bool = True


@dataclass(frozen=True)
class FileLayout:
    """How a table's files look.

    Attributes:
        schema: of the table, partition columns included.
        partition_columns: they are in the folders' names, not in the files.
        indexed: columns beyond the first 32 that get statistics as well.
    """

    schema: pa.Schema
    partition_columns: tuple[str, ...]
    indexed: tuple[str, ...] = ()

    @property
    def file_schema(self) -> pa.Schema:
        return pa.schema([field for field in self.schema if field.name not in self.partition_columns])


class TableWriter:
    """Appends batches to new files of a table; one open file for each partition, a new one at 128 MB.

    Rows of a partition had better come together: with many partitions in turns, files are closed early and get small.

    Args:
        filesystem: rooted at the table's folder.
        layout: of the table.
    """

    def __init__(self, filesystem: pafs.FileSystem, layout: FileLayout) -> None:
        self._filesystem, self._layout = filesystem, layout
        self._open: dict[PartitionKey, _FileWriter] = {}
        self._done: list[NewFile] = []
        self._paths: list[str] = []
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; columns by name, in any order."""
        for key, part in split_partitions(batch, self._layout.partition_columns):
            writer = self._open.pop(key, None) or self._start(key)
            self._open[key] = writer  # the least recently used stays in front
            writer.write(part.select(self._layout.file_schema.names))
            if writer.size_bytes >= FILE_BYTES:
                self._finish(key)
        while len(self._open) > 1 and sum(writer.pending_bytes for writer in self._open.values()) > PENDING_BYTES:
            self._finish(next(iter(self._open)))
        self.rows += batch.num_rows

    def close(self) -> list[NewFile]:
        """Finish all files."""
        for key in list(self._open):
            self._finish(key)
        return self._done

    def abort(self) -> None:
        """Remove what was written, as far as the store lets us; orphans that remain are left to VACUUM."""
        for writer in self._open.values():
            writer.abandon()
        delete_files(self._filesystem, self._paths)

    def _start(self, key: PartitionKey) -> _FileWriter:
        if len(self._open) >= MAX_OPEN_FILES:
            self._finish(next(iter(self._open)))
        writer = _FileWriter(self._filesystem, self._layout, key)
        self._paths.append(writer.path)
        return writer

    def _finish(self, key: PartitionKey) -> None:
        self._done.append(self._open.pop(key).close())


class _FileWriter:
    def __init__(self, filesystem: pafs.FileSystem, layout: FileLayout, key: PartitionKey) -> None:
        self._layout, self._key, self._filesystem = layout, key, filesystem
        self.path = place_file(filesystem, layout.partition_columns, key)
        self._columns = choose_columns(layout.file_schema, layout.indexed)
        self._nulls = dict.fromkeys(self._columns, 0)
        self._nan: set[str] = set()
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self.pending_bytes = 0
        self._sink = filesystem.open_output_stream(self.path)
        self._writer = pq.ParquetWriter(
            self._sink,
            layout.file_schema,
            compression="zstd",
            # Dictionaries pay for text; for doubles they cost twice the time and save nothing.
            use_dictionary=text_leaves(layout.file_schema),
            store_schema=False,
        )

    @property
    def size_bytes(self) -> int:
        return int(self._sink.tell()) + self.pending_bytes // 2

    def write(self, batch: pa.RecordBatch) -> None:
        self._observe(batch)
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self.pending_bytes += count_bytes(batch)
        if self._pending_rows >= ROW_GROUP_ROWS or self.pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> NewFile:
        self._flush()
        self._writer.close()
        size = int(self._sink.tell())
        self._sink.close()
        metadata = self._writer.writer.metadata
        return NewFile(
            path=self.path,
            size_bytes=size,
            partition=dict(zip(self._layout.partition_columns, self._key, strict=True)),
            modified_ms=int(time.time() * 1000),
            stats=summarise(metadata, self._layout.file_schema, self._columns, self._nulls, self._nan),
            rows=metadata.num_rows,
        )

    def abandon(self) -> None:
        self._pending.clear()
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError, pa.ArrowException):
            self._sink.close()

    def _observe(self, batch: pa.RecordBatch) -> None:
        for name in self._columns:
            column = batch.column(name)
            self._nulls[name] += column.null_count
            if pt.is_floating(column.type) and name not in self._nan and pc.any(pc.is_nan(column)).as_py():
                self._nan.add(name)

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending).cast(self._layout.file_schema)
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._pending.clear()
        self._pending_rows = self.pending_bytes = 0


def split_partitions(batch: pa.RecordBatch, columns: tuple[str, ...]) -> list[tuple[PartitionKey, pa.RecordBatch]]:
    """The batch cut into one part for each combination of partition values; slices, where equal rows lie together."""
    if not columns or batch.num_rows == 0:
        return [((), batch)] if not columns and batch.num_rows else []
    codes = np.zeros(batch.num_rows, dtype=np.int64)
    for name in columns:
        encoded = batch.column(name).dictionary_encode(null_encoding="encode")
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy(zero_copy_only=False)
        codes = np.unique(codes, return_inverse=True)[1]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(starts) > codes.max() + 1:
        order = np.argsort(codes, kind="stable")
        batch, codes = batch.take(to_arrow(order)), codes[order]
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
    parts = []
    for start, stop in itertools.pairwise([*starts.tolist(), batch.num_rows]):
        key = tuple(serialise_partition(batch.column(name)[start]) for name in columns)
        parts.append((key, batch.slice(start, stop - start)))
    return parts


def serialise_partition(value: pa.Scalar) -> str | None:
    """A partition value in the Delta log's spelling; the empty text is NULL there."""
    python: bool | int | float | str | bytes | date | datetime | Decimal | None = value.as_py()
    if python is None or python in ("", b""):
        return None
    if isinstance(python, datetime):
        if python.tzinfo is None:
            return python.isoformat(sep=" ")
        return python.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(python, date):
        return python.isoformat()
    if isinstance(python, bytes):
        return python.decode("utf-8")
    if isinstance(python, float) and not math.isfinite(python):
        return "NaN" if math.isnan(python) else "Infinity" if python > 0 else "-Infinity"
    if isinstance(python, Decimal):
        return format(python, "f")
    return str(python).lower() if isinstance(python, bool) else str(python)


def partition_folder(columns: tuple[str, ...], key: PartitionKey) -> str:
    """`day=2013-06-01/` and the like; empty for a table without partitions."""
    return "".join(
        f"{_escape(name)}={_NULL_FOLDER if value is None else _escape(value)}/"
        for name, value in zip(columns, key, strict=True)
    )


def place_file(filesystem: pafs.FileSystem, columns: tuple[str, ...], key: PartitionKey) -> str:
    """A path for a new file, in the folder of its partition, which is made."""
    folder = partition_folder(columns, key)
    if folder:
        create_folder(filesystem, folder)
    return f"{folder}part-{uuid.uuid4()}.zstd.parquet"


def delete_files(filesystem: pafs.FileSystem, paths: Iterable[str]) -> None:
    """Best effort: a file that stays is an orphan, which no reader looks at."""
    for path in paths:
        with suppress(OSError):
            filesystem.delete_file(path)


def _escape(text: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED or ord(c) < 32 else c for c in text)


def text_leaves(schema: pa.Schema) -> list[str]:
    """Parquet's dotted paths of the text and binary columns, nested ones included."""
    sample = pq.ParquetWriter(pa.BufferOutputStream(), schema)
    sample.close()
    columns = sample.writer.metadata.schema
    leaves = [columns.column(i) for i in range(len(columns))]
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
