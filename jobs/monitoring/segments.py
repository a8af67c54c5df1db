"""Where alerts concentrate: the condition on at most two columns that sets some alert rows apart from all rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from jobs.predicates.conditions import equals
from jobs.predicates.predicate import combine

Codes = npt.NDArray[np.int32]
Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
# Column and value, whole and as text (None: NULL); a row must match all of them; none: all rows.
Segment: TypeAlias = tuple[tuple[str, str | None], ...]
# A column's most frequent values in a group that are tried, and the single conditions that are paired.
_TRIED_VALUES: Final = 3
_PAIRED: Final = 5
# Nats that a second condition has to be worth, beyond the choice of its column and value: few rows agree in a lot by
# accident.
_PAIR_PRICE: Final = 3.0
# Of a segment's alert rows, as many rows as it must have at least.
_LEAST_REAL: Final = 0.5


@dataclass(frozen=True)
class Category:
    """One column that segments may name, for all rows (a sample of them) and for the alert rows.

    Attributes:
        levels: values as text; None is NULL.
        row_codes: [m] numbers of the rows' values.
        alert_codes: [n] of the alert rows' values.
    """

    name: str
    levels: tuple[str | None, ...]
    row_codes: Codes
    alert_codes: Codes


@dataclass(frozen=True)
class Found:
    """A segment, how many rows of the sample it has, and which of the group's alert rows are in it."""

    segment: Segment
    rows_in_sample: int
    alerts: Rows
    trials: float


def to_sql(segment: Segment) -> str:
    """The segment as a condition that `--where` takes; empty for all rows."""
    condition = combine(*(equals(column, value) for column, value in segment))
    return str(condition) if condition else ""


def find_segment(
    categories: Sequence[Category],
    column: str,
    group: Rows,
    sampled: Bools,
    least: int,
    rows_per_alert: float = 1.0,
) -> Found:
    """The segment that tells most about a group, by likelihood ratio against all rows, less a price for each condition.
    Its condition selects the group's rows: what is wrong in them is no segment.

    Args:
        categories: columns that may be named.
        column: that the group's rows blame.
        group: numbers of alert rows.
        sampled: [m] the rows to compare with.
        least: alert rows that a segment must have.
        rows_per_alert: how many times as many rows a sampled row stands for as an alert row does.
    """
    total = int(sampled.sum())
    singles = [
        (gain, category, code)
        for category in categories
        if category.name != column
        for gain, code in _weigh_values(category, group, sampled, least)
    ]
    singles.sort(key=lambda single: (-single[0], single[1].name, single[2]))
    best_gain, best = 0.0, Found((), total, group, 1.0)
    pairs = [pair for pair in itertools.combinations(singles[:_PAIRED], 2) if pair[0][1].name != pair[1][1].name]
    for conditions in [*((single,) for single in singles), *pairs]:
        found = _build([(category, code) for _, category, code in conditions], group, sampled)
        if len(found.alerts) < least or found.rows_in_sample * rows_per_alert < _LEAST_REAL * len(found.alerts):
            continue
        price = math.log(found.trials * len(categories)) + _PAIR_PRICE * (len(conditions) - 1)
        gain = _gain(len(found.alerts), len(group), found.rows_in_sample, total) - price
        if gain > best_gain:
            best_gain, best = gain, found
    return best


def matches(categories: Mapping[str, Category], segment: Segment, alerts: int) -> Bools:
    """[n] the alert rows of a segment."""
    inside = np.ones(alerts, np.bool_)
    for name, value in segment:
        category = categories.get(name)
        if category is None or value not in category.levels:
            return np.zeros(alerts, np.bool_)
        inside &= category.alert_codes == category.levels.index(value)
    return inside


def count_rows(categories: Mapping[str, Category], segment: Segment, sampled: Bools) -> int:
    """Rows of a segment among the sampled ones."""
    inside = sampled.copy()
    for name, value in segment:
        category = categories.get(name)
        if category is None or value not in category.levels:
            return 0
        inside &= category.row_codes == category.levels.index(value)
    return int(inside.sum())


def _weigh_values(category: Category, group: Rows, sampled: Bools, least: int) -> list[tuple[float, int]]:
    """What each of a column's most frequent values in the group tells, and its code."""
    if len(category.levels) < 2:
        return []
    codes = category.alert_codes[group]
    hits = np.bincount(codes[codes >= 0], minlength=len(category.levels))
    usual = np.bincount(category.row_codes[sampled], minlength=len(category.levels))
    tried = [int(code) for code in np.argsort(-hits, kind="stable")[:_TRIED_VALUES] if hits[code] >= least]
    price = math.log(len(category.levels))
    return [(_gain(int(hits[k]), len(group), int(usual[k]), int(sampled.sum())) - price, k) for k in tried]


def _gain(hits: int, group: int, rows: int, total: int) -> float:
    """Log likelihood ratio of `hits` of a group being in a segment that holds `rows` of all; 0 where it has no lift."""
    base = (rows + 0.5) / (total + 1.0)
    share = hits / group
    if share <= base:
        return 0.0
    gain = hits * math.log(share / base)
    return gain + (group - hits) * math.log((1.0 - share) / (1.0 - base)) if hits < group else gain


def _build(conditions: Sequence[tuple[Category, int]], group: Rows, sampled: Bools) -> Found:
    ordered = sorted(conditions, key=lambda condition: condition[0].name)
    inside, rows, trials = np.ones(len(group), np.bool_), sampled.copy(), 1.0
    for category, code in ordered:
        inside &= category.alert_codes[group] == code
        rows &= category.row_codes == code
        trials *= len(category.levels)
    segment = tuple((category.name, category.levels[code]) for category, code in ordered)
    return Found(segment, int(rows.sum()), group[inside], trials)
