"""Reasons, typed: not only which column is unusual, but against what. What was never seen, or lies beyond all that was,
stands against the training rows; a pair of values against the rows that have one of them; else the value stands against
the two or three other columns without which it would be less of a surprise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.bundle import Bundle
from vae_model.features.arrays import to_arrow, to_text
from vae_model.features.encoding import Encoded
from vae_model.features.forms import find_forms, form_in_words, to_bytes
from vae_model.features.scales import Doubles
from vae_model.features.value_counts import MAX_LEVELS
from vae_model.features.words import to_words
from vae_model.network.forward import Forward
from vae_model.scoring.expectation import Expected, name_level, name_number
from vae_model.scoring.repair import hide_columns
from vae_model.views.pair_counts import PairCounts

# What is rare by itself: one row in a hundred at least so much, as a power of ten.
RARE: Final = 2.0
# Of the rows that have the other value, the share below which a pair is told of, and the fewest such rows.
RARE_SHARE: Final = 0.05
TAIL_SHARE: Final = 0.01
FAR_SHARE: Final = 0.0002
LEAST_ROWS: Final = 5
# Beyond such a share of training rows without a value, none is no news.
NULLS_NEWS: Final = 0.01
MAX_AGAINST: Final = 3
# Expected where the value is what the model would guess, too: rare beside the others only.
USUAL: Final = "something more usual"
# Of what the most telling column tells, what another one has to.
TELLS: Final = 0.3
# Nats that a column has to tell at all.
LEAST_NATS: Final = 0.1
# Of so few forms a new one says something; longer ones are shown with runs of a class of characters as one.
FEW_FORMS: Final = 3
SHOWN_FORM: Final = 12
# Of so many levels a number that none of the rows has is no news: how many have more is.
MANY_LEVELS: Final = 30
# Share of rows at either end that a range leaves out.
TRIMMED: Final = 0.005

Kind: TypeAlias = Literal[
    "never seen", "seldom", "NULL", "beyond", "as large", "as small", "form", "spelling", "pair", "range", "given",
    "together", "swapped",
]  # fmt: skip
# What is wrong whatever the other columns hold.
ABSURD: Final = ("never seen", "NULL", "beyond", "form", "spelling")
Indices: TypeAlias = npt.NDArray[np.intp]
Named: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reason:
    """Why one column of a row is unusual.

    Attributes:
        column: its name.
        kind: `never seen`, `seldom`, `NULL`: a value by itself; `beyond`, `as large`, `as small`: where it lies among
            all; `form`, `spelling`: its characters; `pair`, `range`: beside another column's value; `given`: beside
            others, as the network has it; `together`: nothing is odd by itself; `swapped`: two columns have each
            other's values.
        share: of the row's surprise.
        observed: in words; likewise `expected`.
        against: other columns and what they hold, in words.
        seen: training rows that have the observed value, of the `of` rows that have what `against` says.
        usual: of these the ones that have what is expected, or are within the range.
        low, high: in words, the ends of what training has (`beyond`, `range`), or of what is expected (`given`).
        form: of the observed text.
        is_text: whether values are texts.
    """

    column: str
    kind: Kind
    share: float
    observed: str
    expected: str
    against: Named = ()
    seen: int = 0
    of: int = 0
    usual: int = 0
    low: str = ""
    high: str = ""
    form: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Cells:
    """What rows are blamed for: [c] numbers of row and column of each, a row's first reason first.

    Attributes:
        batch: the rows; `encoded` are the same.
        expected: of each column.
        observed: [c] in words; `wanted` what is expected, likewise.
        share: [c] of the row's surprise.
    """

    batch: pa.RecordBatch
    encoded: Encoded
    expected: Sequence[Expected]
    rows: Indices
    columns: Indices
    observed: Sequence[str]
    wanted: Sequence[str]
    share: Sequence[float]


class EvidenceFinder:
    """Finds what stands behind reasons, in a bundle's counts and by its network."""

    def __init__(self, bundle: Bundle, forward: Forward) -> None:
        self.bundle, self.forward = bundle, forward
        self._forms: dict[int, tuple[frozenset[str], frozenset[str]]] = {}

    def find(self, cells: Cells) -> list[Reason]:
        """One typed reason for each cell."""
        found = [self._judge(cells, i) for i in range(len(cells.rows))]
        open_cells = [i for i, fields in enumerate(found) if fields["kind"] in ("given", "together")]
        against = self._find_against(cells, open_cells)
        return [Reason(**fields, **against.get(i, {})) for i, fields in enumerate(found)]

    def _judge(self, cells: Cells, i: int) -> dict[str, Any]:
        """The fields of a reason, without what a network has to be asked for."""
        k, row = int(cells.columns[i]), int(cells.rows[i])
        fields: dict[str, Any] = {
            "column": self.bundle.feature_names[k],
            "share": float(cells.share[i]),
            "observed": cells.observed[i],
            "expected": cells.wanted[i],
            "is_text": self.bundle.features[k].family == "string",
        }
        for look in (self._look_at_absence, self._look_at_range, self._look_at_value, self._look_at_characters,
                     self._look_far_out, self._look_at_pairs, self._look_at_rarity):  # fmt: skip
            evidence = look(cells, k, row)
            if evidence is not None:
                return fields | evidence
        low, high = self._find_spread(cells, k, row)
        kind = "together" if cells.wanted[i] == USUAL else "given"
        return fields | {"kind": kind, "low": low, "high": high}

    def _find_spread(self, cells: Cells, k: int, row: int) -> tuple[str, str]:
        """What a quantity is expected to be between; empty where it is, or where that says no more than one value."""
        expected = cells.expected[k]
        if expected.spread is None:
            return "", ""
        number = float(self.bundle.encoder.encoders[k].read(self._value(cells, k, row))[0])
        return expected.name_spread(self.bundle, k, row, number) or ("", "")

    def _look_at_absence(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        encoder, counts, of = self.bundle.encoder, self._counts(k), self._counted_rows
        seen = counts.absent if counts else round(encoder.absent_share[k] * of)
        if not self._is_null(cells, k, row) or seen > NULLS_NEWS * of:
            return None
        return {"kind": "NULL", "seen": seen, "of": of}

    def _look_at_value(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        """A level that no training row has; of texts that hardly repeat, none is news."""
        counts, code = self._counts(k), self._code(cells, k, row)
        if counts is None or code != len(counts.levels) or self._is_null(cells, k, row):
            return None
        keeps_all = not counts.singles and len(counts.levels) < MAX_LEVELS
        if not keeps_all or float(counts.surprise[code]) < RARE:
            return None
        if self._is_fine(k):
            return self._look_at_tail(cells, k, row)
        return {"kind": "never seen", "of": counts.rows, "form": self._new_form(cells, k, row)}

    def _look_at_tail(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        """How many training rows have a number as large, or as small, where those are few."""
        counts = self._counts(k)
        number = float(self.bundle.encoder.encoders[k].read(self._value(cells, k, row))[0])
        above, below = (float(counts.counts[side].sum()) for side in (counts.levels >= number, counts.levels <= number))
        if min(above, below) > TAIL_SHARE * counts.rows:
            return None
        kind = "as large" if above <= below else "as small"
        return {"kind": kind, "seen": round(min(above, below)), "of": counts.rows}

    def _look_at_range(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        encoder = self.bundle.encoder.encoders[k]
        if encoder.bounds is None or self._is_null(cells, k, row):
            return None
        low, high = encoder.bounds
        number = float(encoder.read(self._value(cells, k, row))[0])
        if not (number < low or number > high + encoder.grace):
            return None
        ends = {name: name_number(self.bundle, k, end) for name, end in (("low", low), ("high", high))}
        return {"kind": "beyond", "of": self._counted_rows, **ends}

    def _look_at_characters(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        layout = self.bundle.encoder.layout
        if k not in layout.texts or self._is_null(cells, k, row):
            return None
        model, code = self.bundle.encoder.texts[k], self._code(cells, k, row)
        if model is None or float(cells.encoded.texts[layout.texts.index(k), row]) < RARE or self._is_frequent(k, code):
            return None
        form, seen, rarity = self._form(cells, k, row)
        if rarity >= RARE:
            return {"kind": "form", "seen": seen, "of": model.forms.rows, "form": form}
        return {"kind": "spelling", "of": model.forms.rows}

    def _look_far_out(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        """A number that hardly any training row reaches, whatever is beside it."""
        if not self._is_fine(k) or self._is_null(cells, k, row):
            return None
        found = self._look_at_tail(cells, k, row)
        return found if found and found["seen"] <= FAR_SHARE * found["of"] else None

    def _look_at_pairs(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        """The other value beside which this one is seen least, where training has enough rows with that."""
        encoder, views = self.bundle.encoder, self.bundle.views
        if views is None or k not in encoder.layout.counted:
            return None
        target, best = encoder.layout.counted.index(k), None
        for pair in (pair for given in views.counted.given if given.target == target for pair in given.pairs):
            found = self._count_pair(pair, cells, row)
            if found is not None and (best is None or found["seen"] * best["of"] < best["seen"] * found["of"]):
                best = found
        return best

    def _look_at_rarity(self, cells: Cells, k: int, row: int) -> dict[str, Any] | None:
        counts, code = self._counts(k), self._code(cells, k, row)
        if counts is None or code is None or code >= len(counts.levels) or float(counts.surprise[code]) < RARE:
            return None
        if name_level(self.bundle, k, code) != to_words(self._value(cells, k, row)[0].as_py()):
            return None  # a hole in a lattice counts as its neighbour
        if self._is_fine(k):
            return self._look_at_tail(cells, k, row)
        return {"kind": "seldom", "seen": round(float(counts.counts[code])), "of": counts.rows}

    def _count_pair(self, pair: PairCounts, cells: Cells, row: int) -> dict[str, Any] | None:
        counted = self.bundle.encoder.layout.counted
        if pair.condition >= len(counted):
            return None  # a beginning of a text
        other, k = counted[pair.condition], counted[pair.target]
        codes = cells.encoded.values[:, row]
        condition, value = int(codes[pair.condition]), int(codes[pair.target])
        counts, mine = self._counts(other), self._counts(k)
        if counts is None or mine is None or condition == len(counts.levels):
            return None
        beside = to_words(self._value(cells, other, row)[0].as_py())
        if name_level(self.bundle, other, condition) != beside:
            return None
        of, seen = pair.count(condition), pair.count(condition, value) if value != len(mine.levels) else 0
        if of < LEAST_ROWS or seen > RARE_SHARE * of:
            return None
        wanted = cells.expected[k].codes
        usual = 0 if wanted is None or cells.expected[k].lost[row] else pair.count(condition, int(wanted[row]))
        found = {"against": ((self.bundle.feature_names[other], quote(self.bundle, other, beside)),), "of": of}
        if self._is_null(cells, k, row) or len(mine.levels) < MANY_LEVELS or 2 * usual >= of:
            return {**found, "kind": "pair", "seen": seen, "usual": usual}
        if isinstance(mine.levels, tuple):
            return {**found, "kind": "pair", "seen": seen, "usual": usual} if value != len(mine.levels) else None
        return self._count_range(pair, condition, cells, k, row, found)

    def _count_range(
        self, pair: PairCounts, condition: int, cells: Cells, k: int, row: int, found: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Of a number the range that all but few of the rows with the other value have, where it is outside of that."""
        targets, rows = pair.targets(condition)
        levels = self._counts(k).levels
        known = targets < len(levels)
        if found["of"] < MANY_LEVELS or not known.any():
            return None
        ends = np.cumsum(rows[known])
        within = (ends > TRIMMED * ends[-1]) & (ends - rows[known] < (1.0 - TRIMMED) * ends[-1])
        kept = levels[targets[known]][within]
        number = float(self.bundle.encoder.encoders[k].read(self._value(cells, k, row))[0])
        if kept[0] <= number <= kept[-1]:
            return None
        low, high = (name_number(self.bundle, k, float(end)) for end in (kept[0], kept[-1]))
        return {**found, "kind": "range", "seen": 0, "usual": round(float(rows[known][within].sum())), "low": low,
                "high": high}  # fmt: skip

    def _find_against(self, cells: Cells, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """For some cells the columns without which the value would surprise less."""
        if not numbers:
            return {}
        columns = self.bundle.encoder.layout.columns
        rows, own = cells.rows[list(numbers)], cells.columns[list(numbers)]
        hidden = np.repeat(np.arange(columns), len(rows))
        copies = hide_columns(self.bundle, cells.encoded, np.tile(rows, columns), hidden)
        nats = self._terms_of(copies, np.tile(own, columns)).reshape(columns, len(rows))
        told = self._terms_of(cells.encoded.take(rows), own) - nats
        told[own, np.arange(len(rows))] = -np.inf
        found = {}
        for j, i in enumerate(numbers):
            order = np.argsort(-told[:, j], kind="stable")[:MAX_AGAINST]
            telling = [int(k) for k in order if told[k, j] >= max(LEAST_NATS, TELLS * told[order[0], j])]
            values = ((k, to_words(self._value(cells, k, int(rows[j]))[0].as_py())) for k in telling)
            named = tuple((self.bundle.feature_names[k], quote(self.bundle, k, word)) for k, word in values)
            found[i] = {"against": named}
        return found

    def _terms_of(self, encoded: Encoded, columns: Indices) -> Doubles:
        """[n] nats of one column of each row: given the others, where there is such a model."""
        parts = []
        for block in self.forward.split(encoded):
            of_members = self.forward.conditional_terms(block) if self.bundle.shape.peers else None
            parts.append(self.forward.terms(block) if of_members is None else of_members.mean(axis=0))
        terms = np.concatenate(parts, axis=1)
        return np.asarray(terms[columns, np.arange(len(columns))], np.float64)

    @cached_property
    def _counted_rows(self) -> int:
        """Training rows that columns were fitted to: a sample of a large extract."""
        return next((counts.rows for counts in self.bundle.encoder.counts if counts), self.bundle.encoder.rows)

    def _counts(self, k: int) -> Any:
        return self.bundle.encoder.counts[k] if k in self.bundle.encoder.layout.counted else None

    def _code(self, cells: Cells, k: int, row: int) -> int | None:
        counted = self.bundle.encoder.layout.counted
        return int(cells.encoded.values[counted.index(k), row]) if k in counted else None

    def _is_fine(self, k: int) -> bool:
        """Whether a column is a number of so many levels that a single one says nothing."""
        counts = self._counts(k)
        return counts is not None and not isinstance(counts.levels, tuple) and len(counts.levels) >= MANY_LEVELS

    def _is_null(self, cells: Cells, k: int, row: int) -> bool:
        """NULL itself: what does not read as the column's kind is a value all the same."""
        return bool(cells.encoded.absent[k, row]) and self._value(cells, k, row)[0].as_py() is None

    def _is_frequent(self, k: int, code: int | None) -> bool:
        counts = self._counts(k)
        return counts is not None and code is not None and code < len(counts.levels) and counts.counts[code] > 1

    def _value(self, cells: Cells, k: int, row: int) -> pa.Array:
        return cells.batch.column(self.bundle.feature_names[k]).slice(row, 1).take(to_arrow(np.zeros(1, np.int64)))

    def _form(self, cells: Cells, k: int, row: int) -> tuple[str, int, float]:
        """A text's form in words, the training rows of that form, and how rare it is as a power of ten."""
        model = self.bundle.encoder.texts[k]
        if model is None:
            return "", 0, 0.0
        form = find_forms(*to_bytes(to_text(self._value(cells, k, row))), model.grain).cast(pa.string())
        code = np.zeros(1, np.int32)
        model.forms.encode_texts(form, np.zeros(1, np.bool_), code)
        seen = round(float(model.forms.counts[code[0]])) if code[0] < len(model.forms.levels) else 0
        return form_in_words(form[0].as_py(), model.grain), seen, float(model.forms.surprise[code[0]])

    def _new_form(self, cells: Cells, k: int, row: int) -> str:
        """The form of a level that is new, where that is new, too: by runs, and by characters where there are few."""
        if self.bundle.features[k].family != "string":
            return ""
        text = to_text(self._value(cells, k, row))
        exact, short = (find_forms(*to_bytes(text), grain)[0].as_py().decode() for grain in ("characters", "runs"))
        known_exact, known_short = self._known_forms(k)
        is_new = short not in known_short or (len(known_exact) <= FEW_FORMS and exact not in known_exact)
        return (exact if len(exact) <= SHOWN_FORM else short) if is_new else ""

    def _known_forms(self, k: int) -> tuple[frozenset[str], frozenset[str]]:
        """The forms of a column's levels, by characters and by runs."""
        if k not in self._forms:
            levels = to_bytes(self._counts(k).arrow_levels)
            exact, short = (find_forms(*levels, grain).unique().to_pylist() for grain in ("characters", "runs"))
            self._forms[k] = frozenset(f.decode() for f in exact), frozenset(f.decode() for f in short)
        return self._forms[k]


def quote(bundle: Bundle, k: int, word: str) -> str:
    """A column's value as it stands in a condition."""
    return f"'{word}'" if bundle.features[k].family == "string" and word != "NULL" else word


def drop_spoilt(rows: Indices, reasons: Sequence[Reason]) -> Indices:
    """Numbers of the reasons to tell: none that is odd only beside a value which cannot be itself.

    Args:
        rows: [reasons] row of each, ascending; a row's largest share comes first.
        reasons: of these rows.
    """
    kept: list[int] = []
    first = 0
    for i, reason in enumerate(reasons):
        if i == 0 or rows[i] != rows[i - 1]:
            first = i
        elif reasons[first].kind in ABSURD and reasons[first].column in dict(reason.against):
            continue
        kept.append(i)
    return np.array(kept, np.intp)


def tell_swaps(
    bundle: Bundle, cells: Cells, reasons: Sequence[Reason], swaps: Mapping[int, tuple[int, int]]
) -> list[Reason]:
    """The reasons, those of columns that have changed places with what the other one holds as expected."""
    told = list(reasons)
    for i, (row, k) in enumerate(zip(cells.rows.tolist(), cells.columns.tolist(), strict=True)):
        if k not in swaps.get(row, ()):
            continue
        other = next(column for column in swaps[row] if column != k)
        name = bundle.feature_names[other]
        word = to_words(cells.batch.column(name)[row].as_py())
        kept = {field: getattr(told[i], field) for field in ("column", "share", "observed", "is_text")}
        told[i] = Reason(**kept, kind="swapped", expected=word, against=((name, quote(bundle, other, word)),))
    return told
