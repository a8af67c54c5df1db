"""Numbers on a common scale: Arrow values as float64, mean and deviation, and the soft clip of far values."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from vae_model.features.arrays import fill_null, to_numpy

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]

SOFT_CLIP = 5.0
MAX_Z = 1e6
RANK_KNOTS = 128
# Correlation of the linear scale with the normal scores: uniform values have 0.98, exponential ones 0.90.
STRAIGHT = 0.975
MIN_RANKED = 50


def soft_clip(z: Doubles) -> Doubles:
    """Clip in place: z within +-5, sign(z) * (5 + log1p(|z| - 5)) beyond; infinities count as 1e6."""
    if z.size and (z.max() > SOFT_CLIP or z.min() < -SOFT_CLIP):
        far = np.abs(z) > SOFT_CLIP
        tail = np.minimum(np.abs(z[far]), MAX_Z)
        z[far] = np.sign(z[far]) * (SOFT_CLIP + np.log1p(tail - SOFT_CLIP))
    return z


def unclip(z: Doubles) -> Doubles:
    """Inverse of `soft_clip` on finite values."""
    far = np.abs(z) > SOFT_CLIP
    wide = SOFT_CLIP + np.expm1(np.minimum(np.abs(z), SOFT_CLIP + math.log1p(MAX_Z)) - SOFT_CLIP)
    return np.where(far, np.sign(z) * wide, z)


def to_array(values: pa.ChunkedArray) -> pa.Array:
    """All chunks as one array."""
    combined = values.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def to_doubles(values: pa.Array) -> Doubles:
    """Numbers of any Arrow type as float64, NULL as NaN; no copy for a float64 column without NULLs."""
    if pt.is_boolean(values.type) or pt.is_decimal(values.type):
        values = values.cast(pa.float64(), safe=False)
    elif pt.is_duration(values.type):
        values = values.cast(pa.duration("us"), safe=False).cast(pa.int64())  # whatever unit a reader chose
    if values.null_count:
        values = fill_null(values.cast(pa.float64(), safe=False), math.nan)
    return np.asarray(to_numpy(values), dtype=np.float64)


def fit_scale(x: Doubles) -> tuple[float, float]:
    """Mean and standard deviation of finite values that do not overflow; usable for empty and constant input."""
    if not x.size:
        return 0.0, 1.0
    peak = float(np.abs(x).max()) or 1.0
    mean, std = float((x / peak).mean()) * peak, float((x / peak).std()) * peak
    if std <= 1e-9 * abs(mean) or std < 1e-300:
        std = abs(mean) * 1e-2 or 1.0
    return mean, std


def fit_rank_scale(x: Doubles, z: Doubles) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Quantiles and their normal scores (van der Waerden 1952: the normal quantile of the mid-rank), for linear
    interpolation; both empty where the standardised values z say much the same already. Imports scipy: training only.

    Args:
        x: finite values.
        z: the same, standardised.
    """
    levels, counts = np.unique(x, return_counts=True)
    if x.size < MIN_RANKED or len(levels) < 3:
        return (), ()
    from scipy.special import ndtri

    upper = np.cumsum(counts)
    scores = ndtri((upper - 0.5 * counts) / x.size)
    linear = np.interp(levels, np.sort(x), np.sort(z))
    spread = np.sqrt(np.average(_centred(scores, counts) ** 2, weights=counts))
    width = np.sqrt(np.average(_centred(linear, counts) ** 2, weights=counts))
    product = np.average(_centred(scores, counts) * _centred(linear, counts), weights=counts)
    if spread <= 0 or width <= 0 or product / (spread * width) >= STRAIGHT:
        return (), ()
    wanted = np.linspace(0.0, x.size, RANK_KNOTS)
    chosen = np.unique(np.searchsorted(upper, wanted).clip(0, len(levels) - 1))
    return tuple(map(float, levels[chosen])), tuple(map(float, scores[chosen]))


def _centred(values: Doubles, counts: npt.NDArray[np.int64]) -> Doubles:
    centred: Doubles = values - np.average(values, weights=counts)
    return centred
