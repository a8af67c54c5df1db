"""Generic faults for any table: what goes wrong in pipelines, planted by the kind of a column, one cell a row.

A fault is a function of a whole column and some row numbers; it gives the wrong values and says which of them really
are wrong (zero instead of zero is none). Nothing here knows a table by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
# (table, name of the column, rows to break, random generator) -> wrong values, of the column's type
Change = Callable[[pa.Table, str, Rows, np.random.Generator], pa.Array]

_US_PER_DAY = 86_400_000_000
NEVER_SEEN = "zyx-never-seen"


@dataclass(frozen=True)
class GenericFault:
    """A fault by the kind of column that it happens to: number, boolean, category or time."""

    name: str
    kinds: tuple[str, ...]
    change: Change


@dataclass(frozen=True)
class Planted:
    """Broken copies of some rows: `rows` are their numbers in the clean table, `column` holds the wrong values."""

    column: str
    fault: str
    rows: Rows
    table: pa.Table


def plant_faults(table: pa.Table, kinds: dict[str, str], count: int, seed: int = 0) -> Iterator[Planted]:
    """Each fault in each column that it can happen to.

    Args:
        table: clean rows.
        kinds: kind of each column to break.
        count: rows to break for each column and fault; fewer where the fault leaves values as they are.
        seed: the same seed breaks the same cells.
    """
    for name, kind in kinds.items():
        for fault in FAULTS:
            if kind not in fault.kinds:
                continue
            rng = np.random.default_rng([seed, *name.encode(), *fault.name.encode()])
            rows = np.sort(rng.choice(table.num_rows, min(2 * count, table.num_rows), replace=False))
            try:
                values = fault.change(table, name, rows, rng)
            except (pa.ArrowInvalid, LookupError):
                continue  # the type cannot hold the wrong value, or there is no like column
            wrong = np.flatnonzero(_differ(values, table[name].take(pa.array(rows)).combine_chunks()))[:count]
            if len(wrong) < 5:
                continue
            broken = table.take(pa.array(rows[wrong]))
            at = broken.schema.get_field_index(name)
            broken = broken.set_column(at, broken.schema.field(at), values.take(pa.array(wrong)))
            yield Planted(name, fault.name, rows[wrong], broken)


def _differ(one: pa.Array, two: pa.Array) -> Bools:
    if isinstance(two, pa.ChunkedArray):
        two = pa.concat_arrays(two.chunks)
    same = pc.fill_null(pc.equal(one, two), False)
    both_null = pc.and_(one.is_null(), two.is_null())
    return ~np.asarray(pc.or_(same, both_null).to_numpy(zero_copy_only=False))


def _doubles(table: pa.Table, name: str, rows: Rows) -> Doubles:
    return np.asarray(table[name].take(pa.array(rows)).cast(pa.float64()).to_numpy(), np.float64)


def _number(function: Callable[[Doubles], Doubles]) -> Change:
    """Every wrong number is a function of the right one; NULL stays NULL."""

    def change(table: pa.Table, name: str, rows: Rows, rng: np.random.Generator) -> pa.Array:
        wrong = function(_doubles(table, name, rows))
        dtype = table.schema.field(name).type
        if pa.types.is_integer(dtype):
            wrong = np.round(wrong)
        return pa.array(wrong, from_pandas=True).cast(dtype)

    return change


def _null(table: pa.Table, name: str, rows: Rows, rng: np.random.Generator) -> pa.Array:
    return pa.nulls(len(rows), table.schema.field(name).type)


def _another_row(table: pa.Table, name: str, rows: Rows, rng: np.random.Generator) -> pa.Array:
    known = np.flatnonzero(table[name].is_valid().to_numpy())
    return _flat(table[name].take(pa.array(rng.choice(known, len(rows)))))


def _never_seen(table: pa.Table, name: str, rows: Rows, rng: np.random.Generator) -> pa.Array:
    return pa.array([NEVER_SEEN] * len(rows), table.schema.field(name).type)


def _flip(table: pa.Table, name: str, rows: Rows, rng: np.random.Generator) -> pa.Array:
    return pc.invert(_flat(table[name].take(pa.array(rows))))


def _flat(values: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values


def _swapped(table: pa.Table, name: str, rows: Rows, rng: np.random.Generator) -> pa.Array:
    """The value of the next column of the same type, as if the two had changed places (the other one is kept)."""
    dtype = table.schema.field(name).type
    like = [f.name for f in table.schema if f.type == dtype and f.name != name and table[f.name].null_count < len(table)]
    if not like:
        raise LookupError(name)
    after = [n for n in like if table.schema.get_field_index(n) > table.schema.get_field_index(name)]
    return _flat(table[(after or like)[0]].take(pa.array(rows)))


def _time(function: Callable[[npt.NDArray[np.datetime64]], npt.NDArray[np.datetime64]]) -> Change:
    """Every wrong moment is a function of the right one (microseconds); NULL stays NULL."""

    def change(table: pa.Table, name: str, rows: Rows, rng: np.random.Generator) -> pa.Array:
        dtype = table.schema.field(name).type
        if pa.types.is_time(dtype):
            raise LookupError(name)
        values = _flat(table[name].take(pa.array(rows)))
        zone = getattr(dtype, "tz", None)
        moments = np.asarray(values.cast(pa.timestamp("us", tz=zone)).cast(pa.timestamp("us")).to_numpy(False))
        return pa.array(function(moments.astype("datetime64[us]")), pa.timestamp("us")).cast(dtype, safe=False)

    return change


def _years_later(years: int) -> Callable[[npt.NDArray[np.datetime64]], npt.NDArray[np.datetime64]]:
    def change(moments: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
        months = moments.astype("datetime64[M]")
        rest = moments - months
        return (months + np.timedelta64(12 * years, "M")) + rest

    return change


def _day_and_month(moments: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
    """2015-03-07 becomes 2015-07-03, where the day can be a month."""
    years, months, days = (moments.astype(f"datetime64[{unit}]") for unit in "YMD")
    month, day = (months - years).astype(int), (days - months).astype(int)
    able = ~np.isnat(moments) & (day < 12)
    swapped = years.astype("datetime64[M]") + np.where(able, day, 0)
    wrong = swapped.astype("datetime64[D]") + np.where(able, month, 0) + (moments - days)
    return np.where(able, wrong, moments)


FAULTS = (
    GenericFault("x1000", ("number",), _number(lambda x: x * 1_000)),
    GenericFault("x1.6", ("number",), _number(lambda x: x * 1.6)),
    GenericFault("sign", ("number",), _number(np.negative)),
    GenericFault("zero", ("number",), _number(np.zeros_like)),
    GenericFault("-999", ("number", "clock"), _number(lambda x: np.full_like(x, -999.0))),
    GenericFault("NULL", ("number", "boolean", "category", "time", "clock"), _null),
    GenericFault("another row", ("number", "category", "time", "clock"), _another_row),
    GenericFault("swapped", ("number", "category", "time", "clock"), _swapped),
    GenericFault("never seen", ("category",), _never_seen),
    GenericFault("flipped", ("boolean",), _flip),
    GenericFault("a year late", ("time",), _time(_years_later(1))),
    GenericFault("a year early", ("time",), _time(_years_later(-1))),
    GenericFault("day and month", ("time",), _time(_day_and_month)),
)
