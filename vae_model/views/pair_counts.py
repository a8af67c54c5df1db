"""Counted pairs: how often each value of a column was seen with each value of the one other column that tells most
about it, and how unusual that makes a pair.

P(a | b) = (count(a, b) + w q(a)) / (count(b) + w), with q(a) the column's own distribution (a Dirichlet prior of weight
w around it; MacKay & Peto 1995, 'A hierarchical Dirichlet language model', eq. 7). A pair is as unusual as the share of
training rows whose value is at most as likely, each row judged by the others (leave one out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.features.scales import Codes, Doubles, Floats

WEIGHT = 2.0
# A table of all pairs up to this size; beyond, pairs are looked up.
MAX_CELLS = 262_144
# Nats that the other column must tell about a held-out row's value.
MIN_GAIN = 0.02
CHECKED_ROWS = 50_000


@dataclass(frozen=True)
class PairCounts:
    """Pairs of one column (its target) and another (its condition), numbers of counted columns.

    Attributes:
        target, condition: numbers within the counted columns.
        shape: codes of the condition, codes of the target.
        cells: [cells] condition code x codes of the target + target code, of pairs that were seen.
        counts: [cells] rows of each.
    """

    target: int
    condition: int
    shape: tuple[int, int]
    cells: npt.NDArray[np.int64]
    counts: Doubles

    def measure(self, values: Codes, own: bool, out: Floats) -> None:
        """Write -log10 of the share of training rows at least as unusual as each row's pair, [n].

        Args:
            values: [V, n] codes of the counted columns.
            own: the rows are among the counted.
            out: [n].
        """
        if self.shape[0] * self.shape[1] <= MAX_CELLS:
            cells = values[self.condition] * np.int32(self.shape[1])
            cells += values[self.target]
            # All cells are in range: "clip" is the mode that needs no buffer.
            (self._own_surprise if own else self._surprise).take(cells, out=out, mode="clip")
            return
        condition, target = values[self.condition], values[self.target]
        out[:] = self._rank(self._likelihood(condition, target, float(own)))

    def expect(self, condition: Codes) -> Codes:
        """The most frequent target code with each condition code, [n]; the most frequent of all with a new one."""
        return self._best[condition]

    @cached_property
    def _best(self) -> Codes:
        of_target = np.bincount(self.cells % self.shape[1], self.counts, self.shape[1])
        best = np.full(self.shape[0], np.argmax(of_target), np.int32)
        order = np.argsort(self.counts, kind="stable")
        best[self.cells[order] // self.shape[1]] = self.cells[order] % self.shape[1]
        return best

    @cached_property
    def _surprise(self) -> Floats:
        return self._of_all_cells(0.0)

    @cached_property
    def _own_surprise(self) -> Floats:
        return self._of_all_cells(1.0)

    def _of_all_cells(self, own: float) -> Floats:
        """[condition x target codes]."""
        condition, target = divmod(np.arange(self.shape[0] * self.shape[1]), self.shape[1])
        return self._rank(self._likelihood(condition, target, own))

    def _likelihood(self, condition: npt.NDArray[Any], target: npt.NDArray[Any], own: float) -> Doubles:
        """P(target | condition) of each pair, from the rows less `own` of the pair in question. A pair seen once is as
        unlikely as one never seen: the one row may be the same."""
        of_condition, of_target = self._margins
        total = of_target.sum()
        prior = (np.maximum(of_target - own, 0.0) + 0.5) / (total - own + 0.5 * len(of_target))
        cells = condition.astype(np.int64) * self.shape[1] + target
        seen = _look_up(cells, self.cells, self.counts)
        seen[seen == 1.0] = 0.0
        with_condition = np.maximum(of_condition - own, 0.0)[condition]
        likelihood: Doubles = (np.maximum(seen - own, 0.0) + WEIGHT * prior[target]) / (with_condition + WEIGHT)
        return likelihood

    @cached_property
    def _margins(self) -> tuple[Doubles, Doubles]:
        condition, target = divmod(self.cells, self.shape[1])
        margins = ((condition, self.shape[0]), (target, self.shape[1]))
        of_condition, of_target = (np.bincount(codes, self.counts, size).astype(np.float64) for codes, size in margins)
        return of_condition, of_target

    @cached_property
    def _ranked(self) -> tuple[Doubles, Doubles]:
        """Likelihoods of the training rows' pairs, ascending, and the rows up to each."""
        condition, target = divmod(self.cells, self.shape[1])
        own = self._likelihood(condition, target, 1.0)
        order = np.argsort(own, kind="stable")
        return own[order], np.concatenate([[0.0], np.cumsum(self.counts[order])])

    def _rank(self, likelihood: Doubles) -> Floats:
        ordered, rows = self._ranked
        at_most = rows[np.searchsorted(ordered, likelihood * (1 + 1e-9), side="right")]
        return np.asarray(-np.log10(np.minimum((at_most + 1.0) / (rows[-1] + 1.0), 1.0)), np.float32)

    def to_tensors(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        return {f"{prefix}.cells": self.cells.astype(np.float64), f"{prefix}.counts": self.counts}

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target, "condition": self.condition, "shape": list(self.shape)}

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> PairCounts:
        cells = tensors[f"{prefix}.cells"].astype(np.int64)
        return cls(data["target"], data["condition"], tuple(data["shape"]), cells, tensors[f"{prefix}.counts"])


def _look_up(wanted: npt.NDArray[np.int64], cells: npt.NDArray[np.int64], counts: Doubles) -> Doubles:
    """The counts of some cells, [n], among those that were seen (ascending); 0 of the others."""
    place = np.searchsorted(cells, wanted).clip(0, len(cells) - 1)
    found: Doubles = np.where(cells[place] == wanted, counts[place], 0.0)
    return found


def count_pairs(codes: Codes, sizes: Sequence[int], targets: Sequence[int]) -> tuple[PairCounts, ...]:
    """For each target the condition that tells most about it, if one does.

    Args:
        codes: [V, n] value codes of the counted columns.
        sizes: [V] codes of each.
        targets: the columns to explain; the others only explain.
    """
    step = max(1, codes.shape[1] // CHECKED_ROWS)
    some = codes[:, ::step]
    checked = np.arange(some.shape[1]) % 5 == 0
    pairs = []
    for target in targets:
        gains = [(_gain(some, checked, sizes, target, other), other) for other in range(len(sizes)) if other != target]
        gain, condition = max(gains, default=(0.0, -1), key=lambda g: (g[0], -g[1]))
        if gain < MIN_GAIN:
            continue
        shape = (sizes[condition], sizes[target])
        cells, counts = np.unique(codes[condition].astype(np.int64) * shape[1] + codes[target], return_counts=True)
        pairs.append(PairCounts(target, condition, shape, cells, counts.astype(np.float64)))
    return tuple(pairs)


def _gain(codes: Codes, checked: npt.NDArray[np.bool_], sizes: Sequence[int], target: int, other: int) -> float:
    """Nats by which knowing the other column raises the likelihood of the target in rows that were not counted."""
    fitted = ~checked
    alone = np.bincount(codes[target, fitted], minlength=sizes[target]) + 0.5
    alone /= alone.sum()
    with_other = np.bincount(codes[other, fitted], minlength=sizes[other])
    pairs = codes[other].astype(np.int64) * sizes[target] + codes[target]
    cells, counts = np.unique(pairs[fitted], return_counts=True)
    seen = _look_up(pairs[checked], cells, counts.astype(np.float64))
    held = codes[target, checked]
    given = (seen + WEIGHT * alone[held]) / (with_other[codes[other, checked]] + WEIGHT)
    return float(np.mean(np.log(given) - np.log(alone[held])))
