"""How far a row is from the nearest of some training rows (prototypes), in the network's input space: what is far from
all that was seen need not reconstruct badly.

Numbers count by their parts as the network sees them; two categories that differ are sqrt(2) apart, whichever they are:
each level is a fixed random direction (Achlioptas 2003, 'Database-friendly random projections').
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.features.encoding import Encoded, Layout
from vae_model.features.scales import Floats
from vae_model.network.products import gather, multiply, one_blas_thread, spread

MAX_PROTOTYPES = 4_096
# Multiplications a row: prototypes x inputs.
MAX_PRODUCTS = 200_000
DIRECTIONS = 8
MAX_SQUARE = np.float32(25.0)


@dataclass(frozen=True)
class Prototypes:
    """Training rows [P, D] as points, and the direction of each level of each category, [levels + 1, <= 8] each."""

    points: Floats
    directions: tuple[Floats, ...]

    def locate(self, block: Encoded) -> Floats:
        """Rows as points, [D, n]."""
        absent = block.absent.astype(np.float32)
        levels = [table[codes].T for table, codes in zip(self.directions, block.codes, strict=True)]
        x = np.clip(block.x, -MAX_SQUARE, MAX_SQUARE)
        return np.concatenate([x, absent, *levels]).astype(np.float32)

    def distances(self, block: Encoded) -> Floats:
        """Distance of each row to the nearest prototype, [n]."""
        at = spread(self.locate(block))
        with one_blas_thread:
            nearest = multiply(self.points, at)
        nearest *= np.float32(-2.0)
        nearest += self._squares
        # Over whole panels: numpy would sum the parts of a single row in another order.
        square = np.add.reduce(at * at, axis=0) + nearest.min(axis=0)
        return gather(np.sqrt(np.maximum(square, 0.0, dtype=np.float32)), block.rows)

    @cached_property
    def _squares(self) -> Floats:
        return np.add.reduce(self.points * self.points, axis=1, keepdims=True)

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        tables = {f"prototypes.directions.{c}": table for c, table in enumerate(self.directions)}
        return {"prototypes.points": self.points, **tables}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], categories: int) -> Prototypes | None:
        if "prototypes.points" not in tensors:
            return None
        tables = tuple(tensors[f"prototypes.directions.{c}"] for c in range(categories))
        return cls(tensors["prototypes.points"], tables)


def choose_prototypes(layout: Layout, rows: Encoded, training_rows: int, seed: int) -> Prototypes | None:
    """Some training rows, all of them where they are few; None where so few could be kept that they say nothing.

    Args:
        layout: of the table.
        rows: some training rows, in random order.
        training_rows: how many there are.
        seed: of the directions.
    """
    widths = [min(DIRECTIONS, n) for n in layout.levels]
    inputs = layout.inputs + layout.columns + sum(widths)
    count = min(MAX_PROTOTYPES, MAX_PRODUCTS // inputs, rows.rows)
    if count < min(training_rows, MAX_PROTOTYPES) // 8 or training_rows > 20 * count:
        return None
    rng = np.random.default_rng(seed + 2)
    tables = []
    for n, width in zip(layout.levels, widths, strict=True):
        signs = rng.choice([-1.0, 1.0], size=(n + 1, width))
        tables.append((signs / np.sqrt(width)).astype(np.float32))
    empty = Prototypes(np.zeros((0, inputs), np.float32), tuple(tables))
    return Prototypes(np.ascontiguousarray(empty.locate(rows.take(slice(0, count))).T), tuple(tables))
