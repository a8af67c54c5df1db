"""When a night's load usually comes, and which nights should be there by now. Pure functions on dates and moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np

from jobs.common.statistics import median_spread

# Arrivals that say what is usual, and the fewest that do.
SEEN: Final = 30
MIN_SEEN: Final = 5
# Beyond the latest of the ordinary ones: nobody is woken for less.
GRACE: Final = timedelta(minutes=30)
# A weekday has a night where so many of its last ones had.
WEEKS: Final = 8
PRESENT: Final = 0.8


@dataclass(frozen=True)
class Habit:
    """When loads come: time after the midnight that begins the night."""

    usual: timedelta
    latest: timedelta

    def due(self, night: date) -> datetime:
        """When a night's load is late."""
        return midnight(night) + self.latest + max(GRACE, (self.latest - self.usual) / 2)

    def usual_by(self, night: date) -> datetime:
        """When a night's load has usually come."""
        return midnight(night) + self.latest


def midnight(night: date) -> datetime:
    """The moment that a night begins, in UTC."""
    return datetime(night.year, night.month, night.day, tzinfo=UTC)


def learn_habit(arrivals: Sequence[tuple[date, datetime]]) -> Habit | None:
    """When loads come, by nights and the moments of their loads in order; None where they are too few.

    One that was far later than the others, as loads are now and then, does not become usual.
    """
    lags = np.array([(moment - midnight(night)).total_seconds() for night, moment in arrivals[-SEEN:]])
    if len(lags) < MIN_SEEN:
        return None
    usual = float(np.median(lags))
    ordinary = lags[lags <= usual + max(4.0 * median_spread(lags - usual), GRACE.total_seconds())]
    return Habit(timedelta(seconds=usual), timedelta(seconds=float(ordinary.max())))


def expected_nights(nights: Sequence[date], until: date) -> list[date]:
    """The nights after the last one, up to `until`, that should be there by the habit of weekdays.

    Args:
        nights: that were there, in order.
        until: the last to look at.
    """
    if len(nights) < 2 * 7:
        return []
    last = nights[-1]
    there, first = set(nights), nights[0]
    kept = []
    for weekday in range(7):
        days = [last - timedelta(days=k) for k in range(7 * WEEKS) if (last - timedelta(days=k)).weekday() == weekday]
        days = [day for day in days if day >= first]
        if days and np.mean([day in there for day in days]) >= PRESENT:
            kept.append(weekday)
    count = min((until - last).days, 366)
    following = (last + timedelta(days=k) for k in range(1, count + 1))
    return [day for day in following if day.weekday() in kept]
