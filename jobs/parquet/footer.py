"""Parquet's footer: reading it, saying whether all of it is understood, and joining two of them.

Source: Apache Parquet format 2.11, parquet.thrift; the numbers below are its field numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from jobs.parquet.thrift import I32, I64, Struct, ThriftError, ThriftList, read_struct

MAGIC: Final = b"PAR1"
_TAIL_BYTES: Final = 8
_FIRST_READ_BYTES: Final = 2**16

# FileMetaData
_SCHEMA, _NUM_ROWS, _ROW_GROUPS, _KEY_VALUES, _COLUMN_ORDERS = 2, 3, 4, 5, 7
_FILE_FIELDS: Final = frozenset(range(1, 8))
# SchemaElement
_NUM_CHILDREN: Final = 5
# KeyValue
_KEY: Final = 1
# RowGroup
_CHUNKS, _BYTE_SIZE, _GROUP_ROWS, _GROUP_OFFSET, _COMPRESSED_SIZE, _ORDINAL = 1, 2, 3, 5, 6, 7
_GROUP_FIELDS: Final = frozenset(range(1, 8))
# ColumnChunk; 1 is a file path, 8 and 9 are encryption
_CHUNK_OFFSET, _CHUNK_META = 2, 3
_PAGE_INDEX: Final = (4, 5, 6, 7)
_CHUNK_FIELDS: Final = frozenset(range(2, 8))
# ColumnMetaData
_CHUNK_BYTES, _DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE = 7, 9, 10, 11
_BLOOM_FILTER: Final = (14, 15)
_META_FIELDS: Final = frozenset(range(1, 18))
_META_OFFSETS: Final = (_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE, 14)

# They describe the columns of the file as its writer knew them, which is no longer all of them.
_DROPPED_KEYS: Final = frozenset({b"ARROW:schema", b"org.apache.spark.sql.parquet.row.metadata", b"pandas"})


class NotUnderstood(ValueError):  # noqa: N818  it is no error: the file is read and written anew instead
    """A file with something that copying its bytes would not carry faithfully."""


@dataclass(frozen=True)
class Footer:
    """A footer, where it begins (the bytes before it are the pages), and its bytes."""

    fields: Struct
    start: int
    data: bytes

    @property
    def groups(self) -> list[Struct]:
        return _structs(self.fields, _ROW_GROUPS)

    @property
    def group_rows(self) -> list[int]:
        """Rows of each row group."""
        return [_int(group, _GROUP_ROWS) for group in self.groups]

    @cached_property
    def metadata(self) -> pq.FileMetaData:
        """Pyarrow's view of it."""
        return pq.read_metadata(pa.BufferReader(MAGIC + frame_footer(self.data)))


def read_footer(filesystem: pafs.FileSystem, path: str, size_bytes: int) -> Footer:
    """The footer of a file.

    Raises:
        NotUnderstood: the file is encrypted, or not Parquet as we know it.
        OSError: it cannot be read.
    """
    with filesystem.open_input_file(path) as file:
        wanted = min(size_bytes, _FIRST_READ_BYTES)
        tail = file.read_at(wanted, size_bytes - wanted)
        if size_bytes < 2 * _TAIL_BYTES or tail[-4:] != MAGIC or file.read_at(4, 0) != MAGIC:
            raise NotUnderstood("no Parquet file, or an encrypted one")
        length = int.from_bytes(tail[-_TAIL_BYTES:-4], "little")
        start = size_bytes - _TAIL_BYTES - length
        if start < len(MAGIC):
            raise NotUnderstood("a footer longer than the file")
        if length + _TAIL_BYTES > len(tail):
            tail = file.read_at(length + _TAIL_BYTES, start)
    return parse_footer(tail[-_TAIL_BYTES - length : -_TAIL_BYTES], start)


def parse_footer(data: bytes, start: int = 0) -> Footer:
    """A footer from its bytes, checked to hold nothing but what we know.

    Raises:
        NotUnderstood: naming what it holds.
    """
    try:
        fields, end = read_struct(data)
        footer = Footer(fields, start, data)
        _check(fields, _FILE_FIELDS, "the footer")
        if end != len(data):
            raise NotUnderstood("bytes after the footer's struct")
        for group in footer.groups:
            _check(group, _GROUP_FIELDS, "a row group")
            for chunk in _structs(group, _CHUNKS):
                _check(chunk, _CHUNK_FIELDS, "a column chunk")
                _check(_struct(chunk, _CHUNK_META), _META_FIELDS, "a column chunk's metadata")
    except (ThriftError, KeyError, TypeError) as error:
        raise NotUnderstood(f"a footer that cannot be read: {error}") from error
    return footer


def frame_footer(data: bytes) -> bytes:
    """The bytes that end a file: footer, its length, the magic number."""
    return data + len(data).to_bytes(4, "little") + MAGIC


def find_extent(footer: Footer, chosen: Sequence[int]) -> tuple[int, int]:
    """Where the pages of some row groups lie: first byte, and the byte after the last.

    Raises:
        NotUnderstood: pages of other row groups lie among them.
    """
    extents = [list(_extents(group)) for group in footer.groups]
    start = min((low for i in chosen for low, _ in extents[i]), default=len(MAGIC))
    stop = max((high for i in chosen for _, high in extents[i]), default=len(MAGIC))
    others = (extent for i, group in enumerate(extents) if i not in chosen for extent in group)
    if any(low < stop and high > start for low, high in others) or stop > footer.start:
        raise NotUnderstood("row groups that lie among each other")
    return start, stop


def take_groups(footer: Footer, chosen: Sequence[int], shift: int) -> Struct:
    """A footer of some row groups, whose pages moved by `shift` bytes; their page indexes and bloom filters stay
    behind."""
    groups = [_move_group(footer.groups[i], shift) for i in chosen]
    for ordinal, group in enumerate(groups):
        if _ORDINAL in group:
            group[_ORDINAL] = (group[_ORDINAL][0], ordinal)
    rows = sum(_int(group, _GROUP_ROWS) for group in groups)
    kind, old = footer.fields[_ROW_GROUPS]
    taken = ThriftList(cast("ThriftList", old).kind, cast("ThriftList", old).element, list(groups))
    return footer.fields | {_NUM_ROWS: (I64, rows), _ROW_GROUPS: (kind, taken)}


def append_columns(old: Struct, new: Struct) -> Struct:
    """One footer for the columns of both, whose row groups have the same rows.

    Raises:
        NotUnderstood: they do not.
    """
    ours, theirs = _structs(old, _ROW_GROUPS), _structs(new, _ROW_GROUPS)
    if [_int(g, _GROUP_ROWS) for g in ours] != [_int(g, _GROUP_ROWS) for g in theirs]:
        raise NotUnderstood("row groups of other sizes")
    root, *elements = _structs(old, _SCHEMA)
    other_root, *others = _structs(new, _SCHEMA)
    children = _int(root, _NUM_CHILDREN) + _int(other_root, _NUM_CHILDREN)
    joined = dict(old)
    joined[_SCHEMA] = _list_like(old, _SCHEMA, [root | {_NUM_CHILDREN: (I32, children)}, *elements, *others])
    joined[_ROW_GROUPS] = _list_like(old, _ROW_GROUPS, [_join_groups(a, b) for a, b in zip(ours, theirs, strict=True)])
    if _KEY_VALUES in old:
        kept = [pair for pair in _structs(old, _KEY_VALUES) if pair[_KEY][1] not in _DROPPED_KEYS]
        joined[_KEY_VALUES] = _list_like(old, _KEY_VALUES, kept)
    if _COLUMN_ORDERS in old:
        orders = [*_structs(old, _COLUMN_ORDERS), *_structs(new, _COLUMN_ORDERS)]
        joined[_COLUMN_ORDERS] = _list_like(old, _COLUMN_ORDERS, orders)
    return joined


def _join_groups(old: Struct, new: Struct) -> Struct:
    joined = dict(old)
    joined[_CHUNKS] = _list_like(old, _CHUNKS, [*_structs(old, _CHUNKS), *_structs(new, _CHUNKS)])
    for size in (_BYTE_SIZE, _COMPRESSED_SIZE):
        if size in old:
            joined[size] = (I64, _int(old, size) + _int(new, size))
    return joined


def _move_group(group: Struct, shift: int) -> Struct:
    chunks = [_move_chunk(chunk, shift) for chunk in _structs(group, _CHUNKS)]
    moved = group | {_CHUNKS: _list_like(group, _CHUNKS, chunks)}
    return moved | {_GROUP_OFFSET: (I64, _int(group, _GROUP_OFFSET) + shift)} if _GROUP_OFFSET in group else moved


def _move_chunk(chunk: Struct, shift: int) -> Struct:
    meta = {k: v for k, v in _struct(chunk, _CHUNK_META).items() if k not in _BLOOM_FILTER}
    meta |= {k: (I64, _int(meta, k) + shift) for k in _META_OFFSETS if k in meta}
    kept = {k: v for k, v in chunk.items() if k not in _PAGE_INDEX}
    # Writers disagree on what this deprecated field points at; 0 is what the format asks for.
    return kept | {_CHUNK_OFFSET: (I64, 0), _CHUNK_META: (chunk[_CHUNK_META][0], meta)}


def _extents(group: Struct) -> Iterator[tuple[int, int]]:
    for chunk in _structs(group, _CHUNKS):
        meta = _struct(chunk, _CHUNK_META)
        starts = [_int(meta, k) for k in (_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE) if k in meta and _int(meta, k) > 0]
        if starts:
            yield min(starts), min(starts) + _int(meta, _CHUNK_BYTES)


def _check(struct: Struct, known: frozenset[int], name: str) -> None:
    unknown = sorted(struct.keys() - known)
    if unknown:
        raise NotUnderstood(f"field {unknown[0]} of {name}")


def _list_like(struct: Struct, number: int, items: Sequence[Struct]) -> tuple[int, ThriftList]:
    kind, there = struct[number]
    old = cast("ThriftList", there)
    return kind, ThriftList(old.kind, old.element, list(items))


def _structs(struct: Struct, number: int) -> list[Struct]:
    value = struct[number][1]
    if not isinstance(value, ThriftList):
        raise TypeError(f"field {number} is no list")
    return cast("list[Struct]", value.items)


def _struct(struct: Struct, number: int) -> Struct:
    value = struct[number][1]
    if not isinstance(value, dict):
        raise TypeError(f"field {number} is no struct")
    return value


def _int(struct: Struct, number: int) -> int:
    value = struct[number][1]
    if not isinstance(value, int):
        raise TypeError(f"field {number} is no number")
    return value
