"""`explain`: the same score as the scored table has, and every column's share."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

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


def test_it_shows_what_stands_beside_the_row(any_job: Job) -> None:
    row = any_job.read().slice(42, 1).to_pylist()[0]
    outcome = any_job.run("explain", "--key", "order_id=42")
    assert outcome.code == 0, outcome.stderr
    reasons = [event for event in outcome.events if event["event"] == "reason"]
    assert reasons and all(event["message"].startswith(f"{event['column']} is ") for event in reasons)
    assert [event["share"] for event in reasons] == sorted((event["share"] for event in reasons), reverse=True)
    similar = [event for event in outcome.events if event["event"] == "similar row"]
    ordinary = {str(one["order_id"]): one for one in any_job.read().to_pylist() if not one["is_anomaly"]}
    assert len(similar) == 3 and {event["order_id"] for event in similar} <= ordinary.keys() - {"42"}
    others = {"shop", "currency"} - {reasons[0]["column"]}
    assert all(event[name] == str(row[name]) for event in similar for name in others)
    nights = [event for event in outcome.events if event["event"] == "night"]
    assert [event["night"] for event in nights] == sorted(event["night"] for event in nights) and nights
    (query,) = [event["sql"] for event in outcome.events if event["event"] == "its like"]
    assert f"top_columns[0].column = '{reasons[0]['column']}'" in query


def test_a_table_of_an_earlier_version_gets_the_sentences(any_job: Job, orders) -> None:
    target = DeltaTable(str(any_job.target))
    lineage = next(entry["userMetadata"] for entry in target.history() if entry.get("userMetadata"))
    before = target.to_pyarrow_table().drop_columns(["why"])
    write_deltalake(
        str(any_job.target),
        before,
        mode="overwrite",
        schema_mode="overwrite",
        partition_by=target.metadata().partition_columns,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": lineage}),
    )
    assert any_job.run("report").code == 0
    late = orders.slice(0, 1).set_column(0, "order_id", pa.array([1_000]))
    late = late.set_column(3, "price", pa.array([1e6], late.schema.field("price").type))
    write_deltalake(str(any_job.source), late, mode="append")
    outcome = any_job.run("score")
    assert outcome.code == 0, outcome.stderr
    told = {row["order_id"]: row["why"] for row in any_job.read().to_pylist()}
    assert told[1_000] and told[1_000][0].startswith("price is 1000000")
    assert [why for order, why in told.items() if order != 1_000 and why] == []
