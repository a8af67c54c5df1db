"""Faults planted in real flights: what goes wrong in pipelines (units, clocks, joins, lost values), one kind at a time.

A fault changes one or two columns of some rows and leaves the rest of the row as it was. Most keep every single value
within its usual range: only the relation to the row's other columns is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

NUMBERS = (
    "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay", "air_time",
    "distance", "hour", "minute",
)  # fmt: skip
CATEGORIES = ("carrier", "origin", "dest")

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
# (all rows, numbers of the rows to break, random generator) -> new values of the changed columns in those rows
Change = Callable[[pa.Table, Rows, np.random.Generator], dict[str, pa.Array]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: says what is wrong.
        change: makes the wrong values.
        where: the rows that it can happen to; None means all.
        certain: False where the changed row may be a row of the data as well, so that nobody could tell.
    """

    name: str
    change: Change
    where: Callable[[pa.Table], Bools] | None = None
    certain: bool = True


def break_rows(flights: pa.Table, fault: Fault, count: int, seed: int = 0) -> tuple[Rows, pa.Table]:
    """Row numbers of `count` random rows, ascending, and these rows with the fault.

    Args:
        flights: held-out rows with at least the columns NUMBERS and CATEGORIES.
        fault: what goes wrong.
        count: how many rows; fewer where the fault can happen to fewer.
        seed: the same seed breaks the same rows of the same table, whatever other faults there are.
    """
    rng = np.random.default_rng([seed, *fault.name.encode()])
    able = np.flatnonzero(fault.where(flights)) if fault.where else np.arange(flights.num_rows)
    rows = np.sort(rng.choice(able, min(count, len(able)), replace=False))
    broken = flights.take(pa.array(rows))
    for name, values in fault.change(flights, rows, rng).items():
        at = broken.schema.get_field_index(name)
        field = broken.schema.field(at)
        broken = broken.set_column(at, field, values.cast(field.type, safe=False))
    return rows, broken


def _numbers(flights: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column as float64, NULL as NaN."""
    return np.asarray(flights[name].cast(pa.float64()).to_numpy(), np.float64)


def _integers(values: npt.NDArray[np.float64]) -> pa.Array:
    return pa.array(np.trunc(values), from_pandas=True).cast(pa.int64())


def _known(*names: str) -> Callable[[pa.Table], Bools]:
    """Rows where none of the columns is NULL."""
    return lambda flights: np.logical_and.reduce([flights[name].is_valid().to_numpy() for name in names])


def _at_least(name: str, least: float) -> Callable[[pa.Table], Bools]:
    """Rows where the column's size, whatever its sign, is at least so much."""
    return lambda flights: np.abs(np.nan_to_num(_numbers(flights, name))) >= least


def _each(name: str, function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Change:
    """Every broken value is a function of the right one."""
    return lambda flights, rows, rng: {name: _integers(function(_numbers(flights, name)[rows]))}


def _shift(name: str, least: int, most: int) -> Change:
    """Off by `least` to `most`, up or down."""

    def change(flights: pa.Table, rows: Rows, rng: np.random.Generator) -> dict[str, pa.Array]:
        shift = rng.choice([-1, 1], len(rows)) * rng.integers(least, most, len(rows))
        return {name: _integers(_numbers(flights, name)[rows] + shift)}

    return change


def _of_another(*names: str) -> Change:
    """The values of another row, one where the first column differs: a join that went wrong."""

    def change(flights: pa.Table, rows: Rows, rng: np.random.Generator) -> dict[str, pa.Array]:
        values = np.asarray(flights[names[0]].to_numpy())
        pool = np.flatnonzero(_known(*names)(flights))
        other = rng.choice(pool, len(rows))
        for _ in range(100):
            same = values[other] == values[rows]
            if not same.any():
                break
            other[same] = rng.choice(pool, same.sum())
        return {name: flights[name].take(pa.array(other)).combine_chunks() for name in names}

    return change


def _swap(one: str, two: str) -> Change:
    """Each column holds the other one's value."""

    def change(flights: pa.Table, rows: Rows, rng: np.random.Generator) -> dict[str, pa.Array]:
        taken = flights.select([one, two]).take(pa.array(rows)).combine_chunks()
        return {one: taken[two].combine_chunks(), two: taken[one].combine_chunks()}

    return change


def _constant(name: str, value: int | str | None) -> Change:
    return lambda flights, rows, rng: {name: pa.array([value] * len(rows), flights.schema.field(name).type)}


def _foreign_carrier(flights: pa.Table, rows: Rows, rng: np.random.Generator) -> dict[str, pa.Array]:
    """A carrier that flies, but never to this destination."""
    pairs = zip(flights["carrier"].to_pylist(), flights["dest"].to_pylist(), strict=True)
    flown = set(pairs)
    carriers = sorted(pc.unique(flights["carrier"]).drop_null().to_pylist())
    dests = flights["dest"].take(pa.array(rows)).to_pylist()
    chosen = [rng.choice([c for c in carriers if (c, dest) not in flown]) for dest in dests]
    return {"carrier": pa.array(chosen)}


def _later(minutes: int) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """Clock times written as HHMM, so many minutes later, around midnight."""

    def shift(clock: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        moved = np.mod(_minutes(clock) + minutes, 1_440)
        return np.floor(moved / 60) * 100 + np.mod(moved, 60)

    return shift


def _minutes(clock: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Minutes since midnight of clock times written as HHMM."""
    return np.floor(clock / 100) * 60 + np.mod(clock, 100)


FAULTS = (
    # Units and scales.
    Fault("distance in km", _each("distance", lambda x: x * 1.609)),
    Fault("air_time in seconds", _each("air_time", lambda x: x * 60), _known("air_time")),
    Fault("air_time in hours", _each("air_time", lambda x: x / 60), _known("air_time")),
    Fault("dep_delay in seconds", _each("dep_delay", lambda x: x * 60), _at_least("dep_delay", 2)),
    Fault("dep_time in minutes, not HHMM", _each("dep_time", _minutes), _at_least("dep_time", 400)),
    # Signs and clocks.
    Fault("dep_delay with the wrong sign", _each("dep_delay", np.negative), _at_least("dep_delay", 10)),
    Fault("arr_delay with the wrong sign", _each("arr_delay", np.negative), _at_least("arr_delay", 10)),
    Fault("arr_time an hour late", _each("arr_time", _later(60)), _known("arr_time")),
    Fault("sched_arr_time an hour early", _each("sched_arr_time", _later(-60))),
    Fault("hour one too large", _each("hour", lambda x: np.mod(x + 1, 24))),
    Fault("dep_delay off by 30 to 120", _shift("dep_delay", 30, 120), _known("dep_delay")),
    Fault("arr_delay off by 30 to 120", _shift("arr_delay", 30, 120), _known("arr_delay")),
    # Values of another row: wrong joins.
    Fault("air_time of another flight", _of_another("air_time"), _known("air_time")),
    Fault("distance of another flight", _of_another("distance")),
    Fault("arr_delay of another flight", _of_another("arr_delay"), _known("arr_delay")),
    Fault("both delays of another flight", _of_another("dep_delay", "arr_delay"), _known("dep_delay", "arr_delay")),
    Fault("dep_time of another flight", _of_another("dep_time"), _known("dep_time")),
    Fault("sched_dep_time of another flight", _of_another("sched_dep_time")),
    Fault("hour of another flight", _of_another("hour")),
    Fault("dest of another flight", _of_another("dest")),
    Fault("origin of another flight", _of_another("origin")),
    Fault("carrier of another flight", _of_another("carrier"), certain=False),
    # Columns in the wrong place, values that belong nowhere or are lost.
    Fault("origin and dest swapped", _swap("origin", "dest")),
    Fault("dep_time and arr_time swapped", _swap("dep_time", "arr_time"), _known("dep_time", "arr_time")),
    Fault("carrier never seen at dest", _foreign_carrier),
    Fault("dest unknown", _constant("dest", "QQQ")),
    Fault("distance 0", _constant("distance", 0)),
    Fault("distance NULL", _constant("distance", None)),
    Fault("carrier NULL", _constant("carrier", None)),
    Fault("arr_time NULL, arrival known", _constant("arr_time", None), _known("arr_time", "arr_delay")),
)
