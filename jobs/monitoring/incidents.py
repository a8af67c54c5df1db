"""Incidents: alert rows that one upstream break explains, as one line, with one id for all of its nights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from jobs.checks.finding import PREFIX
from jobs.common.statistics import share_of
from jobs.monitoring.alert_context import AlertContext
from jobs.monitoring.fault_patterns import UNUSUAL
from jobs.monitoring.incident_search import Group, count_segment_rows, find_groups, hits_by_night, mentions
from jobs.monitoring.segments import Bools, Segment, matches, to_sql
from jobs.tables.nights import NightName

# What was acknowledged goes on and is closed like what is open, but alarms nobody.
Status: TypeAlias = Literal["open", "acknowledged", "closed"]


@dataclass(frozen=True)
class Incident:
    """One upstream break.

    Attributes:
        id: stable over nights.
        column: that is wrong.
        segment: SQL condition of the rows that can be hit, such as `carrier = 'UA'`; empty: all rows.
        effect: what is wrong, such as `x1.6`, `+5 h`, `NULL`, `= 'QQQ' (never seen)`, `swapped with dest`.
        rows: alert rows so far.
        share: of the segment's rows in the nights from first to last seen.
        first_seen: the first night with such an alert: a value of `source.partition`, else the run's day.
        last_seen: the last one.
        status: open, acknowledged by somebody, or closed once it has been gone for `monitor.close_after` nights.
        segment_rows: rows of the segment in these nights.
        conditions: the segment's columns and values.
        opened: the night that it was found in.
        closed: the night that it was closed in; None while it is open.
        quiet_nights: nights since it was last seen.
    """

    id: str
    column: str
    segment: str
    effect: str
    rows: int
    share: float
    first_seen: NightName
    last_seen: NightName
    status: Status = "open"
    segment_rows: int = 0
    conditions: Segment = ()
    opened: NightName | None = None
    closed: NightName | None = None
    quiet_nights: int = 0

    @property
    def is_of_table(self) -> bool:
        """Whether it is about nights as wholes: then `effect` is the sentence."""
        return self.column.startswith(PREFIX)

    @property
    def description(self) -> str:
        """One line for people: `distance x1.6 for carrier = 'UA', 41 % of rows, since 2013-06-03`."""
        if self.is_of_table:
            still = "" if self.first_seen == self.last_seen else f" (since {self.first_seen})"
            return f"{self.effect}{still}"
        where = f" for {self.segment}" if self.segment else ""
        share = f"{100 * self.share:.2g}" if self.share < 0.995 else "100"
        period = f"since {self.first_seen}"
        if self.status == "closed":
            one = self.first_seen == self.last_seen
            period = f"on {self.first_seen}" if one else f"from {self.first_seen} to {self.last_seen}"
        return f"{self.column} {self.effect}{where}, {share} % of rows, {period}"


def find_incidents(context: AlertContext, least_night: NightName | None = None) -> list[Incident]:
    """The incidents of all of its nights at once, none of them known before; for one report of a few nights.

    Args:
        context: alert rows and rows to compare with.
        least_night: leave out what was last seen before it.
    """
    groups = find_groups(context, np.ones(context.alerts, np.bool_), np.ones(len(context.row_nights), np.bool_))
    made = [_open(context, group, context.nights[-1], "") for group in groups]
    return [incident for incident in made if least_night is None or incident.last_seen >= least_night]


def follow_incidents(
    known: Sequence[Incident],
    context: AlertContext,
    nights: Sequence[NightName],
    window: int,
    close_after: int,
    table: str,
) -> list[Incident]:
    """Go through nights one after the other: incidents go on, are opened, are closed.

    The result does not depend on whether nights come one by one or all at once.

    Args:
        known: incidents until now.
        context: with the alerts of these nights and of the `window` before each.
        nights: to go through, in order.
        window: nights of alerts that are looked at together.
        close_after: nights without an alert after which an incident is closed.
        table: id of the scored table; goes into the incidents' ids.
    """
    incidents = [_close_corrected(incident, context, nights) for incident in known]
    for night in nights:
        incidents = _follow_night(incidents, context, night, window, close_after, table)
    return incidents


def _close_corrected(incident: Incident, context: AlertContext, nights: Sequence[NightName]) -> Incident:
    """Closed, where its last night was scored again and none of its alerts is left: somebody corrected the source."""
    if incident.status == "closed" or incident.last_seen not in nights or incident.first_seen < context.nights[0]:
        return incident
    if _covered(context, incident).any():
        return incident
    return replace(incident, status="closed", closed=incident.last_seen)


def _follow_night(
    known: Sequence[Incident], context: AlertContext, night: NightName, window: int, close_after: int, table: str
) -> list[Incident]:
    today = context.nights.index(night)
    mask = (context.alert_nights <= today) & (context.alert_nights > today - window)
    sampled = (context.row_nights <= today) & (context.row_nights > today - window)
    for incident in known:
        if incident.status == "closed":
            mask &= ~_covered(context, incident)
    incidents = {incident.id: incident for incident in known}
    for group in find_groups(context, mask, sampled) if mask.any() else ():
        match = _find_known(context, group, list(incidents.values()))
        if match is None:
            opened = _open(context, group, night, table)
            incidents[opened.id] = opened
        else:
            incidents[match.id] = _extend(context, match, group)
    return [_age(incident, context, today, close_after) for incident in incidents.values()]


def _covered(context: AlertContext, incident: Incident) -> Bools:
    """[n] alert rows of an incident."""
    nights = np.array([incident.first_seen <= night <= incident.last_seen for night in context.nights], np.bool_)
    return _matching(context, incident) & nights[context.alert_nights]


def _matching(context: AlertContext, incident: Incident) -> Bools:
    """[n] alert rows of an incident's segment that have its column among their reasons, whatever the night."""
    return matches(context.categories, incident.conditions, context.alerts) & mentions(context, incident.column)


def _find_known(context: AlertContext, group: Group, known: Sequence[Incident]) -> Incident | None:
    """The open incident that a group goes on with: it has half of the one's or of the other's alert rows;
    of both, where another column is to blame."""
    mine = np.zeros(context.alerts, np.bool_)
    mine[group.alerts] = True
    for incident in known:
        if incident.status == "closed":
            continue
        same = incident.column == group.column
        if same and incident.conditions == group.segment:
            return incident
        theirs = _covered(context, incident)
        counts = int(mine.sum()), int(theirs.sum())
        both = int((mine & theirs).sum())
        if both and both * 2 >= (min(counts) if same else max(counts)):
            return incident
    return None


def _open(context: AlertContext, group: Group, night: NightName, table: str) -> Incident:
    hits = hits_by_night(context, group.alerts)
    first, last = min(hits), max(hits)
    segment = to_sql(group.segment)
    name = f"{table}\n{group.column}\n{segment}\n{group.effect}\n{first}"
    rows, segment_rows = sum(hits.values()), count_segment_rows(context, group.segment, first, last)
    return Incident(
        id=hashlib.sha256(name.encode()).hexdigest()[:12],
        column=group.column,
        segment=segment,
        effect=group.effect,
        rows=rows,
        share=share_of(rows, segment_rows),
        first_seen=first,
        last_seen=last,
        segment_rows=segment_rows,
        conditions=group.segment,
        opened=night,
    )


def _extend(context: AlertContext, incident: Incident, group: Group) -> Incident:
    """With the alerts of nights after those that it was seen in; better evidence corrects what is said of it, and a
    vaguer group that it is a part of does not."""
    if group.effect == UNUSUAL and incident.effect != UNUSUAL:
        mine = _matching(context, incident)[group.alerts]
        group = replace(group, alerts=group.alerts[mine], segment=incident.conditions, effect=incident.effect)
    hits = hits_by_night(context, group.alerts)
    later = {night: count for night, count in hits.items() if night > incident.last_seen}
    if not later:
        return incident
    last = max(later)
    if sum(hits.values()) >= incident.rows and group.column == incident.column:
        # All of its alerts are still in the window: it is seen anew, as a whole.
        first = min(*hits, incident.first_seen)
        rows, segment_rows = sum(hits.values()), count_segment_rows(context, group.segment, first, last)
        segment, conditions, effect = to_sql(group.segment), group.segment, group.effect
    else:
        first, segment, conditions, effect = (
            incident.first_seen, incident.segment, incident.conditions, incident.effect
        )  # fmt: skip
        rows = incident.rows + sum(later.values())
        after = next(night for night in context.nights if night > incident.last_seen)
        segment_rows = incident.segment_rows + count_segment_rows(context, conditions, after, last)
    return replace(
        incident,
        segment=segment,
        conditions=conditions,
        effect=effect,
        rows=rows,
        share=share_of(rows, segment_rows),
        segment_rows=segment_rows,
        first_seen=first,
        last_seen=last,
    )


def _age(incident: Incident, context: AlertContext, today: int, close_after: int) -> Incident:
    if incident.status == "closed":
        return incident
    quiet = sum(incident.last_seen < night for night in context.nights[: today + 1])
    quiet = max(quiet, incident.quiet_nights if incident.last_seen < context.nights[0] else 0)
    if quiet < close_after:
        return replace(incident, quiet_nights=quiet)
    return replace(incident, quiet_nights=quiet, status="closed", closed=context.nights[today])
