"""Calibration: a row's statistic -> the share of normal rows at least as unusual, from held-out rows.

Below the tail threshold the empirical distribution decides; above it a generalised Pareto distribution fitted to the
exceedances (Pickands 1975; peaks over threshold). A tail that would end (negative shape) is continued exponentially,
with its own slope, from where half a held-out row is expected: no row gets probability zero. log10 is computed
directly, so scores of hundreds neither overflow nor tie.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_model.scales import Doubles

KNOTS = 2_048
# Few: at one row in twenty a real table is still a mixture of kinds of rows, and no Pareto tail (docs/model.md).
MAX_EXCEEDANCES = 100
MIN_EXCEEDANCES_TO_FIT = 50
MAX_SHAPE = 1.0
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
    """

    knots: npt.NDArray[np.float64]
    log10_share: npt.NDArray[np.float64]
    threshold: float
    tail_share: float
    shape: float
    scale: float
    junction: float

    def log10_p(self, statistic: Doubles) -> Doubles:
        """log10 of the p-value of each statistic, at most 0."""
        body = np.interp(statistic, self.knots, self.log10_share)
        excess = np.maximum(statistic - self.threshold, 0.0)
        near = np.minimum(excess, self.junction)
        slope = 1.0 / (self.scale + self.shape * self.junction)
        tail = self._log_survival(near) - (excess - near) * slope
        log10_tail = math.log10(self.tail_share) + tail * _LOG10_E
        return np.minimum(np.where(statistic > self.threshold, log10_tail, body), 0.0)

    def _log_survival(self, excess: Doubles) -> Doubles:
        if abs(self.shape) < 1e-9:
            return -excess / self.scale
        survival: Doubles = -np.log1p(self.shape * excess / self.scale) / self.shape
        return survival


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
    share = (n - np.arange(n) + 0.5) / (n + 1)  # rows at least as large, with half a row of doubt
    picked = np.unique(np.linspace(0, n - 1, KNOTS).round().astype(np.intp))
    knots, first = np.unique(ordered[picked], return_index=True)
    log10_share = np.maximum(np.log10(np.minimum(share[picked][first], 1.0)), math.log10(tail_share))
    return Calibration(knots, log10_share, threshold, tail_share, shape, scale, junction)


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
