"""One Parquet file of a table, read in batches that are bounded by bytes. A row group can hold the whole file, so what
is read at once must not follow its size: compressed columns come through a buffer, and rows by as many as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from jobs.delta.datafile import DataFile
from jobs.delta.version import Snapshot
from vae_model.features.arrays import count_bytes, to_arrow

BATCH_ROWS: Final = 65_536
BATCH_BYTES: Final = 16 * 2**20
# Compressed columns of a row group are read whole up to this size, and piece by piece beyond it.
_WHOLE_BYTES: Final = 32 * 2**20
_MIN_BUFFER_BYTES: Final = 64 * 2**10
# Rows that tell how long the texts of a dictionary are, which no footer does.
_PROBED_ROWS: Final = 16
_SMALL_CHUNK_BYTES: Final = 4_096
# Spark still writes timestamps as INT96; read as nanoseconds they would overflow outside 1678 to 2262.
_INT96_UNIT: Final = "us"


class OpenFile:
    """A data file whose columns have the names and types of the table.

    Args:
        snapshot: the version that the file belongs to.
        file: one of its files.
        metadata: the footer, where it is known.

    Raises:
        OSError, pa.ArrowException: the file is missing or corrupt, here and in all methods.
    """

    def __init__(self, snapshot: Snapshot, file: DataFile, metadata: pq.FileMetaData | None = None) -> None:
        self._snapshot, self._file, self._filesystem = snapshot, file, snapshot.filesystem
        self._opened = self._open(metadata, 0)
        self.metadata: pq.FileMetaData = self._opened.metadata
        self._physical = {name: snapshot.physical.field(i) for i, name in enumerate(snapshot.schema.names)}
        self._leaves = _number_leaves(self._opened.schema_arrow)

    def read(self, number: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream a row group, `columns` in that order."""
        there = [self._physical[name].name for name in columns if self._is_there(name)]
        wanted = pa.schema([self._snapshot.schema.field(name) for name in columns])
        chunks = [self.metadata.row_group(number).column(leaf) for name in there for leaf in self._leaves[name]]
        opened = self._buffered(chunks)
        rows = self._choose_rows(opened, number, there, chunks)
        for batch in opened.iter_batches(rows, [number], there, use_threads=False):
            arrays = [self._find(batch, name, wanted.field(name).type) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=wanted) if arrays else batch.select([])

    def live_mask(self, number: int) -> pa.BooleanArray | None:
        """[rows of the group] whether no deletion vector hides the row; None: none is hidden."""
        live_mask = self._file.live_mask
        if live_mask is None:
            return None
        sizes = [self.metadata.row_group(i).num_rows for i in range(number + 1)]
        part = live_mask.slice(sum(sizes[:-1]), sizes[-1])
        # Rows after the mask's end are live.
        missing = sizes[-1] - len(part)
        return pa.concat_arrays([part, to_arrow(np.ones(missing, np.bool_))]) if missing else part

    def prune(self, expression: pc.Expression, numbers: Sequence[int]) -> Sequence[int]:
        """The row groups, of those given, whose statistics let a row match."""
        if self._snapshot.is_mapped:
            return numbers
        # It brings pandas along, which takes a worker a second, and is not needed without a condition.
        import pyarrow.dataset as pads

        parquet = pads.ParquetFileFormat(read_options=pads.ParquetReadOptions(coerce_int96_timestamp_unit=_INT96_UNIT))
        fragment = parquet.make_fragment(self._file.path, self._filesystem, self._partition_expression())
        fragment = fragment.subset(row_group_ids=list(numbers))
        try:
            kept = fragment.subset(filter=expression, schema=self._snapshot.physical).row_groups
        except pa.ArrowException:
            # The file has another type of text, say; a condition that cannot be computed says so on the rows.
            return numbers
        return [group.id for group in kept]

    def bounds(self, number: int, name: str) -> tuple[Any, Any] | None:
        """The smallest and the largest value of a column in a row group without NULLs in it; None: not known."""
        field = self._physical[name]
        if name in self._file.partition or field.name not in self._leaves or pt.is_floating(field.type):
            return None
        if self._opened.schema_arrow.field(field.name).type != field.type:
            return None
        known = self.metadata.row_group(number).column(self._leaves[field.name][0]).statistics
        if known is None or not known.has_min_max or not known.has_null_count or known.null_count:
            return None
        try:
            return known.min, known.max
        except (ValueError, OverflowError):
            # A moment that Python has no word for.
            return None

    def _is_there(self, name: str) -> bool:
        return name not in self._file.partition and self._physical[name].name in self._leaves

    def _find(self, batch: pa.RecordBatch, name: str, dtype: pa.DataType) -> pa.Array:
        if name in self._file.partition:
            return pa.repeat(self._file.partition[name], batch.num_rows)
        if not self._is_there(name):
            return pa.nulls(batch.num_rows, dtype)
        array, physical = batch.column(self._physical[name].name), self._physical[name].type
        same = array if array.type == physical else array.cast(physical)
        return same if same.type == dtype else same.view(dtype)

    def _open(self, metadata: pq.FileMetaData | None, buffer_bytes: int) -> pq.ParquetFile:
        return pq.ParquetFile(
            self._file.path,
            metadata=metadata,
            filesystem=self._filesystem,
            coerce_int96_timestamp_unit=_INT96_UNIT,
            buffer_size=buffer_bytes,
            # Reads ahead what a buffer is to keep out of memory.
            pre_buffer=buffer_bytes == 0,
        )

    def _buffered(self, chunks: Sequence[pq.ColumnChunkMetaData]) -> pq.ParquetFile:
        if sum(chunk.total_compressed_size for chunk in chunks) <= _WHOLE_BYTES:
            return self._opened
        return self._open(self.metadata, max(_WHOLE_BYTES // len(chunks), _MIN_BUFFER_BYTES))

    def _choose_rows(
        self, opened: pq.ParquetFile, number: int, names: Sequence[str], chunks: Sequence[pq.ColumnChunkMetaData]
    ) -> int:
        """As many rows as fit into a batch."""
        rows = max(self.metadata.row_group(number).num_rows, 1)
        row_bytes = sum(chunk.total_uncompressed_size for chunk in chunks) / rows
        if rows > _PROBED_ROWS and any(map(_hides_length, chunks)):
            probe = next(opened.iter_batches(_PROBED_ROWS, [number], names, use_threads=False))
            row_bytes = max(row_bytes, count_bytes(probe) / max(probe.num_rows, 1))
        return int(min(BATCH_ROWS, max(1, BATCH_BYTES / max(row_bytes, 1))))

    def _partition_expression(self) -> pc.Expression:
        expression = pc.scalar(True)
        for name, value in self._file.partition.items():
            column = pc.field(self._physical[name].name)
            expression &= (column == value) if value.is_valid else column.is_null()
        return expression


def _hides_length(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether a text that is stored once may come out many times."""
    texts = chunk.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY") and chunk.has_dictionary_page
    return texts and chunk.total_uncompressed_size > _SMALL_CHUNK_BYTES


def _number_leaves(schema: pa.Schema) -> dict[str, list[int]]:
    """Parquet's numbers of the columns that each top-level column consists of."""
    found, first = {}, 0
    for field in schema:
        count = _count_leaves(field.type)
        found[field.name] = list(range(first, first + count))
        first += count
    return found


def _count_leaves(dtype: pa.DataType) -> int:
    if pt.is_struct(dtype):
        return sum(_count_leaves(child.type) for child in dtype)
    if pt.is_map(dtype):
        return _count_leaves(dtype.key_type) + _count_leaves(dtype.item_type)
    if pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype):
        return _count_leaves(dtype.value_type)
    return 1
