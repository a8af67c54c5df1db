"""Claims 5 and 6: both kinds compress and denoise; the distance of a row from its reconstruction finds odd rows."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

import vae_model as vm
from tests.bench.claims.data import (
    FACTORS,
    FLIGHT_NUMBERS,
    Bools,
    Doubles,
    draw_flights,
    draw_related,
    replace_columns,
    to_matrix,
    to_table,
)
from tests.bench.claims.findings import Measurement
from tests.bench.claims.models import Pair, fit_pair, rebuild, rms

COMPRESSES = "5 compression and denoising work"
DETECTS = "6 the distance score finds odd rows"


@cache
def fit_whole(seed: int, flights: bool) -> Pair:
    """Thousands of rows and the package's masking: twelve related columns in three units, or flights in eight."""
    rng = np.random.default_rng(seed)
    table = draw_flights(6_000, rng) if flights else to_table(draw_related(6_000, rng)[0])
    seen, fresh = table.slice(0, table.num_rows - 2_000), table.slice(table.num_rows - 2_000)
    return fit_pair(seen, fresh, seed, latent=8 if flights else FACTORS, epochs=15 if flights else 30)


def pick_names(flights: bool) -> list[str]:
    """The columns that are compared: numbers."""
    return list(FLIGHT_NUMBERS) if flights else [f"c{i}" for i in range(12)]


def compression(seed: int) -> dict[str, float]:
    """Share of the fresh rows' variance that survives twelve columns -> three numbers -> twelve columns."""
    pair = fit_whole(seed, False)
    train, values = to_matrix(pair.seen), to_matrix(pair.fresh)
    kept = {name: explained_variance(values, rebuild(pair.fresh, bundle)) for name, bundle in pair.bundles.items()}
    return {**kept, "PCA": explained_variance(values, compress_linearly(train, values, FACTORS))}


def explained_variance(values: Doubles, rebuilt: Doubles) -> float:
    """1 - squared error / variance, over standardised columns."""
    return float(1.0 - np.mean(((values - rebuilt) / values.std(axis=0)) ** 2))


def compress_linearly(train: Doubles, values: Doubles, width: int) -> Doubles:
    """The best linear autoencoder: principal components."""
    mean, scale = train.mean(axis=0), train.std(axis=0)
    axes = np.linalg.svd((train - mean) / scale, full_matrices=False)[2][:width]
    rebuilt: Doubles = ((values - mean) / scale @ axes.T @ axes) * scale + mean
    return rebuilt


def pick_cells(rows: int, columns: int, rng: np.random.Generator) -> Bools:
    """[rows, columns], one True in each row."""
    picked: Bools = np.arange(columns) == rng.integers(0, columns, rows)[:, None]
    return picked


def denoising(seed: int, hidden: bool, flights: bool) -> dict[str, float]:
    """One value of each row is hidden, or wrong by noise of two standard deviations: how far from the clean value is
    the rebuilt one? The baseline is the column's mean, or the wrong value as it stands."""
    pair, names, rng = fit_whole(seed, flights), pick_names(flights), np.random.default_rng(seed)
    clean, known = to_matrix(pair.fresh, names), to_matrix(pair.seen, names)
    scale, hit = known.std(axis=0), pick_cells(len(clean), len(names), rng)
    wrong = clean + np.where(hit, 2.0 * scale * rng.normal(size=clean.shape), 0.0)
    shown = replace_columns(pair.fresh, names, np.where(hit & hidden, np.nan, wrong))
    answers = {name: rebuild(shown, bundle, names) for name, bundle in pair.bundles.items()}
    answers["mean" if hidden else "as it is"] = np.broadcast_to(known.mean(axis=0), clean.shape) if hidden else wrong
    return {name: rms(((answer - clean) / scale)[hit]) for name, answer in answers.items()}


def detection(seed: int, flights: bool) -> dict[str, float]:
    """AUROC of rows of which one value comes from another row: each value is ordinary, the relation is broken.

    The baseline is the value farthest from its column's mean, which knows no relations.
    """
    pair, names, rng = fit_whole(seed, flights), pick_names(flights), np.random.default_rng(seed)
    values, half = to_matrix(pair.fresh, names), pair.fresh.num_rows // 2
    hit = pick_cells(len(values), len(names), rng)
    hit[:half] = False
    mixed = np.where(hit, values[rng.permutation(len(values))], values)
    table = replace_columns(pair.fresh, names, mixed)
    scores = {name: score_distance(table, bundle) for name, bundle in pair.bundles.items()}
    scores["farthest"] = np.abs((mixed - values.mean(axis=0)) / values.std(axis=0)).max(axis=1)
    return {name: area_under_roc(score[:half], score[half:]) for name, score in scores.items()}


def score_distance(table: pa.Table, bundle: vm.Bundle) -> Doubles:
    """reconstruction_error of each row."""
    errors: Doubles = vm.score(table, bundle, explain="none")["reconstruction_error"].to_numpy()
    return errors


def area_under_roc(normal: Doubles, odd: Doubles) -> float:
    """Probability that an odd row has a higher score than a normal one."""
    ranks = rankdata(np.concatenate([normal, odd]))[len(normal) :]
    return float((ranks.mean() - (len(odd) + 1) / 2) / len(normal))


def _denoises(measure: str, hidden: bool, flights: bool) -> Measurement:
    baseline = "mean" if hidden else "as it is"
    return Measurement(COMPRESSES, measure, "VAE", baseline, partial(denoising, hidden=hidden, flights=flights))


MEASUREMENTS = {
    "compression": Measurement(COMPRESSES, "variance kept, 12 columns in 3 units", "PCA", "VAE", compression),
    "hidden, related": _denoises("error of a hidden value, related columns", True, False),
    "hidden, flights": _denoises("error of a hidden value, flights", True, True),
    "wrong, related": _denoises("error of a wrong value, related columns", False, False),
    "wrong, flights": _denoises("error of a wrong value, flights", False, True),
    "detection, related": Measurement(
        DETECTS, "AUROC of a mixed-up value, related columns", "farthest", "VAE", partial(detection, flights=False)
    ),
    "detection, flights": Measurement(
        DETECTS, "AUROC of a mixed-up value, flights", "farthest", "VAE", partial(detection, flights=True)
    ),
}
