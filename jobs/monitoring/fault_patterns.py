"""What is wrong with a column in a group of alert rows: a constant ratio (a unit), a constant offset (a time zone), a
wrong sign, no value, one value for all, a value never seen, another column's value. Rows with the same effect are a
group that chance does not make."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vae_model.features.arrays import to_arrow_text
from vae_model.features.forms import find_forms, to_bytes
from vae_model.features.times import TimeEncoder
from vae_model.scoring.evidence import USUAL

Words: TypeAlias = npt.NDArray[np.object_]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
# Ratios and offsets that differ by less are one: the expected value is an estimate.
TOLERANCE: Final = 0.12
# A ratio nearer to 1 is no unit, and an offset of less than this part of a usual value is no shift.
_LEAST_RATIO: Final = 0.08
_DAY_MIN: Final = 1_440
_MAGNITUDE: Final = 4.0
# Of rows, where an order of magnitude or a sign is all that they have in common; and so many make it all.
_CLEAR: Final = 0.8
_ALL: Final = 3
# Of a group's rows, to speak for all.
MAJORITY: Final = 0.6
UNUSUAL: Final = "unusual"
NEVER_SEEN: Final = "with values never seen"


@dataclass(frozen=True)
class Evidence:
    """The alert rows that blame one column: [n] each.

    Attributes:
        kind: of the column.
        rows: numbers of the alert rows.
        observed: in words, as in `top_columns`; likewise `expected`.
        levels: categories that training saw; None for other kinds.
    """

    column: str
    kind: str
    rows: Rows
    observed: Words
    expected: Words
    levels: frozenset[str] | None = None

    def take(self, chosen: npt.NDArray[np.bool_] | Rows) -> Evidence:
        return Evidence(
            self.column, self.kind, self.rows[chosen], self.observed[chosen], self.expected[chosen], self.levels
        )


def group_by_effect(evidence: Evidence, least: int) -> list[Evidence]:
    """Groups of at least so many rows that one effect explains; a row may be in several."""
    groups = _same_values(evidence.observed, evidence, least)
    if evidence.kind == "text":
        return groups + _same_values(_find_forms(evidence.observed), evidence, least)
    if evidence.kind in ("category", "boolean"):
        return groups + _never_seen(evidence, least)
    observed, expected = to_numbers(evidence)
    known = np.isfinite(observed) & np.isfinite(expected)
    for size, is_far in (_ratios(evidence, observed, expected), _offsets(evidence, observed, expected)):
        able = np.flatnonzero(known & is_far & np.isfinite(size))
        while len(able) >= least:
            chosen = able[_densest(size[able])]
            if len(chosen) < least:
                break
            groups.append(evidence.take(chosen))
            able = np.setdiff1d(able, chosen)
    # A unit shows even where expected values are no better than their order of magnitude.
    with np.errstate(divide="ignore", invalid="ignore"):
        larger = np.flatnonzero(known & (observed / expected > _MAGNITUDE))
    negative = np.flatnonzero(known & (observed < 0.0) & (expected > 0.0))
    if evidence.kind == "number":
        groups += [evidence.take(rows) for rows in (larger, negative) if len(rows) >= least]
    return groups


def describe_effect(evidence: Evidence) -> str:
    """The effect on most of the rows, in a few words; `unusual` where they have none in common."""
    n = len(evidence.rows)
    if not n:
        return UNUSUAL
    observed, expected = evidence.observed, evidence.expected
    value, count = _most_frequent(observed)
    usual, usual_count = _most_frequent(expected)
    if np.sum(observed == "NULL") >= MAJORITY * n:
        is_one = evidence.levels is not None and usual_count >= MAJORITY * n and usual not in (USUAL, "NULL")
        return f"NULL instead of '{usual}'" if is_one else "NULL"
    if evidence.kind == "text":
        form, count_of_form = _most_frequent(_find_forms(observed))
        if count >= MAJORITY * n and n > 1:
            return f"always {value}"
        shown = f"of a form like {form}" if form else "an empty text"
        return shown if count_of_form >= MAJORITY * n else UNUSUAL
    if evidence.levels is not None or evidence.kind == "boolean":
        return _describe_category(evidence, value, count, usual, usual_count)
    x, e = to_numbers(evidence)
    known = np.isfinite(x) & np.isfinite(e)
    options = []
    for name, (size, is_far) in (("ratio", _ratios(evidence, x, e)), ("offset", _offsets(evidence, x, e))):
        able = np.flatnonzero(known & is_far & np.isfinite(size))
        inner = able[_densest(size[able])] if len(able) else able
        options.append((len(inner), name, float(np.median(size[inner])) if len(inner) else 0.0))
    # A ratio before an offset where both fit as well.
    inliers, name, size_found = max(options, key=lambda option: option[0])
    # One value in all rows is that value, whatever its distance from what is expected.
    is_sentinel = count == n >= _ALL and evidence.kind == "number" and (name == "offset" or size_found < 0.0)
    if count >= MAJORITY * n and n > 1 and (count > inliers or value == "0" or is_sentinel):
        return f"always {value}"
    if inliers < MAJORITY * n:
        missing = np.sum(expected == "NULL") >= MAJORITY * n
        return "present where NULL is expected" if missing else _describe_magnitude(x[known], e[known], n)
    return _describe_ratio(size_found) if name == "ratio" else _describe_offset(size_found, evidence.kind)


def _same_values(observed: Words, evidence: Evidence, least: int) -> list[Evidence]:
    values, counts = np.unique(observed.astype(str), return_counts=True)
    frequent = [value for value, count in zip(values, counts, strict=True) if count >= least]
    return [evidence.take(np.flatnonzero(observed == value)) for value in frequent]


def _never_seen(evidence: Evidence, least: int) -> list[Evidence]:
    """The rows with values that training never saw, whatever they are: names in capitals are one break, not many."""
    if evidence.levels is None:
        return []
    foreign = np.array([word not in evidence.levels and word != "NULL" for word in evidence.observed], np.bool_)
    return [evidence.take(foreign)] if foreign.sum() >= least and len(set(evidence.observed[foreign])) > 1 else []


def _find_forms(texts: Words) -> Words:
    """The form of each text, runs of a kind of character as one."""
    forms = find_forms(*to_bytes(to_arrow_text([str(text) for text in texts])), "runs")
    return np.array([form.as_py().decode() for form in forms], dtype=np.object_)


def to_numbers(evidence: Evidence) -> tuple[Doubles, Doubles]:
    """Observed and expected values; minutes of the day for clock times and moments; NaN where there is none."""
    if evidence.kind == "time":
        observed = np.array([_minute_of(word) for word in evidence.observed], dtype=np.float64)
        return observed, np.array([TimeEncoder.read_minute(word) for word in evidence.expected], dtype=np.float64)
    numbers = []
    for words in (evidence.observed, evidence.expected):
        x = np.array([_to_float(word) for word in words], dtype=np.float64)
        numbers.append(np.floor(x / 100) * 60 + np.mod(x, 100) if evidence.kind == "clock" else x)
    return numbers[0], numbers[1]


def _minute_of(word: str) -> float:
    """The minute of the day of a moment or a time of day; NaN for a date, NULL and what is no time."""
    try:
        moment = datetime.fromisoformat(word) if " " in word else time.fromisoformat(word)
    except ValueError:
        return math.nan
    return moment.hour * 60.0 + moment.minute


def _to_float(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _ratios(evidence: Evidence, x: Doubles, e: Doubles) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    if evidence.kind in ("clock", "time"):
        return np.full(len(x), np.nan), np.zeros(len(x), np.bool_)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = x / e
    return ratio, (np.abs(ratio - 1.0) > _LEAST_RATIO) & (ratio != 0.0) & (np.abs(e) > 1e-9)


def _offsets(evidence: Evidence, x: Doubles, e: Doubles) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    offset = x - e
    if evidence.kind in ("clock", "time"):
        offset = np.mod(offset + _DAY_MIN / 2, _DAY_MIN) - _DAY_MIN / 2
        return offset, np.abs(offset) >= 10
    return offset, offset != 0.0


def _densest(size: Doubles) -> Rows:
    """Numbers of the values, of one sign, in the interval of relative width TOLERANCE to either side that has most."""
    best: Rows = np.zeros(0, np.intp)
    for sign in (1.0, -1.0):
        numbers = np.flatnonzero(size * sign > 0)
        if len(numbers) <= len(best):
            continue
        logs = np.log(np.abs(size[numbers]))
        order = np.argsort(logs, kind="stable")
        ends = np.searchsorted(logs[order], logs[order] + 2.0 * TOLERANCE, side="right")
        counts = ends - np.arange(len(order))
        start = int(np.argmax(counts))
        if counts[start] > len(best):
            best = numbers[order[start : ends[start]]]
    return best


def _most_frequent(words: npt.NDArray[np.object_]) -> tuple[str, int]:
    values, counts = np.unique(words.astype(str), return_counts=True)
    return str(values[np.argmax(counts)]), int(counts.max())


def _describe_category(evidence: Evidence, value: str, count: int, usual: str, usual_count: int) -> str:
    n = len(evidence.rows)
    instead = f" instead of '{usual}'" if usual_count >= MAJORITY * n and usual != USUAL else ""
    levels = evidence.levels or frozenset(("true", "false"))
    if count >= MAJORITY * n:
        return f"= '{value}'" + (" (never seen)" if value not in levels else instead)
    if sum(word not in levels for word in evidence.observed) >= MAJORITY * n:
        form, count_of_form = _most_frequent(_find_forms(evidence.observed))
        known = {found.as_py().decode() for found in find_forms(*to_bytes(to_arrow_text(sorted(levels))), "runs")}
        is_new = count_of_form >= MAJORITY * n and form not in known
        return f"{NEVER_SEEN}, of a form like {form}" if is_new else NEVER_SEEN
    return f"with other values{instead}"


def _describe_ratio(ratio: float) -> str:
    if abs(ratio + 1.0) < 0.2:
        return "with the wrong sign"
    return f"x{_round(ratio)}"


def _describe_magnitude(x: Doubles, e: Doubles, rows: int) -> str:
    if np.sum((x < 0.0) & (e > 0.0)) >= _CLEAR * rows:
        return "negative"
    larger = (np.abs(x) > _MAGNITUDE * np.abs(e)) & (np.abs(x) > 0)
    if larger.sum() >= _CLEAR * rows and np.abs(e).sum() > 0:
        return f"about x{_round(float(np.abs(x).sum() / np.abs(e).sum()))}"
    return UNUSUAL


def _round(ratio: float) -> str:
    return f"{ratio:.0f}" if abs(ratio) >= 10 else f"{ratio:.2g}"


def _describe_offset(offset: float, kind: str) -> str:
    if kind not in ("clock", "time"):
        return f"{offset:+.3g}" if abs(offset) < 1_000 else f"{offset:+.0f}"
    hours = round(offset / 60)
    return f"{hours:+d} h" if hours and abs(offset - 60 * hours) < 15 else f"{offset:+.0f} min"
