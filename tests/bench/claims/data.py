"""The rows that claims are measured on: synthetic tables whose truth is known, and real flights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.onboarding.flights import load_flights

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FACTORS, COLUMNS = 3, 12
FLIGHT_COLUMNS = (
    "sched_dep_time", "dep_delay", "sched_arr_time", "arr_delay", "air_time", "distance", "carrier", "origin", "dest",
)  # fmt: skip
FLIGHT_NUMBERS = ("dep_delay", "arr_delay", "air_time", "distance")


def to_table(values: Doubles) -> pa.Table:
    """Columns c0, c1, ... of a matrix [n, d]."""
    return pa.table({f"c{i}": column for i, column in enumerate(values.T)})


def to_matrix(table: pa.Table, names: Sequence[str] | None = None) -> Doubles:
    """The columns, or some of them, as a matrix [n, d]; NULL is NaN."""
    columns = [table[name].cast(pa.float64()).to_numpy() for name in names or table.column_names]
    matrix: Doubles = np.column_stack(columns).astype(np.float64)
    return matrix


def lift(factors: Doubles, columns: int = COLUMNS) -> Doubles:
    """Factors [n, f] -> [n, columns]: a curved surface, the same in every run."""
    world = np.random.default_rng(2024)
    plain, bent = world.normal(size=(2, factors.shape[1], columns))
    surface: Doubles = np.tanh(factors @ plain) + 0.5 * np.sin(factors @ bent)
    return surface


def draw_related(rows: int, rng: np.random.Generator, noise: float = 0.1) -> tuple[Doubles, Doubles, Doubles]:
    """Twelve columns that three hidden factors decide, up to noise: (rows, rows without the noise, factors)."""
    factors = rng.normal(size=(rows, FACTORS))
    clean = lift(factors)
    return clean + noise * rng.normal(size=clean.shape), clean, factors


def draw_disc(rows: int, rng: np.random.Generator) -> tuple[Doubles, Bools]:
    """Ten columns of one cluster, an evenly filled disc of two factors, and which rows lie in a ring inside it."""
    radius, angle = np.sqrt(rng.uniform(size=rows)), rng.uniform(0, 2 * np.pi, rows)
    surface = lift(2.0 * np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), columns=10)
    return surface + 0.05 * rng.normal(size=surface.shape), (radius > 0.45) & (radius < 0.65)


def draw_clusters(rows: int, rng: np.random.Generator) -> Doubles:
    """Eight columns: five tight clusters on a curved surface of two factors."""
    centers = 1.6 * np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    surface = lift(centers[rng.integers(0, 5, rows)] + 0.15 * rng.normal(size=(rows, 2)), columns=8)
    noisy: Doubles = surface + 0.03 * rng.normal(size=surface.shape)
    return noisy


def draw_toy(rows: int, rng: np.random.Generator) -> pa.Table:
    """A known distribution: x has two humps, y is bent along x, z leans on y, the group follows the sign of x."""
    x = rng.choice([-1.5, 1.5], rows) + 0.5 * rng.normal(size=rows)
    y = 0.5 * x * x + 0.3 * rng.normal(size=rows)
    z = 0.7 * y + 0.5 * rng.normal(size=rows)
    right = (x > 0) ^ (rng.uniform(size=rows) < 0.05)
    return pa.table({"x": x, "y": y, "z": z, "group": np.where(right, "right", "left")})


def toy_matrix(table: pa.Table) -> Doubles:
    """[n, 4]: the toy's numbers, and its group as 0 or 1, in units of the true distribution."""
    right = pc.equal(table["group"], "right").to_numpy().astype(np.float64)
    matrix: Doubles = np.column_stack([to_matrix(table, ["x", "y", "z"]), right]) / np.array([1.58, 1.19, 0.97, 0.5])
    return matrix


@cache
def load_complete_flights() -> pa.Table:
    """The real flights that took off and landed, with columns that depend on each other."""
    flights = load_flights().select(list(FLIGHT_COLUMNS))
    return flights.filter(pc.is_valid(flights["arr_delay"]))


def draw_flights(rows: int, rng: np.random.Generator) -> pa.Table:
    """Some flights of the year."""
    flights = load_complete_flights()
    return flights.take(pa.array(rng.choice(flights.num_rows, rows, replace=False)))


def replace_columns(table: pa.Table, names: Sequence[str], values: Doubles) -> pa.Table:
    """The table with new numbers in some columns, of the columns' own types; NaN becomes NULL."""
    for name, column in zip(names, values.T, strict=True):
        index, dtype = table.column_names.index(name), table[name].type
        rounded = np.round(column) if pa.types.is_integer(dtype) else column
        table = table.set_column(index, name, pa.array(rounded, pa.float64(), from_pandas=True).cast(dtype))
    return table
