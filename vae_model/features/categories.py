"""Kinds of strings: categories, and texts, whose levels are their forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_model.features.arrays import fill_null, rank_values, to_arrow_text, to_numpy, to_text
from vae_model.features.bins import MAX_LEVELS, MAX_NEW_FORMS, BinCounts, Bins, count_forms, tally
from vae_model.features.encoder import NO_HINTS, Encoder, FitHints, Place
from vae_model.features.forms import Grain, find_forms, form_in_words, to_bytes
from vae_model.features.scales import Bools, Codes
from vae_model.features.value_counts import ValueCounts, count_texts
from vae_model.features.words import describe_nulls, describe_values

# Forms of a text column that the network tells apart.
MAX_FORM_LEVELS = 64
FREE_TEXT_SHARE = 0.5
_SHOWN_FORMS = 2


@dataclass(frozen=True)
class CategoryEncoder(Encoder):
    """Codes 0..K-1 for the kept levels, K for a level unseen or rare in training, K+1 for no value."""

    levels: tuple[str, ...]
    kind: ClassVar[str] = "category"
    families: ClassVar[tuple[str, ...]] = ("string",)
    also: ClassVar[tuple[str, ...]] = ("boolean", "integer", "date")
    place: ClassVar[Place] = "category"
    faults: ClassVar[tuple[str, ...]] = (*Encoder.faults, "never seen", "cut off", "another form", "misspelt")

    @property
    def parts(self) -> int:
        return 0

    @property
    def outcomes(self) -> int:
        return len(self.levels) + 1

    @property
    def unseen(self) -> int:
        return len(self.levels)

    @property
    def absent(self) -> int:
        return len(self.levels) + 1

    @classmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        return cls(choose_levels(dict(rank_values(to_text(values).drop_null())), hints.max_categories))

    def encode(self, values: pa.Array, out: Codes) -> Bools:
        """Write [n] codes into `out`; return [n] True where there is no value."""
        text = self.to_levels(values)
        codes = pc.index_in(text, value_set=to_arrow_text(self.levels))
        absent: Bools = to_numpy(text.is_null())
        out[:] = to_numpy(fill_null(codes, self.unseen))
        out[absent] = self.absent
        return absent

    def to_levels(self, values: pa.Array) -> pa.Array:
        """What of the values the levels are: the values themselves, as strings; NULL stays NULL."""
        return to_text(values)

    def decode(self, codes: npt.NDArray[np.int64]) -> list[str]:
        return [self.levels[c] if c < self.unseen else "another value" for c in codes]

    def arrow_type(self, dtype: pa.DataType) -> pa.DataType:
        return pa.string()

    def absent_share(self, values: pa.Array) -> float:
        return float(values.null_count / len(values)) if len(values) else 0.0

    @classmethod
    def describe(cls, values: pa.ChunkedArray) -> str:
        return describe_values(values) + describe_nulls(values)

    def count(self, values: pa.Array) -> ValueCounts:
        return count_texts(to_text(values))

    def encode_values(
        self, counts: ValueCounts, values: pa.Array, codes: Codes | None, absent: Bools, out: Codes
    ) -> None:
        """The network's codes where both keep the same levels."""
        if codes is not None and counts.levels == self.levels:
            out[:] = codes
        else:
            counts.encode_texts(to_text(values), absent, out)

    def nearest_values(self, counts: ValueCounts, inputs: npt.NDArray[Any]) -> Codes:
        code = {level: code for code, level in enumerate(counts.levels)}
        known = np.array([*(code[level] for level in self.levels), len(counts.levels)], np.int32)
        codes: Codes = known[inputs]
        return codes

    def knows_all(self, counts: ValueCounts) -> bool:
        return len(counts.levels) <= len(self.levels)

    def choose_bins(self, values: pa.Array) -> Bins:
        kept = set(self.levels)
        known = [level for level, _ in rank_values(self.to_levels(values).drop_null()) if level in kept]
        return Bins(levels=tuple(known[:MAX_LEVELS]))

    def count_by(self, bins: Bins, values: pa.Array) -> BinCounts:
        text = self.to_levels(values)
        known = text.drop_null()
        codes = pc.fill_null(pc.index_in(known, value_set=pa.array(bins.levels, text.type)), len(bins.levels))
        counts = tally(codes.to_numpy(zero_copy_only=False), len(bins.levels) + 1)
        new = self.find_new(values)
        return BinCounts(counts, text.null_count, len(new), self._count_forms(new) if len(new) else {})

    def _count_forms(self, new: pa.Array) -> dict[str, int]:
        """The most frequent forms of new levels, runs of a class of characters as one: words differ in length."""
        return count_forms(new, "runs")

    def find_new(self, values: pa.Array) -> pa.Array:
        text = self.to_levels(values).drop_null()
        return text.filter(pc.invert(pc.is_in(text, value_set=pa.array(self.levels, text.type))))

    @property
    def known_levels(self) -> tuple[str, ...]:
        return self.levels


@dataclass(frozen=True)
class TextEncoder(CategoryEncoder):
    """Texts that hardly repeat: the levels are their forms, at the grain of `TextModel`."""

    grain: Grain
    kind: ClassVar[str] = "text"
    families: ClassVar[tuple[str, ...]] = ()
    faults: ClassVar[tuple[str, ...]] = (*Encoder.faults, "cut off", "another form", "misspelt")
    also: ClassVar[tuple[str, ...]] = ("string",)

    @classmethod
    def fit(cls, values: pa.Array, hints: FitHints = NO_HINTS) -> Self:
        """The forms that `hints.text` counted."""
        if hints.text is None:
            raise ValueError("a text is fitted after its characters")
        forms = hints.text.forms
        frequent = dict(zip(map(str, forms.levels), forms.counts.tolist(), strict=True))
        return cls(choose_levels(frequent, MAX_FORM_LEVELS), hints.text.grain)

    @classmethod
    def of_forms(cls, text: pa.Array, grain: Grain) -> TextEncoder:
        """Of the most frequent forms of texts, at a grain."""
        counted = dict(rank_values(find_forms(*to_bytes(text), grain).cast(pa.string())))
        return cls(choose_levels(counted, MAX_FORM_LEVELS), grain)

    @classmethod
    def recognises(cls, values: pa.ChunkedArray, max_categories: int) -> bool:
        """Strings that hardly repeat."""
        distinct = pc.count_distinct(values, mode="only_valid").as_py()
        return bool(distinct > max_categories and distinct > FREE_TEXT_SHARE * (len(values) - values.null_count))

    def to_levels(self, values: pa.Array) -> pa.Array:
        """The form of each text; NULL stays NULL."""
        text = to_text(values)
        forms = find_forms(*to_bytes(text), self.grain).cast(pa.string())
        return pc.if_else(text.is_valid(), forms, pa.scalar(None, pa.string())) if text.null_count else forms

    def decode(self, codes: npt.NDArray[np.int64]) -> list[str]:
        return [form_in_words(self.levels[c], self.grain) if c < self.unseen else "another form" for c in codes]

    @classmethod
    def describe(cls, values: pa.ChunkedArray) -> str:
        text = to_text(values.drop_null().combine_chunks())
        ranked = rank_values(find_forms(*to_bytes(text), "characters"))
        shown = ", ".join(form.decode()[:40] for form, _ in ranked[:_SHOWN_FORMS])
        distinct = pc.count_distinct(text).as_py()
        return f"texts, {distinct:,} different: forms such as {shown}{describe_nulls(values)}"

    def count(self, values: pa.Array) -> ValueCounts:
        return count_texts(to_text(values), singles=False)

    def encode_values(
        self, counts: ValueCounts, values: pa.Array, codes: Codes | None, absent: Bools, out: Codes
    ) -> None:
        counts.encode_texts(to_text(values), absent, out)

    def _count_forms(self, new: pa.Array) -> dict[str, int]:
        """New levels are forms themselves."""
        return {form_in_words(form, self.grain): rows for form, rows in rank_values(new)[:MAX_NEW_FORMS]}

    def nearest_values(self, counts: ValueCounts, inputs: npt.NDArray[Any]) -> Codes:
        """A form names no value."""
        return counts.least_surprising(len(inputs))

    def knows_all(self, counts: ValueCounts) -> bool:
        return False

    @property
    def known_levels(self) -> tuple[str, ...]:
        return ()


def choose_levels(counts: Mapping[str, int], max_categories: int) -> tuple[str, ...]:
    """The most frequent levels (ties by name), in the order of their names."""
    return tuple(sorted(sorted(counts, key=lambda level: (-counts[level], level))[:max_categories]))
