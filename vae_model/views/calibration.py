"""Calibration: a row's statistic -> the share of normal rows at least as unusual, from held-out rows.

Below the tail threshold the empirical distribution decides; above it a generalised Pareto distribution fitted to the
exceedances (Pickands 1975; peaks over threshold). A tail that would end (negative shape) is continued exponentially,
with its own slope, from where half a held-out row is expected: no row gets probability zero. log10 is computed
directly, so scores of hundreds neither overflow nor tie.

Statistics that are tail shares already (`calibrate_score`) keep their own tail: ten times rarer is ten times rarer, and
held-out rows only say from where. Beyond what the rows can bear out the score grows as a logarithm: it keeps the order,
and stays sober.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.features.scales import Doubles

KNOTS = 2_048
# Few: at one row in twenty a real table is still a mixture of kinds of rows, and no Pareto tail (docs/model.md).
MAX_EXCEEDANCES = 100
MIN_EXCEEDANCES_TO_FIT = 50
MAX_SHAPE = 1.0
SCORE_KNOTS = 32
# Excesses that the prior 'ten times rarer for each unit' weighs as much as.
PRIOR_EXCESSES = 10.0
_LOG10_E = math.log10(math.e)


@dataclass(frozen=True)
class Calibration:
    """Empirical knots (statistic ascending, log10 of the share at least that large) and the fitted tail.

    Attributes:
        threshold: statistic where the tail begins.
        tail_share: share of rows beyond it.
        shape: of the generalised Pareto tail (xi).
        scale: of the tail (sigma), in units of the statistic.
        junction: excess over the threshold beyond which the tail goes on exponentially.
        sober: score beyond which it grows as a logarithm.
    """

    knots: npt.NDArray[np.float64]
    log10_share: npt.NDArray[np.float64]
    threshold: float
    tail_share: float
    shape: float
    scale: float
    junction: float
    sober: float = sys.float_info.max

    def log10_p(self, statistic: Doubles) -> Doubles:
        """log10 of the p-value of each statistic, at most 0."""
        log10_p = np.minimum(np.interp(statistic, self.knots, self.log10_share), 0.0)
        rare = np.flatnonzero(statistic > self.threshold)
        log10_p[rare] = self._log10_tail(statistic[rare] - self.threshold)
        return log10_p

    def _log10_tail(self, excess: Doubles) -> Doubles:
        near = np.minimum(excess, self.junction)
        slope = 1.0 / (self.scale + self.shape * self.junction)
        tail = self._log_survival(near) - (excess - near) * slope
        log10_p = np.minimum(math.log10(self.tail_share) + tail * _LOG10_E, 0.0)
        beyond = np.maximum(-log10_p - self.sober, 0.0)
        return np.asarray(log10_p + beyond - np.log1p(beyond))

    def _log_survival(self, excess: Doubles) -> Doubles:
        if abs(self.shape) < 1e-9:
            return -excess / self.scale
        survival: Doubles = -np.log1p(self.shape * excess / self.scale) / self.shape
        return survival

    def to_tensors(self, prefix: str) -> dict[str, npt.NDArray[np.float64]]:
        return {f"{prefix}.knots": self.knots, f"{prefix}.log10_share": self.log10_share}

    def to_json(self) -> dict[str, float]:
        """The numbers; `sober` only where there is such a bound: a bundle older than it keeps its digest."""
        names = ("threshold", "tail_share", "shape", "scale", "junction", "sober")
        return {n: getattr(self, n) for n in names if n != "sober" or self.sober != sys.float_info.max}

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> Calibration:
        return cls(tensors[f"{prefix}.knots"], tensors[f"{prefix}.log10_share"], **data)


def calibrate_score(statistic: Doubles, in_units: bool = True, caution: float = 0.0) -> Calibration:
    """Calibrate a statistic whose units are -log10 of a share, [n] with n >= 1: beyond the largest rows it falls to a
    tenth for each unit, or more slowly where the excesses say so.

    Args:
        statistic: of held-out rows, or of rows judged as if they were.
        in_units: False for another statistic: the excesses alone give the rate of its exponential tail.
        caution: standard errors by which the tail is taken to be longer than estimated.
    """
    ordered = np.sort(np.asarray(statistic, dtype=np.float64))
    n = len(ordered)
    exceedances = max(1, min(MAX_EXCEEDANCES, n // 20 if n >= 20 * MIN_EXCEEDANCES_TO_FIT else n // 4))
    threshold = float(ordered[max(0, n - exceedances - 1)])
    excess = ordered[ordered > threshold] - threshold
    prior, unit = (PRIOR_EXCESSES, 1.0 / math.log(10.0)) if in_units else (0.0, 0.0)
    scale = (float(excess.sum()) + prior * unit) / max(len(excess) + prior, 1.0)
    scale = max(scale, unit, 1e-6) * (1.0 + caution / math.sqrt(max(1, len(excess))))
    # Evenly on the scale of scores.
    picked = n - np.geomspace(n, exceedances + 1, SCORE_KNOTS)
    knots, log10_share = _body(ordered, picked)
    tail_share = (len(excess) + 0.5) / (n + 1)
    sober = math.log10(n + 1.0) + 1.0
    return Calibration(
        knots, np.maximum(log10_share, math.log10(tail_share)), threshold, tail_share, 0.0,
        scale, sys.float_info.max, sober,
    )  # fmt: skip


def calibrate(statistic: Doubles) -> Calibration:
    """Fit on the statistic of held-out rows, [n] with n >= 1. Imports scipy: training only."""
    ordered = np.sort(np.asarray(statistic, dtype=np.float64))
    n = len(ordered)
    exceedances = max(1, min(MAX_EXCEEDANCES, n // 10 if n >= 10 * MIN_EXCEEDANCES_TO_FIT else n // 4))
    threshold = float(ordered[max(0, n - exceedances - 1)])
    excess = ordered[ordered > threshold] - threshold
    tail_share = (len(excess) + 0.5) / (n + 1)
    shape, scale = _fit_tail(excess)
    junction = sys.float_info.max
    if shape < 0:
        # Excess with survival 0.5 / (n * tail_share): beyond it no held-out row speaks for the fitted end of the tail.
        junction = scale / shape * ((0.5 / (n * tail_share)) ** -shape - 1.0)
    knots, log10_share = _body(ordered, np.linspace(0, n - 1, KNOTS))
    return Calibration(
        knots, np.maximum(log10_share, math.log10(tail_share)), threshold, tail_share, shape, scale, junction
    )


def _body(ordered: Doubles, places: Doubles) -> tuple[Doubles, Doubles]:
    """Sorted values at some places, and log10 of the share at least as large at each."""
    n = len(ordered)
    share = (n - np.arange(n) + 0.5) / (n + 1)  # rows at least as large, with half a row of doubt
    picked = np.unique(places.round().astype(np.intp))
    knots, first = np.unique(ordered[picked], return_index=True)
    return knots, np.log10(np.minimum(share[picked][first], 1.0))


def _fit_tail(excess: Doubles) -> tuple[float, float]:
    """Shape (at most 1) and scale of the generalised Pareto tail; exponential for few exceedances."""
    mean = float(excess.mean()) if excess.size else 0.0
    if excess.size < MIN_EXCEEDANCES_TO_FIT:
        return 0.0, max(mean, 1e-6)
    from scipy.stats import genpareto

    shape, _, scale = genpareto.fit(excess / mean, floc=0.0)
    if not -0.5 < shape < MAX_SHAPE:
        return 0.0, mean
    return float(shape), float(scale) * mean
