"""What a table's columns are in one version, from its schema in the log: under which names rows are read, of which
types, and where in the files the values lie. A commit that changes nothing but this changes what every row reads as."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

_PHYSICAL_NAME = "delta.columnMapping.physicalName"

Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a column's values lie in the files, and their type."""

    physical: Path
    dtype: str


def compare_columns(before: str, after: str) -> str:
    """What changed in how rows read that were there before, in words; empty if nothing did.

    New columns, comments, defaults of rows to come and whether NULL is allowed change no row.

    Args:
        before: the schema as JSON, as the log has it.
        after: that of a later version.
    """
    old, new = dict(_walk(json.loads(before), (), ())), dict(_walk(json.loads(after), (), ()))
    names = {place.physical: path for path, place in new.items()}
    return "; ".join(filter(None, (_compare(path, place, new, names) for path, place in old.items())))


def _compare(path: Path, old: Place, new: Mapping[Path, Place], names: Mapping[Path, Path]) -> str:
    name, now = ".".join(path), names.get(old.physical)
    if now is None:
        return f"{name} was dropped" if path not in new else f"{name} was dropped, and added again"
    if now != path:
        return f"{name} was renamed to {'.'.join(now)}"
    found = new[path].dtype
    return "" if found == old.dtype else f"{name}: {old.dtype} before, {found} now"


def _walk(dtype: Any, path: Path, physical: Path) -> Iterator[tuple[Path, Place]]:
    """Every column with the fields, items, keys and values below it."""
    if path:
        yield path, Place(physical, dtype if isinstance(dtype, str) else str(dtype["type"]))
    if isinstance(dtype, str):
        return
    for field in dtype.get("fields", ()):
        name = field["name"]
        stored = (field.get("metadata") or {}).get(_PHYSICAL_NAME, name)
        yield from _walk(field["type"], (*path, name), (*physical, stored))
    for part, key in (("element", "elementType"), ("key", "keyType"), ("value", "valueType")):
        if key in dtype:
            yield from _walk(dtype[key], (*path, part), (*physical, part))
