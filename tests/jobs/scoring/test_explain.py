"""`explain`: the same score as the scored table has, and every column's share."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.models.store import past_models, save_model
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


def test_it_uses_the_model_that_scored_the_row_and_the_version_it_was_scored_in(any_job: Job, orders) -> None:
    before = any_job.read().slice(42, 1).to_pylist()[0]
    DeltaTable(str(any_job.source)).update({"price": "price * 10"}, predicate="order_id = 42")
    newer = vm.fit(orders, vm.ColumnOptions(ignore=("order_id", "day")), seed=2, epochs=2, members=1)
    save_model(newer, any_job.bundle)
    outcome = any_job.run("explain", "--key", "order_id=42")
    assert outcome.code == 0, outcome.stderr
    assert outcome.last["model_id"] == before["model_id"] != newer.model_id
    assert outcome.last["anomaly_score"] == pytest.approx(before["anomaly_score"], rel=1e-5)
    assert outcome.last["source_version"] == 0
    assert outcome.last["message"].endswith("the scored table has the same score")
    shutil.rmtree(past_models(any_job.bundle))
    outcome = any_job.run("explain", "--key", "order_id=42")
    assert "which is not kept here" in outcome.last["message"]
    assert outcome.last["model_id"] == newer.model_id


def test_a_row_that_is_not_scored_yet(job: Job, orders) -> None:
    late = orders.slice(0, 1).set_column(0, "order_id", pa.array([1_000]))
    write_deltalake(str(job.source), late, mode="append")
    outcome = job.run("explain", "--key", "order_id=1000")
    assert outcome.code == 0, outcome.stderr
    assert "not in the scored table" in outcome.last["message"]


def test_history_lists_the_runs(any_job: Job) -> None:
    assert any_job.run("score", "--where", "day = '2024-01-02'").code == 0
    outcome = any_job.run("history")
    assert outcome.code == 0, outcome.stderr
    runs = [event for event in outcome.events if event["event"] == "run"]
    assert [run["where"] for run in runs] == ["day = '2024-01-02'", None]
    assert [run["rows"] for run in runs] == [200, 600]
    assert len({run["run"] for run in runs}) == 2
    assert len([e for e in any_job.run("history", "--limit", "1").events if e["event"] == "run"]) == 1
