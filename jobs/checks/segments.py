"""Which part of a night is missing: a carrier, a shop. A value that (almost) every night has in many rows, this one in
none or next to none. Pure functions on counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
# Nights that say what is usual.
SEEN_NIGHTS: Final = 60
MIN_NIGHTS: Final = 7
# Rows that a value has to have on an ordinary night: of fewer none may come by accident.
MIN_ROWS: Final = 5.0
# What is left of a value that is missing; below it there are stragglers.
LEFT: Final = 0.2
# Nothing less likely than this, over all values looked at, is an accident.
CHANCE: Final = 1e-4


@dataclass(frozen=True)
class MissingSegment:
    """A value that a night lacks.

    Attributes:
        rows: that it has all the same.
        expected: rows of an ordinary night of this size.
    """

    column: str
    value: str
    rows: int
    expected: float


def find_missing(
    history: Sequence[Mapping[tuple[str, str], int]],
    totals: Sequence[int],
    days: Sequence[date | None],
    night: Mapping[tuple[str, str], int],
    total: int,
    day: date | None,
) -> list[MissingSegment]:
    """Values that the night lacks, the largest first.

    Args:
        history: rows by column and value of nights before, in order.
        totals: rows of each.
        days: date of each; None where a night is none.
        night: of the night to judge.
        total: its rows.
        day: its date.
    """
    history, totals, days = history[-SEEN_NIGHTS:], totals[-SEEN_NIGHTS:], days[-SEEN_NIGHTS:]
    if len(history) < MIN_NIGHTS:
        return []
    names = sorted({name for one in history for name in one})
    alike = [
        i for i, other in enumerate(days) if day is not None and other is not None and other.weekday() == day.weekday()
    ]
    sizes, found = np.array(totals, np.float64), []
    for name in names:
        counts = np.array([one.get(name, 0) for one in history], np.float64)
        share = _expect_share(counts, sizes, alike)
        expected = share * max(total, 1)
        if expected < MIN_ROWS or night.get(name, 0) > LEFT * expected:
            continue
        if _log_chance(night.get(name, 0), expected, counts - share * sizes, share * sizes) < math.log(
            CHANCE / len(names)
        ):
            found.append(MissingSegment(*name, night.get(name, 0), expected))
    return sorted(found, key=lambda one: (-one.expected, one.column, one.value))


def _expect_share(counts: Doubles, totals: Doubles, alike: Sequence[int]) -> float:
    """Share of an ordinary night: the least of what all nights, the last of them and those of the same weekday say."""
    shares = counts / np.maximum(totals, 1.0)
    ways = [shares, shares[-MIN_NIGHTS:], *([shares[list(alike)][-4:]] if len(alike) >= 2 else [])]
    # Where one in ten ordinary nights has none, another one is no news.
    if (counts == 0).mean() > 0.1 or any((way == 0).any() for way in ways[2:]):
        return 0.0
    return min(float(np.median(way)) for way in ways)


def _log_chance(rows: int, expected: float, strays: Doubles, means: Doubles) -> float:
    """Log of the chance of so few rows: Poisson's, of fewer independent rows where nights stray further than that."""
    squares = np.sort(np.square(strays) / np.maximum(means, 1.0))
    scatter = max(1.0, float(squares[: len(squares) - len(squares) // 20].mean()))
    mean, count = expected / scatter, rows / scatter
    return -mean + count * (1.0 + math.log(mean / count)) if count else -mean
