"""What a detector reached, and how it is printed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from tests.bench.detection.detectors import Detector, Floats

Bools = npt.NDArray[np.bool_]


@dataclass
class Result:
    """What a detector reached: one entry for each table or kind of fault; seconds are sums."""

    auroc: dict[str, list[float]] = field(default_factory=dict)
    precision: dict[str, list[float]] = field(default_factory=dict)
    fit_cpu_s: float = 0.0
    score_cpu_s: float = 0.0
    fits: int = 0

    def add(self, what: str, labels: Bools, scores: Floats) -> None:
        self.auroc.setdefault(what, []).append(area_under_roc(labels, scores))
        self.precision.setdefault(what, []).append(average_precision(labels, scores))

    def fit(self, detector: Detector, table: pa.Table) -> None:
        started = time.process_time()
        detector.fit(table)
        self.fit_cpu_s += time.process_time() - started
        self.fits += 1

    def score(self, detector: Detector, table: pa.Table) -> Floats:
        started = time.process_time()
        scores = np.nan_to_num(detector.score(table), nan=0.0, posinf=1e300, neginf=-1e300)
        self.score_cpu_s += time.process_time() - started
        return scores


def area_under_roc(labels: Bools, scores: Floats) -> float:
    """Share of (anomaly, normal) pairs in the right order; a tie counts half."""
    positives = int(labels.sum())
    ranks = rankdata(scores)[labels].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def average_precision(labels: Bools, scores: Floats) -> float:
    """Mean precision at each anomaly's place; tied rows keep the order of the table."""
    found = labels[np.argsort(-scores, kind="stable")]
    precision: Floats = np.cumsum(found) / np.arange(1, len(found) + 1)
    return float(precision[found].mean())


def mean(values: dict[str, list[float]], names: Iterable[str] | None = None) -> float:
    """Mean over tables or kinds of their means over seeds."""
    return float(np.mean([np.mean(values[name]) for name in (names or values)]))


def show(console: Console, title: str, results: dict[str, Result]) -> None:
    """A line for each detector, then AUROC by table or kind."""
    table = Table("detector", "AUROC", "AP", "fit CPU s", "score CPU s", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, r in results.items():
        costs = [f"{r.fit_cpu_s:.1f}", f"{r.score_cpu_s:.1f}"]
        table.add_row(name, f"{mean(r.auroc):.4f}", f"{mean(r.precision):.4f}", *costs)
    console.print(table)
    by_name = Table("", *results, title=f"{title}: AUROC of each")
    for what in next(iter(results.values())).auroc:
        by_name.add_row(what, *(f"{np.mean(r.auroc[what]):.3f}" for r in results.values()))
    console.print(by_name)
