"""What training saw in each column, in a few numbers: bins of about equal share with their counts, frequent categories,
the share of NULL. Later rows are counted by the same bins, batch by batch, and compared with them by jobs.

A date or timestamp moves on by itself, so only its time of day is binned; a plain date is in or out of the range that
the encoder calls usual. A vector is binned by its length in space (Euclidean norm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_model.features.encoders import BooleanEncoder, CategoryEncoder, Encoder, VectorEncoder
from vae_model.features.scales import Doubles, to_doubles
from vae_model.features.times import TimeEncoder, to_seconds

BINS = 20
MAX_LEVELS = 40
LEAST_SHARE = 0.001
_DAY_S = 86_400.0
Counted = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the training rows.

    Attributes:
        edges: upper ends of all bins but the last, ascending, for what can be ordered; else empty.
        levels: the most frequent categories, or false and true; else empty.
        counts: known values in each bin: one more than edges, or than levels (the rest).
        nulls: rows without a value.
        unseen: rows with a category that the model does not tell apart.
        blamed: share of the most unusual held-out rows that have this column as their first reason.
        usual_psi: how far single nights of the training rows are from all of them, all but one in a hundred; 0 where
            that is not known. `usual_nulls` is the same of the share of NULL.
    """

    name: str
    kind: str
    edges: tuple[float, ...]
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    nulls: int
    unseen: int
    blamed: float = 0.0
    usual_psi: float = 0.0
    usual_nulls: float = 0.0

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.nulls


@dataclass(frozen=True)
class Counts:
    """Rows counted by the bins of a `ColumnProfile`; the counts of batches add up to those of all rows."""

    counts: Counted
    nulls: int
    unseen: int

    @property
    def rows(self) -> int:
        return int(self.counts.sum()) + self.nulls

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.counts + other.counts, self.nulls + other.nulls, self.unseen + other.unseen)


@dataclass(frozen=True)
class Profile:
    """Every feature column of the training rows (of a sample of them, where they are many), in the model's order."""

    columns: tuple[ColumnProfile, ...]

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, data: list[Mapping[str, Any]]) -> Profile:
        columns = []
        for values in data:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            columns.append(ColumnProfile(**fields))
        return cls(tuple(columns))


def profile_column(name: str, kind: str, encoder: Encoder, values: pa.Array) -> ColumnProfile:
    """Choose the bins of a column by its training values, and count these."""
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    if isinstance(encoder, CategoryEncoder):
        known = pc.value_counts(encoder.to_levels(values).drop_null()).to_pylist()
        known = [c for c in known if c["values"] in set(encoder.levels)]
        frequent = sorted(known, key=lambda c: (-c["counts"], c["values"]))
        levels = tuple(c["values"] for c in frequent[:MAX_LEVELS])
    elif isinstance(encoder, BooleanEncoder):
        levels = ("false", "true")
    else:
        edges = _choose_edges(encoder, _measure(encoder, values))
    empty = ColumnProfile(name, kind, edges, levels, (), 0, 0)
    found = count_values(empty, encoder, values)
    return ColumnProfile(name, kind, edges, levels, tuple(map(int, found.counts)), found.nulls, found.unseen)


def count_values(profile: ColumnProfile, encoder: Encoder, values: pa.Array) -> Counts:
    """Count a column of a batch by the bins of its profile. NaN counts as no value, infinity as a very large one."""
    if isinstance(encoder, CategoryEncoder):
        text = encoder.to_levels(values)
        known = text.drop_null()
        codes = pc.fill_null(pc.index_in(known, value_set=pa.array(profile.levels, text.type)), len(profile.levels))
        seen = pc.sum(pc.is_in(known, value_set=pa.array(encoder.levels, text.type))).as_py() or 0
        return Counts(
            _tally(codes.to_numpy(zero_copy_only=False), len(profile.levels) + 1), text.null_count, len(known) - seen
        )
    x = to_doubles(values) if isinstance(encoder, BooleanEncoder) else _measure(encoder, values)
    absent = np.isnan(x)
    x = x[~absent]
    if isinstance(encoder, BooleanEncoder):
        return Counts(_tally((x > 0).astype(np.int64), 3), int(absent.sum()), 0)
    return Counts(_tally(np.searchsorted(profile.edges, x), len(profile.edges) + 1), int(absent.sum()), 0)


def population_stability(expected: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """PSI of two histograms: 0 the same, above 0.25 by custom a different population. A thousandth is added to each
    bin's share, so that an empty bin weighs the same however many rows there are.

    Source: the population stability index of credit scoring (Siddiqi 2006).
    """
    e, f = (np.asarray(counts, dtype=np.float64) for counts in (expected, found))
    if not f.sum() or not e.sum():
        return 0.0  # no row, no drift
    e, f = (counts / counts.sum() + LEAST_SHARE for counts in (e, f))
    e, f = e / e.sum(), f / f.sum()
    return float(((f - e) * np.log(f / e)).sum())


def _choose_edges(encoder: Encoder, x: Doubles) -> tuple[float, ...]:
    """Quantiles, and both ends: values beyond what training saw get bins of their own."""
    if isinstance(encoder, TimeEncoder) and "hour" not in encoder.periods:
        span = max(encoder.end_s - encoder.start_s, encoder.MIN_SPAN_S)
        return (encoder.start_s - span, encoder.end_s + span)
    x = x[np.isfinite(x)]
    if not x.size:
        return ()
    inner = np.quantile(x, np.linspace(0.0, 1.0, BINS + 1)[1:], method="inverted_cdf")
    return tuple(map(float, np.unique([np.nextafter(x.min(), -np.inf), *inner])))


def _measure(encoder: Encoder, values: pa.Array) -> Doubles:
    """One number for each value, NaN where there is none."""
    if isinstance(encoder, TimeEncoder):
        seconds = to_seconds(values)
        return np.mod(seconds, _DAY_S) if "hour" in encoder.periods else seconds
    if isinstance(encoder, VectorEncoder):
        rows, absent = encoder.to_matrix(values)
        norm: Doubles = np.sqrt(np.square(rows).sum(axis=1))
        norm[absent] = np.nan
        return norm
    return to_doubles(values)


def _tally(codes: npt.NDArray[Any], bins: int) -> Counted:
    return np.bincount(codes, minlength=bins).astype(np.int64)
