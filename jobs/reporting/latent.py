"""The map of the latent layer: mu of a fixed sample of rows and of alerts, along the two axes of most spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.common.sampling import Sample
from jobs.engines.base import Engine, TableState
from jobs.predicates.conditions import equals, is_true
from jobs.predicates.predicate import Predicate, combine
from jobs.reporting.column_counts import ColumnCounts

Points = npt.NDArray[np.float64]
_SEED = 11


@dataclass(frozen=True)
class LatentMap:
    """Points along the first two principal axes.

    Attributes:
        rows: [n, 2] a sample of all rows.
        alerts: [m, 2] alerts, all or a sample of them.
        shares: of the sample's variance that lies along each axis.
        units: width of the latent layer.
    """

    rows: Points
    alerts: Points
    shares: tuple[float, float]
    units: int


def read_map(
    engine: Engine, target: TableState, where: Predicate | None, counts: ColumnCounts, key: Sequence[str], limit: int
) -> LatentMap | None:
    """Read and project; None without rows of a model.

    Args:
        engine: to read with.
        target: the scored table.
        where: the report's rows.
        counts: of these rows; its first model is the one whose latent layer is shown.
        key: columns that name a row, whose hash decides which rows are in the sample.
        limit: rows in the sample, and alerts.
    """
    if not counts.model_ids:
        return None
    model_id = counts.model_ids[0]
    of_model = combine(where, equals("model_id", model_id) if len(counts.model_ids) > 1 else None)
    model = counts.values("model")[model_id]

    def read(condition: Predicate | None, total: int) -> Points:
        sample = Sample(tuple(key), limit, total, _SEED)
        return _to_matrix(engine.sample(target, ["latent_mu"], condition, sample))

    rows = read(of_model, model.rows)
    alerts = read(combine(of_model, is_true("is_anomaly")), round(model.total))
    if len(rows) < 2:
        return None
    return project(rows, alerts)


def project(rows: Points, alerts: Points) -> LatentMap:
    """Principal axes of the rows, by singular values; each axis points to where its largest weight is positive."""
    center = rows.mean(axis=0)
    _, sizes, axes = np.linalg.svd(rows - center, full_matrices=False)
    axes = axes[:2]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    variance = np.square(sizes) / max(float(np.square(sizes).sum()), 1e-300)
    shares = (*variance[:2], 0.0, 0.0)
    there = alerts if len(alerts) else np.empty((0, rows.shape[1]))
    projected = [_pad((points - center) @ axes.T) for points in (rows, there)]
    return LatentMap(projected[0], projected[1], (float(shares[0]), float(shares[1])), rows.shape[1])


def _to_matrix(table: pa.Table) -> Points:
    """[n, L] in an order that does not depend on how the rows were read."""
    lists = [values for values in table.column("latent_mu").to_pylist() if values]
    if not lists:
        return np.empty((0, 0))
    matrix = np.asarray(lists, dtype=np.float64)
    return matrix[np.lexsort(matrix.T[::-1])]


def _pad(points: Points) -> Points:
    """Two columns, also where there is one latent unit."""
    return points if points.shape[1] == 2 else np.column_stack([points, np.zeros(len(points))])
