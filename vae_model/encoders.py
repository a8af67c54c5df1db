"""One encoder per column kind: fits its statistics on an Arrow column, and turns a column into network inputs.

Numbers are standardised and softly clipped: beyond +-5 standard deviations the value grows like log1p, so an absurd
value stays more unusual than a large one without drowning the other columns. Encoders are plain data: JSON in a bundle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]

SOFT_CLIP = 5.0
MAX_Z = 1e6
_DAY_S = 86_400
_UNITS_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def soft_clip(z: Doubles) -> Doubles:
    """Clip in place: z within +-5, sign(z) * (5 + log1p(|z| - 5)) beyond; infinities count as 1e6."""
    if z.size and (z.max() > SOFT_CLIP or z.min() < -SOFT_CLIP):
        far = np.abs(z) > SOFT_CLIP
        tail = np.minimum(np.abs(z[far]), MAX_Z)
        z[far] = np.sign(z[far]) * (SOFT_CLIP + np.log1p(tail - SOFT_CLIP))
    return z


def unclip(z: Doubles) -> Doubles:
    """Inverse of `soft_clip` on finite values."""
    far = np.abs(z) > SOFT_CLIP
    wide = SOFT_CLIP + np.expm1(np.minimum(np.abs(z), SOFT_CLIP + math.log1p(MAX_Z)) - SOFT_CLIP)
    return np.where(far, np.sign(z) * wide, z)


def to_doubles(values: pa.Array) -> Doubles:
    """Numbers of any Arrow type as float64, NULL as NaN; no copy for a float64 column without NULLs."""
    if pt.is_boolean(values.type) or pt.is_decimal(values.type):
        values = values.cast(pa.float64(), safe=False)
    elif pt.is_duration(values.type):
        values = values.cast(pa.int64())
    if values.null_count:
        values = values.cast(pa.float64(), safe=False)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


@dataclass(frozen=True)
class NumberEncoder:
    """Standardises one number: z = soft_clip((x - mean) / std). `low` and `high` bound what it decodes to."""

    mean: float
    std: float
    low: float
    high: float
    is_integer: bool
    kind: ClassVar[str] = "number"
    parts: ClassVar[int] = 1

    @classmethod
    def fit(cls, values: pa.Array) -> NumberEncoder:
        """Statistics over the finite values. A constant column gets 1 % of its value (or 1) as its scale."""
        x = to_doubles(values)
        x = x[np.isfinite(x)]
        mean, std = fit_scale(x)
        low, high = (float(x.min()), float(x.max())) if x.size else (mean, mean)
        return cls(mean, std, low, high, pt.is_integer(values.type))

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [1, n] inputs into `out`; return [n] True where there is no value (NULL or NaN)."""
        z = (to_doubles(values) - self.mean) * (1.0 / self.std)
        absent: Bools = np.isnan(z)
        if absent.any():
            z[absent] = 0.0
        out[0] = soft_clip(z)
        return absent

    def decode(self, parts: Floats) -> list[float]:
        """Back to the column's own unit, from [1, n] standardised values; within the range that training saw."""
        x = np.clip(unclip(parts[0].astype(np.float64)) * self.std + self.mean, self.low, self.high)
        return [float(v) for v in (np.round(x) if self.is_integer else x)]


def fit_scale(x: Doubles) -> tuple[float, float]:
    """Mean and standard deviation of finite values that do not overflow; usable for empty and constant input."""
    if not x.size:
        return 0.0, 1.0
    peak = float(np.abs(x).max()) or 1.0
    mean, std = float((x / peak).mean()) * peak, float((x / peak).std()) * peak
    if std <= 1e-9 * abs(mean) or std < 1e-300:
        std = abs(mean) * 1e-2 or 1.0
    return mean, std


@dataclass(frozen=True)
class VectorEncoder:
    """Standardises each element of a fixed-length list of numbers; another length counts as no value."""

    length: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kind: ClassVar[str] = "vector"

    @property
    def parts(self) -> int:
        return self.length

    @classmethod
    def fit(cls, values: pa.Array) -> VectorEncoder:
        """The most frequent length wins; statistics over the finite elements of vectors of that length."""
        counts = pc.value_counts(pc.list_value_length(values).drop_null())
        length = max(counts.to_pylist(), key=lambda c: (c["counts"], -c["values"]))["values"] if len(counts) else 1
        rows, absent = cls(length, (0.0,) * length, (1.0,) * length)._matrix(values)
        rows = rows[~absent]
        scales = [fit_scale(rows[np.isfinite(rows[:, j]), j]) for j in range(length)]
        return cls(length, tuple(m for m, _ in scales), tuple(s for _, s in scales))

    def _matrix(self, values: pa.Array) -> tuple[Doubles, Bools]:
        if isinstance(values, pa.FixedSizeListArray):
            values = values.cast(pa.list_(values.type.value_type))
        lengths = pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False)
        absent: Bools = lengths != self.length
        rows = np.zeros((len(values), self.length))
        kept = values.filter(pa.array(~absent))
        rows[~absent] = to_doubles(kept.flatten()).reshape(-1, self.length)
        return rows, absent

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [length, n] inputs into `out`; return [n] True where there is no vector of the right length."""
        rows, absent = self._matrix(values)
        absent |= np.isnan(rows).any(axis=1)
        z = (rows - np.asarray(self.mean)) / np.asarray(self.std)
        z[absent] = 0.0
        out[:] = soft_clip(z).T
        return absent

    def decode(self, parts: Floats) -> list[list[float]]:
        z = unclip(parts.astype(np.float64)).T
        rows: list[list[float]] = (z * np.asarray(self.std) + np.asarray(self.mean)).tolist()
        return rows


@dataclass(frozen=True)
class BooleanEncoder:
    """True is +1, False is -1, no value is 0."""

    kind: ClassVar[str] = "boolean"
    parts: ClassVar[int] = 1

    @classmethod
    def fit(cls, _: pa.Array) -> BooleanEncoder:
        """A boolean has no statistics."""
        return cls()

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        v = to_doubles(values)
        absent: Bools = np.isnan(v)
        out[0] = np.where(absent, 0.0, np.where(v > 0, 1.0, -1.0))
        return absent

    def decode(self, parts: Floats) -> list[bool]:
        return [bool(v > 0) for v in parts[0]]


@dataclass(frozen=True)
class CategoryEncoder:
    """Codes 0..K-1 for the kept levels, K for a level unseen or rare in training, K+1 for no value."""

    levels: tuple[str, ...]
    kind: ClassVar[str] = "category"

    @property
    def unseen(self) -> int:
        return len(self.levels)

    @property
    def absent(self) -> int:
        return len(self.levels) + 1

    @classmethod
    def fit_counts(cls, counts: Mapping[str, int], max_categories: int) -> CategoryEncoder:
        """Keep the most frequent levels (ties by name), stored in the order of their names."""
        kept = sorted(counts, key=lambda level: (-counts[level], level))[:max_categories]
        return cls(tuple(sorted(kept)))

    def encode(self, values: pa.Array, out: Codes) -> Bools:
        """Write [n] codes into `out`; return [n] True where there is no value."""
        text = to_text(values)
        codes = pc.index_in(text, value_set=pa.array(self.levels, text.type))
        absent: Bools = np.asarray(text.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
        out[:] = pc.fill_null(codes, self.unseen).to_numpy(zero_copy_only=False)
        out[absent] = self.absent
        return absent

    def decode(self, codes: npt.NDArray[np.int64]) -> list[str]:
        return [self.levels[c] if c < self.unseen else "another value" for c in codes]


def to_text(values: pa.Array) -> pa.Array:
    """Category values as strings; NULL stays NULL."""
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values if pt.is_string(values.type) else values.cast(pa.string())


@dataclass(frozen=True)
class TimeEncoder:
    """Cyclic parts of a date, timestamp or time of day: (sin, cos) of each period that varies, and one range part.

    The range part is 0 within one span of the training range on either side and grows beyond it, so a nightly run can
    go on for a while, yet year 1970 or 9999 is unusual. Periods in seconds; the week starts at 1970-01-05, a Monday.
    """

    periods: tuple[str, ...]
    start_s: float
    end_s: float
    kind: ClassVar[str] = "time"
    PERIODS: ClassVar[dict[str, tuple[float, float]]] = {
        "minute": (3_600.0, 0.0),
        "hour": (float(_DAY_S), 0.0),
        "weekday": (7.0 * _DAY_S, 4.0 * _DAY_S),
        "year": (365.2425 * _DAY_S, 0.0),
    }
    MIN_SPAN_S: ClassVar[float] = 30.0 * _DAY_S

    @property
    def parts(self) -> int:
        return 2 * len(self.periods) + 1

    @classmethod
    def fit(cls, values: pa.Array) -> TimeEncoder:
        s = _to_seconds(values)
        s = s[np.isfinite(s)]
        if not s.size:
            return cls((), 0.0, 0.0)
        periods = tuple(name for name in cls.PERIODS if cls._varies(name, s))
        return cls(periods, float(s.min()), float(s.max()))

    @classmethod
    def _varies(cls, name: str, s: Doubles) -> bool:
        period, origin = cls.PERIODS[name]
        phase = np.mod(s - origin, period)
        whole = {"minute": 60.0, "hour": 3_600.0}.get(name, float(_DAY_S))
        return bool(np.ptp(np.floor(phase / whole)) > 0)

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [parts, n] inputs into `out`; return [n] True where there is no value."""
        s = _to_seconds(values)
        absent: Bools = ~np.isfinite(s)
        s[absent] = self.start_s
        for i, name in enumerate(self.periods):
            period, origin = self.PERIODS[name]
            angle = (2 * np.pi / period) * np.mod(s - origin, period)
            out[2 * i] = np.sin(angle) * math.sqrt(2.0)
            out[2 * i + 1] = np.cos(angle) * math.sqrt(2.0)
        span = max(self.end_s - self.start_s, self.MIN_SPAN_S)
        beyond = np.maximum(self.start_s - span - s, s - self.end_s - span) / span
        out[-1] = soft_clip(np.maximum(beyond, 0.0))
        return absent

    def decode(self, parts: Floats) -> list[str]:
        """The expected phases in words, such as 'hour 14:30, weekday Tue' (a moment is not determined by them)."""
        words: list[list[str]] = [[] for _ in range(parts.shape[1])]
        for i, name in enumerate(self.periods):
            phase = np.mod(np.arctan2(parts[2 * i], parts[2 * i + 1]) / (2 * np.pi), 1.0)
            for row, p in enumerate(phase):
                words[row].append(_phase_in_words(name, float(p)))
        return [", ".join(w) or "within the usual range" for w in words]


def _phase_in_words(name: str, phase: float) -> str:
    if name == "minute":
        return f"minute {int(phase * 60):02d}"
    if name == "hour":
        minutes = int(phase * 1440)
        return f"hour {minutes // 60:02d}:{minutes % 60:02d}"
    if name == "weekday":
        return "weekday " + ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[int(phase * 7) % 7]
    return f"day {int(phase * 365.2425) + 1} of the year"


def _to_seconds(values: pa.Array) -> Doubles:
    """Seconds since the epoch (or midnight) as float64, NULL as NaN; time zones do not matter: the instant counts."""
    dtype = values.type
    if pt.is_date32(dtype):
        return to_doubles(values.cast(pa.int32())) * _DAY_S
    unit = "ms" if pt.is_date64(dtype) else dtype.unit
    width = pa.int32() if pt.is_time32(dtype) else pa.int64()
    return to_doubles(values.cast(width)) / _UNITS_PER_S[unit]


Encoder = NumberEncoder | VectorEncoder | BooleanEncoder | CategoryEncoder | TimeEncoder
_CLASSES: dict[str, Any] = {
    c.kind: c for c in (NumberEncoder, VectorEncoder, BooleanEncoder, CategoryEncoder, TimeEncoder)
}


def encoder_to_json(encoder: Encoder) -> dict[str, Any]:
    """The encoder's kind and fields, as JSON values."""
    return {"kind": encoder.kind, **asdict(encoder)}


def encoder_from_json(data: Mapping[str, Any]) -> Encoder:
    """Inverse of `encoder_to_json`."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"}
    encoder: Encoder = _CLASSES[data["kind"]](**fields)
    return encoder
