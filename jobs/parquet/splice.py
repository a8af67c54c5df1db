"""Columns added to a Parquet file without decoding it: the old pages' bytes, then the new columns' pages in the same
row groups, then one footer for both. Readers find pages by the footer alone, so their order does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from jobs.parquet.footer import (
    MAGIC,
    Footer,
    NotUnderstood,
    append_columns,
    find_extent,
    frame_footer,
    parse_footer,
    take_groups,
)
from jobs.parquet.thrift import write_struct

_COPY_BYTES: Final = 8 * 2**20


class Splicer:
    """Writes one file: all or some row groups of an old one, with further columns.

    Args:
        filesystem: of the old file.
        path: the old file.
        footer: its footer.
        row_groups: which to take; None: all, with their page indexes and bloom filters.
        sink: an empty stream to write to; the caller closes it.
        schema: of the new columns.
        use_dictionary: Parquet paths of the new columns that get dictionaries.

    Raises:
        NotUnderstood: the old file's row groups cannot be taken apart.
    """

    def __init__(
        self,
        filesystem: pafs.FileSystem,
        path: str,
        footer: Footer,
        row_groups: Sequence[int] | None,
        sink: pa.NativeFile,
        schema: pa.Schema,
        use_dictionary: Sequence[str],
    ) -> None:
        self._sink = sink
        if row_groups is None:
            start, stop, self._old = 0, footer.start, footer.fields
        else:
            start, stop = find_extent(footer, row_groups)
            self._old = take_groups(footer, row_groups, len(MAGIC) - start)
            sink.write(MAGIC)
        _copy(filesystem, path, start, stop, sink)
        # The writer puts a file of its own here, and counts offsets from its start; of its footer nothing is kept.
        self._first = int(sink.tell())
        self._stream = _Diverted(sink)
        self._writer = pq.ParquetWriter(
            self._stream, schema, compression="zstd", use_dictionary=list(use_dictionary), store_schema=False
        )

    def write_group(self, columns: pa.Table) -> None:
        """The new columns of the next row group."""
        self._writer.write_table(columns, row_group_size=max(columns.num_rows, 1))

    def close(self) -> Footer:
        """Write the joined footer.

        Raises:
            NotUnderstood: the new columns have other rows than the old ones.
        """
        self._stream.divert()
        self._writer.close()
        new = self._stream.diverted
        length = int.from_bytes(new[-8:-4], "little")
        footer = parse_footer(new[-8 - length : -8])
        moved = take_groups(footer, range(len(footer.groups)), self._first)
        fields = append_columns(self._old, moved)
        joined = Footer(fields, int(self._sink.tell()), write_struct(fields))
        self._sink.write(frame_footer(joined.data))
        return joined


class _Diverted:
    """What a writer sees of a stream; from some moment on its bytes go elsewhere."""

    closed = False

    def __init__(self, sink: pa.NativeFile) -> None:
        self._sink, self._written = sink, 0
        self._kept: list[bytes] | None = None

    @property
    def diverted(self) -> bytes:
        return b"".join(self._kept or [])

    def divert(self) -> None:
        self._kept = []

    def write(self, data: bytes) -> int:
        if self._kept is None:
            self._sink.write(data)
        else:
            self._kept.append(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The stream belongs to the caller."""


def _copy(filesystem: pafs.FileSystem, path: str, start: int, stop: int, sink: pa.NativeFile) -> None:
    with filesystem.open_input_file(path) as file:
        file.seek(start)
        left = stop - start
        while left:
            data = file.read_buffer(min(_COPY_BYTES, left))
            if not data.size:
                raise NotUnderstood("a file that ends before its footer says so")
            sink.write(data)
            left -= data.size
