"""Values as short texts."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

_SHOWN_VALUES = 3

MAX_TEXT = 200


def to_words(value: object) -> str:
    """A value as a short text that is the same on every engine."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number_in_words(value)
    if isinstance(value, datetime):
        value = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        shown = ", ".join(to_words(v) for v in value[:8])
        return f"[{shown}{', ...' if len(value) > 8 else ''}]"
    text = format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _number_in_words(value: float) -> str:
    """Up to seven digits, without an exponent where a person would write none."""
    size = abs(value)
    if not math.isfinite(value) or size >= 1e15 or 0.0 < size < 1e-5:
        return f"{value:.4g}"
    decimals = max(0, 6 - math.floor(math.log10(size))) if size else 0
    text = f"{value:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-0", "0", text == "-0")


def describe_values(values: pa.ChunkedArray) -> str:
    """How many different values there are, and the most frequent ones."""
    counted = pc.value_counts(values.drop_null().combine_chunks()).to_pylist()
    ordered = sorted(counted, key=lambda entry: (-entry["counts"], to_words(entry["values"])))
    shown = ", ".join(to_words(entry["values"]) for entry in ordered[:_SHOWN_VALUES])
    more = ", ..." if len(ordered) > _SHOWN_VALUES else ""
    return f"{len(ordered):,} value{'s' if len(ordered) > 1 else ''}: {shown}{more}"


def describe_range(values: pa.ChunkedArray) -> str:
    """The smallest and the largest value."""
    ends = pc.min_max(values)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low == high:
        return f"{to_words(low)} in all rows so far; anything else will be unusual"
    return f"{to_words(low)} to {to_words(high)}{describe_nulls(values)}"


def describe_nulls(values: pa.ChunkedArray) -> str:
    """The share of NULL, as the end of a sentence; nothing where there is none."""
    share = values.null_count / len(values)
    return f"; {share:.1%} NULL" if share >= 0.0005 else "; hardly ever NULL" if share else ""
