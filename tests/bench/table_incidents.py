"""Planted breaks in other people's tables, found as one incident or not: `make bench-monitor ARGS="--tables"`.

Generic faults in the columns of each table, of kinds that its self-test hears, in a fifth of a segment's rows, at
least one a night, in three nights; and the incidents of the untouched nights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import vae_model as vm
from tests.bench.incidents import Outcome, summarise, try_plant
from tests.bench.nights import Break, Plant, ScoredYear, Values
from vae_model.training.planting import FAULTS, Cells, GenericFault

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tables"
SHARE, HEARD = 0.2, 0.9
COLUMNS_OF_A_KIND, SEGMENT_COLUMNS, LEVELS = 4, 3, 2
STARTS = (0.35, 0.6, 0.85)
# How the effect of each fault may begin.
EFFECTS = {
    "x 1000": ("x1", "x9", "about x"),
    "x 1.6": ("x1.",),
    "wrong sign": ("with the wrong sign", "negative"),
    "-999": ("always -999",),
    "NULL": ("NULL",),
    "never seen": ("= 'zyx", "always zyx"),
    "another form": ("with values never seen", "of ", "= ", "always "),
    "misspelt": ("with values never seen", "of ", "= ", "always "),
    "a year late": ("+", "unusual"),
}


@dataclass(frozen=True)
class Case:
    """A table with the column that dates its rows."""

    name: str
    rows: pa.Table
    night: str


def read_cases() -> Iterator[Case]:
    """Pizza, hotel and complaints, each with a plain date."""
    pizza = pq.read_table(SHARED / "pizza.parquet").drop_columns(["id"])
    yield Case("pizza", pizza, "date")
    yield Case("hotel", pq.read_table(SHARED / "hotel.parquet").drop_columns(["arrival_date_num"]), "arrival_date")
    complaints = pq.read_table(SHARED / "complaints.parquet").drop_columns(["oss_id"])
    text = pc.replace_substring(pc.utf8_slice_codeunits(complaints["RequestDate"], 0, 10), "/", "-")
    days = text.cast(pa.date32())
    recent = pc.greater_equal(days, pa.scalar("2021-01-01").cast(pa.date32()))
    dated = complaints.drop_columns(["RequestDate"]).append_column("day", days)
    yield Case("complaints", dated.filter(recent), "day")


def run_tables(folder: Path, print_line: Callable[[str], None] = print) -> None:
    """Train on each table, plant, and print a table of outcomes for each."""
    every: list[Outcome] = []
    for case in read_cases():
        bundle = train(case, folder / f"incidents_{case.name}")
        year = ScoredYear(case.rows, bundle, case.night)
        found, _ = year.follow()
        print_line(
            f"\n{case.name}: {len(found)} incidents in {len(year.names)} untouched nights, {year.alerts.sum()} alerts"
        )
        for incident in found:
            print_line(f"  {incident.description} ({incident.rows} rows)")
        outcomes = [try_plant(year, plant) for plant in list_plants(case, year)]
        for line in summarise(outcomes):
            print_line(f"  {line}")
        every += outcomes
    print_line("\nall tables")
    for line in summarise(every):
        print_line(f"  {line}")


def train(case: Case, path: Path) -> vm.Bundle:
    if not (path / "bundle.json").exists():
        vm.fit(case.rows, vm.ColumnOptions(ignore=(case.night,))).save(path)
    return vm.load(path)


def list_plants(case: Case, year: ScoredYear) -> Iterator[Plant]:
    """Every break in every segment from one start each, in turn."""
    number = 0
    for what in list_breaks(year.bundle):
        for segment in list_segments(case, year.bundle):
            start = year.names[int(STARTS[number % len(STARTS)] * len(year.names))]
            number += 1
            plant = Plant(what, segment, start, share=SHARE)
            if len(year.rows_of(plant)) >= plant.nights:
                yield plant


def list_breaks(bundle: vm.Bundle) -> Iterator[Break]:
    """The faults that the self-test hears, in some columns of each kind."""
    detections = bundle.self_test.detections if bundle.self_test else ()
    heard = {(one.column, one.fault) for one in detections if one.alerts >= HEARD}
    taken: dict[str, int] = {}
    for column in bundle.features:
        faults = [fault for fault in FAULTS if fault.name in EFFECTS and (column.name, fault.name) in heard]
        if not faults or taken.get(column.kind, 0) >= COLUMNS_OF_A_KIND:
            continue
        taken[column.kind] = taken.get(column.kind, 0) + 1
        for fault in faults:
            yield Break(
                fault.name, (column.name,), EFFECTS[fault.name], _change(column.name, fault), _known(column.name)
            )


def _change(column: str, fault: GenericFault) -> Callable[[pa.Table], Values]:
    def change(wrong: pa.Table) -> Values:
        cells = Cells(wrong, column, np.arange(wrong.num_rows), np.random.default_rng(0))
        return {column: fault.change(cells)}

    return change


def _known(column: str) -> Callable[[pa.Table], np.ndarray]:
    """Rows with a value that a unit or a sign changes."""

    def able(rows: pa.Table) -> np.ndarray:
        values = rows[column]
        there = np.asarray(values.is_valid().to_numpy())
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            there &= np.nan_to_num(values.cast(pa.float64()).to_numpy()) != 0.0
        return there

    return able


def list_segments(case: Case, bundle: vm.Bundle) -> list[tuple[tuple[str, str], ...]]:
    """No condition, and the most frequent levels of some categories."""
    found: list[tuple[tuple[str, str], ...]] = [()]
    names = [column.name for column in bundle.features if column.kind == "category"]
    for name in names[:SEGMENT_COLUMNS]:
        counted = sorted(pc.value_counts(case.rows[name].drop_null()).to_pylist(), key=lambda one: -one["counts"])
        found += [((name, one["values"]),) for one in counted[:LEVELS] if one["counts"] < 0.7 * case.rows.num_rows]
    return found
