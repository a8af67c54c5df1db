"""Sandtimer against PyOD in one run: AUROC, average precision, CPU seconds to fit and to score.

- ADBench (where its tables are): the protocol of its README, 70/30 stratified on the label, seeds 1 to 3.
- Real flights with planted faults (tests/bench/faults.py): 100,000 training rows as they are, and for each kind of
  fault 10,000 held-out rows of which 5 % are broken.

Every detector sees the same rows, with its own defaults. Sandtimer reads the table; PyOD reads a matrix: categories
one-hot, NULLs filled with the mean, columns standardised. 'untrained' is Sandtimer with random weights, after one
gradient step at a rate of 1e-6: the honest zero. Nothing here chooses anything by a label. Seconds are CPU seconds of
all threads; torch and numpy use as many threads as the machine's settings say (OMP_NUM_THREADS), but Sandtimer one.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import rankdata

import vae_model as vm
from jobs.flights import load_flights
from tests.bench.faults import CATEGORIES, FAULTS, NUMBERS, break_rows
from vae_model import fitting
from vae_model.peers import Peers
from vae_model.rules import Recipe, choose_recipe

ADBENCH = Path(__file__).resolve().parents[3] / "shared" / "data" / "adbench"
SEEDS = (1, 2, 3)
LABEL = "is_anomaly"
TRAIN_ROWS, HELD_OUT_ROWS, FAULT_SHARE = 100_000, 10_000, 0.05
QUICK_TRAIN_ROWS = 20_000
# Fitting or scoring these on all flights takes hours: they see so many training rows, and the table says so.
CAPPED = {"KNN": 20_000, "LOF": 20_000}

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


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


class Untrained(Sandtimer):
    """Random weights: the second view does not even start from its regression."""

    def __init__(self) -> None:
        super().__init__(epochs=1, learning_rate=1e-6, batch_rows=512)

    def fit(self, table: pa.Table) -> None:
        with mock.patch.object(Peers, "start_from_regression"), mock.patch.object(fitting, "choose_recipe", one_step):
            super().fit(table)


def one_step(*arguments: Any) -> Recipe:
    """The rule's recipe with a single gradient step."""
    return replace(choose_recipe(*arguments), steps_per_epoch=1)


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
            name: pc.unique(table[name]).drop_null()
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
                columns.append(table[name].cast(pa.float64()).to_numpy())
        return np.stack(columns, axis=1)


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


def split_table(labels: Bools, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """70 % and 30 % of the rows, stratified on the label."""
    rng = np.random.RandomState(seed)
    train, test = [], []
    for label in (False, True):
        rows = rng.permutation(np.flatnonzero(labels == label))
        kept = round(0.7 * len(rows))
        train.append(rows[:kept])
        test.append(rows[kept:])
    return np.concatenate(train), np.concatenate(test)


def run_adbench(name: str, paths: Iterable[Path], seeds: Iterable[int]) -> Result:
    """One detector on all tables."""
    result = Result()
    for path in track(list(paths), f"ADBench, {name}", transient=True):
        table = pq.read_table(path)
        labels = np.asarray(table[LABEL].to_numpy()).astype(bool)
        features = table.drop_columns([LABEL])
        for seed in seeds:
            train, test = split_table(labels, seed)
            detector = build_detector(name)
            result.fit(detector, features.take(pa.array(train)))
            result.add(path.stem, labels[test], result.score(detector, features.take(pa.array(test))))
    return result


def split_flights(train_rows: int) -> tuple[pa.Table, pa.Table]:
    """Training rows and held-out rows, 12 numbers and 3 categories."""
    flights = load_flights().select([*NUMBERS, *CATEGORIES])
    order = np.random.default_rng(3).permutation(flights.num_rows)
    held_out = order[-HELD_OUT_ROWS:]
    return flights.take(pa.array(order[:train_rows])), flights.take(pa.array(held_out))


def run_flights(name: str, train: pa.Table, held_out: pa.Table) -> Result:
    """One detector on all kinds of fault. Unbroken rows are scored once: they are the same for each kind."""
    result = Result()
    detector = build_detector(name)
    result.fit(detector, train)
    clean = result.score(detector, held_out)
    for fault in track(FAULTS, f"flights, {name}", transient=True):
        rows, broken = break_rows(held_out, fault, round(FAULT_SHARE * held_out.num_rows))
        labels = np.zeros(len(clean), np.bool_)
        labels[rows] = True
        scores = clean.copy()
        scores[rows] = result.score(detector, broken)
        result.add(fault.name, labels, scores)
    return result


def mean(values: dict[str, list[float]], names: Iterable[str] | None = None) -> float:
    """Mean over tables or kinds of their means over seeds."""
    return float(np.mean([np.mean(values[name]) for name in (names or values)]))


def said(console: Console, name: str, result: Result) -> Result:
    """The same result, said as soon as it is there: a full run takes the better part of an hour."""
    console.print(f"{name}: AUROC {mean(result.auroc):.4f}, fit {result.fit_cpu_s:.1f} CPU s")
    return result


def show(console: Console, title: str, results: dict[str, Result]) -> None:
    """A line for each detector, then AUROC by table or kind."""
    certain = [fault.name for fault in FAULTS if fault.certain]
    flights = "flights" in title
    table = Table("detector", "AUROC", *(["AUROC, certain kinds"] if flights else []), "AP", "fit CPU s", "score CPU s")
    for column in table.columns[1:]:
        column.justify = "right"
    table.title = title
    for name, r in results.items():
        only_certain = [f"{mean(r.auroc, certain):.4f}"] if flights else []
        costs = [f"{r.fit_cpu_s:.1f}", f"{r.score_cpu_s:.1f}"]
        table.add_row(name, f"{mean(r.auroc):.4f}", *only_certain, f"{mean(r.precision):.4f}", *costs)
    console.print(table)
    by_name = Table("", *results, title=f"{title}: AUROC of each")
    for what in next(iter(results.values())).auroc:
        by_name.add_row(what, *(f"{np.mean(r.auroc[what]):.3f}" for r in results.values()))
    console.print(by_name)


def say_ratio(console: Console, ours: Result, theirs: Result) -> None:
    """What training cost, beside PyOD's VAE on the same rows in the same run."""
    console.print(
        f"Fitting PyOD's VAE took {theirs.fit_cpu_s:.1f} CPU s (torch threads: {torch.get_num_threads()}), Sandtimer"
        f" {ours.fit_cpu_s:.1f}: {theirs.fit_cpu_s / ours.fit_cpu_s:.1f} times as much, at an AUROC of"
        f" {mean(theirs.auroc):.3f} against {mean(ours.auroc):.3f}."
    )


def choose_detectors(asked: str | None, with_pyod: bool, console: Console) -> list[str]:
    """Names of the detectors to run."""
    if asked:
        return [name if name in ("sandtimer", "untrained") else f"pyod {name}" for name in asked.split(",")]
    names = ["sandtimer", "untrained"]
    if not with_pyod:
        return names
    try:
        import pyod  # noqa: F401
    except ImportError:
        console.print("PyOD is not installed: only Sandtimer runs. `pip install 'sandtimer[bench]'` brings it.")
        return names
    return names + [f"pyod {name}" for name in PYOD]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adbench", type=Path, default=ADBENCH, help="folder of ADBench tables as Parquet")
    parser.add_argument("--quick", action="store_true", help="one seed, 20,000 flights")
    parser.add_argument("--no-pyod", action="store_true", help="only Sandtimer and its untrained twin")
    parser.add_argument("--detectors", help="comma-separated: sandtimer, untrained, " + ", ".join(PYOD))
    parser.add_argument("--only", choices=("adbench", "flights"), help="one of the two halves")
    return parser.parse_args()


def main() -> None:
    arguments, console = read_arguments(), Console(width=None if os.isatty(1) else 200)
    names = choose_detectors(arguments.detectors, not arguments.no_pyod, console)
    paths = sorted(arguments.adbench.glob("*.parquet"))
    if not paths and arguments.only != "flights":
        console.print(f"No tables in {arguments.adbench}: ADBench is left out.")
    if paths and arguments.only != "flights":
        seeds = SEEDS[:1] if arguments.quick else SEEDS
        results = {name: said(console, name, run_adbench(name, paths, seeds)) for name in names}
        show(console, f"ADBench, {len(paths)} tables, seeds {', '.join(map(str, seeds))}", results)
    if arguments.only != "adbench":
        rows = QUICK_TRAIN_ROWS if arguments.quick else TRAIN_ROWS
        train, held_out = split_flights(rows)
        results = {name: said(console, name, run_flights(name, train, held_out)) for name in names}
        capped = [f"{name} {limit:,}" for name, limit in CAPPED.items() if f"pyod {name}" in names and limit < rows]
        note = f" ({', '.join(capped)} of them)" if capped else ""
        show(console, f"flights, {rows:,} training rows{note}, {len(FAULTS)} kinds of fault", results)
        if "sandtimer" in results and "pyod VAE" in results:
            say_ratio(console, results["sandtimer"], results["pyod VAE"])


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="pyod|sklearn|numba")
    main()
