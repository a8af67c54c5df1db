"""Column mapping by name: the Parquet files of such a table have physical names, kept in the metadata of its fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.types as pt

MAPPING_MODE = "delta.columnMapping.mode"
_PHYSICAL_NAME = b"delta.columnMapping.physicalName"
_COMMENT = b"comment"
# What Delta allows in names only with column mapping.
_ODD_IN_NAMES = frozenset(" ,;{}()\n\t=")


def find_odd_names(names: Sequence[str]) -> list[str]:
    """The names that take column mapping."""
    return [name for name in names if _ODD_IN_NAMES & set(name)]


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Names, types and comments, without the other metadata of fields, which belongs to that table alone."""
    return pa.schema([_plain_field(field) for field in schema])


def to_physical(schema: pa.Schema) -> pa.Schema:
    """The schema under the names that the Parquet files use, nested fields included."""
    return pa.schema([_physical_field(field) for field in schema])


def sort_fields(dtype: pa.DataType) -> pa.DataType:
    """The type with the fields of its structs by name: Delta takes two orders of the same fields for one type."""
    sorted_type = _map_type(dtype, lambda child: pa.field(child.name, sort_fields(child.type), child.nullable))
    if pt.is_struct(sorted_type):
        return pa.struct(sorted(sorted_type, key=lambda child: child.name))
    if pt.is_list(sorted_type):
        return pa.list_(sort_fields(sorted_type.value_type))
    if pt.is_map(sorted_type):
        return pa.map_(sort_fields(sorted_type.key_type), sort_fields(sorted_type.item_type))
    return sorted_type


def _plain_field(field: pa.Field) -> pa.Field:
    comment = (field.metadata or {}).get(_COMMENT)
    return pa.field(field.name, _map_type(field.type, _bare_field), metadata={_COMMENT: comment} if comment else None)


def _bare_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _map_type(field.type, _bare_field), field.nullable)


def _physical_field(field: pa.Field) -> pa.Field:
    name = (field.metadata or {}).get(_PHYSICAL_NAME)
    return pa.field(name.decode() if name else field.name, _map_type(field.type, _physical_field), field.nullable)


def _map_type(dtype: pa.DataType, change: Callable[[pa.Field], pa.Field]) -> pa.DataType:
    """The type with every struct field in it changed."""
    if pt.is_struct(dtype):
        return pa.struct([change(child) for child in dtype])
    if pt.is_map(dtype):
        return pa.map_(_map_type(dtype.key_type, change), _map_type(dtype.item_type, change))
    if pt.is_list(dtype):
        item = dtype.value_field
        return pa.list_(pa.field(item.name, _map_type(item.type, change), item.nullable))
    return dtype
