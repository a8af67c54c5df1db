"""Moments and numbers that arrive as text: ISO dates and times, clock times, amounts with a unit or a currency.

A string is looked at once per batch. What does not read is no value for the network; its characters are judged all the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_model.features.arrays import fill_null, to_numpy
from vae_model.features.scales import Doubles

Whole: TypeAlias = npt.NDArray[np.int64]
_DAY_S = 86_400
_TIME = (
    r"(?:[ T](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?)? ?"
    r"(?:Z|(?P<zone>[+-]\d{2})(?::?\d{2})?)?$"
)
# The year comes first, or the day before a point: of 03/04/2015 nobody knows which is the month.
_DATES = (
    rf"^(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}}){_TIME}",
    rf"^(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.(?P<year>\d{{4}}){_TIME}",
)
_CLOCK = (
    r"^(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)? ?"
    r"(?:(?P<half>[AaPp])\.?[Mm]\.?)?$"
)
_AMOUNT = (
    r"^(?P<currency>[$€£]?) ?(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[+-]?\.\d+) ?"
    r"(?P<unit>[A-Za-z%\"°]{0,8}\.?)$"
)
# Of the values that are there, to be taken for what they can be read as.
MIN_READ = 0.98
MIN_DISTINCT, MAX_UNITS = 32, 3


def is_text(values: pa.Array | pa.ChunkedArray) -> bool:
    """Whether values are strings, encoded as a dictionary or not."""
    dtype = values.type.value_type if pt.is_dictionary(values.type) else values.type
    return bool(pt.is_string(dtype)) or bool(pt.is_large_string(dtype) or pt.is_string_view(dtype))


def parse_moments(values: pa.Array) -> Doubles:
    """Seconds since the epoch of dates and timestamps, since midnight of clock times; NaN for what is neither."""
    return _of_distinct(values, _read_moments)


def parse_numbers(values: pa.Array) -> Doubles:
    """The number in an amount, whatever its unit; NaN for what is none."""
    return _of_distinct(values, _read_numbers)


def are_moments(values: pa.ChunkedArray) -> bool:
    """Whether a sample of strings reads as moments."""
    return _are_read(values, parse_moments)


def are_amounts(values: pa.ChunkedArray) -> bool:
    """Whether a sample of strings reads as amounts: of many values, with decimals, a currency or a few units. Digits
    alone are as likely a code."""
    if not _are_read(values, parse_numbers):
        return False
    known = _distinct(values).cast(pa.string())
    found = pc.extract_regex(known, _AMOUNT)
    unit, number = pc.struct_field(found, "unit"), pc.struct_field(found, "number")
    marked = pc.or_(pc.not_equal(unit, ""), pc.not_equal(pc.struct_field(found, "currency"), ""))
    told = pc.or_(marked, pc.match_substring(number, "."))
    many = len(pc.unique(number)) > MIN_DISTINCT and len(pc.unique(unit)) <= MAX_UNITS
    return bool(many and pc.mean(told.cast(pa.float64())).as_py() >= 1.0 - 2 * (1.0 - MIN_READ))


def _are_read(values: pa.ChunkedArray, parse: Callable[[pa.Array], Doubles]) -> bool:
    known = _distinct(values)
    return len(known) > 0 and bool(np.isfinite(parse(known)).mean() >= MIN_READ)


def _distinct(values: pa.ChunkedArray) -> pa.Array:
    return pc.unique(values).drop_null()


def _of_distinct(values: pa.Array, read: Callable[[pa.Array], Doubles]) -> Doubles:
    coded = values if pt.is_dictionary(values.type) else values.dictionary_encode()
    numbers = np.append(read(coded.dictionary.cast(pa.string())), np.nan)
    found: Doubles = numbers[to_numpy(fill_null(coded.indices.cast(pa.int32()), len(coded.dictionary)))]
    return found


def _whole(found: pa.StructArray, name: str, missing: int = 0) -> Whole:
    """A part of what a pattern found, as a number; `missing` where it is not there."""
    text = pc.struct_field(found, name)
    text = pc.replace_substring(pc.fill_null(text, ""), "+", "")
    return to_numpy(pc.if_else(pc.equal(text, ""), str(missing), text).cast(pa.int64()))


def _read_moments(text: pa.Array) -> Doubles:
    seconds = _read_clock(text)
    for pattern in _DATES:
        seconds = np.where(np.isnan(seconds), _read_dates(text, pattern), seconds)
    return seconds


def _read_dates(text: pa.Array, pattern: str) -> Doubles:
    found = pc.extract_regex(text, pattern)
    year, month, day = (_whole(found, name) for name in ("year", "month", "day"))
    hour, minute, second, zone = (_whole(found, name) for name in ("hour", "minute", "second", "zone"))
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (hour < 25) & (minute < 60)
    months = (np.where(valid, year, 1970) - 1970) * 12 + np.where(valid, month, 1) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    seconds = (first + day - 1) * float(_DAY_S) + (hour - zone) * 3_600.0 + minute * 60.0 + second
    return np.where(valid, seconds, np.nan)


def _read_clock(text: pa.Array) -> Doubles:
    found = pc.extract_regex(text, _CLOCK)
    hour, minute, second = (_whole(found, name, -1 if name == "hour" else 0) for name in ("hour", "minute", "second"))
    half = pc.fill_null(pc.utf8_lower(pc.struct_field(found, "half")), "")
    is_late, halved = to_numpy(pc.equal(half, "p")), to_numpy(pc.not_equal(half, ""))
    hour = np.where(halved & (hour >= 0), np.mod(hour, 12) + 12 * is_late, hour)
    valid = (hour >= 0) & (hour < 25) & (minute < 60) & (second < 61)
    return np.where(valid, hour * 3_600.0 + minute * 60.0 + second, np.nan)


def _read_numbers(text: pa.Array) -> Doubles:
    number = pc.struct_field(pc.extract_regex(text, _AMOUNT), "number")
    plain = pc.replace_substring(number, ",", "")
    return to_numpy(fill_null(plain.cast(pa.float64()), np.nan))
