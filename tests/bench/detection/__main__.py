"""Sandtimer against PyOD in one run: AUROC, average precision, CPU seconds to fit and to score.

- ADBench: contaminated tables, 70/30 stratified on the label, seeds 1 to 3.
- Flights: 100,000 training rows as they are, and for each kind of fault 10,000 held-out rows of which 5 % are broken.
- Tables: other people's tables with generic faults in every column that they can happen to.
- OddBench: ordinary training rows, fixed test rows.
- Errors: tables with published wrong cells; rows and cells.
- Culprits: one wrong cell a row, and whether the reasons name it.

Flights are always there; the others where their folders are. Every detector sees the same rows, with its own defaults.
Sandtimer reads the table; PyOD reads a matrix: categories one-hot (their 100 most frequent levels), NULLs filled with
the mean, columns standardised. 'untrained' is Sandtimer's network with random weights, after one gradient step at a
rate of 1e-6; what it counts it counts. Nothing here chooses anything by a label. Seconds are CPU seconds of all
threads; torch and numpy use as many threads as the machine's settings say (OMP_NUM_THREADS), but Sandtimer one.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from tests.bench.detection.adbench import run_adbench
from tests.bench.detection.culprits import read_tables, run_culprits
from tests.bench.detection.detectors import CAPPED, PYOD
from tests.bench.detection.errors import RARITY, run_errors, show_errors
from tests.bench.detection.flights import run_flights, split_flights
from tests.bench.detection.measures import Result, mean, show
from tests.bench.detection.oddbench import run_oddbench
from tests.bench.detection.tables import run_tables, show_alerts
from tests.bench.faults import FAULTS

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
SEEDS = (1, 2, 3)
TRAIN_ROWS, QUICK_TRAIN_ROWS = 100_000, 20_000
# On many tables one detector of each school says enough.
FEW = ("sandtimer", "untrained", "pyod KNN", "pyod IForest", "pyod ECOD")
SUITES = ("adbench", "flights", "tables", "oddbench", "errors", "culprits")


def said(console: Console, name: str, result: Result) -> Result:
    """The same result, said as soon as it is there: a full run takes the better part of an hour."""
    console.print(f"{name}: AUROC {mean(result.auroc):.4f}, fit {result.fit_cpu_s:.1f} CPU s")
    return result


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
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of the folders adbench, tables, ...")
    parser.add_argument("--quick", action="store_true", help="one seed, 20,000 flights, every fifth table of OddBench")
    parser.add_argument("--no-pyod", action="store_true", help="only Sandtimer and its untrained twin")
    parser.add_argument("--detectors", help="comma-separated: sandtimer, untrained, " + ", ".join(PYOD))
    parser.add_argument("--only", choices=SUITES, help="one of them")
    return parser.parse_args()


class Bench:
    """What was asked for, and where it is printed."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.console = Console(width=None if os.isatty(1) else 200)
        self.names = choose_detectors(arguments.detectors, not arguments.no_pyod, self.console)
        self.few = self.names if arguments.detectors else [name for name in FEW if name in self.names]

    def find(self, suite: str, pattern: str = "*.parquet") -> list[Path]:
        """The tables of a suite, none where it was not asked for or is not there."""
        if self.arguments.only not in (None, suite):
            return []
        paths = sorted((self.arguments.data / suite).glob(pattern))
        if not paths:
            self.console.print(f"No tables in {self.arguments.data / suite}: left out.")
        return paths

    def run(self, title: str, names: list[str], one: Callable[[str], Result]) -> dict[str, Result]:
        results = {name: said(self.console, name, one(name)) for name in names}
        show(self.console, title, results)
        return results

    def adbench(self) -> None:
        seeds = SEEDS[:1] if self.arguments.quick else SEEDS
        if paths := self.find("adbench"):
            title = f"ADBench, {len(paths)} tables, seeds {', '.join(map(str, seeds))}"
            self.run(title, self.names, lambda name: run_adbench(name, paths, seeds))

    def flights(self) -> None:
        rows = QUICK_TRAIN_ROWS if self.arguments.quick else TRAIN_ROWS
        train, held_out = split_flights(rows)
        capped = [
            f"{name} {limit:,}" for name, limit in CAPPED.items() if f"pyod {name}" in self.names and limit < rows
        ]
        note = f" ({', '.join(capped)} of them)" if capped else ""
        title = f"flights, {rows:,} training rows{note}, {len(FAULTS)} kinds of fault"
        results = self.run(title, self.names, lambda name: run_flights(name, train, held_out))
        if "sandtimer" in results and "pyod VAE" in results:
            say_ratio(self.console, results["sandtimer"], results["pyod VAE"])

    def tables(self) -> None:
        alerts: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in self.few}
        if paths := self.find("tables"):
            title = f"{len(paths)} tables, generic faults"
            self.run(title, self.few, lambda name: run_tables(name, paths, alerts[name]))
            show_alerts(self.console, alerts[self.few[0]])

    def oddbench(self) -> None:
        if paths := self.find("oddbench")[:: 5 if self.arguments.quick else 1]:
            self.run(f"OddBench, {len(paths)} tables", self.few, lambda name: run_oddbench(name, paths))

    def errors(self) -> None:
        if folders := self.find("errors", "*"):
            show_errors(self.console, {name: run_errors(name, folders) for name in [*self.few, RARITY]})

    def culprits(self) -> None:
        if "sandtimer" not in self.names:
            return
        train, held_out = split_flights(QUICK_TRAIN_ROWS if self.arguments.quick else TRAIN_ROWS)
        tables = sorted((self.arguments.data / "tables").glob("*.parquet"))
        run_culprits(self.console, [*read_tables(tables), ("flights", train, held_out)])


def main() -> None:
    bench = Bench(read_arguments())
    for suite in SUITES:
        if bench.arguments.only in (None, suite):
            getattr(bench, suite)()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="pyod|sklearn|numba")
    main()
