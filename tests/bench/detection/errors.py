"""Public tables with wrong cells and their mask: a detector fits on the dirty table and ranks its rows, and Sandtimer
its cells too. Beside it a rule: the rarer its values in their columns, the odder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tests.bench.detection.detectors import Detector, Floats, Sandtimer, build_detector
from tests.bench.detection.measures import Bools, area_under_roc, average_precision
from vae_model.scoring.scorer import build_forward, score_rows

RARITY = "value rarity"


@dataclass
class Found:
    """What a detector reached on one table: (AUROC, average precision) of rows, cells and each column's cells."""

    rows: tuple[float, float]
    cells: tuple[float, float] | None = None
    columns: dict[str, float] = field(default_factory=dict)
    first: float | None = None


def load_table(folder: Path) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The dirty table with numbers where all values are numbers, and [columns, rows] which cells are wrong."""
    dirty = pq.read_table(folder / "dirty.parquet")
    wrong = pq.read_table(folder / "wrong.parquet").select(dirty.column_names)
    for at, name in enumerate(dirty.column_names):
        dirty = dirty.set_column(at, name, _parse(dirty[name]))
    return dirty, np.array([np.asarray(wrong[name]).astype(bool) for name in dirty.column_names])


def _parse(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """As a CSV reader does: the first type that all values have; empty is NULL."""
    values = pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
    # A leading zero says that it is a code.
    if pc.any(pc.match_substring_regex(values, "^0[0-9]")).as_py():
        return values
    for dtype in (pa.int64(), pa.float64()):
        try:
            return values.cast(dtype)
        except pa.ArrowInvalid:
            continue
    return values


def score_cells(detector: Detector, table: pa.Table) -> Floats:
    """[columns, rows] by a detector that can say which column it is: -log10 p of the row, shared out."""
    assert isinstance(detector, Sandtimer)
    bundle = detector.bundle
    encoded = bundle.encoder.encode(table.combine_chunks().to_batches()[0])
    forward = build_forward(bundle)
    rows = score_rows(bundle, forward, encoded)
    shares = detector.explainer.shares(encoded, rows.terms)
    cells = np.zeros((table.num_columns, table.num_rows))
    cells[[table.column_names.index(name) for name in bundle.feature_names]] = shares * -rows.log10_p
    return cells


def rank_by_rarity(table: pa.Table) -> Floats:
    """[columns, rows] -log of the share of rows that have the value."""
    cells = []
    for name in table.column_names:
        codes = table[name].combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
        counts = np.bincount(codes)
        cells.append(-np.log(counts[codes] / len(codes)))
    return np.array(cells)


def run_errors(name: str, folders: Iterable[Path]) -> dict[str, Found]:
    """One detector on all tables; `RARITY` is one too."""
    found = {}
    for folder in folders:
        table, wrong = load_table(folder)
        if name == RARITY:
            cells = rank_by_rarity(table)
            found[folder.name] = judge(cells.sum(axis=0), cells, wrong, table.column_names)
            continue
        detector = build_detector(name)
        detector.fit(table)
        scores = detector.score(table)
        cells = score_cells(detector, table) if isinstance(detector, Sandtimer) else None
        found[folder.name] = judge(scores, cells, wrong, table.column_names)
    return found


def judge(rows: Floats, cells: Floats | None, wrong: Bools, names: list[str]) -> Found:
    """By the mask."""
    broken = wrong.any(axis=0)
    result = Found((area_under_roc(broken, rows), average_precision(broken, rows)))
    if cells is None:
        return result
    result.cells = area_under_roc(wrong.ravel(), cells.ravel()), average_precision(wrong.ravel(), cells.ravel())
    for k, name in enumerate(names):
        # A column's cells against the cells of rows without any fault.
        if (wrong[k] & broken).sum() >= 5:
            judged = wrong[k] | ~broken
            result.columns[name] = area_under_roc(wrong[k][judged], cells[k][judged])
    alerts = np.flatnonzero((rows > 3.0) & broken)
    if len(alerts):
        result.first = float(np.mean(wrong[cells[:, alerts].argmax(axis=0), alerts]))
    return result


def show_errors(console: Console, results: dict[str, dict[str, Found]]) -> None:
    """A line for each table and detector, then each column."""
    table = Table("table", "detector", "rows AUROC", "rows AP", "cells AUROC", "cells AP", "first reason is wrong cell")
    for place in next(iter(results.values())):
        for name, found in results.items():
            one = found[place]
            cells = [f"{x:.3f}" for x in one.cells] if one.cells else ["", ""]
            first = "" if one.first is None else f"{one.first:.2f} of alerts"
            table.add_row(place, name, *(f"{x:.3f}" for x in one.rows), *cells, first)
    table.title = "Public tables with wrong cells"
    console.print(table)
    able = [name for name, found in results.items() if next(iter(found.values())).cells]
    by_column = Table("table", "column", *able, title="AUROC of a column's wrong cells among its cells in right rows")
    for place, one in results[able[0]].items():
        for column in one.columns:
            by_column.add_row(place, column, *(f"{results[name][place].columns[column]:.3f}" for name in able))
    console.print(by_column)
