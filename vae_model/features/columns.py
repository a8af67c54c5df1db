"""Column kinds: which columns of a table are features, and what each one is (number, category, time, ...)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from vae_model.errors import DataError
from vae_model.features.encoder import Encoder
from vae_model.features.families import type_family
from vae_model.features.kinds import kinds_of
from vae_model.features.nested import expand_schema, names_path

if TYPE_CHECKING:
    from vae_model.options import ColumnOptions

MAX_VECTOR_LENGTH = 4096


@dataclass(frozen=True)
class Column:
    """One feature: its name in the source table, its kind, and the family of Arrow types that it was trained on."""

    name: str
    kind: str
    family: str


@dataclass(frozen=True)
class ColumnPlan:
    """The features in schema order, and a sentence for every column that is not one."""

    features: tuple[Column, ...]
    notes: tuple[str, ...]

    def without(self, notes: Mapping[str, str]) -> ColumnPlan:
        """Without some features, each with the sentence why; all of them stay where none would be left."""
        kept = tuple(column for column in self.features if column.name not in notes)
        return ColumnPlan(kept, (*self.notes, *notes.values())) if kept else self


def plan_columns(schema: pa.Schema, sample: pa.Table, options: ColumnOptions) -> ColumnPlan:
    """Decide which columns are features and of which kind.

    Args:
        schema: of the extract, nested columns expanded.
        sample: some of its rows; only used to tell texts, empty columns and vector lengths.
        options: the user's overrides.

    Raises:
        DataError: an option names a column that does not exist, a kind does not fit its type, or nothing is left.
    """
    _check_names(schema, options)
    features: list[Column] = []
    notes: list[str] = []
    for field in schema:
        decided = _plan_column(field, sample.column(field.name), options, schema.names)
        if isinstance(decided, Column):
            features.append(decided)
        elif decided:
            notes.append(decided)
    if not features:
        raise DataError(
            "at least one column that can be a feature",
            "none: " + ("; ".join(notes) or "the table has no columns"),
            "name columns in columns.include or give them a kind in columns.kinds",
        )
    return ColumnPlan(tuple(features), tuple(notes))


def _plan_column(
    field: pa.Field, values: pa.ChunkedArray, options: ColumnOptions, names: Sequence[str]
) -> Column | str:
    name, family = field.name, type_family(field.type)
    asked = options.kinds.get(name)

    def is_in(chosen: Sequence[str]) -> bool:
        return any(names_path(one, name, names) for one in chosen)

    if asked == "ignored" or is_in(options.exclude):
        return f"{name}: left out by config"
    if options.include is not None and not is_in(options.include) and asked is None:
        return f"{name}: not in columns.include"
    if is_in(options.ignore) and asked is None:
        return f"{name}: key or partition column, carried but not modelled"
    allowed = kinds_of(family)
    if asked is not None:
        names = [kind.kind for kind in allowed]
        if asked not in names:
            raise DataError(
                f"column '{name}' to be of a type that can be a {asked}",
                f"type {field.type}, which can be: {', '.join(names) or 'nothing'}",
                f"change columns.kinds.{name}",
            )
        return Column(name, asked, family)
    if not allowed:
        return f"{name}: type {field.type} cannot be modelled"
    reason = _reason_to_ignore(values, family)
    return f"{name}: {reason}" if reason else Column(name, _infer_kind(values, allowed, options.max_categories), family)


def _infer_kind(values: pa.ChunkedArray, allowed: Sequence[type[Encoder]], max_categories: int) -> str:
    """The usual kind of the type, unless the values say that they can only be of another one."""
    return next((kind.kind for kind in allowed[1:] if kind.recognises(values, max_categories)), allowed[0].kind)


def _reason_to_ignore(values: pa.ChunkedArray, family: str) -> str | None:
    known = len(values) - values.null_count
    if known == 0:
        return "no value in the sample, nothing to learn from"
    if family == "list of numbers":
        longest = pc.max(pc.list_value_length(values)).as_py()
        if not longest or longest > MAX_VECTOR_LENGTH:
            return f"vectors of up to {longest:,} numbers (1 to {MAX_VECTOR_LENGTH:,} can be modelled)"
    return None


def _names_any(name: str, names: Sequence[str]) -> bool:
    return any(names_path(name, path, names) for path in names)


def _check_names(schema: pa.Schema, options: ColumnOptions) -> None:
    named = {"include": options.include or (), "exclude": options.exclude, "kinds": tuple(options.kinds)}
    for key, names in named.items():
        for name in names:
            is_known = name in schema.names if key == "kinds" else _names_any(name, schema.names)
            if not is_known:
                near = difflib.get_close_matches(name, schema.names, n=1)
                hint = f"the nearest column is '{near[0]}'" if near else f"columns are: {', '.join(schema.names)}"
                raise DataError(f"column '{name}' (columns.{key})", f"no such column; {hint}", "correct the config")


def check_features(schema: pa.Schema, features: tuple[Column, ...]) -> None:
    """Refuse a table whose feature columns are missing or of another family; widening (int to long) passes.

    Raises:
        DataError: naming every column that differs, with the type trained on and the type found.
    """
    problems = []
    schema = expand_schema(schema)
    for column in features:
        if schema.names.count(column.name) != 1:
            near = difflib.get_close_matches(column.name, schema.names, n=1)
            hint = f", nearest is '{near[0]}'" if near else ""
            problems.append(f"'{column.name}' ({column.family}) is missing{hint}")
        elif not _is_compatible(column, type_family(schema.field(column.name).type)):
            problems.append(f"'{column.name}' was {column.family}, is {schema.field(column.name).type}")
    if problems:
        raise DataError(
            f"the {len(features)} feature columns that the model was trained on",
            "; ".join(problems),
            "restore the columns in the source, or retrain the model on the new schema",
        )


def _is_compatible(column: Column, family: str) -> bool:
    if family == column.family:
        return True
    return column.kind in ("number", "clock") and {column.family, family} <= {"integer", "floating"}
