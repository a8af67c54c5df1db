"""Measures what the article on autoencoders claims, on synthetic tables and on real flights.

    python tests/bench/claims.py [--seeds 5] [--beta 1.0] [--only denoising]

Every measuring function takes some seeds (of the rows and of the network alike) and returns one finding. Within it
the autoencoder and the VAE share everything: rows, seed, layers, latent width, optimiser, number of steps.
docs/claims.md has the numbers and what we make of them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp, rankdata, t

import vae_model as vm
from vae_model.options import ModelOptions
from vae_model.scorer import build_forward

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Beta = float | str
Seeds = Sequence[int]

FACTORS, COLUMNS = 3, 12
FLIGHT_COLUMNS = (
    "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay", "air_time", "distance",
    "carrier", "origin", "dest",
)  # fmt: skip
FLIGHT_NUMBERS = ("dep_time", "arr_time", "arr_delay", "air_time", "distance")


@dataclass(frozen=True)
class Sample:
    """One number for each seed, and what it belongs to."""

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Finding:
    """Two numbers that a claim orders: it says that `smaller` is below `larger`."""

    claim: str
    measure: str
    smaller: Sample
    larger: Sample

    @property
    def wins(self) -> int:
        """Seeds for which the order is the claimed one."""
        return sum(a < b for a, b in zip(self.smaller.values, self.larger.values, strict=True))

    @property
    def verdict(self) -> str:
        """'holds' or 'fails' where the 95 % interval (Student's t) of the paired differences leaves out zero."""
        gaps = np.subtract(self.larger.values, self.smaller.values)
        mean, n = float(gaps.mean()), len(gaps)
        if n < 2 or abs(mean) <= t.ppf(0.975, n - 1) * float(gaps.std(ddof=1)) / math.sqrt(n):
            return "open"
        return "holds" if mean > 0 else "fails"


def find(claim: str, measure: str, names: tuple[str, str], pairs: Sequence[tuple[float, float] | Doubles]) -> Finding:
    """A finding from one (smaller, larger) pair a seed."""
    samples = [
        Sample(name, tuple(map(float, side))) for name, side in zip(names, zip(*pairs, strict=True), strict=True)
    ]
    return Finding(claim, measure, *samples)


# --- data ---------------------------------------------------------------------------------------------------------


def to_table(values: Doubles) -> pa.Table:
    """Columns c0, c1, ... of a matrix [n, d]."""
    return pa.table({f"c{i}": column for i, column in enumerate(values.T)})


def to_matrix(table: pa.Table, names: Sequence[str] | None = None) -> Doubles:
    """The columns, or some of them, as a matrix [n, d]; NULL is NaN."""
    columns = [table[name].cast(pa.float64()).to_numpy() for name in names or table.column_names]
    matrix: Doubles = np.column_stack(columns).astype(np.float64)
    return matrix


def lift(factors: Doubles, noise: float, rng: np.random.Generator, columns: int = COLUMNS) -> Doubles:
    """Factors [n, f] -> [n, columns]: a curved surface, the same in every run, and some noise around it."""
    world = np.random.default_rng(2024)
    plain, bent = world.normal(size=(2, factors.shape[1], columns))
    surface = np.tanh(factors @ plain) + 0.5 * np.sin(factors @ bent)
    noisy: Doubles = surface + noise * rng.normal(size=surface.shape)
    return noisy


def draw_related(rows: int, rng: np.random.Generator) -> Doubles:
    """Twelve columns that three hidden factors decide, up to noise."""
    return lift(rng.normal(size=(rows, FACTORS)), 0.1, rng)


def draw_disc(rows: int, rng: np.random.Generator) -> tuple[Doubles, Bools]:
    """Ten columns of one cluster, an evenly filled disc of two factors, and which rows lie in the disc's inner ring."""
    radius, angle = np.sqrt(rng.uniform(size=rows)), rng.uniform(0, 2 * np.pi, rows)
    factors = 2.0 * np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return lift(factors, 0.05, rng, columns=10), (radius > 0.45) & (radius < 0.65)


def draw_clusters(rows: int, rng: np.random.Generator) -> Doubles:
    """Eight columns: five tight clusters on a curved surface of two factors."""
    centers = 1.6 * np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return lift(centers[rng.integers(0, 5, rows)] + 0.15 * rng.normal(size=(rows, 2)), 0.03, rng, columns=8)


def draw_toy(rows: int, rng: np.random.Generator) -> pa.Table:
    """A known distribution: x has two humps, y is bent along x, z leans on y, the group follows the sign of x."""
    x = rng.choice([-1.5, 1.5], rows) + 0.5 * rng.normal(size=rows)
    y = 0.5 * x * x + 0.3 * rng.normal(size=rows)
    z = 0.7 * y + 0.5 * rng.normal(size=rows)
    group = (x > 0) ^ (rng.uniform(size=rows) < 0.05)
    return pa.table({"x": x, "y": y, "z": z, "group": np.where(group, "right", "left")})


@cache
def load_complete_flights() -> pa.Table:
    """The real flights that took off and landed, with columns that depend on each other."""
    from jobs.flights import load_flights

    flights = load_flights().select(list(FLIGHT_COLUMNS))
    return flights.filter(pc.is_valid(flights["arr_delay"]))


def draw_flights(rows: int, rng: np.random.Generator) -> pa.Table:
    """Some flights of the year."""
    flights = load_complete_flights()
    return flights.take(pa.array(rng.choice(flights.num_rows, rows, replace=False)))


# --- models -------------------------------------------------------------------------------------------------------


def fit_pair(table: pa.Table, seed: int, beta: Beta, latent: int, **options: Any) -> tuple[vm.Bundle, vm.Bundle]:
    """(autoencoder, VAE): one small network each, alike but for the fork and the loss."""
    shared: dict[str, Any] = {"layers": (64, 32), "latent": latent, "members": 1, "mask": 0.0, "trim": 0.0, **options}
    kinds = ("autoencoder", "vae")
    models = [ModelOptions.model_validate({"kind": kind, "beta": beta, "latent": latent}) for kind in kinds]
    autoencoder, vae = (vm.fit(table, seed=seed, model=model, **shared) for model in models)
    return autoencoder, vae


def repeat_rows(table: pa.Table, rows: int = 8_000) -> pa.Table:
    """The same rows over and over: the held-out part then holds copies of training rows, so that nothing but the
    number of steps ends the training. This is how we let a network overfit; the package's default would not."""
    return pa.concat_tables([table] * max(1, rows // table.num_rows))


def measure_errors(table: pa.Table, bundle: vm.Bundle) -> Doubles:
    """Root mean square difference of each row and its reconstruction, in standard deviations of the columns."""
    errors: Doubles = vm.score(table, bundle, explain="none")["reconstruction_error"].to_numpy()
    return errors


def rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def encode(table: pa.Table, bundle: vm.Bundle) -> tuple[Doubles, Doubles]:
    """Latent mu and sigma, [n, L] each."""
    latents = vm.encode(table, bundle)
    mu, sigma = (np.stack(latents[name].to_numpy()).astype(np.float64) for name in ("latent_mu", "latent_sigma"))
    return mu, sigma


def decode(z: Doubles, bundle: vm.Bundle) -> Doubles:
    """Latent points [n, L] -> the decoder's means [n, d], standardised."""
    return build_forward(bundle).decode(0, np.ascontiguousarray(z.T, np.float32)).mean.T.astype(np.float64)


def standardise(values: Doubles, bundle: vm.Bundle) -> Doubles:
    """[n, d] in the units that the decoder speaks."""
    return bundle.encoder.encode(to_table(values).to_batches()[0]).x.T.astype(np.float64)


def area_under_roc(normal: Doubles, odd: Doubles) -> float:
    """Probability that an odd row has a higher score than a normal one."""
    ranks = rankdata(np.concatenate([normal, odd]))[len(normal) :]
    return float((ranks.mean() - (len(odd) + 1) / 2) / len(normal))


# --- claim 1 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """An autoencoder and a VAE that were trained alike, the rows they saw and rows they did not see."""

    autoencoder: vm.Bundle
    vae: vm.Bundle
    seen: pa.Table
    fresh: pa.Table

    def errors(self, table: pa.Table, rows: Bools | None = None) -> Doubles:
        """[2] (VAE's, autoencoder's) error over the rows of a table, or some of them."""
        both = (measure_errors(table, bundle) for bundle in (self.vae, self.autoencoder))
        return np.array([rms(errors if rows is None else errors[rows]) for errors in both])


@cache
def fit_few(seed: int, beta: Beta, flights: bool, stop_early: bool, /) -> Pair:
    """200 training rows, and either many steps or the package's early stopping."""
    rng = np.random.default_rng(seed)
    table = draw_flights(4_200, rng) if flights else to_table(draw_related(4_200, rng))
    few, others = table.slice(0, 200), table.slice(200)
    if stop_early:
        return Pair(*fit_pair(few, seed, beta, latent=6), few, others)
    return Pair(*fit_pair(repeat_rows(few), seed, beta, latent=6, epochs=20), few, others)


def overfitting(seeds: Seeds, beta: Beta = "auto", *, flights: bool = False, stop_early: bool = False) -> Finding:
    """By what factor is the error on other rows larger than on the few training rows?"""
    fitted = [fit_few(seed, beta, flights, stop_early) for seed in seeds]
    pairs = [f.errors(f.fresh) / f.errors(f.seen) for f in fitted]
    where = "flights" if flights else "related columns"
    how = "early stopping" if stop_early else "trained to the end"
    return find("1 AE overfits more", f"held-out / train error, {where}, {how}", ("VAE", "AE"), pairs)


def held_out_error(seeds: Seeds, beta: Beta = "auto", *, flights: bool = False) -> Finding:
    """The other side of overfitting: who reconstructs rows better that it never saw, having seen few?"""
    fitted = [fit_few(seed, beta, flights, False) for seed in seeds]
    pairs = [f.errors(f.fresh) for f in fitted]
    where = "flights" if flights else "related columns"
    return find("1 AE overfits more", f"held-out error itself, {where}, trained to the end", ("VAE", "AE"), pairs)


# --- claim 2 ------------------------------------------------------------------------------------------------------


@cache
def fit_ring(seed: int, beta: Beta) -> tuple[Pair, Bools]:
    """One cluster with a ring inside that is nearly empty in training; which of the fresh rows lie in the ring."""
    rng = np.random.default_rng(seed)
    rows, ring = draw_disc(600, rng)
    seen = to_table(rows[~ring | (rng.uniform(size=len(rows)) < 0.03)])
    fresh, inside = draw_disc(4_000, rng)
    return Pair(*fit_pair(repeat_rows(seen), seed, beta, latent=2, epochs=20), seen, to_table(fresh)), inside


@cache
def fit_cluster(seed: int, beta: Beta) -> tuple[Pair, Bools]:
    """One Gaussian cluster; which fresh rows, none of them at its rim, are the quarter farthest from training rows."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(8_000, FACTORS))
    rows = lift(factors, 0.1, rng)
    few, fresh = rows[:200], rows[200:][np.linalg.norm(factors[200:], axis=1) < 1.5]
    distance = KDTree(few).query(fresh, k=5)[0].mean(axis=1)
    models = fit_pair(repeat_rows(to_table(few)), seed, beta, latent=6, epochs=20)
    return Pair(*models, to_table(few), to_table(fresh)), distance > np.quantile(distance, 0.75)


def thin_spots(seeds: Seeds, beta: Beta = "auto", *, ring: bool = True, relative: bool = False) -> Finding:
    """How well do rows at thin spots inside the cluster come back, in itself or relative to the other rows?"""
    pairs = []
    for seed in seeds:
        fitted, thin = fit_ring(seed, beta) if ring else fit_cluster(seed, beta)
        errors = fitted.errors(fitted.fresh, thin)
        pairs.append(errors / fitted.errors(fitted.fresh, ~thin) if relative else errors)
    measure = f"error in the {'thin ring' if ring else 'sparsest quarter'}{' / elsewhere' if relative else ''}"
    return find("2 VAE better at thin spots", measure, ("VAE", "AE"), pairs)


# --- claim 3 ------------------------------------------------------------------------------------------------------


@cache
def fit_clusters(seed: int, beta: Beta) -> tuple[Pair, Doubles]:
    """Five clusters, and many more rows of them that tell where the data is."""
    rng = np.random.default_rng(seed)
    rows, fresh, reference = draw_clusters(1_000, rng), draw_clusters(2_000, rng), draw_clusters(20_000, rng)
    models = fit_pair(to_table(rows), seed, beta, latent=2, epochs=80, patience=0)
    return Pair(*models, to_table(rows), to_table(fresh)), reference


def share_off_data(z: Doubles, bundle: vm.Bundle, fresh: pa.Table, reference: Doubles) -> float:
    """Share of decoded latent points that are farther from the data than 99 % of fresh real rows."""
    tree = KDTree(standardise(reference, bundle))
    limit = np.quantile(tree.query(standardise(to_matrix(fresh), bundle))[0], 0.99)
    return float(np.mean(tree.query(decode(z, bundle))[0] > limit))


def noise_share(mu: Doubles, sigma: Doubles) -> float:
    """The VAE's own noise relative to the spread of its latents, over the units in use."""
    used = mu.std(axis=0) > 0.1
    return float(np.sqrt((sigma[:, used] ** 2).mean() / mu[:, used].var(axis=0).mean()))


def off_data(seeds: Seeds, beta: Beta = "auto", *, draw: str = "own noise") -> Finding:
    """Points made from latents, decoded: how many lie off the data?

    draw: 'own noise': both get noise around the latents of training rows, of the relative size that the VAE learned;
    'half': the same with half of the latents' spread; 'prior': standard normal for the VAE, a normal distribution
    fitted to the training latents for the autoencoder, which has no prior.
    """
    pairs = []
    for seed in seeds:
        fitted, reference = fit_clusters(seed, beta)
        mu, sigma = encode(fitted.seen, fitted.vae)
        center, _ = encode(fitted.seen, fitted.autoencoder)
        noise = np.random.default_rng(seed).normal(size=mu.shape)
        size = 0.5 if draw == "half" else noise_share(mu, sigma)
        for_vae = {"own noise": mu + sigma * noise, "half": mu + size * mu.std(axis=0) * noise, "prior": noise}[draw]
        for_ae = center + size * center.std(axis=0) * noise
        if draw == "prior":
            for_ae = center.mean(axis=0) + noise @ np.linalg.cholesky(np.cov(center.T)).T
        sides = ((for_vae, fitted.vae), (for_ae, fitted.autoencoder))
        vae, autoencoder = (share_off_data(z, b, fitted.fresh, reference) for z, b in sides)
        pairs.append((vae, autoencoder))
    return find("3 noisy AE latents fall off the data", f"share off the data, {draw}", ("VAE", "AE"), pairs)


# --- claim 4 ------------------------------------------------------------------------------------------------------


def toy_matrix(table: pa.Table) -> Doubles:
    """[n, 4]: the toy's numbers, and its group as 0 or 1, in units of the true distribution."""
    group = pc.equal(table["group"], "right").to_numpy().astype(np.float64)
    matrix: Doubles = np.column_stack([to_matrix(table, ["x", "y", "z"]), group]) / np.array([1.58, 1.19, 0.97, 0.5])
    return matrix


def energy_distance(a: Doubles, b: Doubles) -> float:
    """Distance of two distributions, 0 if they are the same, from equally many rows of each."""
    return float(2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean())


def largest_ks(a: Doubles, b: Doubles) -> float:
    """The largest difference of the columns' distribution functions."""
    return max(float(ks_2samp(x, y, method="asymp").statistic) for x, y in zip(a.T, b.T, strict=True))


def correlation_gap(a: Doubles, b: Doubles) -> float:
    """The largest difference of two correlation matrices; x * x stands beside x so that the bend counts too."""
    c, d = (np.corrcoef(np.column_stack([m, m[:, 0] ** 2]).T) for m in (a, b))
    return float(np.abs(c - d).max())


DISTANCES: dict[str, Callable[[Doubles, Doubles], float]] = {
    "energy distance": energy_distance,
    "largest KS of a column": largest_ks,
    "largest correlation gap": correlation_gap,
}


@cache
def make_rows(seed: int, beta: Beta) -> dict[str, Doubles]:
    """2,000 rows each: drawn from a VAE, true ones ('fresh' and a second set), and two simple models' of them."""
    rng = np.random.default_rng(seed)
    table = draw_toy(4_000, rng)
    model = ModelOptions.model_validate({"beta": beta, "layers": (64, 32), "latent": 4, "members": 1})
    bundle = vm.fit(table, seed=seed, model=model, epochs=40, patience=0, mask=0.0, trim=0.0)
    rows = toy_matrix(table)[:2_000]
    return {
        "VAE draws": toy_matrix(vm.generate(2_000, bundle, seed)),
        "fresh": toy_matrix(draw_toy(2_000, rng)),
        "true rows": toy_matrix(draw_toy(2_000, rng)),
        "columns shuffled": np.column_stack([rng.permutation(column) for column in rows.T]),
        "one normal": rng.multivariate_normal(rows.mean(axis=0), np.cov(rows.T), len(rows)),
    }


def generation(
    seeds: Seeds, beta: Beta = "auto", *, distance: str = "energy distance", other: str = "columns shuffled"
) -> Finding:
    """Are rows drawn through the decoder closer to fresh rows of the true distribution than other made rows are?

    other: 'columns shuffled' (every column right, every relation lost), 'one normal' (mean and covariance right, every
    shape lost) or 'true rows', which no model is expected to beat.
    """
    sets = [make_rows(seed, beta) for seed in seeds]
    measure = DISTANCES[distance]
    pairs = [(measure(s["VAE draws"], s["fresh"]), measure(s[other], s["fresh"])) for s in sets]
    return find("4 draws follow the true distribution", distance, ("VAE draws", other), pairs)


# --- claim 5 ------------------------------------------------------------------------------------------------------


def explained_variance(values: Doubles, rebuilt: Doubles) -> float:
    """1 - squared error / variance, over standardised columns."""
    return float(1.0 - np.mean(((values - rebuilt) / values.std(axis=0)) ** 2))


def compress_linearly(train: Doubles, values: Doubles, width: int) -> Doubles:
    """The best linear autoencoder: principal components."""
    mean, scale = train.mean(axis=0), train.std(axis=0)
    axes = np.linalg.svd((train - mean) / scale, full_matrices=False)[2][:width]
    rebuilt: Doubles = ((values - mean) / scale @ axes.T @ axes) * scale + mean
    return rebuilt


@cache
def fit_narrow(seed: int, beta: Beta) -> Pair:
    """Twelve related columns and a latent layer of three."""
    table = to_table(draw_related(6_000, np.random.default_rng(seed)))
    seen, fresh = table.slice(0, 3_000), table.slice(3_000)
    return Pair(*fit_pair(seen, seed, beta, latent=FACTORS, epochs=60, patience=0), seen, fresh)


def compression(seeds: Seeds, beta: Beta = "auto", *, baseline: str = "half") -> Finding:
    """Twelve columns through a latent layer of three: how much of their variance survives?

    baseline: 'half' of the variance, 'PCA' with as many components, or the 'AE'.
    """
    pairs = []
    for seed in seeds:
        fitted = fit_narrow(seed, beta)
        values = to_matrix(fitted.fresh)
        rebuilt = (to_matrix(vm.reconstruct(fitted.fresh, bundle)) for bundle in (fitted.vae, fitted.autoencoder))
        kept, autoencoder = (explained_variance(values, r) for r in rebuilt)
        linear = explained_variance(values, compress_linearly(to_matrix(fitted.seen), values, FACTORS))
        pairs.append(({"half": 0.5, "PCA": linear, "AE": autoencoder}[baseline], kept))
    return find("5 compression", "explained variance, 12 columns in 3 units", (baseline, "VAE"), pairs)


@cache
def fit_whole(seed: int, beta: Beta, kind: str, flights: bool) -> tuple[vm.Bundle, pa.Table, pa.Table]:
    """A model as a user would train it, (bundle, seen, fresh): the package's defaults on flights, one small network
    with the default masking and trimming on related columns."""
    rng = np.random.default_rng(seed)
    table = draw_flights(24_000, rng) if flights else to_table(draw_related(6_000, rng))
    seen, fresh = table.slice(0, table.num_rows - 3_000), table.slice(table.num_rows - 3_000)
    options: dict[str, Any] = (
        {"epochs": 8} if flights else {"layers": (64, 32), "latent": FACTORS, "members": 1, "epochs": 60}
    )
    model = ModelOptions.model_validate({"kind": kind, "beta": beta})
    return vm.fit(seen, seed=seed, model=model, **options), seen, fresh


def pick_cells(rows: int, columns: int, rng: np.random.Generator) -> Bools:
    """[rows, columns], one True in each row."""
    picked: Bools = np.arange(columns) == rng.integers(0, columns, rows)[:, None]
    return picked


def replace_columns(table: pa.Table, names: Sequence[str], values: Doubles) -> pa.Table:
    """The table with new numbers in some columns, of the columns' own types; NaN becomes NULL."""
    for name, column in zip(names, values.T, strict=True):
        index, dtype = table.column_names.index(name), table[name].type
        rounded = np.round(column) if pa.types.is_integer(dtype) else column
        table = table.set_column(index, name, pa.array(rounded, pa.float64(), from_pandas=True).cast(dtype))
    return table


def denoising(seeds: Seeds, beta: Beta = "auto", *, hidden: bool = False, flights: bool = False) -> Finding:
    """One value of each row is wrong (two standard deviations of noise) or hidden: does it come back closer?

    What it is compared with: the wrong value itself, or for a hidden one the column's mean.
    """
    pairs = []
    for seed in seeds:
        bundle, seen, fresh = fit_whole(seed, beta, "vae", flights)
        names, rng = FLIGHT_NUMBERS if flights else fresh.column_names, np.random.default_rng(seed)
        clean, known = to_matrix(fresh, names), to_matrix(seen, names)
        scale, hit = known.std(axis=0), pick_cells(len(clean), len(names), rng)
        wrong = clean + np.where(hit, 2.0 * scale * rng.normal(size=clean.shape), 0.0)
        shown = np.where(hit & hidden, np.nan, wrong)
        rebuilt = to_matrix(vm.reconstruct(replace_columns(fresh, names, shown), bundle), names)
        start = np.broadcast_to(known.mean(axis=0), clean.shape) if hidden else wrong
        after, before = (rms(((v - clean) / scale)[hit]) for v in (rebuilt, start))
        pairs.append((after, before))
    what, other = ("hidden value", "column's mean") if hidden else ("corrupted value", "corrupted")
    where = "flights" if flights else "related columns"
    return find("5 denoising", f"distance of a {what} from the clean one, {where}", ("rebuilt", other), pairs)


# --- claim 6 ------------------------------------------------------------------------------------------------------


def detection(seeds: Seeds, beta: Beta = "auto", *, kind: str = "vae", flights: bool = False) -> Finding:
    """Rows of which one column comes from another row: each value is ordinary, the relation is broken.

    The reconstruction distance separates them from whole rows; the baseline, the farthest column alone, cannot.
    """
    pairs = []
    for seed in seeds:
        bundle, _, fresh = fit_whole(seed, beta, kind, flights)
        names, rng = FLIGHT_NUMBERS if flights else fresh.column_names, np.random.default_rng(seed)
        values, half = to_matrix(fresh, names), fresh.num_rows // 2
        hit = pick_cells(len(values), len(names), rng)
        hit[:half] = False
        mixed = np.where(hit, values[rng.permutation(len(values))], values)
        errors = measure_errors(replace_columns(fresh, names, mixed), bundle)
        farthest = np.abs((mixed - values.mean(axis=0)) / values.std(axis=0)).max(axis=1)
        alone, together = (area_under_roc(scores[:half], scores[half:]) for scores in (farthest, errors))
        pairs.append((alone, together))
    where = "flights" if flights else "related columns"
    name = "VAE" if kind == "vae" else "AE"
    return find("6 distance finds broken relations", f"AUROC, {where}", ("farthest column", name), pairs)


# --- report -------------------------------------------------------------------------------------------------------

MEASUREMENTS: dict[str, Callable[[Seeds, Beta], Finding]] = {
    "overfitting": overfitting,
    "overfitting, early stopping": partial(overfitting, stop_early=True),
    "overfitting, flights": partial(overfitting, flights=True),
    "overfitting, flights, early stopping": partial(overfitting, flights=True, stop_early=True),
    "held-out error": held_out_error,
    "held-out error, flights": partial(held_out_error, flights=True),
    "thin spots, ring": thin_spots,
    "thin spots, ring, relative": partial(thin_spots, relative=True),
    "thin spots, cluster": partial(thin_spots, ring=False),
    "thin spots, cluster, relative": partial(thin_spots, ring=False, relative=True),
    **{f"off the data, {draw}": partial(off_data, draw=draw) for draw in ("own noise", "half", "prior")},
    **{
        f"generation, {distance}, {other}": partial(generation, distance=distance, other=other)
        for other in ("columns shuffled", "one normal", "true rows")
        for distance in DISTANCES
    },
    **{f"compression, {baseline}": partial(compression, baseline=baseline) for baseline in ("half", "PCA", "AE")},
    "denoising": denoising,
    "denoising, hidden": partial(denoising, hidden=True),
    "denoising, flights": partial(denoising, flights=True),
    "denoising, hidden, flights": partial(denoising, hidden=True, flights=True),
    "detection": detection,
    "detection, AE": partial(detection, kind="autoencoder"),
    "detection, flights": partial(detection, flights=True),
    "detection, AE, flights": partial(detection, kind="autoencoder", flights=True),
}


def show(findings: Sequence[Finding], title: str) -> Table:
    """The findings as a table: mean and standard deviation over seeds."""
    table = Table(title=title, title_justify="left")
    for heading in ("claim", "measure", "claimed smaller", "claimed larger", "seeds", "verdict"):
        table.add_column(heading, justify="right" if heading == "seeds" else "left")
    colors = {"holds": "green", "fails": "red", "open": "yellow"}
    previous = ""
    for f in findings:
        sides = [f"{s.name} {s.mean:.3f} ± {s.spread:.3f}" for s in (f.smaller, f.larger)]
        wins, claim = f"{f.wins}/{len(f.smaller.values)}", "" if f.claim == previous else f.claim
        table.add_row(claim, f.measure, *sides, wins, f"[{colors[f.verdict]}]{f.verdict}[/]")
        previous = f.claim
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the article's claims.")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (5)")
    parser.add_argument("--beta", type=float, help="weight of the KL term; without it the package's default")
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 170)
    beta: Beta = "auto" if options.beta is None else options.beta
    findings, started_s = [], time.perf_counter()
    for name, measure in MEASUREMENTS.items():
        if options.only in name:
            findings.append(measure(range(options.seeds), beta))
            console.print(f"[dim]{time.perf_counter() - started_s:4.0f} s  {name}[/dim]")
    console.print(
        show(findings, f"The article's claims: mean ± standard deviation of {options.seeds} seeds, beta {beta}")
    )


if __name__ == "__main__":
    main()
