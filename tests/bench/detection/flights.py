"""Real flights with planted faults (tests/bench/faults.py): training rows as they are, and for each kind of fault
held-out rows of which 5 % are broken."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from rich.progress import track

from jobs.onboarding.flights import load_flights
from tests.bench.detection.detectors import build_detector
from tests.bench.detection.measures import Result
from tests.bench.faults import CATEGORIES, FAULTS, NUMBERS, break_rows

HELD_OUT_ROWS, FAULT_SHARE = 10_000, 0.05


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
