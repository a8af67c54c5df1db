"""Both engines monitor the same rows with the same results, and read each other's tables."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.jobs.job import Job


@pytest.fixture(scope="module")
def broken(orders: pa.Table) -> pa.Table:
    """A later day of orders, whose totals are in cents for one shop."""
    day = orders.set_column(1, "day", pa.array(["2024-01-04"] * orders.num_rows).cast(pa.date32()))
    day = day.set_column(0, "order_id", pa.array(range(10_000, 10_000 + orders.num_rows), pa.int64()))
    cents = np.where(np.array(day["shop"].to_pylist()) == "rome", 100.0, 1.0)
    return day.set_column(4, "total", pa.array(day["total"].to_numpy() * cents))


@pytest.fixture
def folder(orders, orders_bundle, broken, tmp_path):
    """A job that was scored before the broken day came."""
    write_deltalake(str(tmp_path / "source"), orders, partition_by=["day"])
    shutil.copytree(orders_bundle, tmp_path / "bundle")
    assert Job(tmp_path).run("score", "--logical-time", "2024-05-01T00:00:00Z").code == 0
    write_deltalake(str(tmp_path / "source"), broken, mode="append")
    assert Job(tmp_path).run("score", "--logical-time", "2024-05-02T00:00:00Z").code == 0
    return tmp_path


def read(job: Job, name: str) -> list[dict[str, object]]:
    rows = DeltaTable(f"{job.target}_{name}").to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: str(row.get("column")))


def test_engines_agree_and_go_on_with_each_others_tables(folder, spark):
    shutil.copytree(folder, folder / "other")
    here, there = Job(folder), Job(folder / "other", "spark")
    outcomes = [job.run("monitor") for job in (here, there)]
    assert [outcome.code for outcome in outcomes] == [5, 5], [outcome.stderr for outcome in outcomes]
    local, on_spark = read(here, "monitor"), read(there, "monitor")
    assert [row["column"] for row in local] == [row["column"] for row in on_spark]
    for mine, theirs in zip(local, on_spark, strict=True):
        assert mine["alarms"] == theirs["alarms"] and mine["rows"] == theirs["rows"] == 600
        for name in ("psi", "p_value", "null_share", "value"):
            assert theirs[name] == pytest.approx(mine[name]), (mine["column"], name)
    assert any("total: expected values distributed as in training" in alarm for row in local for alarm in row["alarms"])
    mine, theirs = read(here, "incidents"), read(there, "incidents")
    assert [{**row, "id": None} for row in mine] == [{**row, "id": None} for row in theirs]
    largest = max(mine, key=lambda row: row["rows"])
    assert (largest["column"], largest["segment"], largest["first_seen"]) == ("total", "currency = 'EUR'", "2024-01-04")
    # Each goes on with what the other wrote, and adds nothing.
    swapped = [Job(folder, "spark"), Job(folder / "other", "local")]
    assert [job.run("monitor").code for job in swapped] == [5, 5]
    assert [len(read(job, "monitor")) for job in swapped] == [len(local)] * 2
    assert [len(read(job, "incidents")) for job in swapped] == [len(mine)] * 2
    assert swapped[0].run("incidents").last["open"] == len(mine)


def test_a_part_of_the_table_is_monitored_by_itself(folder):
    job = Job(folder)
    quiet = job.run("monitor", "--where", "day < '2024-01-04'")
    assert quiet.code == 0, quiet.stderr
    assert quiet.last["rows"] == 600 and "where day < '2024-01-04'" in quiet.last["message"]
    assert job.run("monitor", "--where", "day = '2024-01-04'").code == 5
    assert len({row["run_id"] for row in read(job, "monitor")}) == 2
    nothing = job.run("monitor", "--where", "day > '2030-01-01'")
    assert nothing.code == 0 and nothing.last["message"].startswith("nothing to do")
    unknown = job.run("monitor", "--where", "shopp = 'rome'")
    assert unknown.code in (2, 3) and "shop" in unknown.error["message"]


def test_limits_of_the_config_decide(folder):
    job = Job(folder)
    job.settings["monitor"] = {"ignore": ["total"], "alert_limit": 1_000.0, "score_limit": 1.0}
    outcome = job.run("monitor")
    assert outcome.code == 5 and outcome.error["event"] == "alarm"
    assert {event["event"] for event in outcome.events} == {"within limits", "incident", "done"}
    job.settings["monitor"] = {"psi_limitt": 1}
    assert "monitor.psi_limit" in job.run("monitor").error["message"]


def test_only_the_columns_that_the_scored_table_has_are_compared(folder):
    job = Job(folder)
    job.settings["score"] |= {"columns": "key", "table": str(folder / "narrow")}
    assert job.run("score").code == 0
    outcome = job.run("monitor")
    assert outcome.code in (0, 5), outcome.stderr
    assert any(event["event"] == "not compared" and "price" in event["message"] for event in outcome.events)
    assert [row["column"] for row in read(job, "monitor")] == ["anomaly_score", "is_anomaly", "latent_mu"]
