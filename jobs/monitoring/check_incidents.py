"""Incidents of nights as wholes: opened by what a look finds, kept while it is still so, closed when it is over."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from jobs.checks.finding import Finding
from jobs.checks.look import Look
from jobs.common.config import Config
from jobs.engines.base import Engine, TableState
from jobs.monitoring.incident_table import list_known, to_table
from jobs.monitoring.incidents import Incident
from jobs.tables.nights import NightName
from jobs.tables.refs import incidents_ref


def follow_checks(config: Config, engine: Engine, target: TableState, looked: Look) -> dict[Finding, str]:
    """Open, go on with and close the incidents of nights as wholes; the ids of what was found."""
    if not looked.last or (not looked.is_news and not looked.alarms):
        return {}
    place, last = incidents_ref(config), NightName.of(looked.last)
    known = {one.id: one for one in list_known(config, engine) or () if one.is_of_table}
    ids: dict[Finding, str] = {}
    changed: list[Incident] = []
    for finding in (*looked.alarms, *looked.settled):
        since = NightName.of(looked.began(finding))
        name = f"{target.table_id}\n{finding.column}\n{finding.subject}\n{since}"
        identity = ids[finding] = hashlib.sha256(name.encode()).hexdigest()[:12]
        seen = NightName.of(finding.night) if finding.night else last
        old = known.get(identity)
        if old is None:
            changed.append(
                Incident(
                    identity,
                    finding.column,
                    "",
                    finding.sentence,
                    finding.rows,
                    0.0,
                    since,
                    max(since, seen),
                    opened=last,
                )
            )
        elif old.status != "closed" and seen > old.last_seen:
            changed.append(replace(old, last_seen=seen, effect=finding.sentence))
    still = set(ids.values())
    over = [one for one in known.values() if one.status != "closed" and one.id not in still and looked.is_news]
    changed += [replace(one, status="closed", closed=last) for one in over]
    if changed:
        engine.upsert(place, to_table(changed), ("id",))
    return ids
