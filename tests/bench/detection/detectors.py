"""Detectors that fit on a table without labels and score each row of a table."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import vae_model as vm
from vae_model.network.conditional import ConditionalModel
from vae_model.network.shape import TrainingSchedule, choose_schedule
from vae_model.scoring.explainer import Explainer
from vae_model.scoring.scorer import build_forward
from vae_model.training import fit as fitting

# Fitting or scoring these on all rows of a large table takes hours: they see so many training rows.
CAPPED = {"KNN": 20_000, "LOF": 20_000}
# A column of more levels than these would be as many columns of a matrix: the others are one level.
ONE_HOT_LEVELS = 100

Floats = npt.NDArray[np.float64]


class Detector(ABC):
    """Fits on a table without labels, then gives each row of a table a score: larger is more unusual."""

    @abstractmethod
    def fit(self, table: pa.Table) -> None: ...

    @abstractmethod
    def score(self, table: pa.Table) -> Floats: ...


class Sandtimer(Detector):
    """`vm.fit` and `vm.score` with the defaults and the given options."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def fit(self, table: pa.Table) -> None:
        self.bundle = vm.fit(table, **self.options)

    def score(self, table: pa.Table) -> Floats:
        return np.asarray(vm.score(table, self.bundle, explain="none")["anomaly_score"].to_numpy())

    @property
    def explainer(self) -> Explainer:
        return Explainer(self.bundle, build_forward(self.bundle))


class Untrained(Sandtimer):
    """Random weights: the conditional model does not even start from its regression."""

    def __init__(self) -> None:
        super().__init__(epochs=1, learning_rate=1e-6, batch_rows=512)

    def fit(self, table: pa.Table) -> None:
        with (
            mock.patch.object(ConditionalModel, "start_from_regression"),
            mock.patch.object(fitting, "choose_schedule", one_step),
        ):
            super().fit(table)


def one_step(*arguments: Any) -> TrainingSchedule:
    """The rule's schedule with a single gradient step."""
    return replace(choose_schedule(*arguments), steps_per_epoch=1)


class Pyod(Detector):
    """A detector of PyOD with its defaults."""

    def __init__(self, name: str, rows: int | None) -> None:
        self.name, self.rows = name, rows

    def fit(self, table: pa.Table) -> None:
        if self.rows and table.num_rows > self.rows:
            table = table.slice(0, self.rows)
        self.matrix = Matrix(table)
        self.detector = build_pyod(self.name)
        self.detector.fit(self.matrix.of(table))

    def score(self, table: pa.Table) -> Floats:
        return np.asarray(self.detector.decision_function(self.matrix.of(table)), np.float64)


class Matrix:
    """Tables as matrices, the way that detectors of plain matrices are fed: fitted on the training table."""

    def __init__(self, table: pa.Table) -> None:
        self.levels = {
            name: _frequent_levels(table[name])
            for name in table.column_names
            if pa.types.is_string(table.schema.field(name).type)
        }
        raw = self._raw(table)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
            self.mean = np.nan_to_num(np.nanmean(raw, axis=0))
        filled = np.where(np.isnan(raw), self.mean, raw)
        self.std = np.where((std := filled.std(axis=0)) > 0, std, 1.0)

    def of(self, table: pa.Table) -> Floats:
        """[rows, columns]."""
        raw = self._raw(table)
        return (np.where(np.isnan(raw), self.mean, raw) - self.mean) / self.std

    def _raw(self, table: pa.Table) -> Floats:
        columns = []
        for name in table.column_names:
            if name in self.levels:
                codes = pc.index_in(table[name], self.levels[name]).to_numpy()
                columns += [(codes == level).astype(np.float64) for level in range(len(self.levels[name]))]
            else:
                columns.append(_to_number(table[name]))
        return np.stack(columns, axis=1)


def _frequent_levels(values: pa.ChunkedArray) -> pa.Array:
    counts = pc.value_counts(values.drop_null())
    order = pc.sort_indices(counts, sort_keys=[("counts", "descending"), ("values", "ascending")])
    return counts.field("values").take(order[:ONE_HOT_LEVELS])


def _to_number(values: pa.ChunkedArray) -> Floats:
    """Times as microseconds, truth as 0 and 1, NULL as NaN."""
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy())


PYOD = {
    "IForest": "iforest", "ECOD": "ecod", "COPOD": "copod", "HBOS": "hbos", "PCA": "pca", "KNN": "knn", "LOF": "lof",
    "VAE": "vae", "AutoEncoder": "auto_encoder",
}  # fmt: skip


def build_pyod(name: str) -> Any:
    """A PyOD detector by the name of its class."""
    import importlib

    module = importlib.import_module(f"pyod.models.{PYOD[name]}")
    options: dict[str, Any] = {"verbose": 0} if name in ("VAE", "AutoEncoder") else {}
    return getattr(module, name)(**options)


def build_detector(name: str) -> Detector:
    """'sandtimer', 'untrained' or 'pyod NAME'."""
    if name == "sandtimer":
        return Sandtimer()
    if name == "untrained":
        return Untrained()
    short = name.removeprefix("pyod ")
    return Pyod(short, CAPPED.get(short))
