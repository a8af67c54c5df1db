"""Sandtimer's model: a mixed-type variational autoencoder that scores how unusual each row of a table is.

    bundle = vae_model.fit(table)
    scored = vae_model.score(table, bundle)

Scoring needs numpy and pyarrow alone; `fit` imports torch when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vae_model.api import encode, explain, find_reasons, generate, reconstruct, score
from vae_model.bundle.bundle import Bundle, load
from vae_model.errors import BundleError, DataError, SandtimerError
from vae_model.features.columns import Column
from vae_model.schema import SCORE_COLUMNS, SCORE_SCHEMA
from vae_model.scoring.evidence import Reason
from vae_model.scoring.scorer import Scorer, ScoringOptions, score_batches
from vae_model.scoring.wording import describe_reason

if TYPE_CHECKING:
    from vae_model.options import ColumnOptions, ModelOptions, TrainOptions
    from vae_model.training.fit import fit
    from vae_model.training.loop import TrainEvent

__all__ = [
    "SCORE_COLUMNS",
    "SCORE_SCHEMA",
    "Bundle",
    "BundleError",
    "Column",
    "ColumnOptions",
    "DataError",
    "ModelOptions",
    "Reason",
    "SandtimerError",
    "Scorer",
    "ScoringOptions",
    "TrainEvent",
    "TrainOptions",
    "describe_reason",
    "encode",
    "explain",
    "find_reasons",
    "fit",
    "generate",
    "load",
    "reconstruct",
    "score",
    "score_batches",
]


_LAZY = {
    "fit": "training.fit",
    "TrainEvent": "training.loop",
    "ColumnOptions": "options",
    "ModelOptions": "options",
    "TrainOptions": "options",
}


def __getattr__(name: str) -> Any:
    """Load what training needs (torch, pydantic) only when it is asked for: executors have neither."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"vae_model.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'vae_model' has no attribute '{name}'")
