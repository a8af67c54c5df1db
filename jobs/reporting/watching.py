"""Drift of the report's rows since training: what `monitor` measures, for the rows of this page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

import vae_model as vm
from jobs.config import Config
from jobs.drift import Drift, compare_alerts, compare_features, compare_latents, compare_scores, count_features
from jobs.engines.base import Engine, TableState
from jobs.reporting.counts import Counts
from jobs.reporting.scope import Scope
from jobs.sampling import Sample

_SEED = 13


def read_drift(
    engine: Engine,
    target: TableState,
    scope: Scope,
    counts: Counts,
    bundle: vm.Bundle | None,
    config: Config,
    key: Sequence[str],
) -> list[Drift]:
    """The drift of each feature column, the scores, the alerts and the latent units, in a fixed sample of the rows;
    those beyond their limits first.

    Empty where there is nothing to compare: no rows, no model, or one without statistics of its training rows.
    """
    if bundle is None or bundle.profile is None or not counts.rows:
        return []
    features = [name for name in bundle.feature_names if name in target.schema.names]
    columns = [*features, "anomaly_score", "latent_mu", "latent_sigma"]
    sample = Sample(tuple(key), config.monitor.rows, counts.rows, _SEED)
    rows = engine.sample(target, columns, scope.rows, sample)
    limits = config.monitor
    scores = rows.column("anomaly_score").drop_null().to_numpy()
    mu, sigma = (_to_matrix(rows.column(name)) for name in ("latent_mu", "latent_sigma"))
    found = [
        *compare_features(bundle, count_features(bundle, rows.to_batches()), limits),
        compare_scores(scores, limits),
        compare_alerts(counts.alerts, counts.rows, config.score.alert_budget, limits),
        compare_latents(bundle, mu, sigma, limits),
    ]
    kept = [drift for drift in found if drift is not None]
    return sorted(kept, key=lambda drift: (not drift.alarms, -(drift.psi or 0.0)))


def _to_matrix(lists: pa.ChunkedArray) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    known = lists.drop_null()
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in known.chunks] or [np.empty(0)])
    return flat.astype(np.float64).reshape(len(known), -1)
