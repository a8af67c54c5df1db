"""Columns that have each other's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from jobs.monitoring.fault_patterns import MAJORITY, Evidence, Words, to_numbers

# What is expected lies so much nearer to the other column's value than to the column's own.
SWAP_NEAR: Final = 0.25


def find_swap(evidence: Evidence, others: Sequence[Evidence], values: dict[str, npt.NDArray[np.object_]]) -> str | None:
    """The column whose values the rows have, and which has theirs; None where there is none.

    Args:
        evidence: rows that blame a column.
        others: for each column, the rows that have it among their reasons.
        values: what each row has in each column, in words, by number of the alert row.
    """
    for other in others:
        if other.column == evidence.column or other.kind != evidence.kind:
            continue
        if not {evidence.column, other.column} <= values.keys():
            continue  # a table of keys and scores does not carry them
        mine, theirs = values[evidence.column][evidence.rows], values[other.column][evidence.rows]
        if evidence.levels is not None and other.levels is not None:
            crossed = _foreign(mine, evidence.levels, other.levels) | _foreign(theirs, other.levels, evidence.levels)
            crossed &= np.array([m in other.levels and t in evidence.levels for m, t in zip(mine, theirs, strict=True)])
        else:
            crossed = _crossed_numbers(evidence, other, theirs)
        if np.sum(crossed) >= MAJORITY * len(evidence.rows):
            return other.column
    return None


def find_swapped_rows(one: Evidence, other: Evidence, values: dict[str, npt.NDArray[np.object_]]) -> Evidence:
    """The rows in which two columns of one kind have each other's values, as evidence against the first.

    A row may have only one of them among its reasons: then what is expected there has to be near what the other holds.

    Args:
        one: the rows that have the first column among their reasons.
        other: those that have the second one.
        values: what each row has in each column, in words, by number of the alert row.
    """
    rows = np.union1d(one.rows, other.rows)
    first, second = values[one.column][rows], values[other.column][rows]
    votes = np.zeros(len(rows), np.intp)
    against = np.zeros(len(rows), np.intp)
    for evidence, mine, theirs in ((one, first, second), (other, second, first)):
        _, here, there = np.intersect1d(rows, evidence.rows, return_indices=True)
        near = _is_nearer(evidence, evidence.expected[there], mine[here], theirs[here])
        votes[here] += near
        against[here] += ~near
    swapped = (votes > 0) & (against == 0)
    chosen = rows[swapped]
    return Evidence(one.column, one.kind, chosen, first[swapped], second[swapped], one.levels)


def _is_nearer(
    evidence: Evidence, expected: Words, mine: npt.NDArray[np.object_], theirs: npt.NDArray[np.object_]
) -> npt.NDArray[np.bool_]:
    """[n] whether what is expected in a column is what the other one holds, and not what it holds itself."""
    if evidence.levels is not None or evidence.kind in ("category", "boolean", "text"):
        return np.asarray((expected == theirs) & (mine != theirs), np.bool_)
    x, e = to_numbers(Evidence(evidence.column, evidence.kind, np.arange(len(mine)), mine, expected))
    y, _ = to_numbers(Evidence(evidence.column, evidence.kind, np.arange(len(mine)), theirs, expected))
    near: npt.NDArray[np.bool_] = np.abs(y - e) < SWAP_NEAR * np.abs(x - e)
    return near


def _foreign(values: npt.NDArray[np.object_], mine: frozenset[str], other: frozenset[str]) -> npt.NDArray[np.bool_]:
    return np.array([value not in mine and value in other for value in values], dtype=np.bool_)


def _crossed_numbers(evidence: Evidence, other: Evidence, theirs: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Each column's observed value is nearer to what is expected in the other."""
    x, e = to_numbers(evidence)
    y, _ = to_numbers(Evidence(other.column, other.kind, evidence.rows, theirs, theirs))
    expected_there = np.full(len(evidence.rows), np.nan)
    _, there, here = np.intersect1d(other.rows, evidence.rows, return_indices=True)
    expected_there[here] = to_numbers(other)[1][there]
    near: npt.NDArray[np.bool_] = np.abs(y - e) < 0.3 * np.abs(x - e)
    near &= np.abs(x - expected_there) < 0.3 * np.abs(y - expected_there)
    return near
