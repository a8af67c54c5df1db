"""An alarm is told once, then it is still so; what has grown, or is new, is an alarm again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.monitoring.drift import Drift
from jobs.monitoring.settling import settle
from tests.jobs.job import Job

THEN = datetime(2024, 5, 1, 5, tzinfo=UTC)


def make_drift(**sizes: float) -> Drift:
    kinds = tuple(sizes.items())
    return Drift("price", 100, alarms=tuple(f"price: {kind} {size}" for kind, size in kinds), kinds=kinds)


@pytest.mark.parametrize(
    ("before", "now", "alarms", "still"),
    [
        ({}, {"psi": 0.5}, 1, 0),
        ({"psi": 0.5}, {"psi": 0.5}, 0, 1),
        ({"psi": 0.5}, {"psi": 0.74}, 0, 1),
        ({"psi": 0.5}, {"psi": 0.8}, 1, 0),
        ({"psi": 0.5}, {"psi": 0.4, "NULL": 0.3}, 1, 1),
        ({"psi": 0.5}, {}, 0, 0),
    ],
)
def test_what_was_told_is_still_so(before, now, alarms, still):
    (found,) = settle([make_drift(**now)], {"price": (before, THEN)} if before else {})
    assert (len(found.alarms), len(found.still_so)) == (alarms, still)
    assert found.since == (THEN if still else None)


def test_a_slow_rise_is_told_in_the_end():
    sizes, told = {"psi": 0.5}, []
    for size in (0.6, 0.7, 0.8, 0.9):
        (found,) = settle([make_drift(psi=size)], {"price": (sizes, THEN)})
        told.append(len(found.alarms))
        sizes = dict(found.kinds)
    assert told == [0, 0, 1, 0]


def make_night(number: int, factor: float = 1.0, rows: int = 150) -> pa.Table:
    rng = np.random.default_rng(number)
    day = date(2024, 3, 1) + timedelta(number)
    return pa.table(
        {
            "order_id": [f"{number:03}-{i:05}" for i in range(rows)],
            "day": pa.array([day] * rows, pa.date32()),
            "month": pa.array([day.month] * rows, pa.int32()),
            "written": [f"{day:%d.%m.%Y}"] * rows,
            "price": np.round(rng.gamma(4.0, 5.0, rows) * factor, 2),
            "quantity": rng.integers(1, 9, rows),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settling")
    write_deltalake(str(folder / "source"), pa.concat_tables([make_night(number) for number in range(50)]))
    job = make_job(folder)
    for command in ("extract", "train", "score"):
        assert job.run(command).code == 0
    return folder


def make_job(folder: Path) -> Job:
    job = Job(folder)
    job.settings["model"], job.settings["train"] = {"members": 1}, {"epochs": 2}
    return job


def work(job: Job, night: pa.Table) -> tuple[int, list[str], list[str]]:
    write_deltalake(str(job.source), night, mode="append")
    assert job.run("score").code == 0
    events = job.run("monitor")
    said = {kind: [e["message"] for e in events.events if e["event"] == kind] for kind in ("alarm", "still so")}
    return events.code, said["alarm"], said["still so"]


def test_a_level_shift_wakes_somebody_once(trained):
    job = make_job(trained)
    code, alarms, still = work(job, make_night(50))
    assert (code, alarms, still) == (0, [], []), alarms
    code, alarms, still = work(job, make_night(51, factor=2.5))
    assert code == 5 and any(alarm.startswith("price: expected values distributed") for alarm in alarms)
    for number in (52, 53):
        code, alarms, still = work(job, make_night(number, factor=2.5))
        assert not any(alarm.startswith("price: expected values") for alarm in alarms)
        assert any("price: expected values distributed" in line for line in still)
    code, alarms, still = work(job, make_night(54))
    assert not any("price" in line for line in (*alarms, *still))
    code, alarms, _ = work(job, make_night(55, factor=2.5))
    assert code == 5 and any(alarm.startswith("price: expected values distributed") for alarm in alarms)
    # A month that training has not seen, and a date as text, are no news; nor is a night of few rows.
    code, alarms, _ = work(job, make_night(65, rows=34))
    assert not [alarm for alarm in alarms if not alarm.startswith(("no row of", "2024-05-05 has 34"))], alarms
