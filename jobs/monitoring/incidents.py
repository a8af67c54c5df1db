"""Incidents: alert rows that one upstream break explains, as one line, with one id for all of its nights.

The search asks of each column that alerts blame: do they have an effect in common (`fault_patterns`), and which segment
are they from (`segments`)? A group counts where that many alerts of ordinary rows are no accident (Poisson, with
Bonferroni's correction for all that was tried). The best group takes its alerts, and the rest is searched again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from jobs.monitoring.alert_context import Scene
from jobs.monitoring.drift import log_poisson_tail
from jobs.monitoring.fault_patterns import MAJORITY, UNUSUAL, Evidence, describe_effect, find_swap, group_by_effect
from jobs.monitoring.segments import Bools, Rows, Segment, count_rows, find_segment, matches, to_sql
from jobs.tables.nights import NightName

Status: TypeAlias = Literal["open", "closed"]
# Alert rows that make an incident, at least: two may agree by accident.
LEAST: Final = 3
# Of ordinary nights, the share that may have a false one.
ACCIDENT: Final = 1e-3
# How often an ordinary alert happens to show a given effect; a guess on the safe side.
EFFECT_CHANCE: Final = 0.2
# Of a busy incident: nights with less than this part of the busiest one's alerts are strays.
_STRAY: Final = 0.1
MAX_INCIDENTS: Final = 50


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
        status: open, or closed once it has been gone for `monitor.close_after` nights.
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
    def description(self) -> str:
        """One line for people: `distance x1.6 for carrier = 'UA', 41 % of rows, since 2013-06-03`."""
        where = f" for {self.segment}" if self.segment else ""
        share = f"{100 * self.share:.2g}" if self.share < 0.995 else "100"
        period = f"since {self.first_seen}"
        if self.status == "closed":
            one = self.first_seen == self.last_seen
            period = f"on {self.first_seen}" if one else f"from {self.first_seen} to {self.last_seen}"
        return f"{self.column} {self.effect}{where}, {share} % of rows, {period}"


@dataclass(frozen=True)
class Group:
    """Alert rows that belong together, before they are an incident: numbers into the scene."""

    column: str
    segment: Segment
    effect: str
    alerts: Rows


@dataclass(frozen=True)
class Candidate:
    """What may become a group.

    Attributes:
        surprise: log of the probability that ordinary alerts make it, times the number of tries.
        evidence: the rows that were weighed; `alerts` are those of them in the segment.
    """

    surprise: float
    evidence: Evidence
    segment: Segment
    alerts: Rows


def find_groups(scene: Scene, among: Bools, sampled: Bools) -> list[Group]:
    """Groups of alert rows that are no accident, the least accidental first; each row is in one at the most.

    Args:
        scene: alert rows and rows to compare with.
        among: [n] the alert rows to look at.
        sampled: [m] the rows of the same nights.
    """
    left, found = among.copy(), list[Group]()
    while len(found) < MAX_INCIDENTS:
        best = _find_best(scene, left, sampled)
        if best is None:
            break
        left &= ~_explained(scene, best)
        if not any(_is_part(best, group, scene) for group in found):
            found.append(best)
    return found


def find_incidents(scene: Scene, least_night: NightName | None = None) -> list[Incident]:
    """The incidents of all of a scene's nights at once, none of them known before; for one report of a few nights.

    Args:
        scene: alert rows and rows to compare with.
        least_night: leave out what was last seen before it.
    """
    groups = find_groups(scene, np.ones(scene.alerts, np.bool_), np.ones(len(scene.row_nights), np.bool_))
    made = [_open(scene, group, scene.nights[-1], "") for group in groups]
    return [incident for incident in made if least_night is None or incident.last_seen >= least_night]


def follow_incidents(
    known: Sequence[Incident],
    scene: Scene,
    nights: Sequence[NightName],
    window: int,
    close_after: int,
    table: str,
) -> list[Incident]:
    """Go through nights one after the other: incidents go on, are opened, are closed.

    The result does not depend on whether nights come one by one or all at once.

    Args:
        known: incidents until now.
        scene: with the alerts of these nights and of the `window` before each.
        nights: to go through, in order.
        window: nights of alerts that are looked at together.
        close_after: nights without an alert after which an incident is closed.
        table: id of the scored table; goes into the incidents' ids.
    """
    incidents = list(known)
    for night in nights:
        incidents = _follow_night(incidents, scene, night, window, close_after, table)
    return incidents


def _follow_night(
    known: Sequence[Incident], scene: Scene, night: NightName, window: int, close_after: int, table: str
) -> list[Incident]:
    today = scene.nights.index(night)
    among = (scene.alert_nights <= today) & (scene.alert_nights > today - window)
    sampled = (scene.row_nights <= today) & (scene.row_nights > today - window)
    for incident in known:
        if incident.status == "closed":
            among &= ~_covered(scene, incident)
    incidents = {incident.id: incident for incident in known}
    for group in find_groups(scene, among, sampled) if among.any() else ():
        match = _find_known(scene, group, list(incidents.values()))
        if match is None:
            opened = _open(scene, group, night, table)
            incidents[opened.id] = opened
        else:
            incidents[match.id] = _extend(scene, match, group)
    return [_age(incident, scene, today, close_after) for incident in incidents.values()]


def _find_best(scene: Scene, left: Bools, sampled: Bools) -> Group | None:
    """The group of alert rows that is least likely an accident; None where all may be."""
    candidates = [
        _choose(scene, evidence.take(left[evidence.rows]), sampled)
        for evidence in scene.blames.values()
        if left[evidence.rows].sum() >= LEAST
    ]
    best = min(candidates, key=lambda candidate: candidate.surprise, default=None)
    if (best is None or best.surprise >= math.log(ACCIDENT)) and left.sum() >= LEAST and scene.reasons:
        # No single column stands out: what spoils many columns at once still shows as too many alerts of a segment.
        best = _weigh(scene, _most_mentioned(scene, left), np.flatnonzero(left), sampled, 1.0)
    if best is None or best.surprise >= math.log(ACCIDENT):
        return None
    alerts = _without_strays(scene, best.alerts)
    evidence = best.evidence.take(np.isin(best.evidence.rows, alerts))
    return Group(evidence.column, best.segment, _describe(scene, evidence), alerts)


def _choose(scene: Scene, blamed: Evidence, sampled: Bools) -> Candidate:
    """The best of the groups among the rows that blame a column: all of them, or those with one effect."""
    chance = scene.chance[blamed.column]
    # Without a common effect and from no segment, alerts have to be more than usual in all.
    widest = _weigh(scene, blamed, blamed.rows, sampled, chance, chance_anywhere=1.0)
    groups = [
        _weigh(scene, group, group.rows, sampled, chance * EFFECT_CHANCE) for group in group_by_effect(blamed, LEAST)
    ]
    # Where one effect says it for most of the rows, the others of its column and segment are strays.
    clear = [group for group in groups if len(group.alerts) >= MAJORITY * len(widest.alerts)]
    return min(clear or [widest, *groups], key=lambda candidate: candidate.surprise)


def _weigh(
    scene: Scene, evidence: Evidence, rows: Rows, sampled: Bools, chance: float, chance_anywhere: float | None = None
) -> Candidate:
    """A group's best segment, and how little it looks like an accident: in all nights, or in those that it is in."""
    ratio = scene.row_weight / scene.alert_weight
    found = find_segment(list(scene.categories.values()), evidence.column, rows, sampled, LEAST, ratio)
    if not found.segment and chance_anywhere is not None:
        chance = chance_anywhere
    hits = round(len(found.alerts) * scene.alert_weight)
    tried = math.log(found.trials * max(len(scene.chance), 1))
    nights = scene.alert_nights[found.alerts]
    within = sampled & (scene.row_nights >= nights.min()) & (scene.row_nights <= nights.max())
    surprise = math.inf
    for among, choices in ((sampled, 1), (within, len(scene.nights))):
        there = max(count_rows(scene.categories, found.segment, among), 1) * scene.row_weight
        mean = scene.budget * there * chance
        surprise = min(surprise, log_poisson_tail(hits, mean) + tried + math.log(choices))
    return Candidate(surprise, evidence, found.segment, found.alerts)


def _most_mentioned(scene: Scene, left: Bools) -> Evidence:
    """The column that most alert rows have among their reasons: a break may spoil several."""
    return max(
        (evidence.take(left[evidence.rows]) for evidence in scene.reasons.values()),
        key=lambda evidence: (len(evidence.rows), evidence.column),
    )


def _explained(scene: Scene, group: Group) -> Bools:
    """[n] the alert rows that need no other explanation: the group's, those of its segment and nights that have its
    column among their reasons, and those with the same wrong value."""
    nights = scene.alert_nights[group.alerts]
    inside = matches(scene.categories, group.segment, group.column, scene.alerts) & _mentioned(scene, group.column)
    values = scene.values.get(group.column)
    wrong = set(values[group.alerts].tolist()) if values is not None else set()
    if len(wrong) == 1:
        value, levels = wrong.pop(), scene.reasons[group.column].levels
        is_foreign = value == "NULL" or (levels is not None and value not in levels)
        inside |= (values == value) & (_mentioned(scene, group.column) | is_foreign)
    inside &= (scene.alert_nights >= nights.min()) & (scene.alert_nights <= nights.max())
    inside[group.alerts] = True
    return inside


def _mentioned(scene: Scene, column: str) -> Bools:
    """[n] alert rows that have a column among their reasons."""
    rows = np.zeros(scene.alerts, np.bool_)
    if column in scene.reasons:
        rows[scene.reasons[column].rows] = True
    return rows


def _describe(scene: Scene, evidence: Evidence) -> str:
    effect = describe_effect(evidence)
    # A constant ratio or offset says more: two columns that are alike may look swapped as well.
    if evidence.levels is None and effect != UNUSUAL and not effect.startswith("about"):
        return effect
    others = [other for other in scene.reasons.values() if other.column in scene.values]
    swapped = find_swap(evidence, others, scene.values) if evidence.column in scene.values else None
    return f"swapped with {swapped}" if swapped else effect


def _without_strays(scene: Scene, alerts: Rows) -> Rows:
    """Without the nights that have so few of many alerts that those are others'."""
    counts = np.bincount(scene.alert_nights[alerts], minlength=len(scene.nights))
    kept: Rows = alerts[counts[scene.alert_nights[alerts]] >= _STRAY * counts.max()]
    return kept


def _is_part(group: Group, other: Group, scene: Scene) -> bool:
    """Whether a group is the same break in another column: of the same segment, in the same nights."""
    mine, theirs = scene.alert_nights[group.alerts], scene.alert_nights[other.alerts]
    within = bool(mine.min() >= theirs.min() and mine.max() <= theirs.max())
    return within and group.segment == other.segment != ()


def _covered(scene: Scene, incident: Incident) -> Bools:
    """[n] alert rows of an incident."""
    nights = np.array([incident.first_seen <= night <= incident.last_seen for night in scene.nights], np.bool_)
    inside = matches(scene.categories, incident.conditions, incident.column, scene.alerts)
    return inside & nights[scene.alert_nights] & _mentioned(scene, incident.column)


def _find_known(scene: Scene, group: Group, known: Sequence[Incident]) -> Incident | None:
    """The open incident that a group goes on with: it has half of the one's or of the other's alert rows;
    of both, where another column is to blame."""
    mine = np.zeros(scene.alerts, np.bool_)
    mine[group.alerts] = True
    for incident in known:
        if incident.status == "closed":
            continue
        same = incident.column == group.column
        if same and incident.conditions == group.segment:
            return incident
        theirs = _covered(scene, incident)
        counts = int(mine.sum()), int(theirs.sum())
        both = int((mine & theirs).sum())
        if both and both * 2 >= (min(counts) if same else max(counts)):
            return incident
    return None


def _hits(scene: Scene, alerts: Rows) -> Mapping[NightName, int]:
    counts = np.bincount(scene.alert_nights[alerts], minlength=len(scene.nights))
    return {scene.nights[i]: round(int(counts[i]) * scene.alert_weight) for i in np.flatnonzero(counts)}


def _segment_rows(scene: Scene, segment: Segment, first: NightName, last: NightName) -> int:
    wanted = np.array([first <= night <= last for night in scene.nights], np.bool_)
    return round(count_rows(scene.categories, segment, wanted[scene.row_nights]) * scene.row_weight)


def _open(scene: Scene, group: Group, night: NightName, table: str) -> Incident:
    hits = _hits(scene, group.alerts)
    first, last = min(hits), max(hits)
    segment = to_sql(group.segment)
    name = f"{table}\n{group.column}\n{segment}\n{group.effect}\n{first}"
    rows, there = sum(hits.values()), _segment_rows(scene, group.segment, first, last)
    return Incident(
        id=hashlib.sha256(name.encode()).hexdigest()[:12],
        column=group.column,
        segment=segment,
        effect=group.effect,
        rows=rows,
        share=_share(rows, there),
        first_seen=first,
        last_seen=last,
        segment_rows=there,
        conditions=group.segment,
        opened=night,
    )


def _extend(scene: Scene, incident: Incident, group: Group) -> Incident:
    """With the alerts of nights after those that it was seen in; better evidence corrects what is said of it."""
    hits = _hits(scene, group.alerts)
    later = {night: count for night, count in hits.items() if night > incident.last_seen}
    if not later:
        return incident
    last = max(later)
    if sum(hits.values()) >= incident.rows and group.column == incident.column:
        # All of its alerts are still in the window: it is seen anew, as a whole.
        first = min(*hits, incident.first_seen)
        rows, there = sum(hits.values()), _segment_rows(scene, group.segment, first, last)
        segment, conditions, effect = to_sql(group.segment), group.segment, group.effect
    else:
        first, segment, conditions, effect = (
            incident.first_seen, incident.segment, incident.conditions, incident.effect
        )  # fmt: skip
        rows = incident.rows + sum(later.values())
        after = next(night for night in scene.nights if night > incident.last_seen)
        there = incident.segment_rows + _segment_rows(scene, conditions, after, last)
    return replace(
        incident,
        segment=segment,
        conditions=conditions,
        effect=effect,
        rows=rows,
        share=_share(rows, there),
        segment_rows=there,
        first_seen=first,
        last_seen=last,
    )


def _age(incident: Incident, scene: Scene, today: int, close_after: int) -> Incident:
    if incident.status == "closed":
        return incident
    quiet = sum(incident.last_seen < night for night in scene.nights[: today + 1])
    quiet = max(quiet, incident.quiet_nights if incident.last_seen < scene.nights[0] else 0)
    if quiet < close_after:
        return replace(incident, quiet_nights=quiet)
    return replace(incident, quiet_nights=quiet, status="closed", closed=scene.nights[today])


def _share(part: int, whole: int) -> float:
    return min(1.0, part / whole) if whole else 1.0
