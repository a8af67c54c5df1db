"""Whether reasons name the culprit: one wrong cell a row, planted in other people's tables and in flights.

- first, in three: the broken column is the first reason, is among the three.
- cleared: with the first reason's expected value put into the row it is no alert any more.
- right: the expected value is the true one; of numbers within 1 % of a standard deviation; of what a forest on the same
  training rows can tell (`reference`).
- same: reasons whose observed and expected value read the same.

Of all planted rows, and of those that alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import track
from rich.table import Table

import vae_model as vm
from tests.bench.detection.reference import LIKE, Reference
from tests.bench.detection.tables import list_kinds, split_table
from vae_model.errors import DataError
from vae_model.features.words import to_words
from vae_model.training.planting import Planted, plant_faults

ROWS_PER_FAULT = 40
BUDGET = 0.001
MEASURES = ("first", "in three", "cleared", "right, levels", "right, numbers")


@dataclass
class Culprits:
    """What holds of each planted cell, by measure; NaN where it does not apply."""

    alerts: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    held: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    faults: list[str] = field(default_factory=list)
    reasons: int = 0
    same: int = 0

    def add(self, fault: str, alerts: npt.NDArray[np.bool_], **held: npt.NDArray[np.float64]) -> None:
        self.alerts.append(alerts)
        self.faults += [fault] * len(alerts)
        for name in MEASURES:
            self.held[name].append(held.get(name.replace(", ", "_").replace(" ", "_"), np.full(len(alerts), np.nan)))

    def mean(self, name: str, of_alerts: bool, fault: str | None = None) -> float:
        chosen = np.concatenate(self.alerts) if of_alerts else np.ones(len(self.faults), np.bool_)
        if fault is not None:
            chosen = chosen & (np.array(self.faults) == fault)
        values = np.concatenate(self.held[name])[chosen]
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")


def run_culprits(console: Console, named: Iterable[tuple[str, pa.Table, pa.Table]]) -> Culprits:
    """Train on each table, plant, explain; print a row a table, then one a fault."""
    total = Culprits()
    table = _table("table")
    for name, train, held_out in track(list(named), "culprits", transient=True):
        found = judge_table(vm.fit(train), train, held_out)
        _add_rows(table, name, found)
        total.alerts += found.alerts
        total.faults += found.faults
        total.same, total.reasons = total.same + found.same, total.reasons + found.reasons
        for measure in MEASURES:
            total.held[measure] += found.held[measure]
    _add_rows(table, "all", total)
    console.print(table)
    by_fault = _table("fault")
    for fault in dict.fromkeys(total.faults):
        _add_rows(by_fault, fault, total, fault)
    console.print(by_fault)
    console.print(f"observed = expected: {total.same} of {total.reasons:,} reasons")
    return total


def read_tables(paths: Iterable[Path]) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    """Name, training rows and held-out rows of each table, modelled columns alone."""
    for path in paths:
        train, held_out = split_table(path)
        names = list(list_kinds(train))
        yield path.stem, train.select(names), held_out.select(names)


def judge_table(bundle: vm.Bundle, train: pa.Table, held_out: pa.Table) -> Culprits:
    """Plant every fault in every column and judge the reasons."""
    found, reference = Culprits(), Reference(train)
    kinds = {column.name: column.kind for column in bundle.features if column.name in held_out.column_names}
    for planted in plant_faults(held_out, kinds, ROWS_PER_FAULT):
        _judge(found, bundle, planted, kinds[planted.column], reference, held_out)
    return found


def _judge(
    found: Culprits, bundle: vm.Bundle, planted: Planted, kind: str, reference: Reference, held_out: pa.Table
) -> None:
    scored = vm.score(planted.table, bundle, alert_budget=BUDGET, explain="all")
    reasons = scored["top_columns"].to_pylist()
    found.reasons += sum(map(len, reasons))
    found.same += sum(reason["observed"] == reason["expected"] for row in reasons for reason in row)
    alerts = scored["is_anomaly"].to_numpy()
    held: dict[str, Any] = {
        "first": np.array([row[0]["column"] == planted.column for row in reasons], float),
        "in_three": np.array([any(r["column"] == planted.column for r in row) for row in reasons], float),
        "cleared": np.full(len(alerts), np.nan),
    }
    # A form names no value that could be put in.
    chosen = np.flatnonzero(alerts & (kind != "text"))
    if len(chosen):
        repaired = [put_expected(planted.table.slice(i, 1), reasons[i][0]) for i in chosen]
        again = vm.score(pa.concat_tables(repaired), bundle, alert_budget=BUDGET, explain="none")
        held["cleared"][chosen] = ~again["is_anomaly"].to_numpy()
    held |= _judge_expected(planted, reasons, held_out.take(pa.array(planted.rows)), kind, reference)
    found.add(planted.fault, alerts, **held)


def _judge_expected(
    planted: Planted, reasons: list[list[dict[str, str]]], right_rows: pa.Table, kind: str, reference: Reference
) -> dict[str, npt.NDArray[np.float64]]:
    """Whether what is expected in the broken column is what was there; NaN where it is no reason or not to be told."""
    truth = right_rows[planted.column]
    right = np.full(len(reasons), np.nan)
    is_number = kind == "number" and not pa.types.is_string(truth.type)
    if not is_number and kind not in ("category", "boolean"):
        return {}
    can_tell = reference.can_tell(planted.column, right_rows, is_number)
    scale = LIKE * float(pc.stddev(reference.train[planted.column]).as_py() or 0.0) if is_number else 0.0
    for i, (row, value) in enumerate(zip(reasons, truth.to_pylist(), strict=True)):
        told = next((reason["expected"] for reason in row if reason["column"] == planted.column), None)
        if told is not None and value is not None and can_tell[i]:
            right[i] = abs(_to_float(told) - float(value)) <= scale if is_number else told == to_words(value)
    return {"right_numbers": right} if is_number else {"right_levels": right}


def put_expected(row: pa.Table, reason: dict[str, str]) -> pa.Table:
    """The row with a reason's expected value in place; as it is where that is no value of the column's type."""
    at = row.schema.get_field_index(reason["column"])
    if at < 0:
        return row
    dtype = row.schema.field(at).type
    try:
        value = _read(reason["expected"], dtype)
    except (pa.ArrowException, ValueError, DataError):
        return row
    return row.set_column(at, row.schema.field(at), value)


def _read(word: str, dtype: pa.DataType) -> pa.Array:
    text = pa.array([None if word == "NULL" else word], pa.string())
    if pa.types.is_time(dtype):
        return pa.array([None if word == "NULL" else time.fromisoformat(word)], dtype)
    if pa.types.is_integer(dtype):
        return text.cast(pa.float64()).cast(dtype)
    return text.cast(dtype)


def _to_float(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _table(first: str) -> Table:
    of_all = [f"{name}, all" for name in ("first", "in three")]
    return Table(first, "planted", "alerts", *MEASURES, *of_all, title="Culprits, of rows that alert and of all")


def _add_rows(table: Table, name: str, found: Culprits, fault: str | None = None) -> None:
    chosen = np.array([fault in (None, one) for one in found.faults])
    alerts = np.concatenate(found.alerts)[chosen]
    shares = [found.mean(measure, True, fault) for measure in MEASURES]
    shares += [found.mean(measure, False, fault) for measure in ("first", "in three")]
    table.add_row(name, f"{chosen.sum():,}", f"{alerts.mean():.3f}", *(f"{share:.3f}" for share in shares))
