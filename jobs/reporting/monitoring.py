"""What `monitor` watches, for the report's rows: drift since training, and incidents. Those that it has followed come
from its table, with their ids; where it has not run, they are searched here and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import vae_model as vm
from jobs.common.config import Config
from jobs.engines.base import Engine, TableState
from jobs.monitoring.drift import Drift
from jobs.monitoring.incident_table import list_known, search_incidents
from jobs.monitoring.incidents import Incident
from jobs.monitoring.run import Run, compare, read_sample
from jobs.predicates.conditions import equals
from jobs.predicates.predicate import combine
from jobs.reporting.column_counts import ColumnCounts
from jobs.reporting.nights import Night
from jobs.reporting.row_filter import Scope


@dataclass(frozen=True)
class Watched:
    """Drift of each column, those beyond their limits first; incidents of the report's nights, the latest first.

    Attributes:
        is_followed: whether `monitor` keeps the incidents in its table.
    """

    drift: Sequence[Drift] = ()
    incidents: Sequence[Incident] = ()
    is_followed: bool = False


def watch_rows(
    config: Config,
    engine: Engine,
    target: TableState,
    scope: Scope,
    counts: ColumnCounts,
    nights: Sequence[Night],
    bundle: vm.Bundle | None,
) -> Watched:
    """Compare and search. Without drift where nothing can be compared: no rows, no model, or one without statistics of
    its training rows.

    Args:
        config: the job.
        engine: to read with.
        target: the scored table.
        scope: the report's rows.
        counts: of them.
        nights: of them, in order.
        bundle: the model of most of them; None where it is not kept.
    """
    known = list_known(config, engine)
    mine = _choose(known or (), nights)
    if bundle is None or bundle.profile is None or not counts.rows:
        return Watched((), mine, known is not None)
    condition = combine(scope.rows, equals("model_id", bundle.model_id))
    assert condition is not None  # noqa: S101  it has a part
    run = Run("", target, condition, bundle.model_id, datetime.min.replace(tzinfo=UTC), None)
    rows = counts.values("model")[bundle.model_id].rows
    sample = read_sample(config, engine, run, bundle, rows)
    drift = compare(config, engine, run, bundle, sample, rows)
    ordered = sorted(drift, key=lambda one: (not one.alarms, -(one.psi or 0.0)))
    if known is None:
        found = search_incidents(config, engine, target, bundle, sample)
        mine = _choose([_close(one, nights, config.monitor.close_after) for one in found], nights)
    return Watched(ordered, mine, known is not None)


def _close(incident: Incident, nights: Sequence[Night], close_after: int) -> Incident:
    """As `monitor` would have closed it, after so many nights without its alerts."""
    quiet = [night.name for night in nights if night.name > incident.last_seen]
    if len(quiet) < close_after:
        return replace(incident, quiet_nights=len(quiet))
    return replace(incident, quiet_nights=len(quiet), status="closed", closed=quiet[close_after - 1])


def _choose(incidents: Sequence[Incident], nights: Sequence[Night]) -> list[Incident]:
    """Those that were seen in the report's nights, the latest and then the largest first."""
    if not nights:
        return []
    first, last = nights[0].name, nights[-1].name
    seen = [one for one in incidents if one.first_seen <= last and one.last_seen >= first]
    return sorted(sorted(seen, key=lambda one: (-one.rows, one.id)), key=lambda one: one.last_seen, reverse=True)
