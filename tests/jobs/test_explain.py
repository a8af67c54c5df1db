"""`explain`: the same score as the scored table has, and every column's share."""

from __future__ import annotations

import pytest

import vae_model as vm
from tests.jobs.job import Job


def test_the_score_is_the_scored_tables(any_job: Job) -> None:
    row = any_job.read().slice(42, 1).to_pylist()[0]
    outcome = any_job.run("explain", "--key", "order_id=42")
    assert outcome.code == 0, outcome.stderr
    assert outcome.last["anomaly_score"] == pytest.approx(row["anomaly_score"], rel=1e-5)
    assert outcome.last["is_anomaly"] == row["is_anomaly"]
    assert outcome.last["model_id"] == row["model_id"]
    columns = [event for event in outcome.events if event["event"] == "column"]
    assert sorted(event["column"] for event in columns) == sorted(vm.load(any_job.bundle).feature_names)
    assert sum(event["share"] for event in columns) == pytest.approx(1, abs=1e-3)
    assert sum(event["nll"] for event in columns) == pytest.approx(row["reconstruction_nll"], rel=1e-3)
    observed = {event["column"]: event["observed"] for event in columns}
    assert observed["shop"] == row["shop"]
    assert float(observed["quantity"]) == row["quantity"]


@pytest.mark.parametrize("key", [["ORDER_ID=42"], [" order_id =42"], ["day=2024-01-01", "order_id=42"]])
def test_keys_as_people_write_them(key: list[str], job: Job) -> None:
    arguments = [text for pair in key for text in ("--key", pair)]
    outcome = job.run("explain", *arguments)
    assert outcome.code == 0, outcome.stderr
    assert "has anomaly score" in outcome.last["message"]


def test_a_value_may_hold_an_equals_sign(job: Job) -> None:
    outcome = job.run("explain", "--key", "shop=a=b")
    assert outcome.code == 3
    assert "shop = 'a=b'" in outcome.error["expected"]


def test_a_key_column_that_is_not_there(job: Job) -> None:
    outcome = job.run("explain", "--key", "order=42")
    assert outcome.code == 3
    assert "order_id" in outcome.error["found"]
