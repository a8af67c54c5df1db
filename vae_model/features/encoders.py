"""One encoder per column kind: fits its statistics on an Arrow column, and turns a column into network inputs.

Numbers are standardised and softly clipped: beyond +-5 standard deviations the value grows like log1p, so an absurd
value stays more unusual than a large one without drowning the other columns. Where that scale squeezes most values into
a point (waiting times from seconds to weeks) a second part gives the value's rank, as a normal score. Encoders are
plain data: JSON in a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_model.features.arrays import fill_null, to_arrow, to_arrow_text, to_numpy
from vae_model.features.forms import Grain, find_forms, form_in_words, to_bytes
from vae_model.features.scales import (
    Bools,
    Codes,
    Doubles,
    Floats,
    fit_rank_scale,
    fit_scale,
    soft_clip,
    to_doubles,
    unclip,
)
from vae_model.features.times import ClockEncoder, TimeEncoder


@dataclass(frozen=True)
class NumberEncoder:
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

    @property
    def parts(self) -> int:
        return 2 if self.quantiles else 1

    @property
    def zero(self) -> float:
        """What the first part of 0 is, less a rounding error."""
        z = float(soft_clip(np.array([-self.mean / self.std]))[0])
        return z - 1e-6 * max(1.0, abs(z))

    @classmethod
    def fit(cls, values: pa.Array) -> NumberEncoder:
        """Statistics over the finite values. A constant column gets 1 % of its value (or 1) as its scale."""
        x = to_doubles(values)
        x = x[np.isfinite(x)]
        mean, std = fit_scale(x)
        low, high = (float(x.min()), float(x.max())) if x.size else (mean, mean)
        quantiles, scores = fit_rank_scale(x, (x - mean) / std)
        return cls(mean, std, low, high, pt.is_integer(values.type), quantiles, scores)

    def encode(self, values: pa.Array, out: Floats) -> Bools:
        """Write [parts, n] inputs into `out`; return [n] True where there is no value (NULL or NaN)."""
        x = to_doubles(values)
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
        x = np.clip(unclip(parts[0].astype(np.float64)) * self.std + self.mean, self.low, self.high)
        return [float(v) for v in (np.round(x) if self.is_integer else x)]


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
        text = self.to_levels(values)
        codes = pc.index_in(text, value_set=to_arrow_text(self.levels))
        absent: Bools = to_numpy(text.is_null())
        out[:] = to_numpy(fill_null(codes, self.unseen))
        out[absent] = self.absent
        return absent

    def to_levels(self, values: pa.Array) -> pa.Array:
        """What of the values the levels are: the values themselves, as strings; NULL stays NULL."""
        return to_text(values)

    def decode(self, codes: npt.NDArray[np.int64]) -> list[str]:
        return [self.levels[c] if c < self.unseen else "another value" for c in codes]


@dataclass(frozen=True)
class TextEncoder(CategoryEncoder):
    """Texts that hardly repeat: the levels are their forms, at the grain of `TextModel`."""

    grain: Grain
    kind: ClassVar[str] = "text"

    def to_levels(self, values: pa.Array) -> pa.Array:
        """The form of each text; NULL stays NULL."""
        text = to_text(values)
        forms = find_forms(*to_bytes(text), self.grain).cast(pa.string())
        return pc.if_else(text.is_valid(), forms, pa.scalar(None, pa.string())) if text.null_count else forms

    def decode(self, codes: npt.NDArray[np.int64]) -> list[str]:
        return [form_in_words(self.levels[c], self.grain) if c < self.unseen else "another form" for c in codes]


def to_text(values: pa.Array) -> pa.Array:
    """Category values as strings; NULL stays NULL."""
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values if pt.is_string(values.type) else values.cast(pa.string())


Encoder = NumberEncoder | VectorEncoder | BooleanEncoder | CategoryEncoder | TextEncoder | TimeEncoder | ClockEncoder
_CLASSES: dict[str, Any] = {
    c.kind: c
    for c in (
        NumberEncoder,
        VectorEncoder,
        BooleanEncoder,
        CategoryEncoder,
        TextEncoder,
        TimeEncoder,
        ClockEncoder,
    )
}


def encoder_to_json(encoder: Encoder) -> dict[str, Any]:
    """The encoder's kind and fields as JSON values, those with a default only where they differ: a bundle older than a
    field keeps its digest."""
    named = {f.name: getattr(encoder, f.name) for f in fields(encoder) if getattr(encoder, f.name) != f.default}
    return {"kind": encoder.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in named.items()}}


def encoder_from_json(data: Mapping[str, Any]) -> Encoder:
    """Inverse of `encoder_to_json`."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"}
    encoder: Encoder = _CLASSES[data["kind"]](**fields)
    return encoder
