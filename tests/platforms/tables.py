"""What scored tables on any platform are compared with."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

import vae_model as vm
from tests.engines.workbench import AT, assert_same_cells, assert_same_scores


def expect_scores(rows: pa.Table, bundle: Path) -> pa.Table:
    """What the scorer gives in this process."""
    return vm.score(rows, vm.load(bundle), explain="all", scored_at=AT)


def check_scores(table: Path | DeltaTable, rows: pa.Table, bundle: Path) -> None:
    """Every row once, in its own cells and with the local scorer's scores; `rows` are sorted by order_id."""
    opened = DeltaTable(table) if isinstance(table, Path) else table
    scored = opened.to_pyarrow_table().sort_by("order_id")
    assert_same_cells(scored, rows)
    names = [name for name in scored.column_names if name != "scored_at"]
    assert_same_scores(scored.select(names), expect_scores(rows, bundle).select(names))
