"""How many rows a night should have: a level that moves, a season by weekday and at the ends of months, and how far
ordinary nights stray from both. Pure functions on the counts of nights, on the scale of their logarithms.

Medians everywhere, so that a night that was broken does not become what is normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from jobs.common.statistics import median_spread

Doubles = npt.NDArray[np.float64]
# Fewer nights say nothing of the next one.
MIN_NIGHTS: Final = 7
# Nights that the level is taken from, and that its course is.
LEVEL_NIGHTS: Final = 15
_ROUNDS: Final = 4
# Added to each count: a night without rows has a logarithm, too.
_HALF: Final = 0.5
# An ordinary night strays so many spreads at most; and a night that strays less than this is none to wake anybody for.
STRAY: Final = 5.0
LEAST_STRAY: Final = 0.3
# Of ordinary nights so many stray less than what an alarm allows for.
FAR: Final = 0.99
# Upwards a night may stray so much further.
MORE: Final = 1.25
# What strays further than so many spreads was broken, and says nothing of ordinary nights.
BROKEN: Final = 6.0


@dataclass(frozen=True)
class Expectation:
    """Rows that a night should have.

    Attributes:
        rows: expected.
        low, high: ordinary nights lie between them.
    """

    rows: float
    low: float
    high: float


def expect_rows(nights: Sequence[date | None], rows: Sequence[int], night: date | None) -> Expectation | None:
    """What a night should have by those before it; None where they are too few.

    Args:
        nights: before it, in order; None where a night is no date: then there is no season.
        rows: of each.
        night: the one to judge.
    """
    if len(rows) < MIN_NIGHTS:
        return None
    y = np.log(np.asarray(rows, np.float64) + _HALF)
    kinds = [_kinds_of(day) for day in nights]
    season, level = _decompose(y, kinds)
    found = sum(season.get(kind, 0.0) for kind in _kinds_of(night))
    fitted = level + np.array([sum(season.get(kind, 0.0) for kind in of) for of in kinds])
    expected = _next_level(y - (fitted - level)) + found
    stray = _find_stray(y - fitted, math.exp(expected))
    # Too many are told by their copies, too; too few by nothing else.
    ends = (expected, expected - stray, expected + MORE * stray)
    return Expectation(*(max(math.exp(end) - _HALF, 0.0) for end in ends))


def _kinds_of(day: date | None) -> tuple[str, ...]:
    """The seasons that a day is part of."""
    if day is None:
        return ()
    ends = []
    if (day + timedelta(days=1)).day == 1:
        ends = ["last of month"]
    elif day.day == 1:
        ends = ["first of month"]
    return (f"weekday {day.weekday()}", *ends)


def _decompose(y: Doubles, kinds: Sequence[tuple[str, ...]]) -> tuple[dict[str, float], Doubles]:
    """Season by kind of day, and the level of each night."""
    season: dict[str, float] = {}
    names = sorted({kind for of in kinds for kind in of}, key=lambda name: ("month" in name, name))
    members = {name: np.array([name in of for of in kinds]) for name in names}
    level = np.full(len(y), float(np.median(y)))
    for _ in range(_ROUNDS):
        for name in names:
            others = sum((members[other] * value for other, value in season.items() if other != name), np.zeros(len(y)))
            rest = (y - level - others)[members[name]]
            season[name] = _find_season(rest)
        seasonal = sum((members[name] * value for name, value in season.items()), np.zeros(len(y)))
        level = _running_median(y - seasonal)
    return season, level


def _find_season(rest: Doubles) -> float:
    """What nights of one kind have in common: of one nothing, of two what both have, of more their median."""
    if len(rest) < 2:
        return 0.0
    if len(rest) == 2:
        low, high = sorted(map(float, rest), key=abs)
        return low if low * high > 0 else 0.0
    return float(np.median(rest))


def _running_median(values: Doubles) -> Doubles:
    """The median of the nights around each; at the ends of as many as there are."""
    half = LEVEL_NIGHTS // 2
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def _next_level(values: Doubles) -> float:
    """Where the level goes on to: the median of the last nights, and their course as far as it is one (the median slope
    of all pairs; Theil 1950, Sen 1968)."""
    last = values[-LEVEL_NIGHTS:]
    median = float(np.median(last))
    longer = values[-2 * LEVEL_NIGHTS :]
    if len(longer) < LEVEL_NIGHTS:
        return median
    i, j = np.triu_indices(len(longer), 1)
    slopes = (longer[j] - longer[i]) / (j - i)
    slope = float(np.median(slopes))
    # A course that most pairs do not share is none.
    shared = float((np.sign(slopes) == np.sign(slope)).mean())
    return median + (slope * (len(last) + 1) / 2 if shared > 0.75 else 0.0)


def _find_stray(rest: Doubles, expected: float) -> float:
    """How far ordinary nights stray, on the scale of logarithms: as far as any did that was not broken, and some."""
    # Of two nights one with 30 rows strays by chance more than one with 30,000.
    chance = 1.0 / math.sqrt(max(expected, 1.0))
    spread = max(median_spread(rest), chance)
    ordinary = np.abs(rest)[np.abs(rest) <= BROKEN * spread]
    far = float(np.quantile(ordinary, FAR)) if len(ordinary) else 0.0
    return max(LEAST_STRAY, min(STRAY * spread, max(1.35 * far, 3.0 * spread)))
