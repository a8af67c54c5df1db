"""Nested columns as plain ones: a struct's fields by path (`address.city`), a list by its length and, of texts, by its
members (`tags.length`, `tags.members`), a map by its length, keys and values. Vectors of numbers stay as they are.

A plain column that already has such a name goes before the nested one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_model.features.arrays import to_arrow, to_numpy
from vae_model.features.families import is_list, type_family

SEPARATOR: Final = ", "
Read: TypeAlias = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True)
class Leaf:
    """A plain column within a column of the table: its path, its type, and how it is read from that column."""

    path: str
    column: str
    dtype: pa.DataType
    read: Read


def expand_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with the plain columns of each nested one in its place; one of plain columns as it is."""
    if not any(map(_is_expanded, schema.types)):
        return schema
    return pa.schema([pa.field(leaf.path, leaf.dtype) for leaf in _leaves(schema)])


def expand_table(table: pa.Table, wanted: Iterable[str] | None = None) -> pa.Table:
    """The rows with the plain columns of each nested one in its place; of `wanted` paths alone, where given, as far as
    they are there."""
    chosen = _choose(table.schema, wanted)
    columns = [_map_chunks(table.column(leaf.column), leaf) for leaf in chosen]
    return pa.table(columns, schema=pa.schema([pa.field(leaf.path, leaf.dtype) for leaf in chosen]))


def expand_batch(batch: pa.RecordBatch, wanted: Iterable[str] | None = None) -> pa.RecordBatch:
    """See `expand_table`; a batch of plain columns as it is."""
    if not any(map(_is_expanded, batch.schema.types)):
        return batch
    chosen = _choose(batch.schema, wanted)
    columns = [leaf.read(batch.column(leaf.column)) for leaf in chosen]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([pa.field(leaf.path, leaf.dtype) for leaf in chosen]))


def source_columns(paths: Iterable[str], schema: pa.Schema) -> list[str]:
    """The columns of a table that hold the paths, each once, as far as they are there."""
    owners = {leaf.path: leaf.column for leaf in _leaves(schema)}
    return list(dict.fromkeys(owners[path] for path in paths if path in owners))


def names_path(name: str, path: str, names: Sequence[str]) -> bool:
    """Whether a name in a config means a path: it is it, or the nested column that it lies in.

    Args:
        name: as given.
        path: of one of the plain columns.
        names: of all of them.
    """
    return name == path or (path.startswith(f"{name}.") and name not in names)


def _choose(schema: pa.Schema, wanted: Iterable[str] | None) -> list[Leaf]:
    leaves = list(_leaves(schema))
    if wanted is None:
        return leaves
    found = {leaf.path: leaf for leaf in leaves}
    return [found[path] for path in wanted if path in found]


def _leaves(schema: pa.Schema) -> Iterator[Leaf]:
    names = set(schema.names)
    for field in schema:
        for leaf in _expand(field.name, field.name, field.type, _itself):
            if leaf.path == field.name or leaf.path not in names:
                yield leaf


def _expand(path: str, column: str, dtype: pa.DataType, read: Read) -> Iterator[Leaf]:
    if not _is_expanded(dtype):
        yield Leaf(path, column, dtype, read)
    elif pt.is_struct(dtype):
        for i, child in enumerate(dtype):
            yield from _expand(f"{path}.{child.name}", column, child.type, partial(_read_field, read, i))
    else:
        yield Leaf(f"{path}.length", column, pa.int32(), partial(_read_length, read))
        parts = (
            {"keys": dtype.key_type, "values": dtype.item_type} if pt.is_map(dtype) else {"members": dtype.value_type}
        )
        for number, (name, member) in enumerate(parts.items()):
            if type_family(member) == "string":
                yield Leaf(f"{path}.{name}", column, pa.string(), partial(_read_members, read, number))


def _is_expanded(dtype: pa.DataType) -> bool:
    nested = pt.is_struct(dtype) or pt.is_map(dtype) or is_list(dtype)
    return bool(nested) and type_family(dtype) != "list of numbers"


def _itself(values: pa.Array) -> pa.Array:
    return values


def _read_field(read: Read, index: int, values: pa.Array) -> pa.Array:
    return pc.struct_field(read(values), index)


def _read_length(read: Read, values: pa.Array) -> pa.Array:
    return pc.list_value_length(_to_list(read(values))).cast(pa.int32())


def _read_members(read: Read, number: int, values: pa.Array) -> pa.Array:
    """[n] each row's texts, sorted and joined; NULL members count as none."""
    lists = _to_list(read(values))
    members, owners = pc.list_flatten(lists), to_numpy(pc.list_parent_indices(lists))
    if pt.is_struct(members.type):
        members = pc.struct_field(members, number)
    known = to_numpy(members.is_valid())
    coded = members.cast(pa.string()).filter(to_arrow(known)).dictionary_encode()
    rank = np.empty(len(coded.dictionary), np.int64)
    rank[to_numpy(pc.array_sort_indices(coded.dictionary))] = np.arange(len(rank))
    owners = owners[known].astype(np.int64)
    order = np.lexsort((rank[to_numpy(coded.indices)], owners))
    ends = np.cumsum(np.bincount(owners, minlength=len(lists)))
    offsets = to_arrow(np.concatenate([[0], ends]).astype(np.int32))
    texts = coded.dictionary.take(coded.indices.take(to_arrow(order)))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), SEPARATOR)
    return pc.if_else(lists.is_valid(), joined, pa.scalar(None, pa.string()))


def _to_list(values: pa.Array) -> pa.Array:
    """A map as the list of its pairs; other lists as they are."""
    if not pt.is_map(values.type):
        return values
    return values.cast(pa.list_(pa.struct([("key", values.type.key_type), ("value", values.type.item_type)])))


def _map_chunks(values: pa.ChunkedArray, leaf: Leaf) -> pa.ChunkedArray:
    return pa.chunked_array([leaf.read(chunk) for chunk in values.chunks], leaf.dtype)
