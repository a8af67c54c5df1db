"""Breaks planted in nights of real flights, and the incidents that are found of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import vae_model as vm
from jobs.monitoring.alert_context import build_alert_context, segment_columns
from jobs.monitoring.incidents import Incident, follow_incidents
from jobs.tables.nights import NightName

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Values = dict[str, pa.Array]
BUDGET = 0.001
WINDOW, CLOSE_AFTER = 7, 3
NIGHT = "flight_date"
# Of the rows that either of two conditions selects.
SAME = 0.8


@dataclass(frozen=True)
class Break:
    """One kind of upstream break.

    Attributes:
        columns: any of which is right to blame.
        effect: how the incident's effect begins, one of these.
        change: right values of the chosen rows -> wrong ones.
        able: rows that it can happen to; None: all.
    """

    name: str
    columns: tuple[str, ...]
    effect: tuple[str, ...]
    change: Callable[[pa.Table], Values]
    able: Callable[[pa.Table], Bools] | None = None


@dataclass(frozen=True)
class Plant:
    """A break in some of a segment's rows in consecutive nights."""

    what: Break
    segment: tuple[tuple[str, str], ...]
    start: str
    nights: int = 3
    share: float = 0.01


class ScoredYear:
    """All flights, or the rows of another table, with the scores of one model; the reasons of alert rows alone."""

    def __init__(self, flights: pa.Table, bundle: vm.Bundle, night: str = NIGHT) -> None:
        self.bundle, self.night = bundle, night
        self.flights = flights.sort_by([(night, "ascending")]).combine_chunks()
        self.nights = self.flights[night].cast(pa.string()).to_numpy().astype("U10")
        scored = vm.score(self.flights, bundle, alert_budget=BUDGET)
        self.alerts: Bools = scored["is_anomaly"].to_numpy()
        self.judged = scored.select(["anomaly_score", "top_columns"])
        self.names = sorted(set(self.nights.tolist()))

    def rows_of(self, plant: Plant) -> Rows:
        """The rows that a plant breaks: in each night its share of the segment, at least one."""
        rng = np.random.default_rng([7, *plant.start.encode(), *plant.what.name.encode()])
        first = self.names.index(plant.start)
        chosen = []
        for night in self.names[first : first + plant.nights]:
            start, stop = np.searchsorted(self.nights, night), np.searchsorted(self.nights, night, side="right")
            there = self.flights.slice(start, stop - start)
            inside = np.ones(there.num_rows, np.bool_)
            for column, value in plant.segment:
                inside &= pc.fill_null(pc.equal(there[column], value), False).to_numpy()
            able = np.flatnonzero(inside & plant.what.able(there) if plant.what.able else inside)
            count = max(1, round(plant.share * int(inside.sum())))
            chosen.append(start + np.sort(rng.choice(able, min(count, len(able)), replace=False)))
        return np.concatenate(chosen)

    def are_alike(self, one: Collection[tuple[str, str | None]], other: Collection[tuple[str, str | None]]) -> bool:
        """Whether two conditions are one: they select all but the same rows of the untouched table."""
        first, second = (self._select(segment) for segment in (one, other))
        return bool((first & second).sum() >= SAME * (first | second).sum())

    def _select(self, segment: Collection[tuple[str, str | None]]) -> Bools:
        inside = np.ones(self.flights.num_rows, np.bool_)
        for column, value in segment:
            values = self.flights[column].cast(pa.string())
            inside &= np.asarray(
                (values.is_null() if value is None else pc.fill_null(pc.equal(values, value), False)).to_numpy()
            )
        return inside

    def follow(self, plants: Sequence[Plant] = (), first: str = "", last: str = "") -> tuple[list[Incident], int]:
        """Incidents of the nights from first to last, and how many of the broken rows are alerts."""
        flights, alerts, broken, reasons = self.flights, self.alerts.copy(), np.zeros(len(self.nights), np.bool_), []
        for plant in plants:
            rows = self.rows_of(plant)
            wrong = flights.take(pa.array(rows)).combine_chunks()
            for name, values in plant.what.change(wrong).items():
                at = wrong.schema.get_field_index(name)
                wrong = wrong.set_column(
                    at, wrong.schema.field(at), values.cast(wrong.schema.field(at).type, safe=False)
                )
            scored = vm.score(wrong, self.bundle, alert_budget=BUDGET)
            alerts[rows], broken[rows] = scored["is_anomaly"].to_numpy(), True
            reasons.append(
                scored.filter(scored["is_anomaly"]).drop_columns(
                    [*(set(vm.SCORE_COLUMNS) - {"top_columns", "anomaly_score"})]
                )
            )
        known = self.names[self.names.index(first) if first else 0 : self.names.index(last) + 1 if last else None]
        ahead = self.names[max(0, self.names.index(known[0]) - WINDOW)]
        # Rows are in the order of nights.
        start, stop = np.searchsorted(self.nights, ahead), np.searchsorted(self.nights, known[-1], side="right")
        kept = start + np.flatnonzero(alerts[start:stop] & ~broken[start:stop])
        judged = self.judged.take(pa.array(kept))
        clean = flights.take(pa.array(kept))
        for name in judged.column_names:
            clean = clean.append_column(name, judged[name])
        found = pa.concat_tables([clean, *reasons])
        rows = flights.slice(start, stop - start).select([*segment_columns(self.bundle, flights.schema), self.night])
        nights = [table[self.night].cast(pa.string()).to_pylist() for table in (found, rows)]
        context = build_alert_context(self.bundle, found, rows, (nights[0], nights[1]), BUDGET)
        incidents = follow_incidents([], context, [NightName.of(name) for name in known], WINDOW, CLOSE_AFTER, "bench")
        return incidents, int(alerts[broken].sum())

    @cache  # noqa: B019  a bench has one year, and it lives as long
    def untouched(self, first: str, last: str) -> tuple[list[Incident], int]:
        """The same without a plant."""
        return self.follow((), first, last)
