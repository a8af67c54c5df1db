"""One currency: every view of a row becomes a share of ordinary rows, and the row's statistic combines them.

- network: each column's term in the VAE and in the second view, on the scale of its own tail (`tails`); the largest.
- whole: the sum of the same: rows of which nothing is wrong but everything odd.
- counts, ranges: what counting says (`counted`).
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
from vae_model.tails import OF_COLUMNS, Tails, add_columns, combine_columns, fit_tails

VIEWS = ("network", "whole", *COUNTED_VIEWS, "near")
# What is no sum over columns has a calibration of its own.
OF_ROWS = ("whole", "near")


@dataclass(frozen=True)
class Views:
    """How a bundle judges rows.

    Attributes:
        terms: tails of the network's terms, [K or 2 K].
        counted: what needs no network.
        prototypes: training rows to be near to.
        calibrations: of the views of whole rows, by name.
        weights: of the same: what their t is worth beside a sum over columns.
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

    def combine(self, raw: Mapping[str, Doubles]) -> Doubles:
        """Power sum over all views' t, [n]."""
        total = add_up({name: t for name, t in raw.items() if name not in OF_ROWS})
        for name, calibration in self.calibrations.items():
            total += (-self.weights[name] * calibration.log10_p(raw[name])) ** OF_COLUMNS
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
            "pairs": [pair.to_json() for pair in self.counted.pairs],
            "calibrations": {name: c.to_json() for name, c in self.calibrations.items()},
            "weights": dict(self.weights),
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], encoder: TableEncoder) -> Views:
        named = data["calibrations"]
        return cls(
            Tails.from_tensors(tensors, "views.terms"),
            Counted.load(data["pairs"], tensors, encoder),
            Prototypes.from_tensors(tensors, len(encoder.layout.categories)),
            {n: Calibration.load(named[n], tensors, f"views.{n}.calibration") for n in OF_ROWS if n in named},
            data["weights"],
        )


def add_up(raw: Mapping[str, Doubles]) -> Doubles:
    """Sum over views of t to the power of a sum over columns, [n]."""
    total: Doubles = np.zeros(len(raw["network"]))
    for t in raw.values():
        total += t**OF_COLUMNS
    return total


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
    calibrations = {"whole": calibrate_score(raw["whole"])}
    # At one row in a hundred a sum over columns is larger than t of a whole row, which is 2, and would drown it.
    of_columns = add_up({name: t for name, t in raw.items() if name not in OF_ROWS}) ** (1.0 / OF_COLUMNS)
    weight = max(1.0, float(np.quantile(of_columns, 0.99)) / 2.0)
    weights = {"whole": weight}
    if judged.prototypes is not None:
        calibrations["near"] = calibrate_score(raw["near"], in_units=False)
        # Of a large table the prototypes are a part: what is far from them may be near to others.
        known = min(1.0, len(judged.prototypes.points) / judged.counted.encoder.rows)
        weights["near"] = 1.0 + (weight - 1.0) * known
    fitted = replace(judged, calibrations=calibrations, weights=weights)
    return fitted, fitted.combine(raw)
