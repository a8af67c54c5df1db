"""What counting says of a row, without a network, in three views of which each has its own share of the alert budget:

- values: each column's value alone: a level that was never seen or seldom, the first NULL, the first negative number;
- pairs: each column's value given that of the one other column that tells most about it;
- ranges: numbers and moments at the ends of what training saw, or beyond, by the tails of their values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.encoders import NumberEncoder
from vae_model.encoding import Encoded, TableEncoder
from vae_model.pair_counts import PairCounts, count_pairs
from vae_model.scales import Doubles, Floats
from vae_model.tails import Tails, fit_tails
from vae_model.times import ClockEncoder, TimeEncoder
from vae_model.value_counts import never_seen

COUNTED_VIEWS = ("values", "pairs", "ranges")
MAX_PAIRED = 128


@dataclass(frozen=True)
class Counted:
    """The counted views of a table.

    Attributes:
        encoder: the table's, with the counts of its columns.
        ranges: tails of the `ranged` inputs, upward, then downward.
        pairs: counted pairs.
    """

    encoder: TableEncoder
    ranges: Tails | None
    pairs: tuple[PairCounts, ...]

    def measure(self, block: Encoded, own: bool = False) -> dict[str, Doubles]:
        """The largest t of each view that the table has, [n] each.

        Args:
            block: the rows.
            own: they are among the counted, each to be judged by the others.
        """
        found = {"values": self._values(block, own).max(axis=0, initial=0.0)}
        if self.pairs:
            found["pairs"] = self._pairs(block, own).max(axis=0, initial=0.0)
        if self.ranges is not None:
            found["ranges"] = self.ranges.largest(block.x[list(self.ranged)])
        return {name: largest.astype(np.float64) for name, largest in found.items()}

    def _values(self, block: Encoded, own: bool) -> Floats:
        layout = self.encoder.layout
        terms = np.zeros((len(layout.counted) + 2, block.rows), np.float32)
        for row, k in enumerate(layout.counted):
            counts = self.encoder.counts[k]
            if counts is not None:
                surprise = counts.own_surprise if own else counts.surprise
                # All codes are in range: "clip" is the mode that needs no buffer.
                surprise.take(block.values[row], out=terms[row], mode="clip")
        columns, of_absence = self._absences
        absent = block.absent[columns]
        if absent.any():
            terms[-2] = (absent * of_absence).max(axis=0)
        rows, zeros, of_sign = self._signs
        if len(rows):
            terms[-1] = ((block.x[rows] < zeros) * of_sign).max(axis=0)
        return terms

    def _pairs(self, block: Encoded, own: bool) -> Floats:
        terms = np.empty((len(self.pairs), block.rows), np.float32)
        for row, pair in enumerate(self.pairs):
            cells = block.values[pair.condition] * np.int32(pair.shape[1])
            cells += block.values[pair.target]
            (pair.own_surprise if own else pair.surprise).take(cells, out=terms[row], mode="clip")
        return terms

    @cached_property
    def ranged(self) -> tuple[int, ...]:
        """Rows of x that grow with the value itself: the first part of a number, the last of a moment."""
        chosen = []
        for k, one in enumerate(self.encoder.encoders):
            if isinstance(one, NumberEncoder | ClockEncoder):
                chosen.append(self.encoder.layout.first_part(k))
            elif isinstance(one, TimeEncoder):
                chosen.append(self.encoder.layout.first_part(k) + one.parts - 1)
        return tuple(chosen)

    @cached_property
    def _absences(self) -> tuple[list[int], Floats]:
        """Columns that are not counted, and t of no value in each, [columns, 1]."""
        rows, encoder = self.encoder.rows, self.encoder
        columns = [k for k in range(encoder.layout.columns) if k not in encoder.layout.counted]
        surprise = [
            -math.log10(min(1.0, encoder.absent_share[k] + 1.0 / (rows + 1.0)))
            if encoder.absent_share[k]
            else never_seen(rows)
            for k in columns
        ]
        return columns, np.asarray(surprise, np.float32).reshape(-1, 1)

    @cached_property
    def _signs(self) -> tuple[list[int], Floats, np.float32]:
        """Rows of x of numbers that never were negative, what zero is there, and t of the first negative one."""
        rows, zeros = [], []
        for k, one in enumerate(self.encoder.encoders):
            if isinstance(one, NumberEncoder) and one.low >= 0.0:
                rows.append(self.encoder.layout.first_part(k))
                zeros.append(one.zero)
        return rows, np.asarray(zeros, np.float32).reshape(-1, 1), np.float32(never_seen(self.encoder.rows))

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        tensors: dict[str, npt.NDArray[Any]] = {}
        if self.ranges is not None:
            tensors |= self.ranges.to_tensors("views.ranges")
        for i, pair in enumerate(self.pairs):
            tensors |= pair.to_tensors(f"views.pairs.{i}")
        return tensors

    @classmethod
    def load(
        cls, pairs: list[Mapping[str, Any]], tensors: Mapping[str, npt.NDArray[Any]], encoder: TableEncoder
    ) -> Counted:
        found = tuple(PairCounts.load(pair, tensors, f"views.pairs.{i}") for i, pair in enumerate(pairs))
        ranges = Tails.from_tensors(tensors, "views.ranges") if "views.ranges.knots" in tensors else None
        return cls(encoder, ranges, found)


def fit_counted(encoder: TableEncoder, rows: Encoded) -> Counted:
    """Count pairs, and fit the tails of values, on training rows."""
    alone = Counted(encoder, None, ())
    x = rows.x[list(alone.ranged)]
    ranges = fit_tails(np.concatenate([x, -x])) if len(x) else None
    sizes = [counts.size for counts in encoder.counts if counts is not None]
    targets = range(len(sizes)) if len(sizes) <= MAX_PAIRED else ()
    return Counted(encoder, ranges, count_pairs(rows.values, sizes, targets))
