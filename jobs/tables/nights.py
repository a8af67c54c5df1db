"""Nights: the values of the column that dates a table's rows. One place says which column that is, how its values are
named, in which order they come (numbers as numbers, `2024-1-8` before `2024-1-14`), and what condition an interval of
them is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import TypeAlias

import pyarrow as pa
import pyarrow.types as pt

from jobs.common.config import Config
from jobs.engines.base import Engine, TableState
from jobs.predicates.conditions import compare_with, is_any_of, is_null
from jobs.predicates.predicate import Predicate, combine, resolve_column
from jobs.predicates.values import read_value, write_value
from jobs.tables.distinct import list_values
from jobs.tables.summaries import name_nights

# The day of the run, where no column dates the rows.
RUN: str = "scored_at"
# Numbers before words, and each part by its size.
Order: TypeAlias = tuple[tuple[int, Decimal, str], ...]
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_DIGITS = re.compile(r"(\d+)", re.ASCII)


@dataclass(frozen=True, order=True)
class NightName:
    """One night: its name, and its place in the order of all."""

    order: Order
    text: str

    @classmethod
    def of(cls, text: str) -> NightName:
        """The night that `name_nights` calls so."""
        return cls(_find_order(text), text)

    def __str__(self) -> str:
        return self.text


@lru_cache(100_000)
def _find_order(text: str) -> Order:
    if _NUMBER.fullmatch(text):
        return ((0, Decimal(text), ""),)
    parts = [part for part in _DIGITS.split(text) if part]
    return tuple((0, Decimal(part), "") if _NUMBER.fullmatch(part) else (1, Decimal(0), part) for part in parts)


def find_night_column(config: Config, target: TableState) -> str:
    """The column that dates rows: `source.partition`; else the first partition column of dates or times; else the time
    of the run.

    Raises:
        DataError: `source.partition` names no column.
    """
    if config.source.partition is not None:
        return resolve_column(config.source.partition, target.schema.names, f"{target.ref.name} (source.partition)")
    dated = [name for name in target.partition_columns if _is_dated(target.schema.field(name).type)]
    return dated[0] if dated else RUN


def names_of(values: pa.ChunkedArray) -> list[NightName | None]:
    """The night of each row; None where it has none."""
    encoded = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    coded = name_nights(encoded).dictionary_encode()
    names = [NightName.of(text) for text in coded.dictionary.to_pylist()]
    known = zip(coded.indices.to_pylist(), encoded.is_valid().to_pylist(), strict=True)
    return [names[code] if is_known else None for code, is_known in known]


def list_nights(
    engine: Engine, table: TableState, column: str, where: Predicate | None = None
) -> dict[NightName, list[object]]:
    """The nights of a table in their order, each with the values that it has in the column."""
    schema = pa.schema([table.schema.field(column)])
    found = engine.summarise(table, [column], where, schema, partial(list_values, schema))
    nights: dict[NightName, list[object]] = {}
    distinct = found.group_by(column).aggregate([]).column(column)
    for name, value in zip(names_of(distinct), distinct.to_pylist(), strict=True):
        if name is not None:
            nights.setdefault(name, []).append(value)
    return dict(sorted(nights.items()))


def read_night(text: str, dtype: pa.DataType, option: str) -> NightName:
    """A night as people write it.

    Raises:
        ConfigError: no value of the column's type.
    """
    if pt.is_timestamp(dtype):
        return NightName.of(str(read_value(text, pa.date32(), option).as_py()))
    return NightName.of(name_nights(pa.array([read_value(text, dtype, option)]))[0].as_py())


def between(
    engine: Engine, table: TableState, column: str, first: NightName | None, last: NightName | None
) -> Predicate | None:
    """The rows of an interval of nights; None ends are open. Text is compared as nights are, not letter by letter."""
    dtype = table.schema.field(column).type
    if first is None and last is None:
        return None
    if pt.is_string(dtype) or pt.is_boolean(dtype):
        inside = [
            value
            for name, values in list_nights(engine, table, column).items()
            if (first is None or name.order >= first.order) and (last is None or name.order <= last.order)
            for value in values
        ]
        return is_any_of([column], [(value,) for value in inside]) if inside else _nothing(column)
    if not pt.is_timestamp(dtype):
        low = compare_with(column, ">=", first.text) if first else None
        return combine(low, compare_with(column, "<=", last.text) if last else None)
    low = compare_with(column, ">=", first.text) if first else None
    # The last moments lie within the last day.
    after = _move(date.fromisoformat(last.text), timedelta(days=1)) if last else None
    return combine(low, compare_with(column, "<", after) if after else None) or compare_with(column, "<=", date.max)


def look_back(engine: Engine, table: TableState, column: str, first: NightName, count: int) -> NightName:
    """So many nights before one: days, where the nights are days; else nights that the table has."""
    if _is_dated(table.schema.field(column).type):
        earlier = _move(date.fromisoformat(first.text), timedelta(days=-count)) or date.min
        return NightName.of(write_value(earlier))
    before = [name for name in list_nights(engine, table, column) if name < first]
    return before[-count:][0] if before else first


def _move(day: date, by: timedelta) -> date | None:
    try:
        return day + by
    except OverflowError:
        return None


def _is_dated(dtype: pa.DataType) -> bool:
    return bool(pt.is_date(dtype) or pt.is_timestamp(dtype))


def _nothing(column: str) -> Predicate:
    none = combine(is_null(column), is_null(column).is_not_true())
    assert none is not None  # noqa: S101  a combination of some is one
    return none
