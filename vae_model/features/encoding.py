"""The table's encoder: a RecordBatch in, network inputs out (float32 matrix, category codes, mask of absent values).

Matrices are [features, rows]: one column of the table is one contiguous stretch of memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.features.arrays import to_arrow, to_text
from vae_model.features.columns import Column
from vae_model.features.encoder import Encoder, FitHints
from vae_model.features.kinds import KINDS, encoder_from_json, encoder_to_json
from vae_model.features.scales import Bools, Codes, Doubles, Floats, to_array
from vae_model.features.text_model import TextModel, fit_text
from vae_model.features.value_counts import ValueCounts

Rows: TypeAlias = slice | npt.NDArray[np.intp]


@dataclass(frozen=True)
class Layout:
    """Where each column's parts lie in the matrices. K columns, P continuous parts, B booleans, C categories.

    Attributes:
        continuous: [P] column index of each continuous part (number, time, vector), ascending.
        booleans: [B] column index of each boolean; booleans follow the continuous parts in `x`.
        categories: [C] column index of each category.
        levels: [C] number of outcomes of each category: kept levels + 1 for 'unseen'.
        nullable: [N] columns that had absent values in training: their absence is modelled.
        counted: [V] columns whose values were counted one by one.
        texts: [T] columns whose characters are judged.
        prefixed: [P] columns whose beginnings are counted; their codes follow those of the `counted` columns.
    """

    columns: int
    continuous: tuple[int, ...]
    booleans: tuple[int, ...]
    categories: tuple[int, ...]
    levels: tuple[int, ...]
    nullable: tuple[int, ...]
    counted: tuple[int, ...] = ()
    texts: tuple[int, ...] = ()
    prefixed: tuple[int, ...] = ()

    @cached_property
    def starts(self) -> npt.NDArray[np.intp]:
        """First continuous part of each column that has some."""
        owners = np.asarray(self.continuous)
        return np.flatnonzero(np.diff(owners, prepend=-1))

    @cached_property
    def continuous_columns(self) -> npt.NDArray[np.intp]:
        """Column index of each stretch that `starts` begins."""
        return np.asarray(self.continuous, dtype=np.intp)[self.starts]

    def first_part(self, column: int) -> int:
        """Row of x where a column's continuous parts begin."""
        return self.continuous.index(column)

    @property
    def inputs(self) -> int:
        return len(self.continuous) + len(self.booleans)

    @cached_property
    def level_starts(self) -> tuple[int, ...]:
        """First logit of each category within all category logits; one more entry closes the last."""
        return tuple(np.cumsum((0, *self.levels)).tolist())


def choose_rows(numbers: Sequence[int] | npt.NDArray[np.intp]) -> Rows:
    """An index for a matrix's rows with these numbers: a slice, which copies nothing, where they follow each other."""
    found = np.asarray(numbers, np.intp)
    one_by_one = len(found) > 0 and bool((np.diff(found) == 1).all())
    return slice(int(found[0]), int(found[-1]) + 1) if one_by_one else found


@dataclass
class Encoded:
    """Network inputs of n rows: x [P + B, n] float32, codes [C, n] int32, absent [K, n] bool; and what no network
    reads: `values` [V + P, n] int32, the codes of the counted columns and of beginnings, and `texts` [T, n] float32,
    how unusual texts are by their characters."""

    x: Floats
    codes: Codes
    absent: Bools
    values: Codes = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    texts: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def rows(self) -> int:
        return int(self.absent.shape[1])

    def take(self, rows: slice | npt.NDArray[np.intp]) -> Encoded:
        """The rows with the given numbers."""
        values, texts = self.values[:, rows], self.texts[:, rows]
        return Encoded(self.x[:, rows], self.codes[:, rows], self.absent[:, rows], values, texts)


def concat_encoded(parts: Sequence[Encoded]) -> Encoded:
    """Rows of all parts, in order; at least one part."""
    names = ("x", "codes", "absent", "values", "texts")
    return Encoded(*(np.concatenate([getattr(part, name) for part in parts], axis=1) for name in names))


@dataclass(frozen=True)
class TableEncoder:
    """Encoders of all feature columns with the share of absent values that training saw in each, the counts of the
    columns whose values repeat, and the characters of string columns (none in bundles older than these)."""

    columns: tuple[Column, ...]
    encoders: tuple[Encoder, ...]
    absent_share: tuple[float, ...]
    rows: int
    counts: tuple[ValueCounts | None, ...] = ()
    texts: tuple[TextModel | None, ...] = ()
    layout: Layout = field(init=False, compare=False)

    def __post_init__(self) -> None:
        continuous: list[int] = []
        for k, encoder in enumerate(self.encoders):
            if encoder.place == "continuous":
                continuous += [k] * encoder.parts
        categories = [k for k, encoder in enumerate(self.encoders) if encoder.place == "category"]
        layout = Layout(
            columns=len(self.columns),
            continuous=tuple(continuous),
            booleans=tuple(k for k, e in enumerate(self.encoders) if e.place == "boolean"),
            categories=tuple(categories),
            levels=tuple(self.encoders[k].outcomes for k in categories),
            nullable=tuple(k for k, share in enumerate(self.absent_share) if share > 0),
            counted=tuple(k for k, counts in enumerate(self.counts) if counts is not None),
            texts=tuple(k for k, model in enumerate(self.texts) if model is not None),
            prefixed=tuple(k for k, model in enumerate(self.texts) if model is not None and model.prefix_codes),
        )
        object.__setattr__(self, "layout", layout)

    @cached_property
    def value_sizes(self) -> tuple[int, ...]:
        """[V + P] how many codes each row of `values` can have."""
        counted = [counts.size for counts in self.counts if counts is not None]
        return (*counted, *(model.prefix_codes for model in self.texts if model is not None and model.prefix_codes))

    @cached_property
    def value_owners(self) -> tuple[int, ...]:
        """[V + P] the column of each row of `values`."""
        return (*self.layout.counted, *self.layout.prefixed)

    @cached_property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def encode(self, batch: pa.RecordBatch, own: bool = False) -> Encoded:
        """Encode the feature columns of a batch, found by name; every row comes out, whatever it holds.

        Args:
            batch: rows.
            own: they are among those that the encoder was fitted to, each to be judged by the others.
        """
        n, layout = batch.num_rows, self.layout
        x = np.zeros((layout.inputs, n), dtype=np.float32)
        codes = np.zeros((len(layout.categories), n), dtype=np.int32)
        absent = np.zeros((layout.columns, n), dtype=np.bool_)
        row, boolean, category = 0, len(layout.continuous), 0
        for k, (column, encoder) in enumerate(zip(self.columns, self.encoders, strict=True)):
            values = batch.column(column.name)
            if encoder.place == "category":
                absent[k] = encoder.encode(values, codes[category])
                category += 1
            elif encoder.place == "boolean":
                absent[k] = encoder.encode(values, x[boolean : boolean + 1])
                boolean += 1
            else:
                absent[k] = encoder.encode(values, x[row : row + encoder.parts])
                row += encoder.parts
        values = self._encode_values(batch, codes, absent)
        return Encoded(x, codes, absent, values, self._measure_texts(batch, values, own))

    def _measure_texts(self, batch: pa.RecordBatch, values: Codes, own: bool) -> Floats:
        """How unusual the characters of each text are, [T, n]: known levels were judged once for all."""
        layout = self.layout
        terms = np.zeros((len(layout.texts), batch.num_rows), np.float32)
        for row, k in enumerate(layout.texts):
            model, counts = self.texts[k], self.counts[k]
            if model is None or counts is None:
                continue
            table = self._of_levels(k, own)
            codes = values[layout.counted.index(k)]
            terms[row] = table[codes]
            unknown = np.flatnonzero(codes == len(counts.levels))
            if len(unknown):
                text = to_text(batch.column(self.columns[k].name)).take(to_arrow(unknown))
                terms[row, unknown] = model.measure(text, own)
        return terms

    def _of_levels(self, k: int, own: bool) -> Floats:
        """How unusual the characters of each counted level of a column are, [L + 2]: 0 of none."""
        found = self._known_texts.get((k, own))
        model, counts = self.texts[k], self.counts[k]
        if found is None and model is not None and counts is not None:
            levels = model.measure(counts.arrow_levels, own)
            found = self._known_texts[k, own] = np.concatenate([levels, np.zeros(2, np.float32)])
        return found if found is not None else np.zeros(2, np.float32)

    def inputs_of_values(self, k: int) -> npt.NDArray[Any]:
        """The network's inputs of each counted value of a column: [L] codes of a category, else [parts, L]."""
        counts, encoder = self.counts[k], self.encoders[k]
        if counts is None:
            raise ValueError(f"column {k} is not counted")
        if k not in self._known_inputs:
            is_category, levels = encoder.place == "category", len(counts.levels)
            found = np.zeros(levels, np.int32) if is_category else np.zeros((encoder.parts, levels), np.float32)
            encoder.encode(counts.arrow_levels, found)
            self._known_inputs[k] = found
        return self._known_inputs[k]

    def numbers_of_values(self, k: int) -> Doubles:
        """What each counted value of a column is as a number, or a moment in seconds, [L]: NaN where it is neither."""
        counts = self.counts[k]
        if counts is None:
            raise ValueError(f"column {k} is not counted")
        if k not in self._known_numbers:
            self._known_numbers[k] = np.asarray(self.encoders[k].read(counts.arrow_levels), np.float64)
        return self._known_numbers[k]

    @cached_property
    def _known_numbers(self) -> dict[int, Doubles]:
        return {}

    @cached_property
    def _known_inputs(self) -> dict[int, npt.NDArray[Any]]:
        return {}

    def prefixes_of_values(self, k: int) -> Codes:
        """The code of the beginning of each counted value of a column, [L + 2]."""
        model, counts = self.texts[k], self.counts[k]
        if model is None or counts is None:
            raise ValueError(f"column {k} has no counted beginnings")
        if k not in self._known_prefixes:
            known = len(model.prefixes)
            levels = model.encode_prefixes(counts.arrow_levels)
            self._known_prefixes[k] = np.concatenate([levels, [known, known + 1]]).astype(np.int32)
        return self._known_prefixes[k]

    @cached_property
    def _known_prefixes(self) -> dict[int, Codes]:
        return {}

    @cached_property
    def _known_texts(self) -> dict[tuple[int, bool], Floats]:
        return {}

    def _encode_values(self, batch: pa.RecordBatch, codes: Codes, absent: Bools) -> Codes:
        """Codes of the counted columns, then of beginnings, [V + P, n]."""
        layout = self.layout
        values = np.empty((len(layout.counted) + len(layout.prefixed), batch.num_rows), np.int32)
        for row, k in enumerate(layout.counted):
            counts, encoder, column = self.counts[k], self.encoders[k], batch.column(self.columns[k].name)
            if counts is None:
                continue
            own = codes[layout.categories.index(k)] if encoder.place == "category" else None
            encoder.encode_values(counts, column, own, absent[k], values[row])
        for row, k in enumerate(layout.prefixed, start=len(layout.counted)):
            model = self.texts[k]
            if model is not None:
                values[row] = model.encode_prefixes(to_text(batch.column(self.columns[k].name)))
        return values

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {"name": c.name, "family": c.family, "absent_share": share, **encoder_to_json(e)}
            for c, e, share in zip(self.columns, self.encoders, self.absent_share, strict=True)
        ]

    @classmethod
    def from_json(
        cls,
        data: list[dict[str, Any]],
        rows: int,
        counts: tuple[ValueCounts | None, ...] = (),
        texts: tuple[TextModel | None, ...] = (),
    ) -> TableEncoder:
        outer = ("name", "family", "absent_share")
        return cls(
            tuple(Column(d["name"], d["kind"], d["family"]) for d in data),
            tuple(encoder_from_json({k: v for k, v in d.items() if k not in outer}) for d in data),
            tuple(d["absent_share"] for d in data),
            rows,
            counts,
            texts,
        )


def fit_encoder(
    columns: Iterable[Column], table: pa.Table, max_categories: int, rows: int, following: Collection[str] = ()
) -> TableEncoder:
    """Fit every column's statistics on a table (the extract of `rows` rows, or a sample of it when it is large).

    Args:
        columns: the features.
        table: training rows.
        max_categories: levels that a category keeps.
        rows: of the extract.
        following: moments that follow the nights.
    """
    columns = tuple(columns)
    encoders, shares, counts, texts = [], [], [], []
    for column in columns:
        values = to_array(table.column(column.name))
        text = fit_text(to_text(values)) if column.family == "string" else None
        texts.append(text)
        encoder = KINDS[column.kind].fit(values, FitHints(max_categories, text))
        encoder = encoder.following() if column.name in following else encoder
        encoders.append(encoder)
        shares.append(encoder.absent_share(values))
        counts.append(encoder.count(values))
    return TableEncoder(columns, tuple(encoders), tuple(shares), rows, tuple(counts), tuple(texts))
