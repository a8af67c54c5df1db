"""One currency: every view of a row becomes a share of ordinary rows, and the row's statistic combines them.

- network: each column's term in the VAE and in the conditional model, on the scale of its own tail (`tails`).
- whole: the sum of the same: rows of which nothing is wrong but everything odd.
- counts, ranges: what counting says (`counted`).
- near: the distance to the nearest training row (`nearness`), where tables are small enough.

Each t is -log10 of the share of held-out rows (for counts: of all training rows, each judged by the others) that are at
least as unusual. A power sum of a large exponent lets one absurd value be enough, and adds up where several things are
odd; what values or ranges alone say beyond one row in a hundred is put on top, so that it does not drown in the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.features.encoding import Encoded, TableEncoder
from vae_model.features.scales import Doubles, Floats
from vae_model.features.tails import OF_COLUMNS, Tails, add_columns, combine_columns, fit_tails
from vae_model.views.calibration import Calibration, calibrate_score
from vae_model.views.counted import Counted, fit_counted
from vae_model.views.nearness import Prototypes

# Sums over columns, which are added up as they are; whole rows' views have calibrations and weights.
SUMS = ("network", "counts", "ranges")
LIMITS = ("values", "ranges")
# What single values say counts where it is rarer than one row in so many, as a power of ten.
LIMIT = 2.0


@dataclass(frozen=True)
class Views:
    """How a bundle judges rows.

    Attributes:
        terms: tails of the network's terms, [K or 2 K].
        counted: what needs no network.
        prototypes: training rows to be near to.
        calibrations: by name: of the views of whole rows, of LIMITS, and of the 'sum' of all.
        weights: of the views of whole rows: what their t is worth beside a sum over columns.
    """

    terms: Tails
    counted: Counted
    prototypes: Prototypes | None
    calibrations: Mapping[str, Calibration]
    weights: Mapping[str, float]

    def statistic(self, ranked: Floats, block: Encoded) -> Doubles:
        """The statistic of each row, [n], larger is more unusual: a pure function of the row.

        Args:
            ranked: [K or 2 K, n] mean of the members' terms; overwritten.
            block: the rows.
        """
        return self.combine(self.measure(ranked, block))

    def measure(self, ranked: Floats, block: Encoded, own: bool = False) -> dict[str, Doubles]:
        """Each view's own number of each row, [n]; `own`: the rows are among the counted."""
        terms = self.terms.apply(ranked)
        np.maximum(terms, 0.0, out=terms)
        whole = add_columns(terms).astype(np.float64)
        raw = {"network": combine_columns(terms), "whole": whole, **self.counted.measure(block, own)}
        if self.prototypes is not None:
            raw["near"] = self.prototypes.distances(block).astype(np.float64)
        return raw

    def evidence(self, ranked: Floats, block: Encoded) -> Floats:
        """[K, n] how unusual each column is by itself: the sum of the squares of all t about it."""
        terms = np.square(np.maximum(self.terms.apply(ranked), 0.0))
        columns = self.counted.encoder.layout.columns
        squares = terms[:columns] + terms[columns:] if len(terms) > columns else terms
        self.counted.add_evidence(block, squares)
        return squares

    def combine(self, raw: Mapping[str, Doubles]) -> Doubles:
        """The statistic, [n]: -log10 p of the views' power sum, and what single values are beyond their limit."""
        within = -self.calibrations["sum"].log10_p(self.add_up(raw))
        beyond = np.full(len(within), LIMIT)
        for name in LIMITS:
            if name in raw:
                np.maximum(beyond, -self.calibrations[name].log10_p(raw[name]), out=beyond)
        combined: Doubles = within + beyond - LIMIT
        return combined

    def add_up(self, raw: Mapping[str, Doubles]) -> Doubles:
        """Power sum over all views' t, [n]."""
        total: Doubles = np.zeros(len(raw["network"]))
        for name in SUMS:
            if name in raw:
                total += raw[name] ** OF_COLUMNS
        for name in sorted(self.weights):
            weight = self.weights[name]
            total += (-weight * self.calibrations[name].log10_p(raw[name])) ** OF_COLUMNS
        combined: Doubles = total ** (1.0 / OF_COLUMNS)
        return combined

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        tensors: dict[str, npt.NDArray[Any]] = {**self.terms.to_tensors("views.terms"), **self.counted.to_tensors()}
        if self.prototypes is not None:
            tensors |= self.prototypes.to_tensors()
        for name, calibration in self.calibrations.items():
            tensors |= calibration.to_tensors(f"views.{name}.calibration")
        return tensors

    def to_json(self) -> dict[str, Any]:
        return {
            "given": [given.to_json() for given in self.counted.given],
            "calibrations": {name: c.to_json() for name, c in self.calibrations.items()},
            "weights": dict(self.weights),
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], encoder: TableEncoder) -> Views:
        return cls(
            Tails.from_tensors(tensors, "views.terms"),
            Counted.load(data["given"], tensors, encoder),
            Prototypes.from_tensors(tensors, len(encoder.layout.categories)),
            {n: Calibration.load(c, tensors, f"views.{n}.calibration") for n, c in data["calibrations"].items()},
            data["weights"],
        )


def count_views(encoder: TableEncoder, rows: Encoded, prototypes: Prototypes | None) -> Views:
    """The views that need no network, from training rows of which each is judged by the others."""
    return Views(fit_tails(np.zeros((1, 1), np.float32)), fit_counted(encoder, rows), prototypes, {}, {})


def fit_views(views: Views, ranked: Floats, held_out: Encoded) -> tuple[Views, Doubles]:
    """All views, calibrated, and the statistic of the held-out rows.

    Args:
        views: those that need no network.
        ranked: [K or 2 K, n] terms of held-out rows; overwritten.
        held_out: these rows; they are among the counted.
    """
    judged = replace(views, terms=fit_tails(ranked))
    raw = judged.measure(ranked, held_out, own=True)
    # At one row in a hundred a sum over columns is larger than t of a whole row, which is 2, and would drown it.
    weight = max(1.0, float(np.quantile(judged.add_up(raw), 0.99)) / 2.0)
    # Numbers can each be ordinary and odd together; of categories the counted pairs say so, and the rest is noise.
    layout = views.counted.encoder.layout
    share = len(layout.continuous_columns) / layout.columns
    calibrations, weights = {"whole": calibrate_score(raw["whole"])}, {"whole": weight * share}
    if judged.prototypes is not None:
        calibrations["near"] = calibrate_score(raw["near"], in_units=False)
        # Of a large table the prototypes are a part: what is far from them may be near to others.
        known = min(1.0, len(judged.prototypes.points) / judged.counted.encoder.rows)
        weights["near"] = (1.0 + (weight - 1.0) * known) * share
    judged = replace(judged, calibrations=calibrations, weights=weights)
    calibrations |= {name: calibrate_score(raw[name]) for name in LIMITS if name in raw}
    calibrations["sum"] = calibrate_score(judged.add_up(raw))
    judged = replace(judged, calibrations=calibrations)
    return judged, judged.combine(raw)
