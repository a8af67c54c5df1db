"""New files of a Delta table that are old files and more columns: the bytes of the columns that are just carried are
copied, not decoded. What cannot be carried that way faithfully is refused, and then read and written anew."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pyarrow.types as pt

from jobs.delta.datafile import DataFile
from jobs.delta.files import FileLayout, NewFile, delete_files, place_file, serialise_partition, text_leaves
from jobs.delta.statistics import choose_columns, summarise
from jobs.delta.version import Snapshot
from jobs.parquet.footer import Footer, NotUnderstood, read_footer
from jobs.parquet.splice import Splicer
from vae_model.errors import DataError

# For each row group its number, the new columns, and the old columns that are known to be free of NaN.
Group: TypeAlias = tuple[int, pa.Table, set[str]]


def check_carried(source: Snapshot, file: DataFile, layout: FileLayout, added: Collection[str]) -> Footer:
    """The footer of a file whose bytes can be carried into a table of that layout, which adds the columns `added`.

    Raises:
        NotUnderstood: they cannot, and why.
        OSError: the file cannot be read.
    """
    if file.live_mask is not None or source.is_mapped:
        raise NotUnderstood("rows that a deletion vector hides, or columns under other names")
    footer = read_footer(source.filesystem, file.path, file.size_bytes)
    metadata = footer.metadata
    schema = metadata.schema.to_arrow_schema()
    wanted = layout.file_schema
    repeated = [name for name, times in Counter(schema.names).items() if times > 1]
    foreign = [name for name in schema.names if name not in wanted.names or name in added]
    if repeated or foreign:
        raise NotUnderstood(f"columns that the table has not, or has twice: {', '.join(repeated + foreign)}")
    ancient = {metadata.schema.column(i).path for i in range(metadata.num_columns) if _is_int96(metadata, i)}
    other = [f.name for f in schema if f.name not in ancient and not _same_type(f.type, wanted.field(f.name).type)]
    if other:
        raise NotUnderstood(f"columns of another type: {', '.join(other)}")
    return footer


def splice_file(
    source: Snapshot,
    file: DataFile,
    footer: Footer,
    row_groups: Sequence[int] | None,
    filesystem: pafs.FileSystem,
    layout: FileLayout,
    groups: Iterable[Group],
) -> NewFile:
    """Write a file's row groups with further columns into the table's folder; on failure nothing of it remains.

    Args:
        source: the version that the file belongs to.
        file: the old file.
        footer: as `check_carried` gave it.
        row_groups: None: all.
        filesystem: of the new table's folder.
        layout: of the new table.
        groups: what is new, row group by row group.

    Raises:
        DataError: a row group has other rows than its footer says.
        NotUnderstood: the file's parts cannot be told apart.
    """
    key = tuple(serialise_partition(file.partition[name]) for name in layout.partition_columns)
    path = place_file(filesystem, layout.partition_columns, key)
    carried = footer.metadata.schema.to_arrow_schema().names
    added = pa.schema([field for field in layout.file_schema if field.name not in carried])
    floats = {field.name for field in layout.file_schema if pt.is_floating(field.type)}
    finite = set(floats)
    sink = filesystem.open_output_stream(path)
    try:
        splicer = Splicer(source.filesystem, file.path, footer, row_groups, sink, added, text_leaves(added))
        for number, new, known in groups:
            _check_rows(source, file, footer.group_rows[number], new.num_rows)
            finite &= known | find_finite(new)
            splicer.write_group(pa.table([_column(new, field) for field in added], schema=added))
        joined = splicer.close()
        size = int(sink.tell())
        sink.close()
    except BaseException:
        with suppress(OSError, pa.ArrowException):
            sink.close()
        delete_files(filesystem, [path])
        raise
    stats = _summarise(joined.metadata, layout, floats - finite)
    partition = dict(zip(layout.partition_columns, key, strict=True))
    return NewFile(path, size, partition, int(time.time() * 1000), stats, joined.metadata.num_rows)


def _summarise(metadata: pq.FileMetaData, layout: FileLayout, nan: Collection[str]) -> str:
    """Delta's statistics from the footer; floats that may hold a NaN go without bounds."""
    columns = choose_columns(layout.file_schema, layout.indexed)
    positions = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    nulls = {}
    for name in columns:
        if name not in positions:
            nulls[name] = metadata.num_rows
            continue
        chunks = [metadata.row_group(i).column(positions[name]).statistics for i in range(metadata.num_row_groups)]
        if all(chunk is not None and chunk.has_null_count for chunk in chunks):
            nulls[name] = sum(chunk.null_count for chunk in chunks)
    return summarise(metadata, layout.file_schema, columns, nulls, nan)


def find_finite(rows: pa.Table | pa.RecordBatch) -> set[str]:
    """The columns of floats without a NaN."""
    floats = [field.name for field in rows.schema if pt.is_floating(field.type)]
    return {name for name in floats if not pc.any(pc.is_nan(rows[name])).as_py()}


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    return table[field.name]


def _check_rows(source: Snapshot, file: DataFile, expected: int, found: int) -> None:
    if expected != found:
        raise DataError(
            f"{expected:,} rows in a row group of {file.path} of {source.ref.name}, as its footer says",
            f"{found:,}",
            "restore the file",
        )


def _is_int96(metadata: pq.FileMetaData, column: int) -> bool:
    return bool(metadata.schema.column(column).physical_type == "INT96")


def _same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a file's type is the table's, whatever the file calls the items of a list."""
    if pt.is_dictionary(found):
        return _same_type(found.value_type, wanted)
    if pt.is_list(found) and pt.is_list(wanted):
        return _same_type(found.value_type, wanted.value_type)
    if pt.is_map(found) and pt.is_map(wanted):
        return _same_type(found.key_type, wanted.key_type) and _same_type(found.item_type, wanted.item_type)
    if pt.is_struct(found) and pt.is_struct(wanted):
        pairs = list(zip(found, wanted, strict=False))
        same = [a.name == b.name and _same_type(a.type, b.type) for a, b in pairs]
        return found.num_fields == wanted.num_fields and all(same)
    return bool(found == wanted)
