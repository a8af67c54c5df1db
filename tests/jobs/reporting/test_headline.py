"""The headline: since when, which column, and more than chance."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.reporting.headline import find_limit, write_headline
from jobs.reporting.monitoring import Watched
from jobs.reporting.nights import Night
from jobs.tables.nights import NightName


def make_nights(*alerts: int) -> list[Night]:
    days = (NightName.of(f"2024-01-{i + 1:02}") for i in range(len(alerts)))
    return [
        Night(day, 1_000, count, {"price": count}, {"price": count * 0.7, "shop": count * 0.3})
        for day, count in zip(days, alerts, strict=True)
    ]


def test_the_headline_says_since_when_and_which_column() -> None:
    nights = make_nights(1, 0, 30, 50)
    alarm = write_headline(nights, nights, 0.001, Watched())
    assert alarm.level == "alarm"
    assert alarm.headline == "40 times the expected alerts since 2024-01-03, mostly in price"
    # A report on the last night alone sees the nights before it.
    assert write_headline(nights[3:], nights, 0.001, Watched()).headline == alarm.headline
    assert write_headline(make_nights(0, 40, 1), make_nights(0, 40, 1), 0.001, Watched()).level == "past"
    quiet = write_headline(make_nights(1, 0, 2), make_nights(1, 0, 2), 0.001, Watched())
    assert (quiet.level, quiet.over) == ("quiet", ())


@pytest.mark.parametrize(("rows", "budget"), [(100, 0.001), (900, 0.001), (20_000, 0.001), (900_000, 0.001)])
def test_the_limit_is_what_chance_seldom_exceeds(rows: int, budget: float) -> None:
    drawn = np.random.default_rng(0).poisson(rows * budget, 400_000)
    limit = find_limit(rows, budget)
    assert (drawn > limit).mean() <= 1.3e-4
    assert (drawn > limit - 1 - 0.05 * rows * budget).mean() > 1e-5
