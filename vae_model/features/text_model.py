"""What training saw of a text column's characters: forms, lengths and trigrams, and how unusual they make a text.

A text is as unusual as the rarest of: its form, its length, and its least likely three characters in a row under an
interpolated trigram model (Jelinek & Mercer 1980; letters without case, digits alike). Each is the share of training
rows that look at least so, each row judged by the others (leave one out), so that a misspelling that occurs once is as
unusual as a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_model.features.forms import GRAINS, Grain, find_forms, find_prefixes, to_bytes
from vae_model.features.scales import Codes, Doubles, Floats
from vae_model.features.tails import Tails, fit_tails
from vae_model.features.value_counts import ValueCounts, count_texts, never_seen

# Begin, end, a to z, digit, space, punctuation, anything else.
SYMBOLS = 32
BEGIN, END, DIGIT, SPACE, MARK, OTHER = 0, 1, 28, 29, 30, 31
WEIGHT = 4.0
WINDOW = 3
# A stored step of -log2 p.
STEPS_PER_BIT = 12.0
MAX_FORMS = 4_096
# Forms of a grain repeat where at most this share of rows has one of its own.
MAX_SINGLE_SHARE = 0.02
# Beginnings are counted where the texts themselves hardly repeat: of so many bytes, if there are so few of them.
PREFIX_BYTES = (3, 2)
MIN_PREFIXES, MAX_PREFIXES = 5, 2_000
MIN_SELDOM_SHARE = 0.2


def _symbols() -> npt.NDArray[np.uint8]:
    table = np.full(256, OTHER, np.uint8)
    table[32:127] = MARK
    for i in range(26):
        table[[ord("a") + i, ord("A") + i]] = 2 + i
    table[ord("0") : ord("9") + 1] = DIGIT
    table[[9, 10, 13, 32]] = SPACE
    return table


_SYMBOL_OF_BYTE = _symbols()


@dataclass(frozen=True)
class TextModel:
    """One string column.

    Attributes:
        grain: of the forms.
        forms: how often each form was seen.
        trigrams: [32768] uint8 steps of -log2 p of the third symbol after two others.
        tails: of length, -length and the worst window.
        prefixes: beginnings that were seen, ascending, as numbers; none where the texts themselves repeat.
        prefix_bytes: how long they are.
        own: `trigrams` for rows that are among the counted; known while training only.
    """

    grain: Grain
    forms: ValueCounts
    trigrams: npt.NDArray[np.uint8]
    tails: Tails
    prefixes: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    prefix_bytes: int = 0
    own: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    def measure(self, text: pa.Array, own: bool = False) -> Floats:
        """T of each text, [n]; `own`: each is one of the counted. NULL counts as empty."""
        if not len(text):
            return np.zeros(0, np.float32)
        data, offsets = to_bytes(text)
        forms = find_forms(data, offsets, self.grain).cast(pa.string())
        codes = np.zeros(len(text), np.int32)
        self.forms.encode_texts(forms, np.zeros(len(text), np.bool_), codes)
        of_form = self.forms.surprise[codes]
        steps = self.own if own and self.own is not None else self.trigrams
        of_characters = self.tails.apply(_measure_characters(data, offsets, steps)).max(axis=0)
        # What never was has its limit, whatever extrapolation says; the order is kept.
        most = np.float32(never_seen(self.forms.rows))
        beyond = np.maximum(of_characters - most, np.float32(0.0))
        t: Floats = np.maximum(of_form, np.minimum(of_characters, most) + np.log1p(beyond))
        return t

    def encode_prefixes(self, text: pa.Array) -> Codes:
        """The code of each text's beginning, [n]: the number of those that were seen for another one, one more for
        NULL."""
        known = len(self.prefixes)
        found = find_prefixes(*to_bytes(text), self.prefix_bytes)
        codes = np.searchsorted(self.prefixes, found).clip(0, known - 1).astype(np.int32)
        codes[self.prefixes[codes] != found] = known
        if text.null_count:
            codes[np.asarray(text.is_null().to_numpy(zero_copy_only=False))] = known + 1
        return codes

    @property
    def prefix_codes(self) -> int:
        """Codes of beginnings; 0 where they are not counted."""
        return len(self.prefixes) + 2 if len(self.prefixes) else 0

    def to_tensors(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        beginnings = {f"{prefix}.prefixes": self.prefixes.astype(np.float64)} if len(self.prefixes) else {}
        return {
            f"{prefix}.trigrams": self.trigrams,
            **beginnings,
            **self.forms.to_tensors(f"{prefix}.forms"),
            **self.tails.to_tensors(f"{prefix}.tails"),
        }

    def to_json(self) -> dict[str, Any]:
        beginnings = {"prefix_bytes": self.prefix_bytes} if len(self.prefixes) else {}
        return {"grain": self.grain, "forms": self.forms.to_json(), **beginnings}

    @classmethod
    def load(cls, data: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> TextModel:
        return cls(
            data["grain"],
            ValueCounts.load(data["forms"], tensors, f"{prefix}.forms"),
            tensors[f"{prefix}.trigrams"],
            Tails.from_tensors(tensors, f"{prefix}.tails"),
            tensors.get(f"{prefix}.prefixes", np.zeros(0)).astype(np.int32),
            data.get("prefix_bytes", 0),
        )


def fit_text(text: pa.Array) -> TextModel:
    """A model of the texts of training rows; NULL is left out."""
    known = text.drop_null()
    data, offsets = to_bytes(known)
    grain, forms = _choose_grain(data, offsets)
    counted = np.bincount(_trigrams(data, offsets)[0], minlength=SYMBOLS**3).astype(np.float64)
    own = quantise(_information(counted, own=True))
    raw = _measure_characters(data, offsets, own) if len(known) else np.zeros((3, 1), np.float32)
    trigrams = quantise(_information(counted, own=False))
    return TextModel(grain, forms, trigrams, fit_tails(raw), *_choose_prefixes(known), own)


def _choose_prefixes(text: pa.Array) -> tuple[npt.NDArray[np.int32], int]:
    """The beginnings of texts that hardly repeat, and how long they are; none where they do, or begin alike."""
    counts = pc.value_counts(text).field("counts").to_numpy()
    if not len(text) or counts[counts <= 2].sum() < MIN_SELDOM_SHARE * len(text):
        return np.zeros(0, np.int32), 0
    for size in PREFIX_BYTES:
        found = np.unique(find_prefixes(*to_bytes(text), size))
        if MIN_PREFIXES <= len(found) <= MAX_PREFIXES:
            return found, size
    return np.zeros(0, np.int32), 0


def _choose_grain(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> tuple[Grain, ValueCounts]:
    """The finest grain whose forms repeat; the coarsest where none do."""
    for grain in GRAINS:
        forms = count_texts(find_forms(data, offsets, grain).cast(pa.string()))
        single = float((forms.counts == 1).sum())
        if len(forms.levels) <= MAX_FORMS and single <= MAX_SINGLE_SHARE * forms.rows:
            return grain, forms
    return GRAINS[-1], _most_frequent(forms)


def _most_frequent(forms: ValueCounts) -> ValueCounts:
    if len(forms.levels) <= MAX_FORMS:
        return forms
    kept = np.sort(np.argsort(-forms.counts, kind="stable")[:MAX_FORMS])
    return replace(forms, levels=tuple(str(forms.levels[i]) for i in kept), counts=forms.counts[kept])


def _trigrams(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The trigram that ends at each character and at the end of each text, where these lie in a row of all texts with
    two begins before and an end after each, and where each text begins in it."""
    n, lengths = len(offsets) - 1, np.diff(offsets)
    padded = np.zeros(len(data) + 3 * n, np.intp)
    starts = offsets[:-1] + 3 * np.arange(n)
    places = np.arange(len(data)) + np.repeat(3 * np.arange(n) + 2, lengths)
    padded[places] = _SYMBOL_OF_BYTE[data]
    padded[starts + lengths + 2] = END
    filled = padded != BEGIN
    where = np.flatnonzero(filled)
    cells = (padded[where - 2] * SYMBOLS + padded[where - 1]) * SYMBOLS + padded[where]
    return cells, where, starts


def _information(counted: Doubles, own: bool) -> Doubles:
    """[32768] -log2 p of each trigram's last symbol after its first two, less one row of its own. What was seen once is
    as unlikely as what never was: the one row may be the same."""
    less = 1.0 if own else 0.0
    three = np.where(counted == 1.0, 0.0, counted).reshape(SYMBOLS, SYMBOLS, SYMBOLS)
    two, one = three.sum(axis=0), three.sum(axis=(0, 1))
    p_one = (np.maximum(one - less, 0.0) + 0.5) / (max(one.sum() - less, 0.0) + 0.5 * SYMBOLS)
    p_two = (np.maximum(two - less, 0.0) + WEIGHT * p_one) / (
        np.maximum(two.sum(axis=1, keepdims=True) - less, 0.0) + WEIGHT
    )
    p = (np.maximum(three - less, 0.0) + WEIGHT * p_two) / (
        np.maximum(three.sum(axis=2, keepdims=True) - less, 0.0) + WEIGHT
    )
    return np.asarray(-np.log2(p)).reshape(-1)


def quantise(bits: Doubles) -> npt.NDArray[np.uint8]:
    """Steps of 1/12 bit, at most 255 of them."""
    return np.minimum(np.rint(bits * STEPS_PER_BIT), 255.0).astype(np.uint8)


def _measure_characters(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], steps: npt.NDArray[np.uint8]
) -> Floats:
    """[3, n] length, -length, and the sum of the steps of the least likely window."""
    cells, where, starts = _trigrams(data, offsets)
    n = len(offsets) - 1
    information = np.zeros(len(data) + 3 * n + WINDOW - 1, np.float32)
    information[where] = steps[cells]
    windows = information[: len(data) + 3 * n].copy()
    for shift in range(1, WINDOW):
        windows += information[shift : len(windows) + shift]
    worst = np.maximum.reduceat(windows, starts) / np.float32(STEPS_PER_BIT)
    length = np.log1p(np.diff(offsets)).astype(np.float32)
    return np.stack([length, -length, worst])
