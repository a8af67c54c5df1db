"""Encoders of moments: dates, timestamps and times of day, and clock times that are written as numbers (1730)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from vae_model.features.arrays import to_arrow
from vae_model.features.bins import Bins
from vae_model.features.encoder import NO_HINTS, Encoder, FitHints
from vae_model.features.parse import are_moments, is_text, parse_moments
from vae_model.features.scales import Bools, Doubles, Floats, fit_scale, soft_clip, to_array, to_doubles

_DAY_S = 86_400
_DAY_MIN = 1_440
_UNITS_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SQRT_2 = math.sqrt(2.0)
_HOUR = "hour "


@dataclass(frozen=True)
class TimeEncoder(Encoder):
    """Cyclic parts of a date, timestamp or time of day: (sin, cos) of each period that varies, and one linear part.

    The linear part is the standardised moment. Nights go on after training: what comes up to `grace_s` after the last
    moment that training saw counts as that moment; of a column that `follows` the nights, what comes up to ten years
    after it. Periods in seconds; the week starts at 1970-01-05, a Monday.
    Bundles of earlier versions are not `linear`: their last part is 0 within one span of the training range on either
    side and grows beyond it.
    """

    periods: tuple[str, ...]
    start_s: float
    end_s: float
    linear: bool = False
    follows: bool = False
    kind: ClassVar[str] = "time"
    families: ClassVar[tuple[str, ...]] = ("date", "timestamp", "time of day")
    also: ClassVar[tuple[str, ...]] = ("string",)
    faults: ClassVar[tuple[str, ...]] = (*Encoder.faults, "a year late", "a year early", "day and month")
    PERIODS: ClassVar[dict[str, tuple[float, float]]] = {
        "minute": (3_600.0, 0.0),
        "hour": (float(_DAY_S), 0.0),
        "weekday": (7.0 * _DAY_S, 4.0 * _DAY_S),
        "year": (365.2425 * _DAY_S, 0.0),
    }
    MIN_SPAN_S: ClassVar[float] = 30.0 * _DAY_S
    MAX_GRACE_S: ClassVar[float] = 14.0 * _DAY_S
    # Of a whole year, or all but, no season is still to come.
    WHOLE_YEAR_S: ClassVar[float] = 360.0 * _DAY_S
    FOLLOWING_GRACE_S: ClassVar[float] = 3_652.0 * _DAY_S

    @property
    def parts(self) -> int:
        return 2 * len(self.periods) + 1

    @classmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        s = to_seconds(values)
        s = s[np.isfinite(s)]
        if not s.size:
            return cls((), 0.0, 0.0, linear=True)
        periods = tuple(name for name in cls.PERIODS if cls._varies(name, s))
        return cls(periods, float(s.min()), float(s.max()), linear=True)

    def following(self) -> Self:
        """The encoder of a column that follows the nights: seasons that training did not see say nothing."""
        whole = self.end_s - self.start_s >= self.WHOLE_YEAR_S
        return replace(self, follows=True, periods=tuple(p for p in self.periods if whole or p != "year"))

    @property
    def grace_s(self) -> float:
        """An eighth of the training range, at least a day and at most fourteen; none for times of day."""
        if self.follows:
            return self.FOLLOWING_GRACE_S
        span = self.end_s - self.start_s
        return min(self.MAX_GRACE_S, max(float(_DAY_S), span / 8)) if span > _DAY_S else 0.0

    @classmethod
    def _varies(cls, name: str, s: Doubles) -> bool:
        period, origin = cls.PERIODS[name]
        phase = np.mod(s - origin, period)
        whole = {"minute": 60.0, "hour": 3_600.0}.get(name, float(_DAY_S))
        return bool(np.ptp(np.floor(phase / whole)) > 0)

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [parts, n] inputs into `out`; return [n] True where there is no value."""
        s = to_seconds(values)
        absent: Bools = ~np.isfinite(s)
        s[absent] = self.start_s
        self._write_parts(s, out)
        out[-1, absent] = 0.0
        return absent

    def _write_parts(self, s: Doubles, out: npt.NDArray[Any]) -> None:
        for i, name in enumerate(self.periods):
            period, origin = self.PERIODS[name]
            angle = (2 * np.pi / period) * np.mod(s - origin, period)
            out[2 * i] = np.sin(angle) * _SQRT_2
            out[2 * i + 1] = np.cos(angle) * _SQRT_2
        out[-1] = self.locate(s) if self.linear else self._exceed(s)

    def locate(self, s: Doubles) -> Doubles:
        """Moments on a scale on which evenly spread ones have a standard deviation of 1."""
        late = np.maximum(s - self.grace_s, np.minimum(s, self.end_s))
        unit = max(self.end_s - self.start_s, 1.0) / math.sqrt(12.0)
        return soft_clip((late - 0.5 * (self.start_s + self.end_s)) / unit)

    def _exceed(self, s: Doubles) -> Doubles:
        span = max(self.end_s - self.start_s, self.MIN_SPAN_S)
        beyond = np.maximum(self.start_s - span - s, s - self.end_s - span) / span
        return soft_clip(np.maximum(beyond, 0.0))

    def decode(self, parts: Floats) -> list[str]:
        """The expected phases in words, such as 'hour 14:30, weekday Tue' (a moment is not determined by them)."""
        words: list[list[str]] = [[] for _ in range(parts.shape[1])]
        for i, name in enumerate(self.periods):
            phase = np.mod(np.arctan2(parts[2 * i], parts[2 * i + 1]) / (2 * np.pi), 1.0)
            for row, p in enumerate(phase):
                words[row].append(_phase_in_words(name, float(p)))
        return [", ".join(w) or "within the usual range" for w in words]

    def expect(self, mean: Floats, log_sigma: Floats) -> Doubles:
        """The likeliest moment within the training range: the day first, then the time of day."""
        first, last = (math.floor(s / _DAY_S) for s in (self.start_s, self.end_s))
        noon = _DAY_S / 2 if self._has_time_of_day else 0.0
        days = np.arange(first, last + 1, dtype=np.float64) * _DAY_S
        of_day = [i for i, name in enumerate(self.periods) if name in ("weekday", "year")]
        day = days[self._likeliest(days + noon, mean, log_sigma, of_day, len(days) > 1)]
        if not self._has_time_of_day:
            return day
        step = 60.0 if "minute" in self.periods else 3_600.0
        # What does not vary below a step is known.
        rest_s = self.start_s % step if step > 60.0 or self.start_s % step == self.end_s % step else 0.0
        times = np.arange(0.0, _DAY_S, step) + rest_s
        rest = [i for i, name in enumerate(self.periods) if name in ("hour", "minute")]
        return day + times[self._likeliest(times, mean, log_sigma, rest, len(days) == 1)]

    def spread(self, mean: Floats, log_sigma: Floats) -> Doubles:
        """By the place in the range alone."""
        reach = 2.0 * np.exp(log_sigma[-1].astype(np.float64))
        unit, middle = max(self.end_s - self.start_s, 1.0) / math.sqrt(12.0), 0.5 * (self.start_s + self.end_s)
        ends = np.array([mean[-1] - reach, mean[-1] + reach]) * unit + middle
        step = _DAY_S if self.end_s - self.start_s > 10 * _DAY_S else 60.0
        whole: Doubles = np.floor(np.clip(ends, self.start_s, self.end_s) / step) * step
        return whole

    @property
    def _has_time_of_day(self) -> bool:
        return not {"hour", "minute"}.isdisjoint(self.periods)

    def _likeliest(
        self, moments: Doubles, mean: Floats, log_sigma: Floats, periods: list[int], placed: bool
    ) -> npt.NDArray[np.intp]:
        """Of each row the number of the moment, [n], whose periods (if `placed`, its place, too) are likeliest."""
        rows = [row for i in periods for row in (2 * i, 2 * i + 1)] + [-1] * (self.linear and placed)
        parts = np.empty((self.parts, len(moments)))
        self._write_parts(moments, parts)
        x = parts[rows]  # [rows, moments]
        chosen = np.zeros(mean.shape[1], np.intp)
        weight = np.exp(-2.0 * log_sigma[rows].astype(np.float64))
        for i in range(len(chosen)):
            misfit = weight[:, i, None] * np.square(x - mean[rows, i, None])
            chosen[i] = int(np.argmin(misfit.sum(axis=0)))
        return chosen

    def read(self, values: pa.Array) -> Doubles:
        return to_seconds(values)

    def from_numbers(self, numbers: Doubles) -> pa.Array:
        return to_arrow(np.rint(numbers * 1e6).astype(np.int64)).cast(pa.timestamp("us"))

    @classmethod
    def recognises(cls, values: pa.ChunkedArray, max_categories: int) -> bool:
        """Moments that arrive as text: `2014-01-01 01:15`, `11:38:36`."""
        return is_text(values) and are_moments(values)

    def arrow_type(self, dtype: pa.DataType) -> pa.DataType:
        return pa.string()

    def count_known(self, values: pa.Array) -> None:
        return None

    def measure(self, values: pa.Array) -> Doubles:
        """The time of day where there is one: a moment moves on by itself."""
        seconds = to_seconds(values)
        return np.mod(seconds, float(_DAY_S)) if "hour" in self.periods else seconds

    def choose_bins(self, values: pa.Array) -> Bins:
        """A plain date is in or out of the range that is usual."""
        if "hour" in self.periods:
            return super().choose_bins(values)
        span = max(self.end_s - self.start_s, self.MIN_SPAN_S)
        return Bins(edges=(self.start_s - span, self.end_s + (self.grace_s if self.follows else span)))

    @property
    def bounds(self) -> tuple[float, float]:
        return self.start_s, self.end_s

    @property
    def grace(self) -> float:
        return self.grace_s

    @property
    def growing_part(self) -> int:
        return self.parts - 1

    @staticmethod
    def read_minute(words: str) -> float:
        """The minute of the day in what `decode` wrote; NaN where it says nothing of the hour."""
        for part in words.split(", "):
            if part.startswith(_HOUR):
                hour, minute = part.removeprefix(_HOUR).split(":")
                return int(hour) * 60.0 + int(minute)
        return math.nan


def _phase_in_words(name: str, phase: float) -> str:
    if name == "minute":
        return f"minute {int(phase * 60):02d}"
    if name == "hour":
        minutes = int(phase * 1440)
        return f"{_HOUR}{minutes // 60:02d}:{minutes % 60:02d}"
    if name == "weekday":
        return "weekday " + ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[int(phase * 7) % 7]
    return f"day {int(phase * 365.2425) + 1} of the year"


def to_seconds(values: pa.Array) -> Doubles:
    """Seconds since the epoch (or midnight) as float64, NULL as NaN; time zones do not matter: the instant counts."""
    dtype = values.type
    if is_text(values):
        return parse_moments(values)
    if pt.is_date32(dtype):
        return to_doubles(values.cast(pa.int32())) * _DAY_S
    unit = "ms" if pt.is_date64(dtype) else dtype.unit
    width = pa.int32() if pt.is_time32(dtype) else pa.int64()
    return to_doubles(values.cast(width)) / _UNITS_PER_S[unit]


@dataclass(frozen=True)
class ClockEncoder(Encoder):
    """A clock time written as a number, hours x 100 + minutes: standardised minutes of the day, and (sin, cos) of the
    day. As plain numbers such columns jump by 40 at each full hour, and no difference of two of them is a duration.

    Numbers that are no clock time (1275, 2500, -5) are `ODD` standard deviations from the mean.
    """

    mean: float
    std: float
    is_integer: bool
    kind: ClassVar[str] = "clock"
    also: ClassVar[tuple[str, ...]] = ("integer", "floating")
    faults: ClassVar[tuple[str, ...]] = (*Encoder.faults, "-999")
    ODD: ClassVar[float] = 6.0
    MIN_VALUES: ClassVar[int] = 200
    MIN_DISTINCT: ClassVar[int] = 12

    @property
    def parts(self) -> int:
        return 3

    @classmethod
    def recognises(cls, values: pa.ChunkedArray, max_categories: int) -> bool:
        """Enough whole numbers from 0 to 2400, of many hours and minutes: 59, 100, 159, 200."""
        x = to_doubles(to_array(values))
        x = x[~np.isnan(x)]
        if x.size < cls.MIN_VALUES or not cls._are_clocks(x).all():
            return False
        hours, minutes = np.divmod(x, 100)
        return bool(min(len(np.unique(hours)), len(np.unique(minutes))) >= cls.MIN_DISTINCT)

    @staticmethod
    def _are_clocks(x: Doubles) -> Bools:
        with np.errstate(invalid="ignore"):
            whole: Bools = (x >= 0) & (x <= 2_400) & (np.mod(x, 100) < 60) & (np.floor(x) == x)
        return whole

    @classmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        """Statistics of the minutes of the day over values that are clock times."""
        x = to_doubles(values)
        mean, std = fit_scale(_to_minutes(x[cls._are_clocks(x)]))
        return cls(mean, std, pt.is_integer(values.type))

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [3, n] inputs into `out`; return [n] True where there is no value (NULL or NaN)."""
        x = to_doubles(values)
        absent: Bools = np.isnan(x)
        odd = ~(self._are_clocks(x) | absent)
        minutes = _to_minutes(np.where(odd | absent, 0.0, x))
        z = (minutes - self.mean) / self.std
        z[odd] = self.ODD
        angle = (2 * np.pi / _DAY_MIN) * minutes
        out[0], out[1], out[2] = soft_clip(z), np.sin(angle) * _SQRT_2, np.cos(angle) * _SQRT_2
        out[:, absent] = 0.0
        return absent

    def decode(self, parts: Floats) -> list[float]:
        """Back to a number such as 1730, from the angle."""
        phase = np.mod(np.arctan2(parts[1], parts[2]).astype(np.float64) / (2 * np.pi), 1.0)
        minutes = np.mod(np.round(phase * _DAY_MIN), _DAY_MIN)
        return [float(v) for v in np.floor(minutes / 60) * 100 + np.mod(minutes, 60)]

    @classmethod
    def describe(cls, values: pa.ChunkedArray) -> str:
        return f"clock times such as 1730: {super().describe(values)}"

    def arrow_type(self, dtype: pa.DataType) -> pa.DataType:
        return dtype if pt.is_integer(dtype) else pa.float64()

    @property
    def growing_part(self) -> int:
        return 0


def _to_minutes(clock: Doubles) -> Doubles:
    """Minutes since midnight of hours x 100 + minutes."""
    minutes: Doubles = np.floor(clock / 100) * 60 + np.mod(clock, 100)
    return minutes
