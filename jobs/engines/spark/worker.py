"""What runs inside Spark's Python workers: numpy, pyarrow and our two packages, nothing else.

A worker builds a bundle's scorer once and keeps it by digest; tasks that follow in the same process reuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from jobs.common.memory import keep_freed_memory
from vae_model.bundle.bundle import Bundle
from vae_model.errors import DataError
from vae_model.schema import SCORE_COLUMNS
from vae_model.scoring.scorer import Scorer, ScoringOptions

_SCORERS: dict[ScorerSpec, Scorer] = {}
MAX_SCORERS = 4


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer without its weights: what decides its output, given the bundle that `model_id` names."""

    model_id: str
    options: ScoringOptions


@dataclass(frozen=True)
class RemoteScorer:
    """A scorer that can travel: its spec, a function that returns the bundle's bytes where they are needed, and which
    score columns are wanted of it."""

    spec: ScorerSpec
    read_bundle: Callable[[], bytes]
    columns: tuple[str, ...] = SCORE_COLUMNS

    @cached_property
    def scorer(self) -> Scorer:
        """The process's scorer for this spec, built on first use."""
        if self.spec not in _SCORERS:
            while len(_SCORERS) >= MAX_SCORERS:
                _SCORERS.pop(next(iter(_SCORERS)))
            keep_freed_memory()
            _SCORERS[self.spec] = Scorer(Bundle.from_bytes(self.read_bundle()), self.spec.options)
        return _SCORERS[self.spec]

    def __getstate__(self) -> dict[str, object]:
        return {"spec": self.spec, "read_bundle": self.read_bundle, "columns": self.columns}

    def score_arrays(self, arrays: Sequence[pa.Array]) -> pa.StructArray:
        """Score columns of a batch: the features in the bundle's order, or one struct that holds them by name."""
        return self.scorer.score_batch(self._to_batch(arrays)).select(list(self.columns)).to_struct_array()

    def _to_batch(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        if len(arrays) == 1 and pa.types.is_struct(arrays[0].type):
            return pa.RecordBatch.from_struct_array(arrays[0])
        names = self.scorer.feature_names
        if len(arrays) != len(names):
            raise DataError(
                f"one struct that holds the model's features by name, or its {len(names)} feature columns in order",
                f"{len(arrays)} columns",
                f"pass struct(*), or {', '.join(names)}",
            )
        return pa.RecordBatch.from_arrays(list(arrays), names=names)
