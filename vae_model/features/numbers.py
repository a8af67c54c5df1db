"""Kinds of numbers: a quantity, a vector of them, and a boolean.

Numbers are standardised and softly clipped: beyond +-5 standard deviations the value grows like log1p, so an absurd
value stays more unusual than a large one without drowning the other columns. Where that scale squeezes most values into
a point (waiting times from seconds to weeks) a second part gives the value's rank, as a normal score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_model.features.arrays import fill_null, to_arrow, to_numpy
from vae_model.features.bins import BinCounts, Bins, tally
from vae_model.features.encoder import NO_HINTS, Encoder, FitHints, Place
from vae_model.features.parse import are_amounts, is_text, parse_numbers
from vae_model.features.scales import Bools, Doubles, Floats, fit_rank_scale, fit_scale, soft_clip, to_doubles, unclip
from vae_model.features.words import describe_nulls

# Of a rounded number, before or behind the point.
MAX_DIGITS = 15


@dataclass(frozen=True)
class NumberEncoder(Encoder):
    """Standardises one number: z = soft_clip((x - mean) / std). `low` and `high` bound what it decodes to.

    Attributes:
        quantiles: values between whose normal `scores` the second part interpolates; none where z alone will do.
    """

    mean: float
    std: float
    low: float
    high: float
    is_integer: bool
    quantiles: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    kind: ClassVar[str] = "number"
    families: ClassVar[tuple[str, ...]] = ("integer", "floating", "duration")
    also: ClassVar[tuple[str, ...]] = ("boolean", "string")
    is_quantity: ClassVar[bool] = True
    faults: ClassVar[tuple[str, ...]] = (*Encoder.faults, "x 1000", "x 1.6", "wrong sign", "zero", "-999")

    @property
    def parts(self) -> int:
        return 2 if self.quantiles else 1

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def growing_part(self) -> int:
        return 0

    @property
    def zero_of_unsigned(self) -> float | None:
        if self.low < 0.0:
            return None
        # Less a rounding error.
        z = float(soft_clip(np.array([-self.mean / self.std]))[0])
        return z - 1e-6 * max(1.0, abs(z))

    @classmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        """Statistics over the finite values. A constant column gets 1 % of its value (or 1) as its scale."""
        x = to_numbers(values)
        x = x[np.isfinite(x)]
        mean, std = fit_scale(x)
        low, high = (float(x.min()), float(x.max())) if x.size else (mean, mean)
        quantiles, scores = fit_rank_scale(x, (x - mean) / std)
        return cls(mean, std, low, high, pt.is_integer(values.type), quantiles, scores)

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [parts, n] inputs into `out`; return [n] True where there is no value (NULL or NaN)."""
        x = to_numbers(values)
        z = (x - self.mean) * (1.0 / self.std)
        absent: Bools = np.isnan(z)
        if self.quantiles:
            out[1] = np.interp(x, self.quantiles, self.scores)
        if absent.any():
            z[absent] = 0.0
            out[1:, absent] = 0.0
        out[0] = soft_clip(z)
        return absent

    def decode(self, parts: Floats) -> list[float]:
        """Back to the column's own unit, from [parts, n] inputs; within the range that training saw."""
        with np.errstate(over="ignore"):  # infinity ends at the range
            x = np.clip(unclip(parts[0].astype(np.float64)) * self.std + self.mean, self.low, self.high)
        return [float(v) for v in (np.round(x) if self.is_integer else x)]

    def expect(self, mean: Floats, log_sigma: Floats) -> Doubles:
        """In a precision of about a thousandth of the spread: more would be false."""
        return self._round(np.asarray(self.decode(mean), np.float64), 3)

    def spread(self, mean: Floats, log_sigma: Floats) -> Doubles:
        reach = np.float32(2.0) * np.exp(log_sigma)
        return self._round(np.array([self.decode(mean - reach), self.decode(mean + reach)], np.float64), 2)

    def _round(self, x: Doubles, places: int) -> Doubles:
        if self.is_integer:
            return x
        wanted = int(np.clip(places - np.floor(np.log10(max(self.std, 1e-300))), -MAX_DIGITS, MAX_DIGITS))
        # Not finer than the ends of the range are written, by a digit.
        written = max(len(f"{abs(end):.10g}".partition(".")[2]) for end in self.bounds)
        digits = wanted - (written < wanted)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.round(x, digits)
        return np.clip(np.where(np.isfinite(rounded), rounded, x), self.low, self.high)

    def read(self, values: pa.Array) -> Doubles:
        return to_numbers(values)

    @classmethod
    def recognises(cls, values: pa.ChunkedArray, max_categories: int) -> bool:
        """Amounts that arrive as text: `12.0 oz`, `$1,250.00`."""
        return is_text(values) and are_amounts(values)

    def measure(self, values: pa.Array) -> Doubles:
        return to_numbers(values)

    def arrow_type(self, dtype: pa.DataType) -> pa.DataType:
        return dtype if pt.is_integer(dtype) else pa.float64()


def to_numbers(values: pa.Array) -> Doubles:
    """Numbers, also those that arrive as text, as float64; NaN where there is none."""
    return parse_numbers(values) if is_text(values) else to_doubles(values)


@dataclass(frozen=True)
class VectorEncoder(Encoder):
    """Standardises each element of a fixed-length list of numbers; another length counts as no value."""

    length: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kind: ClassVar[str] = "vector"
    families: ClassVar[tuple[str, ...]] = ("list of numbers",)
    faults: ClassVar[tuple[str, ...]] = ()

    @property
    def parts(self) -> int:
        return self.length

    @classmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        """The most frequent length wins; statistics over the finite elements of vectors of that length."""
        counts = pc.value_counts(pc.list_value_length(values).drop_null())
        length = max(counts.to_pylist(), key=lambda c: (c["counts"], -c["values"]))["values"] if len(counts) else 1
        rows, absent = cls(length, (0.0,) * length, (1.0,) * length).to_matrix(values)
        rows = rows[~absent]
        scales = [fit_scale(rows[np.isfinite(rows[:, j]), j]) for j in range(length)]
        return cls(length, tuple(m for m, _ in scales), tuple(s for _, s in scales))

    def to_matrix(self, values: pa.Array) -> tuple[Doubles, Bools]:
        if isinstance(values, pa.FixedSizeListArray):
            values = values.cast(pa.list_(values.type.value_type))
        lengths = to_numpy(fill_null(pc.list_value_length(values), -1))
        absent: Bools = lengths != self.length
        rows = np.zeros((len(values), self.length))
        kept = values.filter(to_arrow(~absent))
        rows[~absent] = to_doubles(kept.flatten()).reshape(-1, self.length)
        return rows, absent

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [length, n] inputs into `out`; return [n] True where there is no vector of the right length."""
        rows, absent = self.to_matrix(values)
        absent |= np.isnan(rows).any(axis=1)
        z = (rows - np.asarray(self.mean)) / np.asarray(self.std)
        z[absent] = 0.0
        out[:] = soft_clip(z).T
        return absent

    def decode(self, parts: Floats) -> list[list[float]]:
        z = unclip(parts.astype(np.float64)).T
        rows: list[list[float]] = (z * np.asarray(self.std) + np.asarray(self.mean)).tolist()
        return rows

    def expect(self, mean: Floats, log_sigma: Floats) -> None:
        return None

    def count_known(self, values: pa.Array) -> None:
        return None

    @classmethod
    def describe(cls, values: pa.ChunkedArray) -> str:
        return f"type {values.type}{describe_nulls(values)}"

    def measure(self, values: pa.Array) -> Doubles:
        """The length in space (Euclidean norm) of each vector."""
        rows, absent = self.to_matrix(values)
        norm: Doubles = np.sqrt(np.square(rows).sum(axis=1))
        norm[absent] = np.nan
        return norm

    def arrow_type(self, dtype: pa.DataType) -> pa.DataType:
        return pa.list_(pa.float64())


@dataclass(frozen=True)
class BooleanEncoder(Encoder):
    """True is +1, False is -1, no value is 0."""

    kind: ClassVar[str] = "boolean"
    families: ClassVar[tuple[str, ...]] = ("boolean",)
    also: ClassVar[tuple[str, ...]] = ("integer",)
    place: ClassVar[Place] = "boolean"
    faults: ClassVar[tuple[str, ...]] = ("NULL", "flipped")

    @property
    def parts(self) -> int:
        return 1

    @classmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        """A boolean has no statistics."""
        return cls()

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        v = to_doubles(values)
        absent: Bools = np.isnan(v)
        out[0] = np.where(absent, 0.0, np.where(v > 0, 1.0, -1.0))
        return absent

    def decode(self, parts: Floats) -> list[bool]:
        return [bool(v > 0) for v in parts[0]]

    @classmethod
    def describe(cls, values: pa.ChunkedArray) -> str:
        return f"true or false{describe_nulls(values)}"

    def choose_bins(self, values: pa.Array) -> Bins:
        return Bins(levels=("false", "true"))

    def count_by(self, bins: Bins, values: pa.Array) -> BinCounts:
        x = self.measure(values)
        absent = np.isnan(x)
        return BinCounts(tally((x[~absent] > 0).astype(np.int64), 3), int(absent.sum()))

    def arrow_type(self, dtype: pa.DataType) -> pa.DataType:
        return pa.bool_()
