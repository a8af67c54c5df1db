"""How many planted breaks are found as one incident, right in column, segment, dates and effect, and how many incidents
there are without any: `make bench-monitor` prints both for real flights."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.monitoring.incidents import Incident
from jobs.tables.nights import NightName
from tests.bench.faults import FAULTS
from tests.bench.nights import Break, Plant, ScoredYear, Values

STARTS = ("2013-03-19", "2013-06-03", "2013-08-21", "2013-10-15")
SEGMENTS = (
    (("carrier", "UA"),), (("carrier", "B6"),), (("carrier", "EV"),), (("carrier", "DL"),), (("carrier", "AA"),),
    (("carrier", "MQ"),), (("carrier", "US"),), (("carrier", "WN"),), (("origin", "EWR"),), (("origin", "LGA"),),
    (("dest", "ATL"),), (("carrier", "UA"), ("origin", "LGA")),
)  # fmt: skip
CHECKS = ("one", "column", "segment", "dates", "effect", "closed")


def _fault(name: str) -> Callable[[pa.Table], Values]:
    fault = next(fault for fault in FAULTS if fault.name == name)
    return lambda wrong: fault.change(wrong, np.arange(wrong.num_rows), np.random.default_rng(0))


def _all(column: str, value: str | int | None) -> Callable[[pa.Table], Values]:
    return lambda wrong: {column: pa.array([value] * wrong.num_rows, wrong.schema.field(column).type)}


def _plus(column: str, number: int) -> Callable[[pa.Table], Values]:
    return lambda wrong: {column: pc.add(wrong[column], number)}


def _known(*columns: str) -> Callable[[pa.Table], npt.NDArray[np.bool_]]:
    return lambda flights: np.logical_and.reduce([flights[column].is_valid().to_numpy() for column in columns])


def _late(column: str, least: int) -> Callable[[pa.Table], npt.NDArray[np.bool_]]:
    return lambda flights: np.abs(flights[column].cast(pa.float64()).fill_null(0).to_numpy()) >= least


BREAKS = (
    Break("distance in km", ("distance",), ("x1.6", "x1.5"), _fault("distance in km")),
    Break("air_time in seconds", ("air_time",), ("x5", "x6"), _fault("air_time in seconds"), _known("air_time")),
    Break("dep_delay in seconds", ("dep_delay",), ("x5", "x6", "about x"), _fault("dep_delay in seconds"),
          _late("dep_delay", 5)),
    Break("arr_delay, wrong sign", ("arr_delay",), ("with the wrong",), _fault("arr_delay with the wrong sign"),
          _late("arr_delay", 10)),
    Break("dep_delay + 300", ("dep_delay",), ("+2", "+3"), _plus("dep_delay", 300), _known("dep_delay")),
    Break("arr_time + 1 h", ("arr_time",), ("+",), _fault("arr_time an hour late"), _known("arr_time")),
    Break("sched_arr_time - 1 h", ("sched_arr_time",), ("-",), _fault("sched_arr_time an hour early")),
    Break("hour + 1", ("hour", "sched_dep_time", "time_hour"), ("+", "-", "x1"), _fault("hour one too large")),
    Break("distance NULL", ("distance",), ("NULL",), _all("distance", None)),
    Break("arr_time NULL", ("arr_time",), ("NULL",), _all("arr_time", None), _known("arr_time", "arr_delay")),
    Break("carrier NULL", ("carrier",), ("NULL",), _all("carrier", None)),
    Break("distance 0", ("distance",), ("always 0",), _all("distance", 0)),
    Break("dest unknown", ("dest",), ("= 'QQQ' (never",), _all("dest", "QQQ")),
    Break("carrier always HA", ("carrier",), ("= 'HA'",), _all("carrier", "HA")),
    Break("origin and dest swapped", ("origin", "dest"), ("swapped with",), _fault("origin and dest swapped")),
    Break("dep_time, arr_time swapped", ("dep_time", "arr_time"), ("swapped with",),
          _fault("dep_time and arr_time swapped"), _known("dep_time", "arr_time")),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of a plant: which checks hold, and the rows broken and alerted."""

    plant: Plant
    passed: frozenset[str]
    broken: int
    alerts: int
    incidents: tuple[Incident, ...]


def try_plant(year: ScoredYear, plant: Plant) -> Outcome:
    """Plant, follow the nights from five before to six after, and compare with the same nights untouched."""
    first = year.names.index(plant.start)
    span = year.names[max(0, first - 5)], year.names[min(first + plant.nights + 6, len(year.names) - 1)]
    before, _ = year.untouched(*span)
    found, alerts = year.follow((plant,), *span)
    known = {incident.id for incident in before}
    new = tuple(i for i in found if i.id not in known and i.last_seen >= NightName.of(plant.start))
    passed = {"one"} if len(new) == 1 else set()
    last = year.names[first + plant.nights - 1]
    broken = len(year.rows_of(plant))
    for incident in new[:1]:
        dates = (incident.first_seen.text, incident.last_seen.text) == (plant.start, last)
        passed |= {"column"} if incident.column in plant.what.columns else set()
        # A condition has to select the broken rows: what was broken cannot name them.
        can_be_named = {(column, value) for column, value in plant.segment if column not in plant.what.columns}
        passed |= {"segment"} if year.are_alike(incident.conditions, can_be_named) else set()
        passed |= {"dates"} if dates else set()
        passed |= {"effect"} if incident.effect.startswith(plant.what.effect) else set()
        passed |= {"closed"} if incident.status == "closed" else set()
    return Outcome(plant, frozenset(passed), broken, alerts, new)


def try_all(year: ScoredYear, share: float) -> Iterator[Outcome]:
    """Every break in every segment from every start."""
    for what, segment, start in itertools.product(BREAKS, SEGMENTS, STARTS):
        yield try_plant(year, Plant(what, segment, start, share=share))


def summarise(outcomes: list[Outcome]) -> Iterator[str]:
    """Lines of a table, by break and by segment."""
    head = " ".join(f"{name:>8}" for name in ("plants", "alerts", "any", *CHECKS, "all"))
    for title, key in (("break", lambda o: o.plant.what.name), ("segment", lambda o: str(dict(o.plant.segment)))):
        yield f"{title:38} {head}"
        for name in dict.fromkeys(map(key, outcomes)):
            yield _line(name, [o for o in outcomes if key(o) == name])
    yield _line("all", outcomes)


def _line(name: str, outcomes: list[Outcome]) -> str:
    n = len(outcomes)
    held = Counter(check for o in outcomes for check in o.passed)
    alerts = sum(o.alerts for o in outcomes) / sum(o.broken for o in outcomes)
    shares = [alerts, sum(bool(o.incidents) for o in outcomes) / n, *(held[check] / n for check in CHECKS)]
    shares.append(sum(o.passed == set(CHECKS) for o in outcomes) / n)
    return f"{name:38} {n:>8} " + " ".join(f"{share:>8.0%}" for share in shares)
