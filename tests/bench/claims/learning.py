"""Claims 1 and 2: the autoencoder overfits more; the VAE reconstructs thin spots of a cluster better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import KDTree

from tests.bench.claims.data import Bools, Doubles, draw_disc, draw_flights, draw_related, to_matrix, to_table
from tests.bench.claims.findings import Measurement
from tests.bench.claims.models import Pair, fit_pair, fit_to_the_end, rebuild, rms

OVERFITS = "1 the AE overfits more"
THIN = "2 the VAE is better at thin spots"


@dataclass(frozen=True)
class Related:
    """Networks fitted to few rows of related columns; the truth about the fresh rows, and which are at thin spots."""

    pair: Pair
    clean: Doubles
    thin: Bools


@cache
def fit_related(seed: int, noisy: bool) -> Related:
    """Calm: 200 rows with little noise, and latent units to spare. Noisy: 100 rows, as many units as factors."""
    rng, (few, noise, latent) = np.random.default_rng(seed), (100, 0.4, 3) if noisy else (200, 0.1, 6)
    rows, clean, factors = draw_related(few + 4_000, rng, noise)
    inside = np.linalg.norm(factors[few:], axis=1) < 1.5
    distance = KDTree(factors[:few]).query(factors[few:], k=5)[0].mean(axis=1)
    pair = fit_to_the_end(to_table(rows[:few]), to_table(rows[few:]), seed, latent)
    return Related(pair, clean[few:], inside & (distance > np.quantile(distance[inside], 0.75)))


@cache
def fit_flights(seed: int, stop_early: bool) -> Pair:
    """200 flights, trained to the end or as the package would: until held-out rows get worse."""
    table = draw_flights(3_200, np.random.default_rng(seed))
    few, fresh = table.slice(0, 200), table.slice(200)
    if stop_early:
        return fit_pair(few, fresh, seed, latent=6, epochs=25, patience=5, mask=0.0)
    return fit_to_the_end(few, fresh, seed, latent=6)


@cache
def fit_ring(seed: int) -> tuple[Pair, Bools]:
    """One cluster with a ring inside that is nearly empty in training; which of the fresh rows lie in the ring."""
    rng = np.random.default_rng(seed)
    rows, ring = draw_disc(600, rng)
    fresh, inside = draw_disc(4_000, rng)
    few = to_table(rows[~ring | (rng.uniform(size=len(rows)) < 0.03)])
    return fit_to_the_end(few, to_table(fresh), seed, latent=2), inside


def fresh_to_seen(pair: Pair) -> dict[str, float]:
    """By what factor is the error on other rows larger than on the training rows?"""
    fresh, seen = pair.fresh_errors(), pair.seen_errors()
    return {name: fresh[name] / seen[name] for name in fresh}


def truth_errors(related: Related, rows: Bools) -> dict[str, float]:
    """Distance of reconstructions from the fresh rows as they were before the noise."""
    scale = to_matrix(related.pair.seen).std(axis=0)
    bundles = related.pair.bundles.items()
    return {name: rms(((rebuild(related.pair.fresh, b) - related.clean) / scale)[rows]) for name, b in bundles}


def ring_errors(seed: int) -> dict[str, float]:
    """Error in the thin ring."""
    pair, inside = fit_ring(seed)
    return pair.fresh_errors(inside)


def below_ae(claim: str, measure: str, run: Callable[[int], dict[str, float]]) -> Measurement:
    """The claim says that the VAE's number is below the autoencoder's."""
    return Measurement(claim, measure, smaller="VAE", larger="AE", run=run)


MEASUREMENTS = {
    "gap, calm": below_ae(
        OVERFITS, "fresh / train error, calm columns", lambda s: fresh_to_seen(fit_related(s, False).pair)
    ),
    "gap, noisy": below_ae(
        OVERFITS, "fresh / train error, noisy columns", lambda s: fresh_to_seen(fit_related(s, True).pair)
    ),
    "gap, flights": below_ae(OVERFITS, "fresh / train error, flights", lambda s: fresh_to_seen(fit_flights(s, False))),
    "gap, flights, early": below_ae(
        OVERFITS, "fresh / train error, flights, stopped early", lambda s: fresh_to_seen(fit_flights(s, True))
    ),
    "fresh, calm": below_ae(
        OVERFITS, "fresh error itself, calm columns", lambda s: fit_related(s, False).pair.fresh_errors()
    ),
    "fresh, noisy": below_ae(
        OVERFITS, "fresh error itself, noisy columns", lambda s: fit_related(s, True).pair.fresh_errors()
    ),
    "fresh, flights": below_ae(OVERFITS, "fresh error itself, flights", lambda s: fit_flights(s, False).fresh_errors()),
    "thin, ring": below_ae(THIN, "error in a nearly empty ring, calm", ring_errors),
    "thin, calm": below_ae(
        THIN, "error in the sparsest quarter, calm", lambda s: (r := fit_related(s, False)).pair.fresh_errors(r.thin)
    ),
    "thin, noisy": below_ae(
        THIN, "error in the sparsest quarter, noisy", lambda s: (r := fit_related(s, True)).pair.fresh_errors(r.thin)
    ),
    "thin, noisy, truth": below_ae(
        THIN, "error in the sparsest quarter, from the truth", lambda s: truth_errors(r := fit_related(s, True), r.thin)
    ),
}
