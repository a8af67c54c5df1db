"""Alert rows in which two columns have each other's values, as their reasons say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobs.monitoring.fault_patterns import Evidence


def find_swapped_rows(one: Evidence, other: Evidence, values: dict[str, npt.NDArray[np.object_]]) -> Evidence:
    """The rows in which each of two columns is expected to hold what the other one does, as evidence against the first.

    Args:
        one: the rows that have the first column among their reasons.
        other: those that have the second one.
        values: what each row has in each column, in words, by number of the alert row.
    """
    rows, here, there = np.intersect1d(one.rows, other.rows, return_indices=True)
    mine, theirs = values[one.column][rows], values[other.column][rows]
    swapped = (one.expected[here] == theirs) & (other.expected[there] == mine) & (mine != theirs)
    return one.take(here[np.asarray(swapped, np.bool_)])
