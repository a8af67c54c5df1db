"""`incidents`: what is open, or all of it, with the rows and the loads of each; and what somebody says of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import vae_model as vm
from jobs.checks.finding import PREFIX
from jobs.checks.ledger import accept_findings
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.delta.loads import Load, read_loads
from jobs.engines.base import Engine, TableState
from jobs.monitoring.incident_table import list_known, read_rows, to_table
from jobs.monitoring.incidents import Incident, Status
from jobs.tables.nights import NightName, between, find_night_column
from jobs.tables.refs import incidents_ref, ledger_ref, source_ref, target_ref

# Commits of the source that are looked through for those that brought an incident's rows, and named of them.
MAX_LOADS: Final = 400
SHOWN_LOADS: Final = 3


def list_incidents(config: Config, engine: Engine, reporter: Reporter, with_closed: bool = False) -> list[Incident]:
    """The command: incidents that are open, or all, the latest first.

    Raises:
        DataError: there is no table of incidents yet.
    """
    place = incidents_ref(config)
    if not engine.exists(place):
        raise vm.DataError(
            f"a table of incidents at {place.name}", "none", "run `sandtimer monitor` after a scoring run"
        )
    known = [one for one in read_rows(engine, place, None) if with_closed or one.status != "closed"]
    known.sort(key=lambda incident: (incident.last_seen, incident.rows), reverse=True)
    target = engine.describe(target_ref(config))
    night = find_night_column(config, target)
    loads = list_loads(config, engine, night)
    for one in known:
        where, brought = describe_rows(engine, target, night, one), describe_loads(one, loads)
        fields: dict[str, Field] = {"id": one.id, "status": one.status, "rows": one.rows, "what": one.description}
        fields |= {"first_seen": one.first_seen.text, "last_seen": one.last_seen.text, "where": where, "loads": brought}
        came = f"\n    came with: {'; '.join(brought)}" if brought else ""
        message = f"{one.id} {one.status}: {one.description}\n    its rows: WHERE {where}{came}"
        reporter.say("incident", message, **fields)
    count = sum(incident.status == "open" for incident in known)
    reporter.say("done", f"{count:,} of {len(known):,} incidents are open, in {place.name}", open=count)
    return known


def describe_rows(engine: Engine, target: TableState, night: str, incident: Incident) -> str:
    """A condition on the scored table that lists an incident's rows; those of a night, where it is about the night."""
    of_nights = between(engine, target, night, incident.first_seen, incident.last_seen)
    parts = [of_nights.sql()] if of_nights else []
    if not incident.is_of_table:
        parts += ["is_anomaly", *([incident.segment] if incident.segment else [])]
    return " AND ".join(parts)


def list_loads(config: Config, engine: Engine, night: str) -> list[Load]:
    """The last commits of the source that brought rows, as far as its log tells."""
    source = engine.describe(source_ref(config))
    place = source.location or source.ref
    if place.in_catalog or night not in source.schema.names:
        return []
    return read_loads(place, night, max(-1, source.version - MAX_LOADS), source.version)


def describe_loads(incident: Incident, loads: Sequence[Load]) -> list[str]:
    """The commits that brought rows of an incident's nights, the latest first; not many."""
    mine = [load for load in loads if any(span and _overlaps(span, incident) for span in load.spans)]
    words = [f"version {load.version} ({load.made_by} at {load.moment:%Y-%m-%d %H:%M})" for load in reversed(mine)]
    return [*words[:SHOWN_LOADS], *([f"and {len(words) - SHOWN_LOADS} more"] if len(words) > SHOWN_LOADS else [])]


def _overlaps(span: tuple[str, str], incident: Incident) -> bool:
    low, high = (NightName.of(end[:10]) for end in span)
    return low <= incident.last_seen and high >= incident.first_seen


def change_status(config: Config, engine: Engine, reporter: Reporter, identity: str, status: Status) -> Incident:
    """The command: somebody has seen an incident (acknowledged), or knows that it is over (closed).

    Args:
        config: the job.
        engine: to read and write with.
        reporter: hears of it.
        identity: the incident's id, or the first characters of it that no other one has.
        status: the new one.

    Raises:
        DataError: there is no such incident, or more than one.
    """
    place = incidents_ref(config)
    found = [one for one in list_known(config, engine) or () if one.id.startswith(identity)]
    if len(found) != 1:
        raise vm.DataError(
            f"one incident whose id begins with '{identity}' in {place.name}",
            f"{len(found)}",
            "`sandtimer incidents --all` lists them",
        )
    changed = replace(found[0], status=status, closed=found[0].last_seen if status == "closed" else None)
    engine.upsert(place, to_table([changed]), ("id",))
    if changed.is_of_table:
        accept_findings(engine, ledger_ref(config), changed.column.removeprefix(PREFIX), changed.first_seen)
    reporter.say("done", f"incident {changed.id} is {status}: {changed.description}", id=changed.id, status=status)
    return changed
