"""How rare a term is among held-out rows, on one scale for all terms: t = -log10 of the share of rows with a term at
least as large. Evaluated on every row, so cheap where a term is ordinary and exact where it is not.

Below the 98 % quantile t is a line through the median; between the knots beyond it, linear; beyond the last knot it
follows a generalised Pareto tail (Pickands 1975) whose shape and scale are the estimate of Zhang & Stephens 2009, 'A
new and efficient estimation method for the generalized Pareto distribution', section 3. Negative shapes, which would
end the tail, become exponential.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_model.features.scales import Doubles, Floats

SHARES = (0.02, 0.01, 0.005)
MAX_EXCEEDANCES = 150
MIN_EXCEEDANCES = 10
MAX_SHAPE = 0.5
# Exceedances that the prior 'exponential' weighs as much as.
PRIOR_WEIGHT = 10.0
_MEDIAN = math.log10(2.0)
_LN10 = math.log(10.0)


OF_COLUMNS = 4.0


@dataclass(frozen=True)
class Tails:
    """Tails of T terms. `knots` [T, J] ascending, `heights` [T, J] t just beyond each knot, `slopes` [T, J] of t from
    each knot on (the last: at the start of the Pareto tail), `shape` [T], `rate`, `offset` [T, 1]: the line up to
    the first knot."""

    knots: Floats
    heights: Floats
    slopes: Floats
    shape: Floats
    rate: Floats
    offset: Floats

    def apply(self, terms: Floats) -> Floats:
        """T of each term, [T, n] -> [T, n]; overwrites the terms."""
        # One axis: numpy finds the places in it three times as fast.
        rare = divmod(np.flatnonzero(terms > self.knots[:, :1]), terms.shape[1])
        values = terms[rare]
        terms *= self.rate
        terms += self.offset
        terms[rare] = self._evaluate(rare[0], values)
        return terms

    def largest(self, x: Floats) -> Floats:
        """The largest t of each row among the terms x and -x, [T / 2, n] -> [n]; 0 where no term is beyond its first
        knot: cheaper than all of them."""
        half, n = x.shape
        largest = np.zeros(n, np.float32)
        first = self.knots[:, :1]
        for beyond, term, sign in ((x > first[:half], 0, 1), (x < -first[half:], half, -1)):
            rare = np.flatnonzero(beyond)
            values = x.reshape(-1)[rare] * np.float32(sign)
            np.maximum.at(largest, rare % n, self._evaluate(rare // n + term, values))
        return largest

    def _evaluate(self, term: npt.NDArray[np.intp], values: Floats) -> Floats:
        """T of single values beyond the first knot of their terms."""
        last = self.knots.shape[1] - 1
        segment = np.zeros(len(values), np.intp)
        for j in range(1, last + 1):
            segment += values > self.knots[term, j]
        slope, height = self.slopes[term, segment], self.heights[term, segment]
        rise = (values - self.knots[term, segment]) * slope
        shape = self.shape[term]
        bent = np.log1p(rise * shape * np.float32(_LN10)) / (shape * np.float32(_LN10))
        return np.asarray(height + np.where(segment == last, bent, rise), np.float32)

    def to_tensors(self, prefix: str) -> dict[str, Floats]:
        return {f"{prefix}.{name}": getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[np.float32]], prefix: str) -> Tails:
        return cls(**{name: tensors[f"{prefix}.{name}"] for name in cls.__dataclass_fields__})


def fit_tails(terms: Floats, by_density: bool = False) -> Tails:
    """Tails of terms, [T, n] with n >= 1.

    Args:
        terms: of rows that are ordinary.
        by_density: they are values themselves: ends where values lie as densely as in the middle (of dates, of row
            numbers, of a uniform distribution) are not rare, only what is beyond them.
    """
    n = terms.shape[1]
    ordered = np.sort(terms.astype(np.float64), axis=1)
    exceedances = int(min(max(MIN_EXCEEDANCES, n // 20), MAX_EXCEEDANCES, max(1, n // 4)))
    counts = [c for c in (round(share * n) for share in SHARES) if c > exceedances] + [exceedances]
    knots = np.stack([ordered[:, n - 1 - c] for c in counts], axis=1)
    # At a knot the rows that tie with it count, beyond it they do not.
    heights = np.stack([_height((ordered > knots[:, [j]]).sum(axis=1), n) for j in range(len(counts))], axis=1)
    tied = np.stack([_height((ordered >= knots[:, [j]]).sum(axis=1), n) for j in range(len(counts))], axis=1)
    shape, scale = _fit_pareto(ordered, knots[:, -1])
    if by_density:
        sparse = _measure_sparsity(ordered, knots, scale)
        heights, tied = np.minimum(heights, sparse), np.minimum(tied, sparse)
    width = np.diff(knots, axis=1)
    inner = np.divide(tied[:, 1:] - heights[:, :-1], width, out=np.zeros_like(width), where=width > 0)
    slopes = np.concatenate([inner, 1.0 / (scale * _LN10)[:, None]], axis=1)
    # A column that hardly varies: what is a little larger than ever must not be a sensation.
    median = ordered[:, n // 2]
    rate = np.maximum(tied[:, 0] - _MEDIAN, 0.0) / np.maximum(knots[:, 0] - median, 1e-3)
    offset = tied[:, 0] - rate * knots[:, 0]
    to32 = lambda a: np.ascontiguousarray(a, np.float32)  # noqa: E731
    return Tails(*map(to32, (knots, heights, slopes, np.maximum(shape, 1e-3), rate[:, None], offset[:, None])))


def _measure_sparsity(ordered: Doubles, knots: Doubles, scale: Doubles) -> Doubles:
    """The most that t may be at each knot, [T, J]: by how much less dense values lie from there on than in the middle
    half, as a power of ten, twice; a normal or exponential distribution's tail stays below it."""
    n = ordered.shape[1]
    share = np.stack([(ordered > knots[:, [j]]).mean(axis=1) for j in range(knots.shape[1])], axis=1)
    ends = np.concatenate([knots[:, 1:], knots[:, [-1]] + scale[:, None]], axis=1)
    within = np.concatenate([share[:, :-1] - share[:, 1:], share[:, [-1]] * (1.0 - math.exp(-1.0))], axis=1)
    middle = (ordered[:, 3 * n // 4] - ordered[:, n // 4])[:, None]
    width = ends - knots
    thinned = np.divide(width * 0.5, within * middle, out=np.full_like(width, np.inf), where=within * middle > 0)
    limit: Doubles = np.maximum.accumulate(2.0 * np.log10(np.maximum(thinned, 1.0)), axis=1)
    return limit


def _height(beyond: npt.NDArray[np.intp], n: int) -> Doubles:
    """-log10 of a share of n rows, half a row added."""
    return np.asarray(-np.log10(np.minimum((beyond + 0.5) / (n + 1.0), 1.0)))


def _fit_pareto(ordered: Doubles, threshold: Doubles) -> tuple[Doubles, Doubles]:
    """Shape (0 to MAX_SHAPE) and scale of each term's excesses over its threshold."""
    shapes, scales = np.zeros(len(ordered)), np.ones(len(ordered))
    for i, (row, least) in enumerate(zip(ordered, threshold, strict=True)):
        excess = row[row > least] - least
        floor = 0.02 * max(1.0, float(np.quantile(row, 0.75) - np.quantile(row, 0.25)))
        shape, scale = estimate_pareto(excess) if len(excess) >= MIN_EXCEEDANCES else (0.0, 0.0)
        mean = float(excess.mean()) if len(excess) else 0.0
        if len(excess) < MIN_EXCEEDANCES or shape <= 0:
            shape, scale = 0.0, mean
        shapes[i], scales[i] = min(shape, MAX_SHAPE), max(scale, floor)
    return shapes, scales


def estimate_pareto(excess: Doubles) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution (Zhang & Stephens 2009, section 3), the shape drawn towards
    0 as if by so many exponential excesses as PRIOR_WEIGHT says."""
    x = np.sort(excess)
    n = len(x)
    if x[-1] <= 0:
        return 0.0, 0.0
    candidates = 20 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1] if n >= 4 else x[0]
    quartile = max(quartile, 1e-12 * x[-1])
    j = np.arange(1, candidates + 1)
    theta = 1.0 / x[-1] + (1.0 - np.sqrt(candidates / (j - 0.5))) / (3.0 * quartile)
    with np.errstate(all="ignore"):
        k = -np.log1p(-theta[:, None] * x).mean(axis=1)
        likelihood = n * (np.log(theta / k) + k - 1.0)
    likelihood = np.where(np.isfinite(likelihood), likelihood, -np.inf)
    weight = np.exp(likelihood - likelihood.max())
    best = float((theta * weight).sum() / weight.sum())
    shape = float(np.log1p(-best * x).mean())
    scale = -shape / best if abs(best) > 1e-300 else float(x.mean())
    shape = shape * n / (n + PRIOR_WEIGHT)
    return shape, max(scale, 0.0)


def combine_columns(terms: Floats) -> Doubles:
    """Power sum over columns of terms of at least 0, [T, n] -> [n]: close to the largest; overwrites them."""
    np.square(terms, out=terms)
    return combine_squares(terms)


def combine_squares(terms: Floats) -> Doubles:
    """The same of their squares."""
    np.square(terms, out=terms)
    return add_columns(terms).astype(np.float64) ** (1.0 / OF_COLUMNS)


def add_columns(terms: Floats) -> Floats:
    """Sum over columns, [T, n] -> [n], in the same order for any n."""
    # numpy adds row to row, but would sum a single column in pairs.
    total = np.add.reduce(terms, axis=0) if terms.shape[1] > 1 else np.cumsum(terms, axis=0, dtype=np.float32)[-1]
    return np.asarray(total, np.float32)
