"""Defaults by rule: the shape of the network and of its training, from the size of the table and its column kinds.

docs/model.md records what was tried for each rule and what it gave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from vae_model.features.encoding import Layout
from vae_model.network.ranking import Ranking

if TYPE_CHECKING:
    from vae_model.options import ModelOptions, TrainOptions

# Of both forward passes, torch's and numpy's: leaky ReLUs' slope below zero, bounds of the posterior's log variance.
LEAK = 0.1
LOGVAR_MIN, LOGVAR_MAX = -9.0, 3.0
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# A latent unit whose KL divergence stays below tells nothing of the row.
COLLAPSED_NATS = 0.01

SMALL_ROWS = 20_000
CALIBRATION_ROWS = 30_000
# A table wider than this has no conditional model: its cost grows with the square of the columns.
MAX_CONDITIONAL_COLUMNS = 256
SHORT_ROWS, MIN_STEPS_SHORT, MIN_STEPS = 5_000, 400, 1_000


@dataclass(frozen=True)
class Shape:
    """The network's dimensions: everything that weights depend on. `peers`: hidden units of each column in the
    conditional model, 0 without one (bundles have that name)."""

    kind: Literal["vae", "autoencoder"]
    layers: tuple[int, ...]
    latent: int
    members: int
    embeddings: tuple[int, ...]
    norm: bool
    log_sigma_min: float
    log_sigma_max: float
    ranking: Ranking
    shortcut: bool = False
    peers: int = 0

    @property
    def is_variational(self) -> bool:
        return self.kind == "vae"

    def to_json(self) -> dict[str, Any]:
        """The fields, those with a default only where they differ: a bundle older than a field keeps its digest."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


@dataclass(frozen=True)
class TrainingSchedule:
    """How the network is trained. `steps_per_epoch` counts gradient steps; `holdout` is a number of rows.

    An epoch of a rule is a fixed part of the training, not a pass; one that the user counts is a pass over the rows.
    """

    beta: float
    epochs: int
    steps_per_epoch: int
    batch_rows: int
    learning_rate: float
    holdout: int
    patience: int
    trim: float
    mask: float
    warmup: float
    samples: int
    seed: int


def choose_shape(layout: Layout, options: ModelOptions) -> Shape:
    """One network for tables of any length; wider where there are categories."""
    wide, units = ((128, 64), 480) if layout.levels else ((64, 32), 160)
    peers = options.kind == "vae" and layout.columns <= MAX_CONDITIONAL_COLUMNS
    return Shape(
        kind=options.kind,
        layers=wide if options.layers == "auto" else options.layers,
        latent=16 if options.latent == "auto" else options.latent,
        members=1 if options.members == "auto" else options.members,
        embeddings=tuple(min(16, max(2, math.ceil(n / 2))) for n in layout.levels),
        norm=False,
        log_sigma_min=-5.0,
        log_sigma_max=3.0,
        ranking="views",
        shortcut=True,
        peers=max(4, min(32, units // layout.columns)) if peers else 0,
    )


def choose_schedule(rows: int, model: ModelOptions, train: TrainOptions) -> TrainingSchedule:
    """7 passes, but as many steps as a short table needs, and no more than a long one."""
    small = rows < SMALL_ROWS
    batch_rows = (256 if small else 512) if train.batch_rows == "auto" else train.batch_rows
    share = (0.25 if small else 0.2) if train.holdout == "auto" else train.holdout
    holdout = min(50_000, max(1, round(rows * share)))
    if train.holdout == "auto" and not small:
        # A thousandth of fewer rows is too few to say what is one in a thousand.
        holdout = max(holdout, min(CALIBRATION_ROWS, round(0.4 * rows)))
    per_pass = math.ceil((rows - holdout) / batch_rows)
    least = MIN_STEPS if rows > SHORT_ROWS else MIN_STEPS_SHORT
    epochs, steps = 16, max(least, min(4_500, 7 * per_pass))
    return TrainingSchedule(
        beta=0.2 if model.beta == "auto" else model.beta,
        epochs=epochs if train.epochs == "auto" else train.epochs,
        steps_per_epoch=max(20, steps // epochs if train.epochs == "auto" else per_pass),
        batch_rows=batch_rows,
        learning_rate=2e-2 if train.learning_rate == "auto" else train.learning_rate,
        holdout=holdout,
        patience=train.patience,
        trim=0.0 if train.trim == "auto" else train.trim,
        mask=0.1 if train.mask == "auto" else train.mask,
        warmup=0.3,
        samples=1 if model.samples == "auto" else model.samples,
        seed=train.seed,
    )
