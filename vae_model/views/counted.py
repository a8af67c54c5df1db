"""What counting says of a row, without a network, in two views:

- counts: of each column its value alone (a level never seen or seldom, the first NULL, the first negative number), its
  value given those of the one or two other columns that tell most about it, and the characters of texts;
- ranges: numbers and moments at the ends of what training saw, or beyond, by the tails of their values.

And beside them the values alone: one that cannot be must not drown in sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.features.encoding import Encoded, TableEncoder
from vae_model.features.scales import Doubles, Floats
from vae_model.features.tails import Tails, combine_squares, fit_tails
from vae_model.features.value_counts import never_seen
from vae_model.views.pair_counts import GivenOthers, count_pairs

MAX_PAIRED = 128
# A value of more of the rows is known to be written so.
SELDOM_SHARE = 0.001


@dataclass(frozen=True)
class Counted:
    """The counted views of a table.

    Attributes:
        encoder: the table's, with the counts of its columns.
        ranges: tails of the `ranged` inputs, upward, then downward.
        given: of each column that others tell of, what is likely beside them.
    """

    encoder: TableEncoder
    ranges: Tails | None
    given: tuple[GivenOthers, ...]

    def measure(self, block: Encoded, own: bool = False) -> dict[str, Doubles]:
        """The views, [n] each: power sums of columns' t, and of values alone, their characters too, the largest.

        Args:
            block: the rows.
            own: they are among the counted, each to be judged by the others.
        """
        terms = self._values(block)
        values = np.concatenate([terms, block.texts]).max(axis=0) if len(block.texts) else terms.max(axis=0)
        found = {"values": values.astype(np.float64)}
        found["counts"] = combine_squares(self._add_squares(terms, block, own)).astype(np.float64)
        if self.ranges is not None:
            found["ranges"] = self.ranges.largest(block.x[list(self.ranged)]).astype(np.float64)
        return found

    def add_evidence(self, block: Encoded, squares: Floats) -> None:
        """Add the squares of what counting says of each column to [K, n]."""
        layout = self.encoder.layout
        found = self._add_squares(self._values(block), block, own=False)
        for row, k in enumerate(layout.counted):
            squares[k] += found[row]
        uncounted, of_absence = self._absences
        squares[uncounted] += block.absent[uncounted] * np.square(of_absence)
        signed, zeros, of_sign = self._signs
        owners = [layout.continuous[place] for place in signed]
        squares[owners] += (block.x[signed] < zeros) * np.square(of_sign)
        if self.ranges is not None:
            x = block.x[list(self.ranged)]
            t = np.maximum(self.ranges.apply(np.concatenate([x, -x])), 0.0)
            for row, place in enumerate(self.ranged):
                squares[layout.continuous[place]] += np.maximum(t[row], t[row + len(x)]) ** 2

    def _add_squares(self, terms: Floats, block: Encoded, own: bool) -> Floats:
        """[V + 2, n] sum of squares of t of what is said of each counted column: its value (the terms, overwritten),
        its pair, its characters; then absences and signs."""
        layout = self.encoder.layout
        np.square(terms, out=terms)
        spare = np.empty(block.rows, np.float32)
        for given in self.given:
            given.measure(block.values, own, spare)
            terms[self._row_of[given.target]] += spare * spare
        for row, k in enumerate(layout.texts):
            place = layout.counted.index(k)
            squares = block.texts[row] * block.texts[row]
            if k in self._explained:
                squares *= self._is_seldom[k].take(block.values[place], out=spare, mode="clip")
            terms[place] += squares
        return terms

    def _values(self, block: Encoded) -> Floats:
        layout = self.encoder.layout
        terms = np.zeros((len(layout.counted) + 2, block.rows), np.float32)
        for row, k in enumerate(layout.counted):
            counts = self.encoder.counts[k]
            if counts is not None:
                # All codes are in range: "clip" is the mode that needs no buffer.
                self._surprise[k].take(block.values[row], out=terms[row], mode="clip")
        columns, of_absence = self._absences
        absent = block.absent[columns]
        if absent.any():
            terms[-2] = (absent * of_absence).max(axis=0)
        rows, zeros, of_sign = self._signs
        if len(rows):
            terms[-1] = ((block.x[rows] < zeros) * of_sign).max(axis=0)
        return terms

    @cached_property
    def _row_of(self) -> tuple[int, ...]:
        """[V + P] the counted column, by its number among them, that each row of values is about."""
        layout = self.encoder.layout
        return tuple(layout.counted.index(k) for k in self.encoder.value_owners)

    @cached_property
    def _explained(self) -> frozenset[int]:
        """Columns of which others tell."""
        return frozenset(self.encoder.value_owners[given.target] for given in self.given)

    @cached_property
    def _surprise(self) -> Mapping[int, Floats]:
        """T of each value alone, by counted column: where others tell of a column, a value that was seen more than once
        is as likely as they say."""
        found = {}
        for k in self.encoder.layout.counted:
            counts = self.encoder.counts[k]
            if counts is not None:
                known = counts.with_ends > 1.0 if k in self._explained else np.zeros(counts.size, np.bool_)
                found[k] = np.where(known, np.float32(0.0), counts.surprise)
        return found

    @cached_property
    def _is_seldom(self) -> Mapping[int, Floats]:
        """1 for each value so seldom that its characters may be wrong each time, by text column, else 0."""
        found = {}
        for k in self.encoder.layout.texts:
            counts = self.encoder.counts[k]
            if counts is not None:
                found[k] = (counts.with_ends < max(2.0, SELDOM_SHARE * counts.rows)).astype(np.float32)
        return found

    @cached_property
    def ranged(self) -> tuple[int, ...]:
        """Rows of x that grow with the value itself: the first part of a number, the last of a moment."""
        first = self.encoder.layout.first_part
        growing = [(k, one.growing_part) for k, one in enumerate(self.encoder.encoders)]
        return tuple(first(k) + part for k, part in growing if part is not None)

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
        zeros = [(k, one.zero_of_unsigned) for k, one in enumerate(self.encoder.encoders)]
        found = [(self.encoder.layout.first_part(k), zero) for k, zero in zeros if zero is not None]
        scaled = np.asarray([zero for _, zero in found], np.float32).reshape(-1, 1)
        return [row for row, _ in found], scaled, np.float32(never_seen(self.encoder.rows))

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        tensors: dict[str, npt.NDArray[Any]] = {}
        if self.ranges is not None:
            tensors |= self.ranges.to_tensors("views.ranges")
        for i, given in enumerate(self.given):
            tensors |= given.to_tensors(f"views.given.{i}")
        return tensors

    @classmethod
    def load(
        cls, given: list[list[Mapping[str, Any]]], tensors: Mapping[str, npt.NDArray[Any]], encoder: TableEncoder
    ) -> Counted:
        found = tuple(GivenOthers.load(one, tensors, f"views.given.{i}") for i, one in enumerate(given))
        ranges = Tails.from_tensors(tensors, "views.ranges") if "views.ranges.knots" in tensors else None
        return cls(encoder, ranges, found)


def fit_counted(encoder: TableEncoder, rows: Encoded) -> Counted:
    """Count pairs, and fit the tails of values, on training rows."""
    alone = Counted(encoder, None, ())
    x = rows.x[list(alone.ranged)]
    ranges = fit_tails(np.concatenate([x, -x]), by_density=True) if len(x) else None
    sizes = encoder.value_sizes
    given = count_pairs(rows.values, sizes, encoder.value_owners) if len(sizes) <= MAX_PAIRED else ()
    return Counted(encoder, ranges, given)
