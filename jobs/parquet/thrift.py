"""Thrift's compact protocol, as far as Parquet's footers need it: values are read without a schema and written back as
they were, so that what nobody here knows survives.

Source: the Thrift compact protocol specification (Apache Thrift, doc/specs/thrift-compact-protocol.md). A struct is a
dict from field number to (type, value); booleans carry their value in the type, as on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

TRUE: Final = 1
FALSE: Final = 2
BYTE: Final = 3
I16: Final = 4
I32: Final = 5
I64: Final = 6
DOUBLE: Final = 7
BINARY: Final = 8
LIST: Final = 9
SET: Final = 10
MAP: Final = 11
STRUCT: Final = 12

_SHORT_LIST: Final = 15
_MAX_DEPTH: Final = 64

Value: TypeAlias = "bool | int | bytes | ThriftList | Struct"
Struct: TypeAlias = "dict[int, tuple[int, Value]]"


class ThriftError(ValueError):
    """Bytes that are no Thrift struct, or one with parts that Parquet does not use."""


@dataclass
class ThriftList:
    """A list or set with the type of its elements; booleans in it are 1 and 2, as on the wire."""

    kind: int
    element: int
    items: list[Value]


def read_struct(data: bytes, start: int = 0) -> tuple[Struct, int]:
    """The struct that begins at `start`, and the position after it.

    Raises:
        ThriftError: there is none.
    """
    try:
        return _read_struct(data, start, 0)
    except IndexError as error:
        raise ThriftError("the bytes end within a struct") from error


def write_struct(struct: Struct) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    _write_struct(struct, out)
    return bytes(out)


def _read_struct(data: bytes, at: int, depth: int) -> tuple[Struct, int]:
    if depth > _MAX_DEPTH:
        raise ThriftError("structs nested too deeply")
    struct: Struct = {}
    number = 0
    while True:
        head = data[at]
        at += 1
        if head == 0:
            return struct, at
        kind, delta = head & 0x0F, head >> 4
        if delta:
            number += delta
        else:
            number, at = _read_zigzag(data, at)
        if number in struct:
            raise ThriftError(f"field {number} twice in a struct")
        value, at = _read_value(data, at, kind, depth)
        struct[number] = (kind, value)


def _read_value(data: bytes, at: int, kind: int, depth: int) -> tuple[Value, int]:
    if kind in (TRUE, FALSE):
        return kind == TRUE, at
    if kind in (I16, I32, I64):
        return _read_zigzag(data, at)
    if kind == BINARY:
        size, at = _read_varint(data, at)
        return _take(data, at, size)
    if kind == STRUCT:
        return _read_struct(data, at, depth + 1)
    if kind in (LIST, SET):
        return _read_list(data, at, kind, depth)
    if kind == BYTE:
        return _take(data, at, 1)
    if kind == DOUBLE:
        return _take(data, at, 8)
    raise ThriftError(f"a value of type {kind}, which Parquet does not use")


def _read_list(data: bytes, at: int, kind: int, depth: int) -> tuple[ThriftList, int]:
    head = data[at]
    at += 1
    element, size = head & 0x0F, head >> 4
    if size == _SHORT_LIST:
        size, at = _read_varint(data, at)
    if size > len(data) - at:
        raise ThriftError("a list longer than the bytes that are left")
    items: list[Value] = []
    for _ in range(size):
        if element in (TRUE, FALSE):
            item: Value = data[at]
            at += 1
        else:
            item, at = _read_value(data, at, element, depth)
        items.append(item)
    return ThriftList(kind, element, items), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise ThriftError("the bytes end within a value")
    return data[at : at + size], at + size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    number, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ThriftError("a number of more than 64 bits")


def _read_zigzag(data: bytes, at: int) -> tuple[int, int]:
    number, at = _read_varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _write_struct(struct: Struct, out: bytearray) -> None:
    last = 0
    for number, (kind, value) in sorted(struct.items()):
        wire = kind if kind not in (TRUE, FALSE) else TRUE if value else FALSE
        if 0 < number - last <= 15:
            out.append((number - last) << 4 | wire)
        else:
            out.append(wire)
            _write_varint(_zigzag(number), out)
        last = number
        _write_value(wire, value, out)
    out.append(0)


def _write_value(kind: int, value: Value, out: bytearray) -> None:
    if kind in (TRUE, FALSE):
        return
    if isinstance(value, int):
        _write_varint(_zigzag(value), out)
    elif isinstance(value, bytes):
        if kind == BINARY:
            _write_varint(len(value), out)
        out += value
    elif isinstance(value, ThriftList):
        _write_list(value, out)
    else:
        _write_struct(value, out)


def _write_list(value: ThriftList, out: bytearray) -> None:
    size = len(value.items)
    if size < _SHORT_LIST:
        out.append(size << 4 | value.element)
    else:
        out.append(_SHORT_LIST << 4 | value.element)
        _write_varint(size, out)
    for item in value.items:
        if value.element in (TRUE, FALSE):
            out.append(int(item))  # type: ignore[arg-type]
        else:
            _write_value(value.element, item, out)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _write_varint(number: int, out: bytearray) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
