"""What training counted of a column alone: how often each of its values was seen, and how unusual that makes a value.

A column is counted where its values repeat: categories, booleans, and numbers of which few occur once. A value is as
unusual as the share of training rows whose own value is at least as rare, each row judged by the others (leave one
out): after Good 1953, 'The population frequencies of species', a level never seen has the share of levels seen once.
What is next in rarity counts too: where all levels were seen at least m times, the world may be closed (with one more
unknown level in it, of a concentration of 1 after Ewens 1972, the chance of that falls as 1/m), and a level seen once
among others seen m times is likelier a misspelling than the rarest of forty shops is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_model.features.arrays import fill_null, rank_values, to_arrow, to_arrow_text, to_numpy
from vae_model.features.scales import Bools, Codes, Doubles, Floats, to_doubles

MAX_LEVELS = 65_536
MAX_NUMBERS = 4_096
# Share of a number's values that may occur once: beyond, the column is a quantity, and a new value no event.
MAX_SINGLE_SHARE = 0.02
MAX_RANGE = 65_536
# So many times the rows that are at least as rare reach to the values that are next in rarity.
NEXT = 4.0
# Where such a share of rows is as rare, nothing is news however rare it is.
COMMON = 0.05
# A lattice so full has holes by chance (the fifth of a month, when no row of that day was trained on).
MIN_FULL_LEVELS, MIN_FULL_SHARE = 10, 0.9
_FACTORS = (1.0, 2.0, 4.0, 10.0, 20.0, 100.0, 1_000.0, 10_000.0)


@dataclass(frozen=True)
class ValueCounts:
    """Levels of one column with their counts, as training saw them. L levels; code L is a level never seen, L + 1 none.

    Attributes:
        levels: numbers ascending, or texts.
        counts: [L] rows of each level.
        absent: rows without a value.
        rows: rows counted, also those of levels that are not kept.
        singles: levels that occur once and are not kept.
    """

    levels: Doubles | tuple[str, ...]
    counts: Doubles
    absent: int
    rows: int
    singles: int = 0

    @property
    def size(self) -> int:
        return len(self.levels) + 2

    @cached_property
    def _lookup(self) -> _NumberLookup:
        return _NumberLookup(np.asarray(self.levels, np.float64))

    @cached_property
    def arrow_levels(self) -> pa.Array:
        """The levels as texts or numbers, [L]."""
        return to_arrow_text(self.levels) if isinstance(self.levels, tuple) else to_arrow(self.levels)

    def least_surprising(self, count: int) -> Codes:
        """The code of the value that surprises least, so many times: what to expect where nothing names a value."""
        return np.full(count, np.argmin(self.surprise[:-1]), np.int32)

    def encode_numbers(self, x: Doubles, absent: Bools, out: Codes) -> None:
        """Write the codes of numbers, [n]."""
        self._lookup.find(x, out)
        out[absent] = len(self.levels) + 1

    def encode_texts(self, text: pa.Array, absent: Bools, out: Codes) -> None:
        """Write the codes of texts, [n]."""
        out[:] = to_numpy(fill_null(pc.index_in(text, value_set=self.arrow_levels), len(self.levels)))
        out[absent] = len(self.levels) + 1

    @cached_property
    def with_ends(self) -> Doubles:
        """[L + 2] rows of each code: of levels, of one never seen, of none."""
        return np.concatenate([self.counts, [0.0, float(self.absent)]])

    @cached_property
    def surprise(self) -> Floats:
        """[L + 2] -log10 of the share of rows at least as rare as one of each code. A level seen once is as unusual as
        one never seen: the one row may be the same."""
        counts = self.with_ends
        # All singles that are not kept are one more entry.
        every, mass = np.append(counts, 1.0), np.append(counts, float(self.singles))
        order = np.argsort(every, kind="stable")
        ordered, rows = every[order], np.concatenate([[0.0], np.cumsum(mass[order])])
        at_least = rows[np.searchsorted(ordered, np.maximum(counts, 1.0), side="right")]
        share = (at_least + 1.0) / (self.rows + 1.0)
        surprise = -np.log10(np.minimum(share, 1.0))
        # How much more often the values are seen that are next in rarity.
        place = np.searchsorted(rows[1:], NEXT * np.maximum(at_least, 1.0)).clip(0, len(ordered) - 1)
        gap = np.maximum(np.log10(np.maximum(ordered[place], 1.0) / np.maximum(counts, 1.0)), 0.0)
        # Half of it where some rows are as rare: they show that it happens.
        surprise += gap * np.maximum(1.0 - share / COMMON, 0.0) * np.where(at_least > 0.0, 0.5, 1.0)
        if not self.absent:
            surprise[-1] = never_seen(self.rows)
        rarity: Floats = surprise.astype(np.float32)
        return rarity

    def to_tensors(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        numbers = {} if isinstance(self.levels, tuple) else {f"{prefix}.levels": self.levels}
        return {f"{prefix}.counts": self.counts, **numbers}

    def to_json(self) -> dict[str, Any]:
        texts = {"levels": list(self.levels)} if isinstance(self.levels, tuple) else {}
        return {"absent": self.absent, "rows": self.rows, "singles": self.singles, **texts}

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> ValueCounts:
        levels = tuple(data["levels"]) if "levels" in data else tensors[f"{prefix}.levels"]
        return cls(levels, tensors[f"{prefix}.counts"], data["absent"], data["rows"], data.get("singles", 0))


class _NumberLookup:
    """Levels by value: a table where they lie on a lattice (whole numbers, cents), else by bisection.

    A hole of a lattice that is nearly full has the code of the level before it: it is no news.
    """

    def __init__(self, levels: Doubles) -> None:
        self.levels, self.factor, self.low, self.table = levels, 0.0, 0.0, np.zeros(0, np.int32)
        for factor in _FACTORS if len(levels) else ():
            scaled = np.rint(levels * factor)
            fits = np.isfinite(scaled).all() and scaled[-1] - scaled[0] < MAX_RANGE
            if fits and len(np.unique(scaled)) == len(levels) and np.allclose(levels * factor, scaled, atol=1e-6):
                self.factor, self.low = factor, float(scaled[0])
                self.table = np.full(int(scaled[-1] - scaled[0]) + 1, len(levels), np.int32)
                self.table[(scaled - self.low).astype(np.intp)] = np.arange(len(levels), dtype=np.int32)
                break
        self._padded = np.append(levels, np.nan)
        full = len(levels) >= MIN_FULL_LEVELS and len(levels) >= MIN_FULL_SHARE * len(self.table)
        holes = np.flatnonzero(self.table == len(levels)) if full else np.zeros(0, np.intp)
        self.holes: Doubles = ((holes + self.low) / (self.factor or 1.0)).astype(np.float64)

    def find(self, x: Doubles, out: Codes) -> None:
        if not len(self.levels):
            out[:] = 0
            return
        if self.factor:
            place = np.rint(x * self.factor) if self.factor != 1.0 else np.rint(x)
            place -= self.low
            np.clip(place, 0, len(self.table) - 1, out=place)
            place[np.isnan(place)] = 0
            codes = self.table[place.astype(np.intp)]
        else:
            codes = np.searchsorted(self.levels, x).astype(np.int32)
        out[:] = np.where(self._padded[codes] == x, codes, len(self.levels))
        if len(self.holes):
            rows = np.flatnonzero(out == len(self.levels))
            rows = rows[np.isin(x[rows], self.holes)]
            out[rows] = np.searchsorted(self.levels, x[rows]) - 1


def never_seen(rows: int) -> float:
    """-log10 p of the first event (a NULL, a negative number) after so many rows without one.

    Either it can happen, at a rate of which nothing is known (Beta(1/2, 1/2)), or it cannot: n rows without one make
    that likelier by sqrt(pi n).
    """
    return math.log10(rows + 1.0) + 0.5 * math.log10(math.pi * (rows + 1.0))


def count_texts(text: pa.Array, singles: bool = True) -> ValueCounts:
    """Counts of texts; the most frequent levels where there are too many. Without `singles` those that occur once are
    kept as a number alone."""
    pairs = rank_values(text.drop_null())[:MAX_LEVELS]
    kept = sorted(pairs) if singles else sorted(p for p in pairs if p[1] > 1)
    counts = np.array([count for _, count in kept], np.float64)
    return ValueCounts(tuple(p[0] for p in kept), counts, text.null_count, len(text), len(pairs) - len(kept))


def count_numbers(x: Doubles, absent: Bools) -> ValueCounts | None:
    """Counts of numbers; None where they are a quantity: too many levels, or too many that occur once."""
    known = x[~absent]
    if not len(known):
        return None
    levels, counts = np.unique(known, return_counts=True)
    if len(levels) > MAX_NUMBERS or (counts == 1).sum() > MAX_SINGLE_SHARE * len(known):
        return None
    return ValueCounts(levels, counts.astype(np.float64), int(absent.sum()), len(x))


def number_values(values: pa.Array) -> tuple[Doubles, Bools]:
    """Numbers or booleans as float64, and where there is none."""
    x = to_doubles(values)
    return x, np.isnan(x)
