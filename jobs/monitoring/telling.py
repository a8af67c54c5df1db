"""What `monitor` says on a terminal, and what it has others told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.checks.finding import Finding
from jobs.checks.look import Look
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.engines.base import Engine
from jobs.monitoring.drift import Drift
from jobs.monitoring.incident_table import list_known
from jobs.monitoring.incidents import Incident
from jobs.monitoring.run import Run
from jobs.notifying.message import Item
from jobs.notifying.outbox import read_told


def list_items(config: Config, engine: Engine, run: Run, looked: Look, drifts: Sequence[Drift]) -> list[Item]:
    """All that is so now, with the names by which it is told once."""
    table = run.target.table_id
    items = [Item.of("alarm", f.sentence, table, f.column, f.subject, looked.began(f)) for f in looked.alarms]
    items += [Item.of("alarm", alarm, table, run.run_id, alarm) for drift in drifts for alarm in drift.alarms]
    known = [one for one in list_known(config, engine) or () if not one.is_of_table]
    opened = {one.id: Item.of("incident", f"{one.description} (incident {one.id})", table, one.id) for one in known}
    told = read_told(config, engine)
    items += [opened[one.id] for one in known if one.status == "open"]
    over = [one for one in known if one.status == "closed" and opened[one.id].id in told]
    return items + [Item.of("closed", f"{one.description} (incident {one.id})", table, one.id) for one in over]


def report_look(reporter: Reporter, looked: Look, ids: Mapping[Finding, str]) -> None:
    """What the look at the source says."""
    if not looked.is_news:
        at = f"{looked.looked_at:%Y-%m-%d %H:%M}" if looked.looked_at else ""
        usual = f"; {looked.usual}" if looked.usual else ""
        message = f"nothing new in the source since the last look at {at}; the last night is {looked.last}{usual}"
        reporter.say("nothing new", message, last=looked.last)
    for finding in looked.notes:
        reporter.say("note", finding.sentence)
    for finding in looked.settled:
        reporter.say("still so", f"still so since {finding.since or finding.night}: {finding.sentence}")
    for finding in looked.alarms:
        reporter.say("alarm", finding.sentence, id=ids.get(finding), check=finding.check)


def report_drift(reporter: Reporter, drifts: Sequence[Drift], incidents: Sequence[Incident]) -> None:
    """What is past its limits, and one line for the rest."""
    past = [drift for drift in drifts if drift.kinds]
    if past:
        reporter.table("drift", "Past their limits since training", [_show(drift) for drift in past])
    within = [drift.column for drift in drifts if not drift.kinds]
    if within:
        others = "the other " if past else "all "
        message = f"{others}{len(within)} columns and scores that were compared are within their limits"
        reporter.say("within limits", message, columns=within)
    for drift in drifts:
        for sentence in drift.still_so:
            reporter.say("still so", f"still so since {drift.since:%Y-%m-%d %H:%M}: {sentence}")
    for incident in incidents:
        reporter.say("incident", f"incident {incident.id}: {incident.description}", **_fields(incident))
    for alarm in (alarm for drift in drifts for alarm in drift.alarms):
        reporter.say("alarm", alarm)


def _show(drift: Drift) -> dict[str, Field]:
    return {
        "column": drift.column,
        "psi": drift.psi,
        "NULL": drift.null_share,
        "trained": drift.expected_null_share,
        "value": drift.value,
        "expected": drift.expected,
        "alarms": len(drift.alarms),
    }


def _fields(incident: Incident) -> dict[str, Any]:
    return {"id": incident.id, "column": incident.column, "segment": incident.segment, "rows": incident.rows}
