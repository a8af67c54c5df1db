"""Rows that are there twice: within a night, and of an earlier night under another date.

Each night leaves a sketch, the smallest hashes of its rows without their night and key (bottom-k; Cohen & Kaplan 2007,
'Summarizing data using bottom-k sketches'), by which any later night is compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.common.sampling import hash_rows

SKETCH: Final = 256
_SEED: Final = 29
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Copies:
    """What a night's rows say of copies.

    Attributes:
        rows: that were looked at.
        copied: rows that are equal to an earlier one in all columns.
        shared: rows whose key an earlier one has, too, those that are copies included; 0 without a key.
        example: a key that stands in more than one row, in words.
        digest: of all rows, in any order.
        sketch: [at most SKETCH] smallest hashes of the rows without night and key, as signed integers.
    """

    rows: int
    copied: int
    shared: int
    example: str
    digest: int
    sketch: tuple[int, ...]


def measure_copies(rows: pa.Table, night: str, key: Sequence[str]) -> Copies:
    """Copies among the rows of one night.

    Args:
        rows: without nested columns.
        night: the column that dates them.
        key: columns that name a row.
    """
    columns = {name: rows.column(name).combine_chunks() for name in rows.column_names}
    whole = hash_rows([*columns.values()], _SEED) if columns else np.zeros(0, np.uint64)
    content = [column for name, column in columns.items() if name != night and name not in key]
    plain = hash_rows(content, _SEED) if content else np.zeros(0, np.uint64)
    named = hash_rows([columns[name] for name in key], _SEED) if key else np.zeros(0, np.uint64)
    shared, example = _find_shared(rows, named, key)
    smallest = np.unique(plain)[:SKETCH].view(np.int64)
    return Copies(
        rows.num_rows,
        len(whole) - len(np.unique(whole)),
        shared,
        example,
        int(np.add.reduce(whole).view(np.int64)) if len(whole) else 0,
        tuple(int(value) for value in smallest),
    )


def compare_sketches(one: Sequence[int], other: Sequence[int]) -> float:
    """Share of the different rows of both nights that both have, estimated."""
    ours, theirs = (np.sort(np.array(sketch, np.int64).view(np.uint64)) for sketch in (one, other))
    if not len(ours) or not len(theirs):
        return 0.0
    both = np.union1d(ours, theirs)[: min(SKETCH, max(len(ours), len(theirs)))]
    return float(np.isin(both, np.intersect1d(ours, theirs)).mean())


def _find_shared(rows: pa.Table, named: Hashes, key: Sequence[str]) -> tuple[int, str]:
    if not len(named):
        return 0, ""
    _, first, counts = np.unique(named, return_index=True, return_counts=True)
    shared = len(named) - len(first)
    if not shared:
        return 0, ""
    worst = int(np.argmax(counts))
    row = rows.select(list(key)).slice(int(first[worst]), 1).to_pylist()[0]
    words = ", ".join(
        f"{name} = {value!r}" if isinstance(value, str) else f"{name} = {value}" for name, value in row.items()
    )
    return shared, f"{words}, {counts[worst]} times"
