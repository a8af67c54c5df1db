"""Values as text and back: the one place where a typed value becomes text for people, flags and conditions, and where
such a text becomes a value again. What `write_value` writes, `read_value` reads as the same value."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import pyarrow as pa
import pyarrow.types as pt

from jobs.common.errors import ConfigError

Value: TypeAlias = bool | int | float | str | date | datetime | Decimal

_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def write_value(value: object) -> str:
    """A value of a column as text.

    Raises:
        ConfigError: a value that no text names: bytes, lists, structs.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, str | int | float):
        return value if isinstance(value, str) else repr(value)
    raise ConfigError("a value that text can name", f"a {type(value).__name__}", "choose another column")


def read_value(text: str, dtype: pa.DataType, where: str) -> pa.Scalar:
    """A text as a value of `dtype`; timestamps without a zone are UTC.

    Args:
        text: such as '2013-06-01' or '42'.
        dtype: of the value.
        where: it stands, for the error message.

    Raises:
        ConfigError: the text is no such value.
    """
    try:
        return pa.scalar(_parse(text.strip() if not pt.is_string(dtype) else text, dtype), dtype)
    except (ValueError, InvalidOperation, OverflowError, pa.ArrowException) as error:
        raise ConfigError(f"{_describe(dtype)} in {where}", repr(text), "write such a value there") from error


def _describe(dtype: pa.DataType) -> str:
    """What to write for a value of a type."""
    if pt.is_date(dtype):
        return "a date such as '2013-06-01'"
    if pt.is_timestamp(dtype):
        zone = ", with a zone such as Z or +02:00 or in UTC" if dtype.tz else ", without a zone"
        return f"a time such as '2013-06-01 05:00:00'{zone},"
    if pt.is_integer(dtype):
        largest = 2 ** (dtype.bit_width - 1)
        return f"a whole number such as 42 (from {-largest} to {largest - 1})"
    if pt.is_decimal(dtype):
        digits = f"{dtype.precision} digits, {dtype.scale} of them after the point"
        return f"a number such as 12.5 (at most {digits})"
    if pt.is_floating(dtype):
        return "a number such as 1.5"
    if pt.is_boolean(dtype):
        return "true or false"
    return f"a column of text, numbers, dates, times or true and false (this one is {dtype})"


def _parse(text: str, dtype: pa.DataType) -> Value:
    if pt.is_string(dtype):
        return text
    if pt.is_floating(dtype) or pt.is_decimal(dtype):
        return float(text) if pt.is_floating(dtype) else Decimal(text)
    if pt.is_timestamp(dtype):
        return _parse_timestamp(text, dtype.tz is not None)
    if pt.is_boolean(dtype) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if pt.is_integer(dtype) and re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if pt.is_date(dtype) and _DATE.fullmatch(text):
        return date.fromisoformat(text)
    raise ValueError(text)


def _parse_timestamp(text: str, in_utc: bool) -> datetime:
    moment = datetime.fromisoformat(text) if _TIMESTAMP.fullmatch(text) else None
    if moment is None or (moment.tzinfo and not in_utc):
        raise ValueError(text)
    if not in_utc:
        return moment
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
