"""What is expected in a column given the row's others: a value that training has, where its values are counted, else
one in the column's precision. It can be put into the row, and it can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.bundle.bundle import Bundle
from vae_model.features.encoding import Encoded
from vae_model.features.scales import Bools, Codes, Doubles
from vae_model.features.words import to_words
from vae_model.network.likelihood import Outputs

# Share of the training rows with what tells most for which an expected value holds.
SURE = 0.5
# Levels that are tried where the likeliest one does not help.
ALTERNATIVES = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Expected:
    """What is expected in one column of n rows.

    Attributes:
        inputs: the network's: [n] codes of a category, else [parts, n].
        lost: [n] no value is expected.
        codes: [n] of the counted value, the number of levels where it is none of them; None in a column without counts.
        numbers: [n] the number, or the seconds of the moment; None where neither is meant.
        spread: [2, n] numbers between which the network expects a quantity, 19 times in 20; None for other kinds.
    """

    inputs: npt.NDArray[Any]
    lost: Bools
    codes: Codes | None = None
    numbers: Doubles | None = None
    spread: Doubles | None = None

    def replace_rows(self, rows: npt.NDArray[np.intp], other: Expected, taken: npt.NDArray[np.intp]) -> None:
        """Put rows of another one in the place of some, in memory."""
        self.inputs[..., rows] = other.inputs[..., taken]
        self.lost[rows] = other.lost[taken]
        for mine, theirs in ((self.codes, other.codes), (self.numbers, other.numbers)):
            if mine is not None and theirs is not None:
                mine[rows] = theirs[taken]

    def is_there(self, inputs: npt.NDArray[Any], absent: Bools) -> Bools:
        """[n] whether rows hold what is expected already, as the network reads it."""
        same = (inputs == self.inputs).reshape(-1, len(absent)).all(axis=0)
        there: Bools = (self.lost & absent) | (~self.lost & ~absent & same)
        return there

    def to_words(self, bundle: Bundle, k: int, rows: npt.NDArray[np.intp]) -> list[str]:
        """Some rows' values as short texts."""
        encoder = bundle.encoder.encoders[k]
        counts = bundle.encoder.counts[k] if bundle.encoder.counts else None
        decoded = encoder.decode(self.inputs[..., rows]) if self.numbers is None else self.numbers[rows]
        words = []
        for row, value in zip(rows, decoded, strict=True):
            code = None if self.codes is None else int(self.codes[row])
            if self.lost[row]:
                words.append(to_words(None))
            elif counts is not None and code is not None and code < len(counts.levels) and encoder.kind != "text":
                words.append(name_level(bundle, k, code))
            else:
                words.append(to_words(value) if self.numbers is None else name_number(bundle, k, float(value)))
        return words

    def name_spread(self, bundle: Bundle, k: int, row: int, observed: float) -> tuple[str, str] | None:
        """The ends of what a quantity is expected to be, where they say more than the value alone and leave out what
        was observed."""
        if self.spread is None or self.numbers is None or self.lost[row]:
            return None
        low, high = (float(end) for end in self.spread[:, row])
        if not low <= self.numbers[row] <= high or low <= observed <= high:
            return None
        words = [name_number(bundle, k, end).removesuffix(" 00:00:00") for end in (low, high)]
        return (words[0], words[1]) if words[0] != words[1] else None


def name_level(bundle: Bundle, k: int, code: int) -> str:
    """A counted value of a column in words; NULL for the code of none."""
    counts = bundle.encoder.counts[k]
    if counts is None or code > len(counts.levels):
        return to_words(None)
    level = counts.levels[code]
    return name_number(bundle, k, float(level)) if not isinstance(level, str) else to_words(level)


def name_number(bundle: Bundle, k: int, value: float) -> str:
    """A number, or the seconds of a moment, as a value of a column's type, in words."""
    family = bundle.features[k].family
    if family == "string" and bundle.encoder.encoders[k].kind == "time":
        family = "timestamp"
    return to_words(_as_family(value, family))


def concat_expected(parts: Sequence[Expected]) -> Expected:
    """The rows of all parts, in order; at least one part."""

    def joined(name: str) -> Any:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else np.concatenate(found, axis=-1)

    return Expected(joined("inputs"), joined("lost"), joined("codes"), joined("numbers"), joined("spread"))


def expect_column(bundle: Bundle, rows: Encoded, outputs: Sequence[Outputs], k: int) -> Expected:
    """What is expected in column k of some rows: by the network (the mean of its members), or by counting where that is
    surer.

    Args:
        bundle: the model.
        rows: as they are; what column k holds has no say.
        outputs: each member's output distributions of these rows.
        k: number of the column.
    """
    layout = bundle.encoder.layout
    lost = np.zeros(rows.rows, np.bool_)
    if k in layout.nullable:
        lost = np.mean([o.nulls[layout.nullable.index(k)] for o in outputs], axis=0) > 0
    found = replace(_expect_by_network(bundle, outputs, k), lost=lost)
    by_counts = _expect_by_counts(bundle, rows, k)
    return found if by_counts is None else _prefer(bundle, found, k, *by_counts)


def list_alternatives(bundle: Bundle, rows: Encoded, outputs: Sequence[Outputs], k: int) -> list[Expected]:
    """What else may belong into column k: what the network alone says, what counting alone says, the next likely
    levels, a value where none is expected."""
    layout = bundle.encoder.layout
    first = _expect_by_network(bundle, outputs, k)
    found = [first]
    if (by_counts := _expect_by_counts(bundle, rows, k)) is not None:
        known = by_counts[0] < bundle.encoder.value_sizes[layout.counted.index(k)] - 2
        found.append(_prefer(bundle, first, k, by_counts[0], known))
    if k in layout.categories:
        counts = bundle.encoder.counts[k] if k in layout.counted else None
        logits = np.mean([o.logits[layout.categories.index(k)] for o in outputs], axis=0)[:-1]
        for likely in np.argsort(-logits, axis=0, kind="stable")[1:ALTERNATIVES].astype(np.int32):
            named = bundle.encoder.encoders[k].nearest_values(counts, likely) if counts else None
            found.append(Expected(likely, _none(likely), named))
    return found


def _expect_by_network(bundle: Bundle, outputs: Sequence[Outputs], k: int) -> Expected:
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    counts = bundle.encoder.counts[k] if k in layout.counted else None
    if k in layout.categories:
        logits = np.mean([o.logits[layout.categories.index(k)] for o in outputs], axis=0)
        # That it is one of the many that are not kept names no value.
        known = logits[:-1] if len(logits) > 1 else logits
        chosen = np.argmax(known, axis=0).astype(np.int32)
        return Expected(chosen, _none(chosen), encoder.nearest_values(counts, chosen) if counts else None)
    if k in layout.booleans:
        signs = np.sign(np.mean([o.booleans[[layout.booleans.index(k)]] for o in outputs], axis=0))
        return Expected(signs, _none(signs), encoder.nearest_values(counts, signs) if counts else None)
    parts = np.flatnonzero(np.asarray(layout.continuous) == k)
    mean, log_sigma = (np.mean([getattr(o, name)[parts] for o in outputs], axis=0) for name in ("mean", "log_sigma"))
    numbers = encoder.expect(mean, log_sigma)
    if numbers is None:
        return Expected(mean, _none(mean))
    spread = encoder.spread(mean, log_sigma)
    if counts is not None and len(bundle.encoder.numbers_of_values(k)):
        codes = _find_nearest(bundle.encoder.numbers_of_values(k), numbers)
        return Expected(
            bundle.encoder.inputs_of_values(k)[:, codes],
            _none(mean),
            codes,
            bundle.encoder.numbers_of_values(k)[codes],
            spread,
        )
    inputs = np.zeros_like(mean)
    encoder.encode(encoder.from_numbers(numbers), inputs)
    unnamed = None if counts is None else counts.least_surprising(len(numbers))
    return Expected(inputs, _none(mean), unnamed, numbers, spread)


def _none(inputs: npt.NDArray[Any]) -> Bools:
    return np.zeros(inputs.shape[-1], np.bool_)


def _find_nearest(levels: Doubles, numbers: Doubles) -> Codes:
    """The code of the level nearest to each number; levels that are none (NaN) are never it."""
    order = np.argsort(levels, kind="stable")[: np.count_nonzero(~np.isnan(levels))]
    if len(order) < 2:
        return np.full(len(numbers), order[0] if len(order) else 0, np.int32)
    ordered = levels[order]
    upper = np.searchsorted(ordered, numbers).clip(1, len(ordered) - 1)
    nearer = np.where(numbers - ordered[upper - 1] <= ordered[upper] - numbers, upper - 1, upper)
    codes: Codes = order[nearer].astype(np.int32)
    return codes


def _prefer(bundle: Bundle, found: Expected, k: int, values: Codes, chosen: Bools) -> Expected:
    """With counted values in the chosen rows."""
    if found.codes is None:
        return found
    levels = len(bundle.encoder.counts[k].levels) if bundle.encoder.counts[k] else 0  # type: ignore[union-attr]
    told = np.flatnonzero(chosen & (values < levels))
    inputs, codes = found.inputs.copy(), found.codes.copy()
    inputs[..., told] = bundle.encoder.inputs_of_values(k)[..., values[told]]
    codes[chosen] = values[chosen]
    numbers = None
    if found.numbers is not None:
        numbers = found.numbers.copy()
        numbers[told] = bundle.encoder.numbers_of_values(k)[values[told]]
    return Expected(inputs, np.where(chosen, values == levels + 1, found.lost), codes, numbers, found.spread)


def _expect_by_counts(bundle: Bundle, rows: Encoded, k: int) -> tuple[Codes, Bools] | None:
    """The value codes that go with the value that tells most about column k, and the rows in which counting is surer
    than the network: it holds for most training rows, or the network does not know the column's levels."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    counts = bundle.encoder.counts[k] if k in layout.counted else None
    if counts is None or bundle.views is None:
        return None
    target = layout.counted.index(k)
    given = next((given for given in bundle.views.counted.given if given.target == target), None)
    if given is None:
        return None
    codes, share = given.expect(rows.values)
    chosen: Bools = (share >= SURE) | (not encoder.knows_all(counts))
    return codes, chosen & (codes != len(counts.levels))


def _as_family(value: float, family: str) -> object:
    if family == "boolean":
        return bool(value)
    if family == "duration":
        return timedelta(microseconds=round(value))
    if family not in ("date", "timestamp", "time of day"):
        return value
    moment = (_EPOCH + timedelta(seconds=round(value))).replace(tzinfo=None)
    return {"date": moment.date(), "timestamp": moment, "time of day": moment.time()}[family]
