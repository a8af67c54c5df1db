"""The tables that are scored, each with a model: made once under data/bench, then kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.onboarding.flights import PARTITION, load_flights

FOLDER = Path("data/bench/scoring")
FEATURES, FACTORS, CARRIED = 32, 6, 200
FLIGHTS_KEY = ("carrier", "flight", "time_hour")
FILE_ROWS = 250_000


@dataclass(frozen=True)
class Case:
    """One table: what it holds, and how many rows."""

    name: str
    rows: int

    @property
    def folder(self) -> Path:
        return FOLDER / f"{self.name}-{self.rows}"

    @property
    def source(self) -> str:
        return str(self.folder / "source")

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def ignored(self) -> tuple[str, ...]:
        return (*FLIGHTS_KEY, PARTITION) if self.name == "flights" else ("id",)


def make_case(case: Case) -> None:
    """Write the table and train its model, unless they are there."""
    if case.bundle.exists():
        return
    for part in _make_parts(case):
        write_deltalake(case.source, part, mode="append")
    first = next(_make_parts(Case(case.name, min(case.rows, FILE_ROWS)))).slice(0, 60_000)
    features = [f"x{i}" for i in range(FEATURES)] if case.name != "flights" else None
    bundle = vm.fit(first, vm.ColumnOptions(include=features, ignore=case.ignored), epochs=6)
    bundle.save(case.bundle)


def count_files(case: Case) -> int:
    return len(DeltaTable(case.source).file_uris())


def _make_parts(case: Case) -> Iterator[pa.Table]:
    if case.name == "flights":
        flights = load_flights()
        for start in range(0, case.rows, flights.num_rows):
            yield flights.slice(0, case.rows - start)
        return
    for start in range(0, case.rows, FILE_ROWS):
        rng = np.random.default_rng(start)
        yield make_numbers(rng, start, min(FILE_ROWS, case.rows - start), CARRIED if case.name == "wide" else 0)


def make_numbers(rng: np.random.Generator, first: int, rows: int, carried: int) -> pa.Table:
    """`id`, 32 doubles that hang together by six factors, and further doubles that are no features."""
    mixing = np.random.default_rng(1).normal(size=(FACTORS, FEATURES))
    x = rng.normal(size=(rows, FACTORS)) @ mixing + 0.1 * rng.normal(size=(rows, FEATURES))
    columns = {"id": pa.array(np.arange(first, first + rows))}
    columns |= {f"x{i}": pa.array(np.ascontiguousarray(x[:, i])) for i in range(FEATURES)}
    columns |= {f"c{i}": pa.array(rng.normal(size=rows)) for i in range(carried)}
    return pa.table(columns)
