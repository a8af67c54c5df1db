"""What a column kind is: one class that fits, encodes, decodes, counts and describes a column of that kind.

A new kind is a module with such a class, its entry in `kinds` and its name in `options`: nothing else asks which kind a
column has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.features.arrays import to_arrow, to_numpy, to_text
from vae_model.features.bins import BinCounts, Bins, choose_edges, count_forms, tally
from vae_model.features.parse import is_text
from vae_model.features.scales import Bools, Codes, Doubles, Floats, to_doubles
from vae_model.features.text_model import TextModel
from vae_model.features.value_counts import ValueCounts, count_numbers, count_texts, number_values
from vae_model.features.words import describe_range

# Where a column's inputs lie: in the rows of x, in those behind them (-1 or 1), or among the codes.
Place: TypeAlias = Literal["continuous", "boolean", "category"]


@dataclass(frozen=True)
class FitHints:
    """What fitting knows beside the values: how many levels to keep, and what was learned of a text's characters."""

    max_categories: int = 256
    text: TextModel | None = None


NO_HINTS = FitHints()


class Encoder(ABC):
    """A column kind, and the statistics of one column of it: plain data, JSON in a bundle.

    Attributes:
        kind: its name.
        families: families of Arrow types that are of this kind unless the values or the config say otherwise.
        also: families that can be of this kind.
        place: where its inputs go.
        is_quantity: a number whose mean and range mean something.
        faults: what can happen to its values, by the names that the self-test has for it.
    """

    kind: ClassVar[str]
    families: ClassVar[tuple[str, ...]] = ()
    also: ClassVar[tuple[str, ...]] = ()
    place: ClassVar[Place] = "continuous"
    is_quantity: ClassVar[bool] = False
    faults: ClassVar[tuple[str, ...]] = ("NULL", "of another row", "of another column")

    @property
    @abstractmethod
    def parts(self) -> int:
        """Rows of inputs that it needs."""

    @classmethod
    @abstractmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        """The statistics of a column."""

    @abstractmethod
    def encode(self, values: pa.Array, out: npt.NDArray[Any]) -> Bools:
        """Write [parts, n] inputs (a category: [n] codes) into `out`; return [n] True where there is no value."""

    @abstractmethod
    def decode(self, parts: npt.NDArray[Any]) -> Sequence[object]:
        """Back to the column's own values, or to words, from [parts, n] inputs (a category: [n] codes)."""

    def expect(self, mean: Floats, log_sigma: Floats) -> Doubles | None:
        """The likeliest number (of a moment: its seconds) under normal distributions of the parts, [parts, n] each;
        None where the parts are no single number."""
        return np.asarray(self.decode(mean), np.float64)

    def spread(self, mean: Floats, log_sigma: Floats) -> Doubles | None:
        """Numbers between which a quantity lies 19 times in 20 under the same distributions, [2, n]; None for other
        kinds."""
        return None

    def read(self, values: pa.Array) -> Doubles:
        """Values as the numbers that `expect` gives; NaN where they are none."""
        return to_doubles(values)

    def from_numbers(self, numbers: Doubles) -> pa.Array:
        """The inverse, of a type that `encode` takes."""
        return to_arrow(numbers)

    @abstractmethod
    def arrow_type(self, dtype: pa.DataType) -> pa.DataType:
        """Of decoded values, for a column of a type."""

    @classmethod
    def recognises(cls, values: pa.ChunkedArray, max_categories: int) -> bool:
        """Whether a sample of a column of one of the families `also` can only be of this kind."""
        return False

    @classmethod
    def describe(cls, values: pa.ChunkedArray) -> str:
        """A sample of a column in words, for the one who checks its kind."""
        return describe_range(values)

    def absent_share(self, values: pa.Array) -> float:
        """Share of values that are none."""
        return (
            float(self.encode(values, np.zeros((self.parts, len(values)), np.float32)).mean()) if len(values) else 0.0
        )

    def count(self, values: pa.Array) -> ValueCounts | None:
        """How often each value occurs; None where values do not repeat. What arrives as text is counted as text."""
        return count_texts(to_text(values), singles=False) if is_text(values) else self.count_known(values)

    def count_known(self, values: pa.Array) -> ValueCounts | None:
        """The same of values of the kind's own types."""
        return count_numbers(*number_values(values))

    def encode_values(
        self, counts: ValueCounts, values: pa.Array, codes: Codes | None, absent: Bools, out: Codes
    ) -> None:
        """Write the codes of counted values, [n]; `codes` are a category's own."""
        if is_text(values):
            # What does not read as the kind is no value for the network, but has characters.
            text = to_text(values)
            counts.encode_texts(text, to_numpy(text.is_null()), out)
        else:
            counts.encode_numbers(number_values(values)[0], absent, out)

    def nearest_values(self, counts: ValueCounts, inputs: npt.NDArray[Any]) -> Codes:
        """The codes of the counted values nearest to what [parts, n] inputs (a category: [n] codes) say, [n]."""
        if isinstance(counts.levels, tuple):  # a number has many spellings
            return counts.least_surprising(inputs.shape[-1])
        levels = np.asarray(counts.levels, np.float64)
        expected = np.asarray(self.decode(inputs), np.float64)
        if len(levels) < 2:
            return np.zeros(len(expected), np.int32)
        upper = np.searchsorted(levels, expected).clip(1, len(levels) - 1)
        nearest = np.where(expected - levels[upper - 1] <= levels[upper] - expected, upper - 1, upper)
        return nearest.astype(np.int32)

    def knows_all(self, counts: ValueCounts) -> bool:
        """Whether the network tells all counted values apart."""
        return True

    def measure(self, values: pa.Array) -> Doubles:
        """One number for each value, NaN where there is none: what its bins are made of."""
        return to_doubles(values)

    def choose_bins(self, values: pa.Array) -> Bins:
        """The bins of a profile, by training's values."""
        return Bins(edges=choose_edges(self.measure(values)))

    def count_by(self, bins: Bins, values: pa.Array) -> BinCounts:
        """Values counted by bins. NaN counts as no value, infinity as a very large one."""
        x = self.measure(values)
        absent = np.isnan(x)
        counts = tally(np.searchsorted(bins.edges, x[~absent]), len(bins.edges) + 1)
        if not is_text(values):
            return BinCounts(counts, int(absent.sum()))
        # What does not read is there all the same, beyond all values and in a form of its own.
        text = to_text(values)
        unread = text.filter(to_arrow(absent)).drop_null()
        counts[-1] += len(unread)
        return BinCounts(counts, text.null_count, len(unread), count_forms(unread, "runs"))

    def find_new(self, values: pa.Array) -> pa.Array | None:
        """The values whose level training did not keep, as levels; None for a kind without levels."""
        return None

    @property
    def outcomes(self) -> int:
        """Of a category: kept levels, and one for all others."""
        return 0

    @property
    def known_levels(self) -> tuple[str, ...]:
        """Levels that can be named in a condition."""
        return ()

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Training's smallest and largest value, a moment in seconds; None where there is no order."""
        return None

    @property
    def grace(self) -> float:
        """How far beyond the largest value nothing is news."""
        return 0.0

    @property
    def growing_part(self) -> int | None:
        """The part that grows with the value itself; None without one."""
        return None

    @property
    def zero_of_unsigned(self) -> float | None:
        """What the first part is at zero, for a column that never was negative; else None."""
        return None
