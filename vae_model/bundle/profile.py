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

from vae_model.features.bins import Bins
from vae_model.features.encoder import Encoder
from vae_model.features.kinds import encoder_from_json, encoder_to_json

LEAST_SHARE = 0.001
# What older bundles lack, with what it is there.
_LACKED: Mapping[str, Any] = {"is_calendar": False, "null_clusters": 1.0, "new_share": 0.0, "new_clusters": 1.0}


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
        is_calendar: whether it moves with the nights: each has its own value (a month, a date written as text).
        null_clusters: how many times as much as by chance NULLs vary from night to night: they come in clusters.
        new_share: share of rows whose category is that of a single night; `new_clusters` likewise.
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
    is_calendar: bool = False
    null_clusters: float = 1.0
    new_share: float = 0.0
    new_clusters: float = 1.0

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.nulls

    @property
    def bins(self) -> Bins:
        return Bins(self.edges, self.levels)

    def to_json(self) -> dict[str, Any]:
        """Without what older bundles lack, where it is not so: they keep their digest."""
        return {name: value for name, value in asdict(self).items() if _LACKED.get(name, None) != value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ColumnProfile:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)


@dataclass(frozen=True)
class WatchedColumn:
    """A string column that is no feature, whose form is watched all the same."""

    profile: ColumnProfile
    encoder: Encoder

    def to_json(self) -> dict[str, Any]:
        return {"profile": self.profile.to_json(), "encoder": encoder_to_json(self.encoder)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WatchedColumn:
        return cls(ColumnProfile.from_json(data["profile"]), encoder_from_json(data["encoder"]))


@dataclass(frozen=True)
class Profile:
    """The training rows (a sample of them, where they are many): every feature column in the model's order, the columns
    that are watched beside them, and how many times as much as by chance scores above 1 vary from night to night."""

    columns: tuple[ColumnProfile, ...]
    watched: tuple[WatchedColumn, ...] = ()
    score_clusters: float = 1.0

    def to_json(self) -> list[dict[str, Any]]:
        return [column.to_json() for column in self.columns]

    @classmethod
    def from_json(
        cls, columns: list[Mapping[str, Any]], watched: list[Mapping[str, Any]], score_clusters: float
    ) -> Profile:
        both = tuple(map(ColumnProfile.from_json, columns)), tuple(map(WatchedColumn.from_json, watched))
        return cls(*both, score_clusters)


def profile_column(name: str, kind: str, encoder: Encoder, values: pa.Array) -> ColumnProfile:
    """Choose the bins of a column by its training values, and count these."""
    bins = encoder.choose_bins(values)
    found = encoder.count_by(bins, values)
    return ColumnProfile(name, kind, bins.edges, bins.levels, tuple(map(int, found.counts)), found.nulls, found.unseen)


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
