"""The first sentence of the report: is something wrong, since when, in which column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.reporting.monitoring import Watched
from jobs.reporting.nights import Night, sum_blame

# One quiet night in ten thousand has more alerts than the limit by chance.
FALSE_ALARMS = 1e-4
Level = Literal["quiet", "past", "alarm"]


@dataclass(frozen=True)
class Headline:
    """What the nights say.

    Attributes:
        level: quiet; past: nights went over their limit, the last one did not; alarm: the last one did.
        headline: one sentence.
        detail: one more.
        over: names of the nights over their limit.
    """

    level: Level
    headline: str
    detail: str
    over: tuple[str, ...]


def find_limit(rows: int, budget: float) -> int:
    """The most alerts that chance gives so many normal rows: quantile of a Poisson distribution."""
    mean = rows * budget
    if mean > 500:
        return math.ceil(mean + 3.72 * math.sqrt(mean))
    term = total = math.exp(-mean)
    limit = 0
    while total < 1 - FALSE_ALARMS:
        limit += 1
        term *= mean / limit
        total += term
    return limit


def write_headline(nights: Sequence[Night], context: Sequence[Night], budget: float, watched: Watched) -> Headline:
    """Judge the report's nights, oldest first: incidents say most, then alerts beyond chance, then drift.

    Args:
        nights: the report's own.
        context: these and the nights before, which say how long it has been going on.
        budget: the alert budget.
        watched: incidents and drift.
    """
    if not nights:
        return Headline("quiet", "No rows to report on", "Nothing is scored here yet, or nothing matches.", ())
    rows, alerts = sum(night.rows for night in nights), sum(night.alerts for night in nights)
    counted = f"{alerts:,} alerts in {rows:,} rows, {rows * budget:,.1f} expected at the budget of {budget:g}."
    over = [night for night in nights if is_over(night, budget)]
    names = tuple(night.name.text for night in over)
    current = [one for one in watched.incidents if one.status == "open" and one.last_seen >= nights[-1].name]
    if current:
        worst = max(current, key=lambda one: (one.rows, one.id))
        others = len(current) - 1
        if worst.is_of_table:
            more = f"{_count(others, 'other incident')} open. " if others else ""
            return Headline("alarm", worst.description, f"{more}{counted}", names)
        more = f" {_count(others, 'other incident')} {'is' if others == 1 else 'are'} open." if others else ""
        return Headline("alarm", worst.description, f"One cause explains {worst.rows:,} alerts.{more} {counted}", names)
    if over and over[-1] is nights[-1]:
        streak = _find_streak([night for night in context if night.name < nights[0].name] + list(nights), budget)
        return Headline("alarm", _describe_streak(streak, budget), f"{_name_column(streak)}{counted}", names)
    drifting = [one.column for one in watched.drift if one.alarms]
    drifted = f" Drift in {', '.join(drifting[:3])}{', …' if len(drifting) > 3 else ''}." if drifting else ""
    if watched.incidents or over:
        return Headline("past", *_look_back(over, watched, f"{counted}{drifted}"), names)
    if drifting:
        count = f"{len(drifting)} column{'' if len(drifting) == 1 else 's'}"
        return Headline(
            "past", f"Few alerts, but {count} changed since training: {', '.join(drifting[:3])}", counted, ()
        )
    return Headline("quiet", "Nothing unusual", counted, ())


def _look_back(over: Sequence[Night], watched: Watched, counted: str) -> tuple[str, str]:
    """Headline and detail where something was wrong before the last night."""
    before = []
    if watched.incidents:
        before.append(_count(len(watched.incidents), "incident"))
    if over:
        before.append(f"{_count(len(over), 'night')} over the limit")
    last = f"The last incident: {watched.incidents[0].description}. " if watched.incidents else _name_column(over[-1:])
    return f"Quiet on the last night; {' and '.join(before)} before", f"{last}{counted}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _describe_streak(streak: Sequence[Night], budget: float) -> str:
    times = sum(night.alerts for night in streak) / (sum(night.rows for night in streak) * budget)
    since = f"since {streak[0].name}" if len(streak) > 1 else f"on {streak[0].name}"
    blamed = next(iter(sum_blame(streak)), None)
    return f"{times:,.0f} times the expected alerts {since}{f', mostly in {blamed}' if blamed else ''}"


def is_over(night: Night, budget: float) -> bool:
    """Whether a night has more alerts than chance gives."""
    return night.alerts > find_limit(night.rows, budget)


def _find_streak(nights: Sequence[Night], budget: float) -> list[Night]:
    """The nights over their limit that end with the last one, oldest first."""
    streak: list[Night] = []
    for night in reversed(nights):
        if not is_over(night, budget):
            break
        streak.insert(0, night)
    return streak


def _name_column(nights: Sequence[Night]) -> str:
    blame = sum_blame(nights)
    alerts = sum(night.alerts for night in nights)
    if not blame or not alerts:
        return ""
    column, (first, _) = next(iter(blame.items()))
    start = f"On {nights[0].name} column" if len(nights) == 1 else "Column"
    return f"{start} {column} is the first reason of {first:,} of {alerts:,} alerts. "
