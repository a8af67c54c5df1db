"""One currency: every view of a row becomes a share of ordinary rows, and the row's statistic combines them.

- network: each column's term in the VAE and in the second view, on the scale of its own tail (`tails`); the largest.
- whole: the sum of the same: rows of which nothing is wrong but everything odd.
- values, pairs, ranges: what counting says (`counted`).
- near: the distance to the nearest training row (`nearness`), where tables are small enough.

A view's s is -log10 of the share of held-out rows (for counts: of all training rows, each judged by the others) that
it calls at least as unusual. Power means of a large exponent let one absurd value be enough, and add up where several
things are odd.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.calibration import Calibration, calibrate_score
from vae_model.counted import COUNTED_VIEWS, Counted, fit_counted
from vae_model.encoding import Encoded, TableEncoder
from vae_model.nearness import Prototypes
from vae_model.scales import Doubles, Floats
from vae_model.tails import Tails, fit_tails

VIEWS = ("network", "whole", *COUNTED_VIEWS, "near")
OF_COLUMNS = 4.0
OF_VIEWS = 3.0


@dataclass(frozen=True)
class Views:
    """How a bundle judges rows.

    Attributes:
        terms: tails of the network's terms, [K or 2 K].
        counted: what needs no network.
        prototypes: training rows to be near to.
        calibrations: of each view by name.
    """

    terms: Tails
    counted: Counted
    prototypes: Prototypes | None
    calibrations: Mapping[str, Calibration]

    def statistic(self, ranked: Floats, block: Encoded) -> Doubles:
        """The statistic of each row, [n], larger is more unusual: a pure function of the row.

        Args:
            ranked: [K or 2 K, n] mean of the members' terms; overwritten.
            block: the rows.
        """
        return combine_views(self.calibrations, self.measure(ranked, block))

    def measure(self, ranked: Floats, block: Encoded, own: bool = False) -> dict[str, Doubles]:
        """Each view's own number of each row, [n]; `own`: the rows are among the counted."""
        terms = self.terms.apply(ranked)
        np.maximum(terms, 0.0, out=terms)
        whole = add_columns(terms).astype(np.float64)
        raw = {"network": combine_columns(terms), "whole": whole, **self.counted.measure(block, own)}
        if self.prototypes is not None:
            raw["near"] = self.prototypes.distances(block).astype(np.float64)
        return raw

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        tensors: dict[str, npt.NDArray[Any]] = {**self.terms.to_tensors("views.terms"), **self.counted.to_tensors()}
        if self.prototypes is not None:
            tensors |= self.prototypes.to_tensors()
        for name, calibration in self.calibrations.items():
            tensors |= calibration.to_tensors(f"views.{name}.calibration")
        return tensors

    def to_json(self) -> dict[str, Any]:
        return {
            "pairs": [pair.to_json() for pair in self.counted.pairs],
            "calibrations": {name: c.to_json() for name, c in self.calibrations.items()},
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], encoder: TableEncoder) -> Views:
        named = data["calibrations"]
        return cls(
            Tails.from_tensors(tensors, "views.terms"),
            Counted.load(data["pairs"], tensors, encoder),
            Prototypes.from_tensors(tensors, len(encoder.layout.categories)),
            {n: Calibration.load(named[n], tensors, f"views.{n}.calibration") for n in VIEWS if n in named},
        )


def combine_columns(terms: Floats) -> Doubles:
    """Power sum over columns of terms of at least 0, [T, n] -> [n]: close to the largest; overwrites them."""
    np.square(terms, out=terms)
    np.square(terms, out=terms)
    return add_columns(terms).astype(np.float64) ** (1.0 / OF_COLUMNS)


def add_columns(terms: Floats) -> Floats:
    """Sum over columns, [T, n] -> [n], in the same order for any n."""
    # numpy adds row to row, but would sum a single column in pairs.
    return np.add.reduce(terms, axis=0) if terms.shape[1] > 1 else np.cumsum(terms, axis=0, dtype=np.float32)[-1]


def combine_views(calibrations: Mapping[str, Calibration], raw: Mapping[str, Doubles]) -> Doubles:
    """Power mean of the views' -log10 p, [n]."""
    total: Doubles = np.zeros(len(raw["network"]))
    for name, calibration in calibrations.items():
        total += (-calibration.log10_p(raw[name])) ** OF_VIEWS
    combined: Doubles = total ** (1.0 / OF_VIEWS)
    return combined


def count_views(encoder: TableEncoder, rows: Encoded, prototypes: Prototypes | None) -> Views:
    """The views that need no network, from training rows of which each is judged by the others."""
    counted = fit_counted(encoder, rows)
    calibrations = {name: calibrate_score(raw) for name, raw in counted.measure(rows, own=True).items()}
    return Views(fit_tails(np.zeros((1, 1), np.float32)), counted, prototypes, calibrations)


def fit_views(views: Views, ranked: Floats, held_out: Encoded) -> tuple[Views, Doubles]:
    """All views, calibrated, and the statistic of the held-out rows.

    Args:
        views: those that need no network.
        ranked: [K or 2 K, n] terms of held-out rows; overwritten.
        held_out: these rows; they are among the counted.
    """
    judged = replace(views, terms=fit_tails(ranked))
    raw = judged.measure(ranked, held_out, own=True)
    calibrations = {name: calibrate_score(raw[name]) for name in ("network", "whole")} | dict(views.calibrations)
    if "near" in raw:
        calibrations["near"] = calibrate_score(raw["near"], in_units=False)
    return replace(judged, calibrations=calibrations), combine_views(calibrations, raw)
