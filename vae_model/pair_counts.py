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

from vae_model.scales import Codes, Doubles, Floats

WEIGHT = 2.0
MAX_CELLS = 262_144
MAX_CANDIDATES = 64
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

    @cached_property
    def table(self) -> Doubles:
        table: Doubles = np.zeros(self.shape[0] * self.shape[1])
        table[self.cells] = self.counts
        return table.reshape(self.shape)

    @cached_property
    def surprise(self) -> Floats:
        """[condition x target codes] -log10 of the share of training rows at least as unusual as a new pair."""
        return self._rank(_likelihood(self.table, 0.0))

    @cached_property
    def own_surprise(self) -> Floats:
        """The same for training rows, each of them one of the counted."""
        return self._rank(_likelihood(self.table, 1.0))

    def _rank(self, likelihood: Doubles) -> Floats:
        own = _likelihood(self.table, 1.0).reshape(-1)[self.cells]
        order = np.argsort(own, kind="stable")
        rows = np.concatenate([[0.0], np.cumsum(self.counts[order])])
        at_most = rows[np.searchsorted(own[order], likelihood.reshape(-1) * (1 + 1e-9), side="right")]
        total = rows[-1]
        return np.asarray(-np.log10(np.minimum((at_most + 1.0) / (total + 1.0), 1.0)), np.float32)

    def to_tensors(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        return {f"{prefix}.cells": self.cells.astype(np.float64), f"{prefix}.counts": self.counts}

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target, "condition": self.condition, "shape": list(self.shape)}

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> PairCounts:
        cells = tensors[f"{prefix}.cells"].astype(np.int64)
        return cls(data["target"], data["condition"], tuple(data["shape"]), cells, tensors[f"{prefix}.counts"])


def _likelihood(table: Doubles, own: float) -> Doubles:
    """[condition, target] P(target | condition), from the rows less `own` of the pair in question."""
    of_target = table.sum(axis=0)
    prior = np.maximum(of_target - own, 0.0) + 0.5
    prior = prior / (of_target.sum() - own + 0.5 * len(of_target))
    seen = np.maximum(table - own, 0.0)
    with_condition = np.maximum(table.sum(axis=1, keepdims=True) - own, 0.0)
    likelihood: Doubles = (seen + WEIGHT * prior) / (with_condition + WEIGHT)
    return likelihood


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
        gains = [
            (_gain(some, checked, sizes, target, other), other)
            for other in range(len(sizes))
            if other != target and sizes[other] * sizes[target] <= MAX_CELLS
        ]
        gain, condition = max(gains, default=(0.0, -1), key=lambda g: (g[0], -g[1]))
        if gain < MIN_GAIN:
            continue
        shape = (sizes[condition], sizes[target])
        cells, counts = np.unique(codes[condition].astype(np.int64) * shape[1] + codes[target], return_counts=True)
        pairs.append(PairCounts(target, condition, shape, cells, counts.astype(np.float64)))
    return tuple(pairs)


def _gain(codes: Codes, checked: npt.NDArray[np.bool_], sizes: Sequence[int], target: int, other: int) -> float:
    """Nats by which knowing the other column raises the likelihood of the target in rows that were not counted."""
    shape = (sizes[other], sizes[target])
    fitted = ~checked
    cells = codes[other, fitted].astype(np.int64) * shape[1] + codes[target, fitted]
    table = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    alone = table.sum(axis=0) + 0.5
    alone /= alone.sum()
    held = codes[target, checked]
    seen = table[codes[other, checked], held]
    given = (seen + WEIGHT * alone[held]) / (table.sum(axis=1)[codes[other, checked]] + WEIGHT)
    return float(np.mean(np.log(given) - np.log(alone[held])))
