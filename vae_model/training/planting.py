"""Generic faults for any table: what goes wrong in pipelines, planted by the kind of a column, one cell a row.

A fault is a function of a whole column and some row numbers; it gives the wrong values and says which of them really
are wrong (zero instead of zero is none). Nothing here knows a table by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_model.features.kinds import KINDS
from vae_model.features.parse import is_text
from vae_model.features.scales import Doubles, to_array

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Moments = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Cells:
    """The cells to break: some rows of one column of a table."""

    table: pa.Table
    column: str
    rows: Rows
    rng: np.random.Generator

    @property
    def dtype(self) -> pa.DataType:
        return self.table.schema.field(self.column).type

    @property
    def values(self) -> pa.Array:
        """The right values."""
        return self.take(self.column, self.rows)

    def take(self, column: str, rows: Rows) -> pa.Array:
        return to_array(self.table[column].take(pa.array(rows)))


# Wrong values, of the column's type.
Change = Callable[[Cells], pa.Array]

NEVER_SEEN = "zyx-never-seen"


@dataclass(frozen=True)
class GenericFault:
    """A fault by its name; which kinds of column it can happen to, they say themselves."""

    name: str
    change: Change


@dataclass(frozen=True)
class Planted:
    """Broken copies of some rows: `rows` are their numbers in the clean table, `column` holds the wrong values."""

    column: str
    fault: str
    rows: Rows
    table: pa.Table


def plant_faults(table: pa.Table, kinds: Mapping[str, str], count: int, seed: int = 0) -> Iterator[Planted]:
    """Each fault in each column that it can happen to.

    Args:
        table: clean rows.
        kinds: kind of each column to break.
        count: rows to break for each column and fault; fewer where the fault leaves values as they are.
        seed: the same seed breaks the same cells.
    """
    for name, kind in kinds.items():
        for fault in FAULTS:
            as_text = kind not in ("category", "text") and is_text(table[name])
            if fault.name not in (KINDS["text"] if as_text else KINDS[kind]).faults:
                continue
            rng = np.random.default_rng([seed, *name.encode(), *fault.name.encode()])
            rows = np.sort(rng.choice(table.num_rows, min(2 * count, table.num_rows), replace=False))
            cells = Cells(table, name, rows, rng)
            try:
                values = fault.change(cells)
            except (pa.ArrowException, LookupError):
                continue  # the type cannot hold the wrong value, or there is no like column
            wrong = np.flatnonzero(_differ(values, cells.values))[:count]
            if len(wrong) < 5:
                continue
            broken = table.take(pa.array(rows[wrong]))
            at = broken.schema.get_field_index(name)
            broken = broken.set_column(at, broken.schema.field(at), values.take(pa.array(wrong)))
            yield Planted(name, fault.name, rows[wrong], broken)


def _differ(one: pa.Array, two: pa.Array) -> Bools:
    same = pc.or_(pc.fill_null(pc.equal(one, two), False), pc.and_(one.is_null(), two.is_null()))
    return ~np.asarray(same.to_numpy(zero_copy_only=False))


def _number(function: Callable[[Doubles], Doubles]) -> Change:
    """Every wrong number is a function of the right one; NULL stays NULL."""

    def change(cells: Cells) -> pa.Array:
        is_duration = pa.types.is_duration(cells.dtype)
        right = cells.values.cast(pa.int64()) if is_duration else cells.values
        with np.errstate(over="ignore"):  # a thousand times the largest number is infinite
            wrong = function(np.asarray(right.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64))
        if is_duration or pa.types.is_integer(cells.dtype):
            wrong = np.round(wrong)
        return pa.array(wrong, from_pandas=True).cast(right.type).cast(cells.dtype)

    return change


def _null(cells: Cells) -> pa.Array:
    return pa.nulls(len(cells.rows), cells.dtype)


def _another_row(cells: Cells) -> pa.Array:
    known = np.flatnonzero(cells.table[cells.column].is_valid().to_numpy())
    if not len(known):
        raise LookupError(cells.column)
    return cells.take(cells.column, cells.rng.choice(known, len(cells.rows)))


def _never_seen(cells: Cells) -> pa.Array:
    return pa.array([NEVER_SEEN] * len(cells.rows)).cast(cells.dtype)


def _text(function: Callable[[str], str]) -> Change:
    """Every wrong text is a function of the right one; NULL stays NULL."""

    def change(cells: Cells) -> pa.Array:
        if not (pa.types.is_string(cells.dtype) or pa.types.is_large_string(cells.dtype)):
            raise LookupError(cells.column)
        return pa.array([None if v is None else function(v) for v in cells.values.to_pylist()], cells.dtype)

    return change


def _cut_off(text: str) -> str:
    return text[: max(1, len(text) // 2)]


def _reformat(text: str) -> str:
    """Other punctuation, where there is some; else digits become letters, or letters change their case."""
    marks = {"-": "/", "/": "-", ":": ".", ".": ",", " ": "_", "_": "-", ",": ";"}
    changed = "".join(marks.get(c, c) for c in text)
    if changed != text:
        return changed
    digits = text.translate(str.maketrans("0123456789", "OIZEASGTBP"))
    return digits if digits != text else text.swapcase()


def _misspell(text: str) -> str:
    middle = len(text) // 2
    return text[:middle] + ("x" if text[middle : middle + 1] != "x" else "q") + text[middle + 1 :]


def _flip(cells: Cells) -> pa.Array:
    return pc.invert(cells.values)


def _swapped(cells: Cells) -> pa.Array:
    """The value of the next column of the same type, as if the two had changed places (the other one is kept)."""
    names = cells.table.column_names
    at = names.index(cells.column)
    for name in names[at + 1 :] + names[:at]:
        known = cells.table[name].null_count < cells.table.num_rows
        if known and cells.table.schema.field(name).type == cells.dtype:
            return cells.take(name, cells.rows)
    raise LookupError(cells.column)


def _time(function: Callable[[Moments], Moments]) -> Change:
    """Every wrong moment is a function of the right one (microseconds); NULL stays NULL."""

    def change(cells: Cells) -> pa.Array:
        if pa.types.is_time(cells.dtype):
            raise LookupError(cells.column)
        zone = getattr(cells.dtype, "tz", None)
        plain = cells.values.cast(pa.timestamp("us", tz=zone)).cast(pa.int64())
        moments = np.asarray(plain.to_numpy(zero_copy_only=False))
        if plain.null_count:
            moments = np.asarray(pc.fill_null(plain, np.iinfo(np.int64).min).to_numpy())
        wrong = function(moments.astype("datetime64[us]"))
        return pa.array(wrong, pa.timestamp("us")).cast(pa.timestamp("us", tz=zone)).cast(cells.dtype, safe=False)

    return change


def _years_later(years: int) -> Callable[[Moments], Moments]:
    def change(moments: Moments) -> Moments:
        months = moments.astype("datetime64[M]")
        rest = moments - months
        later: Moments = (months + np.timedelta64(12 * years, "M")) + rest
        return later

    return change


def _day_and_month(moments: Moments) -> Moments:
    """2015-03-07 becomes 2015-07-03, where the day can be a month."""
    years, months, days = (moments.astype(f"datetime64[{unit}]") for unit in "YMD")
    month, day = (months - years).astype(int), (days - months).astype(int)
    able = ~np.isnat(moments) & (day < 12)
    swapped = years.astype("datetime64[M]") + np.where(able, day, 0)
    wrong = swapped.astype("datetime64[D]") + np.where(able, month, 0) + (moments - days)
    swapped_moments: Moments = np.where(able, wrong, moments)
    return swapped_moments


FAULTS = (
    GenericFault("x 1000", _number(lambda x: x * 1_000)),
    GenericFault("x 1.6", _number(lambda x: x * 1.6)),
    GenericFault("wrong sign", _number(np.negative)),
    GenericFault("zero", _number(np.zeros_like)),
    GenericFault("-999", _number(lambda x: np.full_like(x, -999.0))),
    GenericFault("NULL", _null),
    GenericFault("of another row", _another_row),
    GenericFault("of another column", _swapped),
    GenericFault("never seen", _never_seen),
    GenericFault("cut off", _text(_cut_off)),
    GenericFault("another form", _text(_reformat)),
    GenericFault("misspelt", _text(_misspell)),
    GenericFault("flipped", _flip),
    GenericFault("a year late", _time(_years_later(1))),
    GenericFault("a year early", _time(_years_later(-1))),
    GenericFault("day and month", _time(_day_and_month)),
)
