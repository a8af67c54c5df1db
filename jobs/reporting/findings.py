"""What the page shows: its sections, in order, and everything that is read for them.

A new section is a module that reads, its field and call here, and its part of the page in `templates/sections`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import vae_model as vm
from jobs.common.config import Config, Monitor
from jobs.common.sampling import hashable_columns
from jobs.engines.base import Engine, LogEntry, TableState
from jobs.models.store import find_model
from jobs.reporting.column_counts import ColumnCounts, read_counts
from jobs.reporting.headline import Headline, write_headline
from jobs.reporting.latent import LatentMap, read_map
from jobs.reporting.monitoring import Watched, watch_rows
from jobs.reporting.nights import Night, read_nights
from jobs.reporting.quality import ColumnQuality, list_quality
from jobs.reporting.row_filter import Scope, choose_scope
from jobs.reporting.strangest import StrangeRow, read_strangest
from jobs.tables.refs import target_ref
from vae_model import Bundle

# Where the bundle is not kept: training rows are seldom more.
MAX_COUNTED = 6.0


class Section(NamedTuple):
    """A section of the page: the name of its template, and its title in the table of contents, if it is there."""

    name: str
    title: str = ""


SECTIONS = (
    Section("nights", "Nights"),
    Section("incidents", "Incidents"),
    Section("columns", "Columns"),
    Section("rows", "Strangest rows"),
    Section("scores", "Scores"),
    Section("data", "Data quality"),
    Section("model", "Model"),
    Section("self-test"),
    Section("runs", "Runs"),
)


@dataclass(frozen=True)
class Findings:
    """Everything that the page shows.

    Attributes:
        target: the scored table.
        source: name of the source table.
        budget: the alert budget.
        limits: of drift.
        runs: that made the table, newest first.
        counts: of the report's rows.
        context: nights of the trend.
        nights: the report's own.
        bundle: the model that scored most of the rows; None where it is not kept.
    """

    target: TableState
    source: str
    budget: float
    limits: Monitor
    scope: Scope
    runs: Sequence[LogEntry]
    counts: ColumnCounts
    context: Sequence[Night]
    nights: Sequence[Night]
    verdict: Headline
    strangest: Sequence[StrangeRow]
    quality: Sequence[ColumnQuality]
    latent: LatentMap | None
    watched: Watched
    bundle: Bundle | None

    @property
    def beyond(self) -> float:
        """The score from which on no training row is as unusual."""
        return math.log10(self.bundle.train_rows + 1.0) if self.bundle else MAX_COUNTED


def collect(
    config: Config, engine: Engine, where: str | None = None, since: str | None = None, until: str | None = None
) -> Findings:
    """Everything that the page shows, read from the scored table."""
    target = engine.describe(target_ref(config))
    _check_scored(target)
    runs = [entry for entry in engine.history(target) if entry.lineage]
    scope = choose_scope(config, engine, target, runs, where, since, until)
    counts = read_counts(engine, target, scope.rows, {}, ())
    bundle = find_model(config, counts.model_ids[0]) if counts.model_ids else None
    carried = [name for name in target.schema.names if name not in vm.SCORE_COLUMNS]
    encoders = dict(zip(bundle.encoder.names, bundle.encoder.encoders, strict=True)) if bundle else {}
    contents = read_counts(engine, target, scope.rows, encoders, carried)
    key = [name for name in config.source.key if name in carried]
    hashed = key or [name for name in hashable_columns(target.schema) if name in carried]
    nights = read_nights(engine, target, scope, rows=True)
    context = nights if scope.rows == scope.context else read_nights(engine, target, scope)
    shown = show_before(nights, context, config.report.nights)
    watched = watch_rows(config, engine, target, scope, counts, nights, bundle)
    return Findings(
        target=target,
        source=config.source.table,
        budget=config.score.alert_budget,
        limits=config.monitor,
        scope=scope,
        runs=runs,
        counts=counts,
        context=shown,
        nights=nights,
        verdict=write_headline(nights, context, config.score.alert_budget, watched),
        strangest=read_strangest(engine, target, scope, counts, key, config.report.rows, config),
        quality=list_quality(contents, bundle, carried, target.schema),
        latent=read_map(engine, target, scope.rows, counts, hashed, config.report.sample),
        watched=watched,
        bundle=bundle,
    )


def show_before(nights: Sequence[Night], context: Sequence[Night], count: int) -> list[Night]:
    """The nights from the report's first to its last, and at most so many before them."""
    if not nights:
        return list(context[-count:]) if count else []
    first, last = nights[0].name, nights[-1].name
    before = [night for night in context if night.name < first]
    return before[max(len(before) - count, 0) :] + [night for night in context if first <= night.name <= last]


def _check_scored(target: TableState) -> None:
    # What was scored before there was `why` has reasons all the same.
    missing = [name for name in vm.SCORE_COLUMNS if name not in (*target.schema.names, "why")]
    if missing:
        raise vm.DataError(
            f"a scored table at {target.ref.name}", f"no column {', '.join(missing)}", "run `sandtimer score` first"
        )
