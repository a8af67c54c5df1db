"""An alarm is told once. What the run before had past its limits already, by the same model and hardly less, is still
so and no alarm; what has grown since is one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from jobs.common.config import Config
from jobs.engines.base import Engine, LogEntry
from jobs.monitoring.drift import Drift
from jobs.predicates.conditions import equals
from jobs.predicates.predicate import combine
from jobs.tables.refs import monitor_ref

# What is so much larger than it was is a second break.
GROWN: Final = 1.5
# Runs to go back over for one that was monitored.
_RUNS: Final = 14
_MAX_ROWS: Final = 20_000
Before: TypeAlias = Mapping[str, tuple[Mapping[str, float], datetime]]


def read_before(config: Config, engine: Engine, runs: Sequence[LogEntry], model_id: str) -> Before:
    """What the latest run that `monitor` looked at had past its limits: column -> kinds with their sizes, since when.

    Args:
        config: the job.
        engine: to read with.
        runs: before the one that is looked at, newest first.
        model_id: whose runs can be compared.
    """
    place = monitor_ref(config)
    if not engine.exists(place):
        return {}
    table = engine.describe(place)
    columns = ["column", "scored_at", "kinds", "since"]
    if not set(columns) <= set(table.schema.names):
        return {}
    for run in runs[:_RUNS]:
        lineage = run.lineage or {}
        of_run = combine(equals("run_id", str(lineage.get("run_id"))), equals("model_id", model_id))
        rows = engine.read(table, columns, of_run, _MAX_ROWS).to_pylist()
        if rows:
            return {row["column"]: _read_kinds(row) for row in rows if row["kinds"]}
    return {}


def settle(drifts: Sequence[Drift], before: Before) -> list[Drift]:
    """The drifts, what is still so apart from what is news."""
    return [_settle(drift, before.get(drift.column)) for drift in drifts]


def _read_kinds(row: Mapping[str, Any]) -> tuple[dict[str, float], datetime]:
    kinds = {one["kind"]: float(one["size"]) for one in row["kinds"]}
    return kinds, row["since"] or row["scored_at"]


def _settle(drift: Drift, before: tuple[Mapping[str, float], datetime] | None) -> Drift:
    if before is None:
        return drift
    kinds, since = before
    told = [kind in kinds and size <= GROWN * kinds[kind] for kind, size in drift.kinds]
    still = tuple(alarm for alarm, known in zip(drift.alarms, told, strict=True) if known)
    if not still:
        return drift
    alarms = tuple(alarm for alarm, known in zip(drift.alarms, told, strict=True) if not known)
    # What it was told at stays the measure: a slow rise is told in the end.
    sizes = tuple((kind, kinds[kind] if known else size) for (kind, size), known in zip(drift.kinds, told, strict=True))
    return replace(drift, alarms=alarms, still_so=still, since=since, kinds=sizes)
