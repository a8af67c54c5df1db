"""A table with a column of every Arrow type that a Delta table can have, ordinary rows first, then rows of NULLs, of
extremes, and of values that training never saw."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

INF, NAN = float("inf"), float("nan")
ORDINARY = 120
LONG_TEXT = "ßtrange " * 5_000
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("i8", pa.int8()),
        ("i16", pa.int16()),
        ("i32", pa.int32()),
        ("i64", pa.int64()),
        ("f32", pa.float32()),
        ("f64", pa.float64()),
        ("money", pa.decimal128(10, 2)),
        ("wide", pa.decimal128(38, 18)),
        ("text", pa.string()),
        ("raw", pa.binary()),
        ("flag", pa.bool_()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("local", pa.timestamp("us")),
        ("vector", pa.list_(pa.float64())),
        ("counts", pa.list_(pa.int32())),
        ("tags", pa.list_(pa.string())),
        ("place", pa.struct([("x", pa.float64()), ("label", pa.string()), ("more", pa.list_(pa.int64()))])),
        ("pairs", pa.map_(pa.string(), pa.int64())),
        ("nothing", pa.float64()),
        ("constant", pa.int32()),
    ]
)


def naive(*parts: int) -> datetime:
    """A moment without a zone."""
    return datetime(*parts)  # noqa: DTZ001


# Values by column of the odd rows; a column without an entry has its ordinary value there.
ODD_ROWS: tuple[dict[str, Any], ...] = (
    dict.fromkeys(SCHEMA.names[1:]),
    {"i8": -128, "i16": -(2**15), "i32": -(2**31), "i64": -(2**63), "f32": -INF, "f64": -INF},
    {"i8": 127, "i16": 2**15 - 1, "i32": 2**31 - 1, "i64": 2**63 - 1, "f32": INF, "f64": INF},
    {"f32": NAN, "f64": NAN, "vector": [NAN, 1.0, INF], "place": {"x": NAN, "label": None, "more": None}},
    {"f32": -0.0, "f64": -0.0, "vector": [-0.0, -0.0, -0.0], "money": Decimal("0.00")},
    {"f32": 3e38, "f64": 1e308, "vector": [1e308, -1e308, 5e-324]},
    {"f32": 1e-45, "f64": 5e-324, "nothing": 1.0, "constant": -9},
    {"money": Decimal("-99999999.99"), "wide": Decimal("-99999999999999999999.999999999999999999")},
    {"money": Decimal("99999999.99"), "wide": Decimal("99999999999999999999.999999999999999999")},
    {"day": date(1, 1, 1), "at": datetime(1, 1, 1, tzinfo=UTC), "local": naive(1, 1, 1)},
    {
        "day": date(9999, 12, 31),
        "at": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        "local": naive(9999, 12, 31, 23, 59, 59, 999_999),
    },
    {"day": date(1582, 10, 4), "at": datetime(1582, 10, 10, 1, tzinfo=UTC), "local": naive(1582, 10, 15)},
    {"day": date(1900, 2, 28), "at": datetime(1677, 9, 21, tzinfo=UTC), "local": naive(2262, 4, 12)},
    {"text": "", "raw": b"", "tags": [], "pairs": [], "vector": [], "counts": []},
    {"text": "never seen", "tags": ["", None], "pairs": [("", None)], "counts": [None, None]},
    {"text": LONG_TEXT, "raw": b"\0\xff" * 9_000, "vector": [1.0, None, 2.0]},
    {"text": "a\0b\n\t\"'\\ \U0001f6eb", "vector": [1.0, 2.0], "counts": [1] * 50},
    {"place": {"x": None, "label": "", "more": [None, 2**63 - 1]}, "tags": [None]},
)


def make_rows() -> pa.Table:
    """All rows, by id; the first ORDINARY ones are for training."""
    rng = np.random.default_rng(3)
    ordinary = [make_ordinary(number, rng) for number in range(ORDINARY)]
    odd = [make_ordinary(number, rng) | row for number, row in enumerate(ODD_ROWS, ORDINARY)]
    return pa.Table.from_pylist([*ordinary, *odd], schema=SCHEMA)


def make_ordinary(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """Columns that go together: a month decides the scale; every eleventh value of some columns is NULL."""
    month = int(rng.integers(1, 13))
    x = month + rng.normal() / 10
    maybe = (lambda value: None) if number % 11 == 0 else (lambda value: value)
    return {
        "id": number,
        "i8": month,
        "i16": maybe(month * 100),
        "i32": month * 10_000 + number,
        "i64": month * 10**12,
        "f32": x,
        "f64": maybe(2 * x),
        "money": Decimal(month).scaleb(-2),
        "wide": maybe(Decimal(month) / 8),
        "text": ["spring", "summer", "autumn"][month % 3],
        "raw": bytes([month]),
        "flag": maybe(month > 6),
        "day": date(2024, month, 1 + number % 28),
        "at": maybe(datetime(2024, month, 1 + number % 28, number % 24, tzinfo=UTC)),
        "local": naive(2024, month, 1 + number % 28, 12, number % 60, 1, 1),
        "vector": maybe([x, -x, 1.0]),
        "counts": [month, month],
        "tags": [str(month)],
        "place": {"x": x, "label": "here", "more": [month]},
        "pairs": [("month", month)],
        "nothing": None,
        "constant": 5,
    }
