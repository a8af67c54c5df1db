"""`score.quarantine`: the alert rows of each run, copied into a table of their own, once. A run that was killed after
its commit is caught up by the next one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import pyarrow as pa

from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.common.sampling import hashable_columns
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, LogEntry, TableState
from jobs.predicates.conditions import equals, is_true
from jobs.predicates.predicate import combine
from jobs.tables.refs import quarantine_ref, target_ref
from vae_model.schema import SCORE_COLUMNS

# Alert rows of one run, at most, and runs that are caught up.
MAX_ROWS: Final = 1_000_000
MAX_RUNS: Final = 30
RUN_ID: Final = "run_id"


def fill_quarantine(config: Config, engine: Engine, reporter: Reporter) -> None:
    """Copy the alert rows of all runs after the last one that has rows there.

    Args:
        config: the job; nothing is done without `score.quarantine`.
        engine: to read and write with.
        reporter: hears how many rows were copied.
    """
    place = quarantine_ref(config)
    if place is None or not engine.exists(target_ref(config)):
        return
    target = engine.describe(target_ref(config))
    runs = [entry for entry in engine.history(target) if entry.lineage and entry.lineage.get(RUN_ID)]
    for run in reversed(_find_new(runs, engine, place)):
        rows = _read_alerts(engine, target, run)
        if rows.num_rows:
            named = tuple(name for name in config.source.key if name in rows.column_names)
            carried = tuple(name for name in hashable_columns(rows.schema) if name not in (*SCORE_COLUMNS, RUN_ID))
            engine.upsert(place, rows, (RUN_ID, *(named or carried)))
            message = f"{rows.num_rows:,} alert rows copied into {place.name}"
            reporter.say("quarantine", message, rows=rows.num_rows, table=place.name)


def _find_new(runs: Sequence[LogEntry], engine: Engine, place: TableRef) -> list[LogEntry]:
    """The runs after the last one that has rows there, newest first."""
    if not engine.exists(place):
        return list(runs[:1])
    there = engine.describe(place)
    new = []
    for run in runs[:MAX_RUNS]:
        if engine.count(there, equals(RUN_ID, str((run.lineage or {})[RUN_ID]))):
            break
        new.append(run)
    return new


def _read_alerts(engine: Engine, target: TableState, run: LogEntry) -> pa.Table:
    lineage = run.lineage or {}
    moment = datetime.fromisoformat(str(lineage["scored_at"]))
    mine = combine(is_true("is_anomaly"), equals("scored_at", moment), equals("model_id", str(lineage["model_id"])))
    rows = engine.read(target, target.schema.names, mine, MAX_ROWS)
    return rows.append_column(RUN_ID, pa.array([str(lineage[RUN_ID])] * rows.num_rows, pa.string()))
