"""Two columns that hold each other's values: where no column alone clears a row, like columns are exchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.bundle import Bundle
from vae_model.features.arrays import to_arrow
from vae_model.features.encoding import Encoded, concat_encoded
from vae_model.features.scales import Doubles, Floats

Indices = npt.NDArray[np.intp]
# Columns of a row that are tried with each other: those that are oddest by themselves.
TRIED: Final = 6
# A row that is rarer than so much, as a power of ten, with its best column repaired; and by how much exchanging two has
# to be better than that.
STUBBORN: Final = -1.0
BETTER: Final = 0.5


def find_swaps(
    bundle: Bundle,
    log10_p: Callable[[Encoded], Doubles],
    batch: pa.RecordBatch,
    unusual: Floats,
    repaired: Doubles,
) -> Mapping[int, tuple[int, int]]:
    """Rows of which two columns have changed places, and which.

    Args:
        bundle: the model.
        log10_p: of encoded rows.
        batch: n rows.
        unusual: [K, n] how unusual each column is by itself.
        repaired: [n] log10 of the p-value with the best column repaired.
    """
    tries = [
        (int(row), *pair)
        for row in np.flatnonzero(repaired < STUBBORN)
        for pair in _list_pairs(bundle, batch, int(row), unusual[:, row])
    ]
    if not tries:
        return {}
    by_pair: dict[tuple[int, int], list[int]] = {}
    for number, (_, one, other) in enumerate(tries):
        by_pair.setdefault((one, other), []).append(number)
    parts = [
        bundle.encoder.encode(_exchange(bundle, batch, [tries[number][0] for number in numbers], *pair))
        for pair, numbers in by_pair.items()
    ]
    found = np.empty(len(tries))
    found[[number for numbers in by_pair.values() for number in numbers]] = log10_p(concat_encoded(parts))
    best: dict[int, tuple[float, tuple[int, int]]] = {}
    for (row, one, other), score in zip(tries, found.tolist(), strict=True):
        if score > repaired[row] + BETTER and (row not in best or score > best[row][0]):
            best[row] = score, (one, other)
    return {row: pair for row, (_, pair) in best.items()}


def _list_pairs(bundle: Bundle, batch: pa.RecordBatch, row: int, unusual: Floats) -> list[tuple[int, int]]:
    """Pairs of like columns among a row's oddest, whose values differ."""
    odd = sorted(int(k) for k in np.argsort(-unusual, kind="stable")[:TRIED])
    columns, names = bundle.features, bundle.feature_names
    return [
        (one, other)
        for one, other in combinations(odd, 2)
        if columns[one].kind == columns[other].kind
        and batch.schema.field(names[one]).type == batch.schema.field(names[other]).type
        and batch.column(names[one])[row] != batch.column(names[other])[row]
    ]


def _exchange(bundle: Bundle, batch: pa.RecordBatch, rows: list[int], one: int, other: int) -> pa.RecordBatch:
    """Some rows with two columns exchanged."""
    names = bundle.feature_names
    taken = batch.take(to_arrow(np.array(rows, np.int64)))
    columns = {name: taken.column(name) for name in names}
    columns[names[one]], columns[names[other]] = columns[names[other]], columns[names[one]]
    return pa.RecordBatch.from_arrays(list(columns.values()), names=names)
