"""What holds robustly of the claims that docs/claims.md measures, in a small form: each direction, for two seeds; and
that the autoencoder, the other model kind, is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

import vae_model as vm
from tests.bench.claims.__main__ import MEASUREMENTS, to_cells, to_markdown
from tests.bench.claims.data import draw_related, draw_toy, to_table
from tests.bench.claims.findings import Finding, Sample

SEEDS = range(2)
ROBUST = (
    *("gap, calm", "noise, related", "noise, clusters, beta 1"),
    *("energy, beta 1", "energy, normal", "correlations"),
    *("compression", "hidden, related", "wrong, related", "detection, related"),
)


def find(*sides: tuple[float, ...]) -> Finding:
    samples = dict(zip(("VAE", "AE"), map(Sample, sides), strict=True))
    return Finding("claim", "measure", samples, smaller="VAE", larger="AE")


@pytest.mark.parametrize("name", ROBUST)
def test_direction_holds_for_each_seed(name: str) -> None:
    finding = MEASUREMENTS[name].find(SEEDS)
    assert finding.wins == len(SEEDS), to_cells(finding)


def test_autoencoder_minimises_the_mean_squared_distance() -> None:
    table = to_table(draw_related(1_000, np.random.default_rng(0))[0])
    bundle = vm.fit(table, kind="autoencoder", seed=5, members=1, epochs=2, mask=0.0)
    held_out = np.random.default_rng(0).permutation(table.num_rows)[: bundle.schedule["holdout"]]
    errors = vm.score(table, bundle)["reconstruction_error"].to_numpy()[held_out]
    best = min(epoch["held_out"] for epoch in bundle.training_curve)
    assert np.mean(errors**2) == pytest.approx(best, rel=1e-4)
    assert [epoch["kl"] for epoch in bundle.training_curve] == [0.0] * len(bundle.training_curve)


def test_autoencoder_has_no_fork() -> None:
    table = draw_toy(1_000, np.random.default_rng(0))
    bundle = vm.fit(table, kind="autoencoder", members=1, epochs=2)
    scored = vm.score(table, bundle)
    assert not any(name.startswith("logvar") for name in bundle.tensors)
    assert {sigma for row in scored["latent_sigma"].to_pylist() for sigma in row} == {0.0}
    assert np.isfinite(scored["reconstruction_nll"].to_numpy()).all()
    few, many = (vm.score(table, bundle, samples=n)["reconstruction_nll"].to_numpy() for n in (1, 8))
    np.testing.assert_allclose(few, many, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("vae", "verdict"),
    [((1.0, 1.1, 0.9), "holds"), ((3.0, 3.1, 2.9), "fails"), ((1.0, 2.0, 3.5), "open"), ((1.0,), "open")],
)
def test_verdict_follows_from_the_paired_gaps(vae: tuple[float, ...], verdict: str) -> None:
    assert find(vae, (2.0, 2.0, 2.0)[: len(vae)]).verdict == verdict


def test_finding_counts_the_seeds_with_the_claimed_order() -> None:
    finding = find((1.0, 3.0, 2.0), (2.0, 2.0, 2.0))
    assert finding.wins == 1
    assert finding.sides["VAE"].mean == 2.0
    assert math.isclose(finding.sides["VAE"].spread, 1.0)


def test_table_for_the_page() -> None:
    lines = to_markdown([to_cells(find((1.0, 1.1), (2.0, 2.2)))]).splitlines()
    assert lines[2] == "| claim | measure | VAE < AE | 2.100 ± 0.141 | 1.050 ± 0.071 |  | 2/2 | holds |"
