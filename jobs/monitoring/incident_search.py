"""The search for incidents among alert rows.

It asks of each column that alerts blame: do they have an effect in common (`fault_patterns`), and which segment are
they from (`segments`)? A group counts where that many alerts of ordinary rows are no accident (Poisson, with
Bonferroni's correction for all that was tried). The best group takes its alerts, and the rest is searched again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from jobs.common.statistics import log_poisson_tail
from jobs.monitoring.alert_context import AlertContext
from jobs.monitoring.fault_patterns import (
    MAJORITY,
    NEVER_SEEN,
    UNUSUAL,
    Evidence,
    describe_effect,
    group_by_effect,
)
from jobs.monitoring.segments import Bools, Rows, Segment, count_rows, find_segment, matches
from jobs.monitoring.swaps import find_swapped_rows
from jobs.tables.nights import NightName

# Alert rows that make an incident, at least: two may agree by accident.
LEAST: Final = 3


# Of ordinary nights, the share that may have a false one; and one of rows that have no effect in common. Days of bad
# weather have both more often than chance says.
ACCIDENT: Final = 1e-5
ACCIDENT_WITHOUT_EFFECT: Final = 1e-7


MAX_INCIDENTS: Final = 50
# A few alerts that are far rarer than the budget asks for say as much as many: p-values below which they are counted
# apart, and how many times as often ordinary rows may have such ones.
RARER: Final = (1e-4, 1e-5)
DOUBT: Final = 3.0
# How often an ordinary alert happens to show a given effect, guesses on the safe side: one value, or none; a unit; a
# ratio that another estimate would not have.
VALUE_CHANCE: Final = 0.1
UNIT: Final = 1.4
SMALL_UNIT: Final = 0.2
UNIT_CHANCE: Final = 0.05
EFFECT_CHANCE: Final = 0.2
SWAP_CHANCE: Final = 0.02


# Of a busy incident: nights with less than this part of the busiest one's alerts are strays.
_STRAY: Final = 0.1


@dataclass(frozen=True)
class Group:
    """Alert rows that belong together, before they are an incident: numbers into the context."""

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
        effect: what they have in common, where that is known; else it is found out.
    """

    surprise: float
    evidence: Evidence
    segment: Segment
    alerts: Rows
    effect: str = ""


def find_groups(context: AlertContext, mask: Bools, sampled: Bools) -> list[Group]:
    """Groups of alert rows that are no accident, the least accidental first; each row is in one at the most.

    Args:
        context: alert rows and rows to compare with.
        mask: [n] the alert rows to look at.
        sampled: [m] the rows of the same nights.
    """
    left, found = mask.copy(), list[Group]()
    while len(found) < MAX_INCIDENTS:
        best = _find_best(context, left, sampled)
        if best is None:
            break
        left &= ~_explained(context, best)
        if not any(_is_part(best, group, context) for group in found):
            found.append(best)
    return found


def _find_best(context: AlertContext, left: Bools, sampled: Bools) -> Group | None:
    """The group of alert rows that is least likely an accident; None where all may be."""
    candidates = [
        _choose(context, evidence.take(left[evidence.rows]), sampled)
        for evidence in context.blames.values()
        if left[evidence.rows].sum() >= LEAST
    ]
    # Reasons that name two columns each other's values have found more out than a common effect can.
    swaps = sorted(_find_swaps(context, left, sampled), key=lambda candidate: candidate.surprise)
    for candidate in [*swaps, *sorted(candidates, key=lambda candidate: candidate.surprise)]:
        group = _accept(context, candidate)
        if group is not None:
            return group
    if left.sum() < LEAST or not context.reasons:
        return None
    # No single column stands out: what spoils many columns at once still shows as too many alerts of a segment.
    whole = _weigh(context, _most_mentioned(context, left), np.flatnonzero(left), sampled, 1.0)
    return _accept(context, whole)


def _find_swaps(context: AlertContext, left: Bools, sampled: Bools) -> list[Candidate]:
    """Pairs of columns of one kind that have each other's values in some rows, whatever these blame first."""
    found = []
    named = [one for name, one in context.reasons.items() if name in context.values]
    for one, other in combinations(named, 2):
        rows = find_swapped_rows(one.take(left[one.rows]), other.take(left[other.rows]), context.values)
        if len(rows.rows) >= LEAST:
            chance = SWAP_CHANCE * (context.chance[one.column] + context.chance[other.column])
            candidate = _weigh(context, replace(rows, levels=None), rows.rows, sampled, chance)
            found.append(replace(candidate, effect=f"swapped with {other.column}"))
    return found


def _accept(context: AlertContext, candidate: Candidate) -> Group | None:
    """The group of a candidate; None where it may be an accident."""
    if candidate.surprise >= math.log(ACCIDENT):
        return None
    alerts = _without_strays(context, candidate.alerts)
    evidence = candidate.evidence.take(np.isin(candidate.evidence.rows, alerts))
    effect = candidate.effect or describe_effect(evidence)
    if effect == UNUSUAL and candidate.surprise >= math.log(ACCIDENT_WITHOUT_EFFECT):
        return None
    return Group(evidence.column, candidate.segment, effect, alerts)


def _choose(context: AlertContext, blamed: Evidence, sampled: Bools) -> Candidate:
    """The best of the groups among the rows that blame a column: all of them, or those with one effect."""
    chance = context.chance[blamed.column]
    # Without a common effect and from no segment, alerts have to be more than usual in all.
    widest = _weigh(context, blamed, blamed.rows, sampled, chance, chance_anywhere=1.0)
    groups = [
        _weigh(context, group, group.rows, sampled, chance * _chance_of(describe_effect(group)))
        for group in group_by_effect(blamed, LEAST)
    ]
    # Where one effect says it for most of the rows, the others of its column and segment are strays.
    clear = [group for group in groups if len(group.alerts) >= MAJORITY * len(widest.alerts)]
    return min(clear or [widest, *groups], key=lambda candidate: candidate.surprise)


def _chance_of(effect: str) -> float:
    if effect.startswith(("x", "about x")):
        ratio = float(effect.removeprefix("about ").removeprefix("x"))
        return UNIT_CHANCE if ratio > UNIT or 0.0 < ratio < SMALL_UNIT else EFFECT_CHANCE
    if effect == "with the wrong sign":
        return UNIT_CHANCE
    return EFFECT_CHANCE if effect == UNUSUAL else VALUE_CHANCE


def _weigh(
    context: AlertContext,
    evidence: Evidence,
    rows: Rows,
    sampled: Bools,
    chance: float,
    chance_anywhere: float | None = None,
) -> Candidate:
    """A group's best segment, and how little it looks like an accident: in all nights, or in those that it is in."""
    ratio = context.row_weight / context.alert_weight
    among = sampled & _like_expected(context, evidence)
    found = find_segment(list(context.categories.values()), evidence.column, rows, among, LEAST, ratio)
    if not found.segment and chance_anywhere is not None:
        chance = chance_anywhere
    levels = [(context.budget, 1.0), *((level, DOUBT) for level in RARER if level * DOUBT < context.budget)]
    tried = math.log(found.trials * max(len(context.chance), 1) * len(levels))
    nights = context.alert_nights[found.alerts]
    within = sampled & (context.row_nights >= nights.min()) & (context.row_nights <= nights.max())
    surprise = math.inf
    for mask, choices in ((sampled, 1), (within, len(context.nights))):
        segment_rows = max(count_rows(context.categories, found.segment, mask), 1) * context.row_weight
        for level, doubt in levels:
            rare = int((context.alert_scores[found.alerts] >= -math.log10(level)).sum()) if doubt > 1.0 else len(nights)
            hits, mean = round(rare * context.alert_weight), level * doubt * segment_rows * chance
            surprise = min(surprise, log_poisson_tail(hits, mean) + tried + math.log(choices))
    return Candidate(surprise, evidence, found.segment, found.alerts)


def _like_expected(context: AlertContext, evidence: Evidence) -> Bools:
    """[m] the rows to compare with: of a category whose rows mostly have one expected value, those that hold it. That
    they are where such rows are says nothing."""
    category = context.categories.get(evidence.column)
    everywhere = np.ones(len(context.row_nights), np.bool_)
    if category is None or evidence.levels is None:
        return everywhere
    values, counts = np.unique(evidence.expected.astype(str), return_counts=True)
    usual = str(values[np.argmax(counts)])
    if counts.max() < MAJORITY * len(evidence.rows) or usual not in category.levels:
        return everywhere
    return np.asarray(category.row_codes == category.levels.index(usual), np.bool_)


def _most_mentioned(context: AlertContext, left: Bools) -> Evidence:
    """The column that most alert rows have among their reasons: a break may spoil several."""
    return max(
        (evidence.take(left[evidence.rows]) for evidence in context.reasons.values()),
        key=lambda evidence: (len(evidence.rows), evidence.column),
    )


def _explained(context: AlertContext, group: Group) -> Bools:
    """[n] the alert rows that need no other explanation: the group's, those of its segment and nights that have its
    column among their reasons, and those with the same wrong value."""
    nights = context.alert_nights[group.alerts]
    inside = matches(context.categories, group.segment, context.alerts) & mentions(context, group.column)
    values = context.values.get(group.column)
    wrong = set(values[group.alerts].tolist()) if values is not None else set()
    levels = context.reasons[group.column].levels
    if len(wrong) == 1:
        value = wrong.pop()
        is_foreign = value == "NULL" or (levels is not None and value not in levels)
        inside |= (values == value) & (mentions(context, group.column) | is_foreign)
    elif values is not None and levels is not None and group.effect.startswith(NEVER_SEEN):
        inside |= np.array([value not in levels and value != "NULL" for value in values], np.bool_)
    inside &= (context.alert_nights >= nights.min()) & (context.alert_nights <= nights.max())
    inside[group.alerts] = True
    return inside


def mentions(context: AlertContext, column: str) -> Bools:
    """[n] alert rows that have a column among their reasons."""
    rows = np.zeros(context.alerts, np.bool_)
    if column in context.reasons:
        rows[context.reasons[column].rows] = True
    return rows


def _without_strays(context: AlertContext, alerts: Rows) -> Rows:
    """Without the nights that have so few of many alerts that those are others'."""
    counts = np.bincount(context.alert_nights[alerts], minlength=len(context.nights))
    kept: Rows = alerts[counts[context.alert_nights[alerts]] >= _STRAY * counts.max()]
    return kept


def _is_part(group: Group, other: Group, context: AlertContext) -> bool:
    """Whether a group is the same break in another column: of the same segment, in the same nights."""
    mine, theirs = context.alert_nights[group.alerts], context.alert_nights[other.alerts]
    within = bool(mine.min() >= theirs.min() and mine.max() <= theirs.max())
    return within and group.segment == other.segment != ()


def hits_by_night(context: AlertContext, alerts: Rows) -> Mapping[NightName, int]:
    """Alert rows of each night that has some."""
    counts = np.bincount(context.alert_nights[alerts], minlength=len(context.nights))
    return {context.nights[i]: round(int(counts[i]) * context.alert_weight) for i in np.flatnonzero(counts)}


def count_segment_rows(context: AlertContext, segment: Segment, first: NightName, last: NightName) -> int:
    """Rows of a segment in the nights from first to last."""
    wanted = np.array([first <= night <= last for night in context.nights], np.bool_)
    return round(count_rows(context.categories, segment, wanted[context.row_nights]) * context.row_weight)
