"""Pairs of an autoencoder and a VAE that share everything but the fork and the loss, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

import vae_model as vm
from tests.bench.claims.data import Bools, Doubles, to_matrix, to_table
from vae_model.network.likelihood import Outputs
from vae_model.scoring.scorer import build_forward

FIT: Mapping[str, Any] = {"layers": (64, 32), "members": 1, "trim": 0.0, "patience": 0}


@dataclass(frozen=True)
class Pair:
    """An autoencoder and a VAE that were trained alike, the rows they saw and rows they did not see."""

    ae: vm.Bundle
    vae: vm.Bundle
    seen: pa.Table
    fresh: pa.Table

    @property
    def bundles(self) -> dict[str, vm.Bundle]:
        return {"AE": self.ae, "VAE": self.vae}

    def fresh_errors(self, rows: Bools | None = None) -> dict[str, float]:
        """Error over the rows that neither saw, or some of them."""
        return {name: mean_error(self.fresh, bundle, rows) for name, bundle in self.bundles.items()}

    def seen_errors(self) -> dict[str, float]:
        return {name: mean_error(self.seen, bundle) for name, bundle in self.bundles.items()}


def fit_pair(table: pa.Table, fresh: pa.Table, seed: int, latent: int, **options: Any) -> Pair:
    """One small network of each kind: same rows, seed, layers, latent width, optimiser and number of steps."""
    shared = {**FIT, "latent": latent, **options}
    ae, vae = (vm.fit(table, seed=seed, kind=kind, **shared) for kind in ("autoencoder", "vae"))
    return Pair(ae, vae, table, fresh)


def fit_to_the_end(few: pa.Table, fresh: pa.Table, seed: int, latent: int) -> Pair:
    """560 steps on few rows, and nothing that stops the networks from overfitting.

    The package keeps the weights that were best on rows it held out. The rows are repeated, so that the held-out ones
    are copies of training rows, and the last weights are the best.
    """
    repeated = pa.concat_tables([few] * (6_400 // few.num_rows))
    fitted = fit_pair(repeated, fresh, seed, latent, epochs=14, mask=0.0)
    return Pair(fitted.ae, fitted.vae, few, fresh)


def mean_error(table: pa.Table, bundle: vm.Bundle, rows: Bools | None = None) -> float:
    """Root mean square difference of rows and their reconstructions, in standard deviations of the columns."""
    errors: Doubles = vm.score(table, bundle, explain="none")["reconstruction_error"].to_numpy()
    return rms(errors if rows is None else errors[rows])


def rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def encode(table: pa.Table, bundle: vm.Bundle) -> tuple[Doubles, Doubles]:
    """Latent mu and sigma, [n, L] each."""
    latents = vm.encode(table, bundle)
    mu, sigma = (np.stack(latents[name].to_numpy()).astype(np.float64) for name in ("latent_mu", "latent_sigma"))
    return mu, sigma


def decode(z: Doubles, bundle: vm.Bundle) -> Outputs:
    """Latent points [n, L] through the decoder."""
    return build_forward(bundle).decode(0, np.ascontiguousarray(z.T, np.float32))


def standardise(values: Doubles, bundle: vm.Bundle) -> Doubles:
    """[n, d] in the units that the decoder speaks."""
    encoded: Doubles = bundle.encoder.encode(to_table(values).to_batches()[0]).x.T.astype(np.float64)
    return encoded


def rebuild(table: pa.Table, bundle: vm.Bundle, names: list[str] | None = None) -> Doubles:
    """Number columns, or some of them, as the model reconstructs them, [n, d]."""
    return to_matrix(vm.reconstruct(table, bundle), names)


def noise_around(mu: Doubles, share: float, rng: np.random.Generator) -> Doubles:
    """Latents with normal noise of a share of each unit's spread."""
    noisy: Doubles = mu + share * mu.std(axis=0) * rng.normal(size=mu.shape)
    return noisy


def normal_like(mu: Doubles, rng: np.random.Generator) -> Doubles:
    """Draws from the normal distribution that fits latents best: what an autoencoder has in place of a prior."""
    draws: Doubles = rng.multivariate_normal(mu.mean(axis=0), np.atleast_2d(np.cov(mu.T)), len(mu))
    return draws
