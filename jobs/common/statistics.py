"""Tests and intervals."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_Z95 = 1.959964
# Hits and misses for which a binomial distribution is a normal one.
_MANY = 30.0


def kolmogorov_smirnov_test(expected: npt.ArrayLike, found: npt.ArrayLike) -> tuple[float, float]:
    """Largest distance of two distribution functions at the bins' ends, and its p-value."""
    e, f = (np.asarray(counts, dtype=np.float64) for counts in (expected, found))
    if not e.sum() or not f.sum():
        return 0.0, 1.0
    distance = float(np.abs(np.cumsum(e) / e.sum() - np.cumsum(f) / f.sum()).max())
    root = math.sqrt(e.sum() * f.sum() / (e.sum() + f.sum()))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return distance, 1.0
    terms = sum((-1) ** (j - 1) * math.exp(-2.0 * (j * x) ** 2) for j in range(1, 101))
    return distance, min(1.0, max(0.0, 2.0 * terms))


def chi_square_test(expected: npt.ArrayLike, found: npt.ArrayLike) -> tuple[float, float]:
    """Chi-square of two histograms' homogeneity, and its p-value."""
    table = np.stack([np.asarray(expected, dtype=np.float64), np.asarray(found, dtype=np.float64)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 0.0, 1.0
    fitted = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float((np.square(table - fitted) / fitted).sum())
    freedom = table.shape[1] - 1
    spread = 2.0 / (9.0 * freedom)
    z = ((statistic / freedom) ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread)
    return statistic, 0.5 * math.erfc(z / math.sqrt(2.0))


def poisson_tail(count: int, mean: float) -> float:
    """Probability of `count` or more where `mean` are expected."""
    return math.exp(log_poisson_tail(count, mean))


def log_poisson_tail(count: int, mean: float) -> float:
    """Its natural logarithm, also where the probability is no number of the machine's."""
    if count <= 0:
        return 0.0
    if mean <= 0.0:
        return -math.inf
    if mean > count:
        below = sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(count))
        return math.log(max(1.0 - below, 1e-300))
    # The first term, times the sum of all relative to it, which fall quickly.
    total, term, k = 1.0, 1.0, count
    while term > 1e-12 * total:
        k += 1
        term *= mean / k
        total += term
    return min(0.0, -mean + count * math.log(mean) - math.lgamma(count + 1) + math.log(total))


def proportion_test(found: int, rows: int, expected: int, expected_rows: int) -> float:
    """Two-sided p-value of two shares being one, by the normal approximation with half a row of doubt."""
    pooled = (found + expected + 0.5) / (rows + expected_rows + 1.0)
    spread = math.sqrt(pooled * (1.0 - pooled) * (1.0 / max(rows, 1) + 1.0 / max(expected_rows, 1)))
    z = abs(share_of(found, rows) - share_of(expected, expected_rows)) / max(spread, 1e-12)
    return math.erfc(z / math.sqrt(2.0))


def share_test(found: int, rows: int, share: float, clusters: float = 1.0) -> float:
    """Two-sided p-value of `found` of `rows` where a share is expected: binomial, on as many rows as are independent.

    Args:
        found: hits.
        rows: trials.
        share: expected, between 0 and 1.
        clusters: how many times as much as by chance such counts vary.
    """
    n = max(1, round(rows / clusters))
    k = min(n, math.floor(found / clusters) if found > share * rows else math.ceil(found / clusters))
    if n * share * (1.0 - share) > _MANY:
        z = abs(k - n * share) / math.sqrt(n * share * (1.0 - share))
        return math.erfc(z / math.sqrt(2.0))
    hits, p = (k, share) if k > n * share else (n - k, 1.0 - share)
    return min(1.0, 2.0 * _binomial_tail(hits, n, p))


def _binomial_tail(k: int, n: int, p: float) -> float:
    """Probability of k hits or more in n trials."""
    if k <= 0 or p >= 1.0:
        return 1.0
    if p <= 0.0:
        return 0.0
    log_first = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log_first + k * math.log(p) + (n - k) * math.log1p(-p))
    total = term
    for i in range(k + 1, n + 1):
        term *= (n - i + 1) / i * p / (1.0 - p)
        total += term
        if term < 1e-12 * total:
            break
    return min(1.0, total)


def wilson_interval(hits: int, trials: int) -> tuple[float, float, float]:
    """A share with its 95 % interval (Wilson 1927), which stays within 0 and 1 also for few trials."""
    share, spread = hits / trials, _Z95**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return share, max(0.0, middle - half), min(1.0, middle + half)


def median_spread(rest: npt.ArrayLike) -> float:
    """What a normal distribution's standard deviation would be by the median distance from 0, which outliers do not
    move."""
    return 1.4826 * float(np.median(np.abs(rest)))


def share_of(part: int, whole: int) -> float:
    """A share; 0 of nothing."""
    return part / whole if whole else 0.0
