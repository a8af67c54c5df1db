"""Other people's tables: three quarters to train on, and copies of the other rows with one wrong cell each, planted by
the kind of a column (vae_model/training/planting.py). Each fault in each column is ranked against the clean rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.detection.detectors import Sandtimer, build_detector
from tests.bench.detection.measures import Result, area_under_roc
from vae_model.features.columns import plan_columns
from vae_model.options import ColumnOptions
from vae_model.training.planting import plant_faults

ROWS_PER_FAULT = 150
BUDGET = 0.001
# Faults of characters, and texts of other rows: in a table of their own, as other detectors see levels alone.
OF_TEXT = ("cut off", "another form", "misspelt")


def split_table(path: Path) -> tuple[pa.Table, pa.Table]:
    """Training rows and held-out rows; columns without any value are left out."""
    table = pq.read_table(path)
    table = table.drop_columns([field.name for field in table.schema if pa.types.is_null(field.type)])
    order = np.random.default_rng(0).permutation(table.num_rows)
    cut = int(0.75 * table.num_rows)
    return table.take(pa.array(order[:cut])), table.take(pa.array(order[cut:]))


def list_kinds(table: pa.Table) -> dict[str, str]:
    """The columns that every detector gets, with their kinds: those that Sandtimer can have by its defaults."""
    plan = plan_columns(table.schema, table, ColumnOptions())
    return {column.name: column.kind for column in plan.features}


def run_tables(name: str, paths: Iterable[Path], alerts: dict[str, list[tuple[float, float]]]) -> Result:
    """One detector on all tables; faults of texts are not in the result.

    Args:
        name: of the detector.
        paths: the tables.
        alerts: gets, for Sandtimer, the share of rows that alert and the AUROC, by fault, and of clean rows.
    """
    result = Result()
    for path in track(list(paths), f"tables, {name}", transient=True):
        train, held_out = split_table(path)
        kinds = list_kinds(train)
        train, held_out = train.select(list(kinds)), held_out.select(list(kinds))
        detector = build_detector(name)
        result.fit(detector, train)
        clean = result.score(detector, held_out)
        found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for planted in plant_faults(held_out, kinds, ROWS_PER_FAULT):
            scores = result.score(detector, planted.table)
            labels = np.arange(len(clean) + len(scores)) >= len(clean)
            both = np.concatenate([clean, scores])
            of_text = kinds[planted.column] == "text"
            if not of_text and planted.fault not in OF_TEXT:
                result.add(path.stem, labels, both)
            alert = float(np.mean(scores > -np.log10(BUDGET)))
            name_of_fault = f"{planted.fault} (text)" if of_text else planted.fault
            found[name_of_fault].append((alert, area_under_roc(labels, both)))
        if isinstance(detector, Sandtimer):
            alerts.setdefault("(clean rows)", []).append((float(np.mean(clean > -np.log10(BUDGET))), 0.5))
            for fault, shares in found.items():
                alerts.setdefault(fault, []).append(tuple(np.mean(shares, axis=0)))
    return result


def show_alerts(console: Console, alerts: dict[str, list[tuple[float, float]]]) -> None:
    """The AUROC and the share of broken rows with p < 0.001, by fault: mean over tables of the mean over columns."""
    table = Table("fault", "tables", "alert", "AUROC", title="Sandtimer: share of rows with p < 0.001, and AUROC")
    for fault, shares in alerts.items():
        alert, auroc = np.mean(shares, axis=0)
        table.add_row(fault, f"{len(shares)}", f"{alert:.4f}" if "clean" in fault else f"{alert:.3f}", f"{auroc:.3f}")
    console.print(table)
