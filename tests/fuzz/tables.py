"""Odd tables: names, types, values and partitions that people's tables have and test tables do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa

from jobs.delta.mapping import find_odd_names

NAMES = (
    "price", "Shop", "order", "select", "a.b", "a`b", "it's", 'say "hi"', "Ünïcode", "数量", "${HOME}", "_x", "1st",
    "x y",
    "a,b", "k=v", "a;b", "{c}", "(d)", "back\\slash", "%20", "a/b", "null", "NULL", "date", "timestamp",
    "index", "#", "-",
    "x" * 120, "é", "top", "column", "rows", "night", "level", "verdict", "model id", "tab\there",
)  # fmt: skip
TEXTS = ("", " ", "NULL", "None", "nan", "it's", 'a"b', "a\\b", "${HOME}", "$", "a b", "a\nb", "Straße", "日本", "%",
         "a=b", "x" * 400, "true", "1", "2024-1-8", "a/b", "..", "<b>", "{{ x }}")  # fmt: skip
INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))
DOUBLES = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, 0.1)
DATES = (date(1, 1, 1), date(1582, 10, 4), date(1900, 1, 1), date(2262, 4, 12), date(9999, 12, 31))


@dataclass(frozen=True)
class Column:
    """One column: how an ordinary and how an odd value of its type is drawn."""

    dtype: pa.DataType
    usual: Callable[[Random], Any]
    odd: Callable[[Random], Any]


def _moment(day: date, zone: bool) -> datetime:
    return datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, UTC if zone else None)


def _day(random: Random) -> date:
    return date(2024, 1, 1) + timedelta(days=random.randrange(20))


def _integer(bits: int) -> Column:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return Column(
        pa.int64() if bits == 64 else {8: pa.int8(), 16: pa.int16(), 32: pa.int32()}[bits],
        lambda random: random.randrange(100),
        lambda random: min(max(random.choice(INTEGERS), low), high),
    )


def _moments(zone: bool) -> Column:
    return Column(
        pa.timestamp("us", "UTC" if zone else None),
        lambda random: _moment(_day(random), zone),
        lambda random: _moment(random.choice(DATES), zone),
    )


COLUMNS: dict[str, Column] = {
    "int8": _integer(8),
    "int16": _integer(16),
    "int32": _integer(32),
    "int64": _integer(64),
    "float": Column(pa.float32(), lambda random: random.gauss(10, 3), lambda random: random.choice(DOUBLES[:5])),
    "double": Column(pa.float64(), lambda random: random.gauss(10, 3), lambda random: random.choice(DOUBLES)),
    "decimal": Column(
        pa.decimal128(10, 2), lambda random: Decimal(random.randrange(10_000)) / 100,
        lambda random: random.choice((Decimal("99999999.99"), Decimal("-99999999.99"), Decimal("0.00"))),
    ),
    "wide decimal": Column(
        pa.decimal128(38, 0), lambda random: Decimal(random.randrange(100)),
        lambda random: random.choice((Decimal(10**37), -Decimal(10**37), Decimal(2**63))),
    ),
    "text": Column(pa.string(), lambda random: random.choice("abcde"), lambda random: random.choice(TEXTS)),
    "many texts": Column(
        pa.string(), lambda random: f"t{random.randrange(10**6)}", lambda random: random.choice(TEXTS)
    ),
    "boolean": Column(pa.bool_(), lambda random: random.random() < 0.5, lambda random: random.random() < 0.5),
    "date": Column(pa.date32(), _day, lambda random: random.choice(DATES)),
    "moment": _moments(zone=True),
    "local moment": _moments(zone=False),
    "bytes": Column(
        pa.binary(), lambda random: random.randbytes(3), lambda random: random.choice((b"", b"\0", b"\xff'"))
    ),
    "list": Column(
        pa.list_(pa.float64()), lambda random: [random.random()] * 3,
        lambda random: random.choice(([], [None], [float("nan")], [1.0] * 50)),
    ),
    "struct": Column(
        pa.struct([("a", pa.int64()), ("b c", pa.string())]), lambda random: {"a": random.randrange(9), "b c": "x"},
        lambda random: {"a": None, "b c": None},
    ),
    "map": Column(
        pa.map_(pa.string(), pa.int64()), lambda random: [("k", random.randrange(9))],
        lambda random: random.choice(([], [("", 0)])),
    ),
}  # fmt: skip
# What a Delta table may be partitioned by, and may be named by.
PLAIN = tuple(name for name in COLUMNS if name not in ("bytes", "list", "struct", "map"))


@dataclass(frozen=True)
class OddTable:
    """A generated source and what a config may say of it."""

    rows: pa.Table
    key: tuple[str, ...]
    partition: str | None
    kinds: dict[str, str]


def make_table(random: Random) -> OddTable:
    """One odd table."""
    count = random.choice((1, 2, 30, 120, 400, 400, 400))
    kinds = [random.choice(list(COLUMNS)) for _ in range(random.randint(1, 7))]
    kinds += [random.choice(("double", "text", "int64"))]
    names = random.sample(NAMES, len(kinds))
    # Few tables have names that only Spark writes, or nothing behind the first refusal would be tried.
    chance = random.random()
    if chance < 0.4:
        names = [f"column_{number}" for number in range(len(kinds))]
    elif chance < 0.9:
        names = random.sample([name for name in NAMES if not find_odd_names([name])], len(kinds))
    oddness = random.choice((0.0, 0.02, 0.3))
    arrays = [_draw(random, COLUMNS[kind], count, oddness) for kind in kinds]
    key_name = random.choice(("id", "the id", "Id", "key=")) if find_odd_names(names) else "id"
    if key_name in names:
        key_name = "id of it"
    keys = pa.array(range(count), pa.int64())
    if random.random() < 0.2:
        keys = pa.array([f"k'{number}" for number in range(count)])
    rows = pa.table([keys, *arrays], names=[key_name, *names])
    able = [name for name, kind in zip(names, kinds, strict=True) if kind in PLAIN]
    partition = random.choice(able) if able and random.random() < 0.4 else None
    key = (key_name, *([random.choice(able)] if able and random.random() < 0.3 else []))
    return OddTable(rows, tuple(dict.fromkeys(key)), partition, dict(zip(names, kinds, strict=True)))


def more_rows(random: Random, table: OddTable) -> pa.Table:
    """Rows of a later night, with other keys."""
    rows = table.rows.slice(0, random.randint(1, table.rows.num_rows))
    name = table.rows.column_names[0]
    fresh = [f"n'{n}" for n in range(rows.num_rows)] if pa.types.is_string(rows.schema.field(0).type) else [
        10**6 + n for n in range(rows.num_rows)
    ]  # fmt: skip
    return rows.set_column(0, name, pa.array(fresh, rows.schema.field(0).type))


def _draw(random: Random, column: Column, count: int, oddness: float) -> pa.Array:
    values = []
    for _ in range(count):
        chance = random.random()
        value = column.odd(random) if chance < oddness else column.usual(random)
        values.append(None if random.random() < oddness / 2 else value)
    return pa.array(values, column.dtype)
