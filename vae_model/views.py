"""One currency: every view of a row becomes a share of ordinary rows, and the row's statistic combines them.

- network: each column's term in the VAE and in the second view, on the scale of its own tail (`tails`); the largest ones.
- counted: each column's value alone, and with the value of the column that tells most about it, by counting (`value_counts`,
  `pair_counts`); numbers and moments beyond the range that training saw, by the tails of their values; the largest.
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
from vae_model.encoders import NumberEncoder
from vae_model.encoding import Encoded, TableEncoder
from vae_model.nearness import Prototypes, choose_prototypes
from vae_model.pair_counts import PairCounts, count_pairs
from vae_model.scales import Doubles, Floats
from vae_model.tails import Tails, fit_tails
from vae_model.times import ClockEncoder, TimeEncoder

VIEWS = ("network", "counted", "near")
OF_COLUMNS = 4.0
OF_VIEWS = 3.0
MAX_PAIRED = 128


@dataclass(frozen=True)
class Views:
    """How a bundle judges rows.

    Attributes:
        encoder: the table's encoder, for its counts.
        terms: tails of the network's terms, [K or 2 K].
        ranges: tails of `ranged` inputs, upward, then downward.
        ranged: rows of x whose range counts.
        pairs: counted pairs.
        prototypes: training rows to be near to.
        calibrations: of each view by name.
    """

    encoder: TableEncoder
    terms: Tails
    ranges: Tails | None
    ranged: tuple[int, ...]
    pairs: tuple[PairCounts, ...]
    prototypes: Prototypes | None
    calibrations: Mapping[str, Calibration]

    def statistic(self, ranked: Floats, block: Encoded) -> Doubles:
        """The statistic of each row, [n], larger is more unusual; an exact function of the row.

        Args:
            ranked: [K or 2 K, n] mean of the members' terms; overwritten.
            block: the rows.
        """
        raw = self.measure(ranked, block)
        total = np.zeros(block.rows)
        for name, calibration in self.calibrations.items():
            total += (-calibration.log10_p(raw[name])) ** OF_VIEWS
        return np.asarray(total ** (1.0 / OF_VIEWS))

    def measure(self, ranked: Floats, block: Encoded) -> dict[str, Doubles]:
        """Each view's own number of each row, [n]."""
        raw = {"network": combine_columns(self.terms.apply(ranked)), "counted": self.count(block)}
        if self.prototypes is not None:
            raw["near"] = self.prototypes.distances(block).astype(np.float64)
        return raw

    def count(self, block: Encoded, own: bool = False) -> Doubles:
        """The counted view, [n]; `own`: the rows are among the counted."""
        return self.counted_terms(block, own).max(axis=0, initial=0.0).astype(np.float64)

    def counted_terms(self, block: Encoded, own: bool = False) -> Floats:
        """T of every counted column, pair and range, [V + pairs + 2 R, n]."""
        layout, values = self.encoder.layout, block.values
        parts = len(layout.counted) + len(self.pairs)
        terms = np.empty((parts + 2 * len(self.ranged), block.rows), np.float32)
        for row, k in enumerate(layout.counted):
            counts = self.encoder.counts[k]
            if counts is not None:
                terms[row] = (counts.own_surprise if own else counts.surprise)[values[row]]
        for row, pair in enumerate(self.pairs, len(layout.counted)):
            cells = values[pair.condition] * np.int32(pair.shape[1])
            cells += values[pair.target]
            terms[row] = (pair.own_surprise if own else pair.surprise)[cells]
        if self.ranges is not None:
            x = block.x[list(self.ranged)]
            terms[parts:] = self.ranges.apply(np.concatenate([x, -x]))
        return terms

    def owners(self) -> npt.NDArray[np.intp]:
        """Column of each row of `counted_terms`."""
        layout = self.encoder.layout
        paired = [layout.counted[pair.target] for pair in self.pairs]
        ranged = [layout.continuous[i] for i in self.ranged]
        return np.asarray([*layout.counted, *paired, *ranged, *ranged], np.intp)

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        tensors: dict[str, npt.NDArray[Any]] = dict(self.terms.to_tensors("views.terms"))
        if self.ranges is not None:
            tensors |= self.ranges.to_tensors("views.ranges")
        for i, pair in enumerate(self.pairs):
            tensors |= pair.to_tensors(f"views.pairs.{i}")
        if self.prototypes is not None:
            tensors |= self.prototypes.to_tensors()
        for name, calibration in self.calibrations.items():
            tensors |= calibration.to_tensors(f"views.{name}")
        return tensors

    def to_json(self) -> dict[str, Any]:
        return {
            "ranged": list(self.ranged),
            "pairs": [pair.to_json() for pair in self.pairs],
            "calibrations": {name: c.to_json() for name, c in self.calibrations.items()},
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], encoder: TableEncoder) -> Views:
        pairs = [PairCounts.load(pair, tensors, f"views.pairs.{i}") for i, pair in enumerate(data["pairs"])]
        named = data["calibrations"]
        return cls(
            encoder=encoder,
            terms=Tails.from_tensors(tensors, "views.terms"),
            ranges=Tails.from_tensors(tensors, "views.ranges") if data["ranged"] else None,
            ranged=tuple(data["ranged"]),
            pairs=tuple(pairs),
            prototypes=Prototypes.from_tensors(tensors, len(encoder.layout.categories)),
            calibrations={n: Calibration.load(named[n], tensors, f"views.{n}") for n in VIEWS if n in named},
        )


def combine_columns(terms: Floats) -> Doubles:
    """Power sum over columns, [T, n] -> [n]: close to the largest; overwrites the terms."""
    np.maximum(terms, 0.0, out=terms)
    np.square(terms, out=terms)
    np.square(terms, out=terms)
    total = np.add.reduce(terms, axis=0) if terms.shape[1] > 1 else np.cumsum(terms, axis=0, dtype=np.float32)[-1]
    return np.asarray(total, np.float64) ** (1.0 / OF_COLUMNS)


def count_views(encoder: TableEncoder, rows: Encoded, training: Encoded, training_rows: int, seed: int) -> Views:
    """The views that need no network.

    Args:
        encoder: of the table, with its counts.
        rows: training rows, held-out ones among them.
        training: some rows that the network will see, in random order: prototypes.
        training_rows: how many of these there are.
    """
    layout = encoder.layout
    ranged = tuple(choose_ranged(encoder))
    x = rows.x[list(ranged)]
    ranges = fit_tails(np.concatenate([x, -x])) if ranged else None
    sizes = [counts.size for counts in encoder.counts if counts is not None]
    targets = range(len(layout.counted)) if len(layout.counted) <= MAX_PAIRED else ()
    pairs = count_pairs(rows.values, sizes, targets)
    nothing = fit_tails(np.zeros((1, 1), np.float32))
    prototypes = choose_prototypes(layout, training, training_rows, seed)
    views = Views(encoder, nothing, ranges, ranged, pairs, prototypes, {})
    counted = calibrate_score(views.count(rows, own=True))
    return replace(views, calibrations={"counted": counted})


def choose_ranged(encoder: TableEncoder) -> list[int]:
    """Rows of x that grow with the value itself: the first part of a number, the last of a moment."""
    first = {k: i for i, k in reversed(list(enumerate(encoder.layout.continuous)))}
    chosen = []
    for k, one in enumerate(encoder.encoders):
        if isinstance(one, NumberEncoder | ClockEncoder):
            chosen.append(first[k])
        elif isinstance(one, TimeEncoder):
            chosen.append(first[k] + one.parts - 1)
    return chosen


def fit_views(views: Views, ranked: Floats, held_out: Encoded) -> tuple[Views, Doubles]:
    """The views with the network's, calibrated, and the statistic of the held-out rows.

    Args:
        ranked: [K or 2 K, n] terms of held-out rows.
        held_out: these rows; they are among the counted.
    """
    judged = replace(views, terms=fit_tails(ranked))
    raw = judged.measure(ranked.copy(), held_out)
    counted = judged.count(held_out, own=True)
    calibrations = {"network": calibrate_score(raw["network"]), "counted": views.calibrations["counted"]}
    if "near" in raw:
        calibrations["near"] = calibrate_score(raw["near"], in_units=False)
    fitted = replace(judged, calibrations=calibrations)
    raw["counted"] = counted
    total = sum((-c.log10_p(raw[name])) ** OF_VIEWS for name, c in calibrations.items())
    return fitted, np.asarray(total) ** (1.0 / OF_VIEWS)

