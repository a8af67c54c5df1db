"""What the monitor promises, on real flights: quiet nights are quiet, and a break of one carrier's rows that lasts for
three nights is one incident with the right column, segment and dates, which closes after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

import vae_model as vm
from jobs.onboarding.flights import load_flights
from tests.jobs.flights_job import KINDS, break_rows, multiply, open_job
from tests.jobs.job import Job, invoke
from vae_model.training.profiling import measure_nights

TRAIN_ROWS = 60_000


@pytest.fixture(scope="session")
def flights() -> pa.Table:
    return load_flights()


@pytest.fixture(scope="session")
def flights_bundle(flights: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of a sample of the year."""
    sample = flights.take(pa.array(np.random.default_rng(0).permutation(flights.num_rows)[:TRAIN_ROWS]))
    options = vm.ColumnOptions(ignore=("flight_date",), kinds=KINDS, exclude=("year",))
    bundle = vm.fit(sample, options)
    return measure_nights(bundle, sample.to_batches(), "flight_date").save(
        tmp_path_factory.mktemp("flights") / "bundle"
    )


def test_a_break_of_three_nights_is_one_incident_from_its_first_night_to_its_last(flights, flights_bundle, tmp_path):
    job = open_job(tmp_path, flights_bundle)
    broken = break_rows(flights, "UA", "2013-06-03", 3, 0.01, multiply("distance", 1.609))
    job.arrive(broken, "2013-05-27", 7)
    assert job.work().code == 0 and job.incidents() == []

    ids, alarmed = [], []
    for day in range(3, 10):
        job.arrive(broken, f"2013-06-{day:02}")
        outcome = job.work()
        assert outcome.code in (0, 5), outcome.stderr
        if outcome.code == 5:
            alarmed.append(" ".join(event["message"] for event in outcome.events if event["event"] == "incident"))
        ids.append([incident["id"] for incident in job.incidents()])

    (incident,) = job.incidents()
    assert incident["column"] == "distance" and str(incident["effect"]).startswith(("x1.6", "x1.5"))
    assert incident["segment"] == "carrier = 'UA'"
    assert (incident["first_seen"], incident["last_seen"]) == ("2013-06-03", "2013-06-05")
    assert (incident["status"], incident["closed"]) == ("closed", "2013-06-08")
    assert incident["rows"] >= 3 and incident["share"] == pytest.approx(incident["rows"] / incident["segment_rows"])
    assert {name for night in ids for name in night} == {incident["id"]}
    assert len(alarmed) == 1 and alarmed[0].startswith(f"incident {incident['id']}: distance x1.")


def test_all_nights_at_once_give_the_same_incident(flights, flights_bundle, tmp_path):
    job = open_job(tmp_path, flights_bundle)
    job.arrive(break_rows(flights, "UA", "2013-06-03", 3, 0.4, multiply("distance", 1.609)), "2013-05-27", 14)
    job.work()
    (incident,) = job.incidents()
    assert incident["status"] == "closed" and incident["segment"] == "carrier = 'UA'"
    assert (incident["first_seen"], incident["last_seen"]) == ("2013-06-03", "2013-06-05")
    assert incident["description"] == (
        f"distance x1.6 for carrier = 'UA', {100 * incident['share']:.2g} % of rows, from 2013-06-03 to 2013-06-05"
    )
    assert incident["share"] == pytest.approx(0.4, abs=0.03)
    listed = job.run("incidents", "--all")
    assert listed.code == 0 and listed.events[0]["what"] == incident["description"]
    assert job.run("incidents").last["open"] == 0


def count_columns(path: Path) -> int:
    """Features, and the columns that are watched beside them."""
    profile = vm.load(path).profile
    assert profile is not None
    return len(profile.columns) + len(profile.watched)


def test_running_it_again_changes_nothing(flights, flights_bundle, tmp_path):
    job = open_job(tmp_path, flights_bundle)
    job.arrive(break_rows(flights, "B6", "2013-06-06", 3, 0.1, multiply("distance", 1.609)), "2013-06-01", 8)
    first = job.work()
    before = [DeltaTable(f"{job.target}_{name}") for name in ("monitor", "incidents")]
    again = job.run("monitor")
    assert (first.code, first.error["found"]) == (5, again.error["found"])
    after = [DeltaTable(f"{job.target}_{name}") for name in ("monitor", "incidents")]
    assert after[1].version() == before[1].version()
    rows = [
        table.to_pyarrow_table().sort_by([("run_id", "ascending"), ("column", "ascending")])
        for table in (before[0], after[0])
    ]
    assert rows[0].equals(rows[1]) and rows[0].num_rows == count_columns(flights_bundle) + 3


@pytest.mark.parametrize(("first", "nights"), [("2013-05-06", 7), ("2013-09-09", 1)])
def test_ordinary_nights_raise_no_alarm(flights, flights_bundle, tmp_path, first, nights):
    job = open_job(tmp_path, flights_bundle)
    job.arrive(flights, first, nights)
    outcome = job.work()
    assert outcome.code == 0, outcome.stderr
    assert outcome.last["message"].startswith("no alarms: compared")


def test_a_unit_that_changes_for_all_is_loud(flights, flights_bundle, tmp_path):
    job = open_job(tmp_path, flights_bundle)
    job.arrive(multiply("distance", 1.609)(flights), "2013-09-09")
    outcome = job.work()
    assert outcome.code == 5
    alarms = [event["message"] for event in outcome.events if event["event"] == "alarm"]
    assert any(alarm.startswith("distance: expected values distributed as in training, found PSI") for alarm in alarms)
    assert any(alarm.startswith("is_anomaly: expected about 0.100% of rows") for alarm in alarms)
    assert [row["column"] for row in job.incidents()] == ["distance"]


def test_without_training_statistics_it_says_to_retrain(job: Job):
    from dataclasses import replace

    old = replace(vm.load(job.bundle), profile=None)
    old.save(job.bundle)
    assert job.run("score", "--full").code == 0
    outcome = job.run("monitor")
    assert outcome.code == 3 and "retrain to get training statistics" in outcome.error["message"]


def test_a_table_that_was_never_scored_has_nothing_to_monitor(job: Job, tmp_path):
    job.settings["score"]["table"] = str(tmp_path / "nowhere")
    outcome = job.run("monitor")
    assert outcome.code == 3 and "nowhere" in outcome.error["message"]
    outcome = job.run("incidents")
    assert outcome.code == 3 and "run `sandtimer monitor`" in outcome.error["message"]


def test_the_commands_teach():
    for command in ("monitor", "incidents"):
        assert "Example" in invoke(command, "--help").stdout
