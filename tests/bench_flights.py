"""Measures training and scoring of the real flights on this machine: `make bench`. Wall and CPU seconds, no Spark."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

import vae_model as vm
from jobs.onboarding.flights import load_flights

TRAIN_ROWS = 100_000


@dataclass
class Timing:
    """Seconds that a block took; CPU seconds count all threads of this process."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def measure() -> Iterator[Timing]:
    timing, wall, cpu = Timing(), time.perf_counter(), time.process_time()
    yield timing
    timing.wall_s, timing.cpu_s = time.perf_counter() - wall, time.process_time() - cpu


def report(what: str, rows: int, run: Callable[[], object]) -> None:
    """Runs once and prints one line."""
    with measure() as timing:
        run()
    rate = rows / timing.wall_s
    print(f"{what:34} {rows:>9,} rows {timing.wall_s:8.2f} s wall {timing.cpu_s:8.2f} s CPU {rate:>11,.0f} rows/s")


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    flights = load_flights()
    sample = flights.take(pa.array(range(0, flights.num_rows, flights.num_rows // TRAIN_ROWS)))
    trained: list[vm.Bundle] = []
    report("train", sample.num_rows, lambda: trained.append(vm.fit(sample, seed=0)))
    report("score, reasons for anomalies", flights.num_rows, lambda: vm.score(flights, trained[0]))
    report("score, no reasons", flights.num_rows, lambda: vm.score(flights, trained[0], explain="none"))


if __name__ == "__main__":
    main()
