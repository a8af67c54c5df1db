"""A job on real flights that arrive night by night, some of them broken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from tests.jobs.job import Job, Outcome

KINDS = {"carrier": "category", "time_hour": "time", "flight": "ignored", "tailnum": "ignored"}


class FlightsJob(Job):
    """The config of conf/flights.yaml in a folder of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings["source"] |= {"key": ["time_hour", "carrier", "flight"], "partition": "flight_date"}
        self.settings["columns"] = {"kinds": KINDS, "exclude": ["year"]}

    def arrive(self, flights: pa.Table, first: str, nights: int = 1) -> None:
        """Append the flights of some nights to the source."""
        start = date.fromisoformat(first)
        inside = pc.and_(
            pc.greater_equal(flights["flight_date"], start),
            pc.less(flights["flight_date"], start + timedelta(days=nights)),
        )
        write_deltalake(str(self.source), flights.filter(inside), partition_by=["flight_date"], mode="append")

    def work(self, *more: str) -> Outcome:
        """A night's work: score, then monitor."""
        scored = self.run("score")
        assert scored.code == 0, scored.stderr
        return self.run("monitor", *more)

    def incidents(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = DeltaTable(f"{self.target}_incidents").to_pyarrow_table().to_pylist()
        return sorted(rows, key=lambda row: (str(row["first_seen"]), str(row["column"])))


def break_rows(
    flights: pa.Table, carrier: str, first: str, nights: int, share: float, change: Callable[[pa.Table], pa.Table]
) -> pa.Table:
    """The flights with some of a carrier's rows changed, in each of the nights as many, at least one."""
    rng, start = np.random.default_rng(3), date.fromisoformat(first)
    chosen = []
    for night in range(nights):
        day = pc.equal(flights["flight_date"], start + timedelta(days=night))
        rows = np.flatnonzero(pc.and_(day, pc.equal(flights["carrier"], carrier)).to_numpy())
        chosen.append(rng.choice(rows, max(1, round(share * len(rows))), replace=False))
    broken = np.zeros(flights.num_rows, np.bool_)
    broken[np.concatenate(chosen)] = True
    mask = pa.array(broken)
    return pa.concat_tables([flights.filter(pc.invert(mask)), change(flights.filter(mask))])


def multiply(column: str, factor: float) -> Callable[[pa.Table], pa.Table]:
    """The rows with a column in another unit."""

    def change(rows: pa.Table) -> pa.Table:
        at = rows.schema.get_field_index(column)
        wrong = pc.floor(pc.multiply(rows[column].cast(pa.float64()), factor))
        return rows.set_column(at, rows.schema.field(at), wrong.cast(rows.schema.field(at).type))

    return change


def open_job(folder: Path, bundle: Path) -> FlightsJob:
    """A job without any flight yet."""
    job = FlightsJob(folder)
    job.settings["bundle"]["path"] = str(bundle)
    return job
