"""Claims 3 and 4: noise on an autoencoder's latents falls off the data; a VAE's draws follow the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.spatial.distance import cdist

import vae_model as vm
from tests.bench.claims.data import Doubles, draw_clusters, draw_related, draw_toy, to_matrix, to_table, toy_matrix
from tests.bench.claims.findings import Measurement
from tests.bench.claims.models import FIT, Pair, decode, encode, fit_pair, noise_around, normal_like, standardise

OFF = "3 noisy AE latents fall off the data"
FOLLOWS = "4 draws follow the output distribution"
DRAWS = 2_000
Beta = float | str


@cache
def fit_surface(seed: int, clusters: bool, beta: Beta) -> tuple[Pair, Doubles]:
    """Five clusters in two latent units, or related columns in one unit more than they have factors; and many more of
    these rows, which tell where the data is."""
    rng = np.random.default_rng(seed)
    rows, fresh, reference = (
        draw_clusters(n, rng) if clusters else draw_related(n, rng)[0] for n in (1_000, 2_000, 20_000)
    )
    fit: dict[str, Any] = {"latent": 2 if clusters else 4, "epochs": 25, "mask": 0.0}
    if beta == "auto":
        return fit_pair(to_table(rows), to_table(fresh), seed, **fit), reference
    default, _ = fit_surface(seed, clusters, "auto")
    return replace(default, vae=vm.fit(default.seen, seed=seed, beta=beta, **{**FIT, **fit})), reference


def share_off_data(z: Doubles, bundle: vm.Bundle, fresh: pa.Table, reference: Doubles) -> float:
    """Share of decoded latent points that are farther from the data than 99 % of fresh real rows."""
    known = standardise(reference, bundle)
    limit = np.quantile(nearest(standardise(to_matrix(fresh), bundle), known), 0.99)
    return float(np.mean(nearest(decode(z, bundle).mean.T.astype(np.float64), known) > limit))


def nearest(points: Doubles, known: Doubles) -> Doubles:
    """Distance of each point to the nearest known one: by brute force, which in a dozen columns beats a tree."""
    squares = (points**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * points @ known.T
    distances: Doubles = np.sqrt(np.maximum(squares.min(axis=1), 0.0))
    return distances


def off_data(seed: int, clusters: bool, beta: Beta, prior: bool) -> dict[str, float]:
    """prior: draws from the VAE's standard normal, and from a normal fitted to the autoencoder's latents, which have no
    prior. Else: noise around the latents of training rows, a quarter of each unit's spread, for both."""
    pair, reference = fit_surface(seed, clusters, beta)
    rng, shares = np.random.default_rng(seed), {}
    for name, bundle in pair.bundles.items():
        mu, _ = encode(pair.seen, bundle)
        if prior:
            z = normal_like(mu, rng) if name == "AE" else rng.normal(size=mu.shape)
        else:
            z = noise_around(mu, 0.25, rng)
        shares[name] = share_off_data(z, bundle, pair.fresh, reference)
    return shares


@cache
def make_rows(seed: int) -> dict[str, Doubles]:
    """Rows of the toy: true ones ('fresh', and 'true' ones beside them), drawn from the networks, and made simply."""
    rng = np.random.default_rng(seed)
    table = draw_toy(4_000, rng)
    fit: dict[str, Any] = {**FIT, "seed": seed, "latent": 4, "epochs": 30, "mask": 0.0}
    rows = toy_matrix(table)[:DRAWS]
    ae = vm.fit(table, kind="autoencoder", **fit)
    made = {"AE": draw_from_ae(ae, table, rng), "fresh": toy_matrix(draw_toy(DRAWS, rng))}
    for name, beta in (("VAE", "auto"), ("VAE, beta 1", 1.0)):
        made[name] = toy_matrix(vm.generate(DRAWS, vm.fit(table, beta=beta, **fit), seed))
    made["true rows"] = toy_matrix(draw_toy(DRAWS, rng))
    made["shuffled"] = np.column_stack([rng.permutation(column) for column in rows.T])
    made["one normal"] = normal_like(rows, rng)
    return made


def draw_from_ae(bundle: vm.Bundle, table: pa.Table, rng: np.random.Generator) -> Doubles:
    """Draws from a normal distribution fitted to the latents, decoded: an autoencoder gives values, no distribution."""
    outputs = decode(normal_like(encode(table, bundle)[0], rng)[:DRAWS], bundle)
    numbers = {name: bundle.encoder.encoders[k].decode(outputs.mean[[k]]) for k, name in enumerate(("x", "y", "z"))}
    group = bundle.encoder.encoders[3].decode(outputs.logits[0].argmax(axis=0))
    return toy_matrix(pa.table({**numbers, "group": group}))


def energy_distance(a: Doubles, b: Doubles) -> float:
    """Distance of two distributions, 0 if they are the same, from equally many rows of each (Szekely & Rizzo 2013)."""
    return float(2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean())


def correlation_gap(a: Doubles, b: Doubles) -> float:
    """The largest difference of two correlation matrices; x * x stands beside x so that the bend counts too."""
    c, d = (np.corrcoef(np.column_stack([m, m[:, 0] ** 2]).T) for m in (a, b))
    return float(np.abs(c - d).max())


def distances(seed: int, distance: Callable[[Doubles, Doubles], float], vae: str, baseline: str) -> dict[str, float]:
    """How far each way of making rows is from fresh rows of the true distribution."""
    made = make_rows(seed)
    sides = {"AE": "AE", "VAE": vae, baseline: baseline}
    return {name: distance(made[key], made["fresh"]) for name, key in sides.items()}


def _off(measure: str, clusters: bool, beta: Beta, prior: bool) -> Measurement:
    return Measurement(OFF, measure, "VAE", "AE", partial(off_data, clusters=clusters, beta=beta, prior=prior))


def _follows(measure: str, distance: Callable[[Doubles, Doubles], float], vae: str, baseline: str) -> Measurement:
    run = partial(distances, distance=distance, vae=vae, baseline=baseline)
    return Measurement(FOLLOWS, measure, "VAE", baseline, run)


MEASUREMENTS = {
    "noise, related": _off("share off the data: noise, related columns", False, "auto", False),
    "noise, clusters": _off("share off the data: noise, five clusters", True, "auto", False),
    "prior, related": _off("share off the data: draws, related columns", False, "auto", True),
    "prior, clusters": _off("share off the data: draws, five clusters", True, "auto", True),
    "noise, related, beta 1": _off("share off the data: noise, related columns, beta 1", False, 1.0, False),
    "noise, clusters, beta 1": _off("share off the data: noise, five clusters, beta 1", True, 1.0, False),
    "prior, related, beta 1": _off("share off the data: draws, related columns, beta 1", False, 1.0, True),
    "prior, clusters, beta 1": _off("share off the data: draws, five clusters, beta 1", True, 1.0, True),
    "energy": _follows("energy distance", energy_distance, "VAE", "shuffled"),
    "energy, beta 1": _follows("energy distance, beta 1", energy_distance, "VAE, beta 1", "shuffled"),
    "energy, normal": _follows("energy distance, beta 1", energy_distance, "VAE, beta 1", "one normal"),
    "energy, true": _follows("energy distance, beta 1", energy_distance, "VAE, beta 1", "true rows"),
    "correlations": _follows("largest correlation gap, beta 1", correlation_gap, "VAE, beta 1", "shuffled"),
}
