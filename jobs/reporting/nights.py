"""Rows, alerts and blamed columns of each night: one small table from a pass over four columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from jobs.engines.base import Engine, TableState
from jobs.reporting.row_filter import Scope
from jobs.tables.nights import NightName
from jobs.tables.summaries import NIGHTS, merge_nights, summarise_nights


@dataclass(frozen=True)
class Night:
    """One night.

    Attributes:
        name: of the value of the night column.
        rows: scored rows.
        alerts: rows below the alert budget when they were scored.
        first: alerts of which a column is the first reason, by column.
        shares: sum of a column's shares in the alerts, by column.
    """

    name: NightName
    rows: int
    alerts: int
    first: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)


def read_nights(engine: Engine, target: TableState, scope: Scope, rows: bool = False) -> list[Night]:
    """The nights in order: of the report's rows, or of its context."""
    columns = list(dict.fromkeys([scope.night, "is_anomaly", "top_columns"]))
    where = scope.rows if rows else scope.context
    found = engine.summarise(target, columns, where, NIGHTS, partial(summarise_nights, scope.night))
    nights: dict[str, Night] = {}
    # The night as a whole sorts before its columns.
    for row in merge_nights(found).to_pylist():
        if not row["column"]:
            nights[row["night"]] = Night(NightName.of(row["night"]), row["rows"], row["alerts"])
        else:
            nights[row["night"]].first[row["column"]] = row["alerts"]
            nights[row["night"]].shares[row["column"]] = row["share"]
    return sorted((night for night in nights.values() if night.rows), key=lambda night: night.name)


def sum_blame(nights: Sequence[Night]) -> dict[str, tuple[int, float]]:
    """Alerts led by each column and its share in all alerts, most first."""
    totals: dict[str, tuple[int, float]] = {}
    for night in nights:
        for column, share in night.shares.items():
            first, sum_ = totals.get(column, (0, 0.0))
            totals[column] = (first + night.first.get(column, 0), sum_ + share)
    return dict(sorted(totals.items(), key=lambda item: (-item[1][1], item[0])))
