"""Families of Arrow types: those that are one to the model, whatever their width."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.types as pt

_FAMILIES: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("boolean", pt.is_boolean),
    ("integer", pt.is_integer),
    ("floating", lambda t: pt.is_floating(t) or pt.is_decimal(t)),
    ("string", lambda t: pt.is_string(t) or pt.is_large_string(t) or pt.is_string_view(t)),
    ("date", pt.is_date),
    ("timestamp", pt.is_timestamp),
    ("time of day", pt.is_time),
    ("duration", pt.is_duration),
)


def type_family(dtype: pa.DataType) -> str:
    """Family of an Arrow type ('integer', 'string', ...); the type's own name where it can be no feature."""
    if pt.is_dictionary(dtype):
        return type_family(dtype.value_type)
    if is_list(dtype):
        return "list of numbers" if type_family(dtype.value_type) in ("integer", "floating") else str(dtype)
    return next((name for name, matches in _FAMILIES if matches(dtype)), str(dtype))


def is_list(dtype: pa.DataType) -> bool:
    """Whether values are lists, whatever their offsets."""
    return bool(pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype))
