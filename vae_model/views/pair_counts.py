"""Counted pairs: how often each value of a column was seen with each value of the one or two other columns that tell
most about it, and how unusual that makes a value beside them.

P(a | b) = (count(a, b) + w q(a)) / (count(b) + w), with q(a) the column's own distribution (a Dirichlet prior of weight
w around it; MacKay & Peto 1995, 'A hierarchical Dirichlet language model', eq. 7). A value beside others is as unusual
as the share of training rows whose own value is at most as likely (in the geometric mean, where two columns tell), each
row judged by the others (leave one out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vae_model.features.scales import Codes, Doubles, Floats

WEIGHT = 2.0
# A table of all pairs up to this size; beyond, pairs are looked up.
MAX_CELLS = 262_144
# Nats that the other column must tell about a held-out row's value.
MIN_GAIN = 0.02
# A second column has to tell such a part of what the first one tells.
MIN_SECOND = 0.5
CHECKED_ROWS = 50_000
# Likelihoods are ranked in steps of a nat's part: whole numbers add up alike everywhere.
STEPS_PER_NAT = 64
MAX_STEPS = 4_095
Steps: TypeAlias = npt.NDArray[np.int32]


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

    def count_steps(self, values: Codes, own: bool) -> Steps:
        """Steps of -log P of each row's pair, [n] int32.

        Args:
            values: [V + P, n] codes.
            own: the rows are among the counted.
        """
        if self.shape[0] * self.shape[1] <= MAX_CELLS:
            cells = values[self.condition] * np.int32(self.shape[1])
            cells += values[self.target]
            # All cells are in range: "clip" is the mode that needs no buffer.
            steps: Steps = (self._own_steps if own else self._steps).take(cells, mode="clip")
            return steps
        return _to_steps(self._likelihood(values[self.condition], values[self.target], float(own)))

    def expect(self, condition: Codes) -> tuple[Codes, Floats]:
        """The most frequent target code with each condition code and its share, [n] each; with a new condition the most
        frequent of all, of share 0."""
        best, share = self._best
        codes: Codes = best[condition]
        return codes, share[condition]

    def count(self, condition: int, target: int | None = None) -> int:
        """Training rows with a condition code; with a target code as well, if one is given."""
        if target is None:
            return round(float(self._margins[0][condition]))
        wanted = np.array([condition * self.shape[1] + target], np.int64)
        return round(float(_look_up(wanted, self.cells, self.counts)[0]))

    def targets(self, condition: int) -> tuple[npt.NDArray[np.int64], Doubles]:
        """The target codes that were seen with a condition code, ascending, and the training rows of each."""
        first, last = np.searchsorted(self.cells, (condition * self.shape[1], (condition + 1) * self.shape[1]))
        return self.cells[first:last] % self.shape[1], self.counts[first:last]

    @cached_property
    def _best(self) -> tuple[Codes, Floats]:
        of_target = np.bincount(self.cells % self.shape[1], self.counts, self.shape[1])
        best = np.full(self.shape[0], np.argmax(of_target), np.int32)
        order = np.argsort(self.counts, kind="stable")
        best[self.cells[order] // self.shape[1]] = self.cells[order] % self.shape[1]
        share = np.zeros(self.shape[0], np.float32)
        share[self.cells[order] // self.shape[1]] = self.counts[order]
        share /= (self._margins[0] + 1.0).astype(np.float32)
        return best, share

    @cached_property
    def _steps(self) -> Steps:
        return self._of_all_cells(0.0)

    @cached_property
    def _own_steps(self) -> Steps:
        return self._of_all_cells(1.0)

    def _of_all_cells(self, own: float) -> Steps:
        """[condition x target codes]."""
        condition, target = divmod(np.arange(self.shape[0] * self.shape[1]), self.shape[1])
        return _to_steps(self._likelihood(condition, target, own))

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

    def to_tensors(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        return {f"{prefix}.cells": self.cells.astype(np.float64), f"{prefix}.counts": self.counts}

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target, "condition": self.condition, "shape": list(self.shape)}

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> PairCounts:
        cells = tensors[f"{prefix}.cells"].astype(np.int64)
        return cls(data["target"], data["condition"], tuple(data["shape"]), cells, tensors[f"{prefix}.counts"])


@dataclass(frozen=True)
class GivenOthers:
    """What is likely in one column given the columns that tell most about it.

    Attributes:
        pairs: of this column with each of them, the most telling first.
        rarity: t of a value, by the mean steps of its pairs.
    """

    pairs: tuple[PairCounts, ...]
    rarity: Floats

    @property
    def target(self) -> int:
        return self.pairs[0].target

    def measure(self, values: Codes, own: bool, out: Floats) -> None:
        """Write -log10 of the share of training rows at least as unusual in this column, [n].

        Args:
            values: [V + P, n] codes.
            own: the rows are among the counted.
            out: [n].
        """
        self.rarity.take(mean_steps(self.pairs, values, own), out=out, mode="clip")

    def expect(self, values: Codes) -> tuple[Codes, Floats]:
        """The most frequent target code with what tells most, and its share there, [n] each."""
        return self.pairs[0].expect(values[self.pairs[0].condition])

    def to_tensors(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        tensors: dict[str, npt.NDArray[Any]] = {f"{prefix}.rarity": self.rarity}
        for i, pair in enumerate(self.pairs):
            tensors |= pair.to_tensors(f"{prefix}.{i}")
        return tensors

    def to_json(self) -> list[dict[str, Any]]:
        return [pair.to_json() for pair in self.pairs]

    @classmethod
    def load(
        cls, data: Sequence[Mapping[str, Any]], tensors: Mapping[str, npt.NDArray[Any]], prefix: str
    ) -> GivenOthers:
        pairs = tuple(PairCounts.load(pair, tensors, f"{prefix}.{i}") for i, pair in enumerate(data))
        return cls(pairs, tensors[f"{prefix}.rarity"])


def _to_steps(likelihood: Doubles) -> Steps:
    steps: Steps = np.minimum(np.rint(-STEPS_PER_NAT * np.log(likelihood)), MAX_STEPS).astype(np.int32)
    return steps


def mean_steps(pairs: Sequence[PairCounts], values: Codes, own: bool) -> Steps:
    """Mean over pairs of the steps of -log P, [n]."""
    total = pairs[0].count_steps(values, own)
    for pair in pairs[1:]:
        total += pair.count_steps(values, own)
    mean: Steps = np.floor_divide(total, len(pairs), out=total)
    return mean


def _look_up(wanted: npt.NDArray[np.int64], cells: npt.NDArray[np.int64], counts: Doubles) -> Doubles:
    """The counts of some cells, [n], among those that were seen (ascending); 0 of the others."""
    place = np.searchsorted(cells, wanted).clip(0, len(cells) - 1)
    found: Doubles = np.where(cells[place] == wanted, counts[place], 0.0)
    return found


def count_pairs(codes: Codes, sizes: Sequence[int], owners: Sequence[int]) -> tuple[GivenOthers, ...]:
    """For each column the one or two others that tell most about it, if one does.

    Args:
        codes: [V + P, n] codes of values and beginnings.
        sizes: [V + P] how many codes there are of each.
        owners: [V + P] the column of each.
    """
    step = max(1, codes.shape[1] // CHECKED_ROWS)
    some = codes[:, ::step]
    checked = np.arange(some.shape[1]) % 5 == 0
    given = []
    for target in range(len(sizes)):
        others = [other for other in range(len(sizes)) if owners[other] != owners[target]]
        gains = {other: _gain(some, checked, sizes, target, other) for other in others}
        chosen = _choose_conditions(gains, owners)
        if chosen:
            pairs = tuple(_count_pair(codes, sizes, target, condition) for condition in chosen)
            given.append(GivenOthers(pairs, _rank_steps(mean_steps(pairs, codes, own=True))))
    return tuple(given)


def _choose_conditions(gains: Mapping[int, float], owners: Sequence[int]) -> list[int]:
    """The most telling, and the next one of another column where it tells enough."""
    ordered = sorted(gains, key=lambda other: (-gains[other], other))
    if not ordered or gains[ordered[0]] < MIN_GAIN:
        return []
    least = max(MIN_GAIN, MIN_SECOND * gains[ordered[0]])
    second = [other for other in ordered[1:] if owners[other] != owners[ordered[0]] and gains[other] >= least]
    return [ordered[0], *second[:1]]


def _count_pair(codes: Codes, sizes: Sequence[int], target: int, condition: int) -> PairCounts:
    shape = (sizes[condition], sizes[target])
    cells, counts = np.unique(codes[condition].astype(np.int64) * shape[1] + codes[target], return_counts=True)
    return PairCounts(target, condition, shape, cells, counts.astype(np.float64))


def _rank_steps(steps: Steps) -> Floats:
    """T of each number of steps up to one more than the largest, [steps]."""
    rows = np.bincount(steps, minlength=int(steps.max(initial=0)) + 2)
    at_least = np.cumsum(rows[::-1])[::-1]
    return np.asarray(-np.log10(np.minimum((at_least + 1.0) / (len(steps) + 1.0), 1.0)), np.float32)


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
