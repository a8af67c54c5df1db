"""Runs without --where score what changed since the last one, on both engines: never a row twice, lost or stale."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.common.errors import ConflictError
from jobs.engines import build_engine
from jobs.engines.base import ScorePlan
from jobs.scoring.plan import make_plan
from jobs.scoring.score import describe_run
from tests.jobs.job import Job, Outcome, fingerprint
from vae_model import SCORE_COLUMNS, ScoringOptions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OPTIONS = ScoringOptions(0.001, "alerts", None, datetime(2024, 6, 1, tzinfo=UTC))
FEATURES = ("quantity", "price", "total", "shop", "currency")


def new_rows(job: Job, first: int, count: int = 30, day: str | None = None) -> pa.Table:
    """Orders with fresh ids, copied from the first ones of the source."""
    old = DeltaTable(str(job.source)).to_pyarrow_table(columns=["order_id", "day", *FEATURES])
    rows = old.sort_by("order_id").slice(0, count)
    rows = rows.set_column(0, "order_id", pa.array(range(first, first + count), pa.int64()))
    return rows if day is None else rows.set_column(1, "day", pa.array([date.fromisoformat(day)] * count))


def append(job: Job, rows: pa.Table) -> None:
    write_deltalake(str(job.source), rows, mode="append", schema_mode="merge")


def update(job: Job, where: str, updates: dict[str, str]) -> None:
    DeltaTable(str(job.source)).update(predicate=where, updates=updates)


def run(job: Job, *arguments: str) -> Outcome:
    """A run that must work out, and leave the oracle's table."""
    outcome = job.run("score", *arguments)
    assert outcome.code == 0, outcome.stderr
    check(job)
    return outcome


def check(job: Job, bundles: dict[str, vm.Bundle] | None = None) -> None:
    """The scored table is the source with the scores of the model that each row names."""
    source = DeltaTable(str(job.source)).to_pyarrow_table().sort_by("order_id")
    source = source.drop_columns([name for name in SCORE_COLUMNS if name in source.column_names])
    scored = job.read()
    assert scored["order_id"].to_pylist() == source["order_id"].to_pylist()
    for name in source.column_names:
        assert scored[name].cast(source[name].type).to_pylist() == source[name].to_pylist(), name
    one = vm.load(job.bundle)
    for model_id, bundle in (bundles or {one.model_id: one}).items():
        mine = np.flatnonzero(pc.equal(scored["model_id"], model_id).to_numpy(zero_copy_only=False))
        expected = vm.score(source.take(mine), bundle, explain="none")
        for name in ("anomaly_score", "reconstruction_nll"):
            found = scored[name].take(mine).to_numpy()
            np.testing.assert_allclose(found, expected[name].to_numpy(), 1e-5, 1e-9)
    assert set(scored["model_id"].to_pylist()) <= set(bundles or {one.model_id: one})


def nothing(job: Job, *mentions: str) -> None:
    """A run that must change nothing."""
    before = fingerprint(job.target)
    outcome = job.run("score")
    assert outcome.code == 0, outcome.stderr
    assert outcome.last["message"].startswith("nothing to do")
    assert [text for text in mentions if text not in outcome.last["message"]] == [], outcome.last["message"]
    assert fingerprint(job.target) == before


def refused(job: Job, code: int, *mentions: str) -> None:
    """A run that must stop and change nothing."""
    before = fingerprint(job.target)
    outcome = job.run("score")
    assert outcome.code == code, outcome.stdout + outcome.stderr
    assert [text for text in mentions if text not in outcome.error["message"]] == [], outcome.error["message"]
    assert fingerprint(job.target) == before


def carry_out(job: Job, plan: ScorePlan) -> None:
    """What `score` does with a plan that it made a while ago."""
    config, bundle = job.config(), vm.load(job.bundle)
    lineage = describe_run(config, plan, bundle, OPTIONS)
    build_engine(config).score(plan, bundle, OPTIONS, lineage, lambda *_, **__: None)


def why(outcome: Outcome) -> str:
    return str(next(event["message"] for event in outcome.events if event["event"] == "scoring"))


def test_nights_follow_the_source(any_job: Job) -> None:
    nothing(any_job, "version 0 is scored already")
    append(any_job, new_rows(any_job, 600, day="2024-01-04"))
    assert run(any_job).last["rows"] == 30
    append(any_job, new_rows(any_job, 630))
    assert run(any_job).last["rows"] == 30, "late rows of three days that were scored before"
    DeltaTable(str(any_job.source)).optimize.compact()
    nothing(any_job, "no row changed")
    DeltaTable(str(any_job.source)).update(predicate="order_id = 600", updates={"price": "price + 1"})
    outcome = run(any_job)
    assert outcome.last["rows"] == 30 and "1 partitions touched: rows were updated or deleted" in why(outcome)
    DeltaTable(str(any_job.source)).delete("day = '2024-01-04'")
    run(any_job)
    nothing(any_job)


def test_rows_that_were_compacted_before_they_were_scored(any_job: Job) -> None:
    append(any_job, new_rows(any_job, 600))
    append(any_job, new_rows(any_job, 630))
    DeltaTable(str(any_job.source)).optimize.compact()
    assert run(any_job).last["rows"] == 60
    append(any_job, new_rows(any_job, 660))
    compacted = DeltaTable(str(any_job.source))
    compacted.optimize.compact()
    compacted.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert "the added files are gone" in why(run(any_job))


def test_new_source_columns_pass_through(any_job: Job) -> None:
    rows = new_rows(any_job, 600, day="2024-01-04")
    append(any_job, rows.append_column("note", pa.array(["new"] * 30)))
    assert run(any_job).last["rows"] == 30
    notes = any_job.read()["note"]
    assert (notes.null_count, set(notes.drop_null().to_pylist())) == (600, {"new"})


@pytest.mark.parametrize("change", ["retyped", "missing"])
def test_a_feature_that_no_longer_fits(change: str, job: Job) -> None:
    rows = DeltaTable(str(job.source)).to_pyarrow_table()
    at = rows.column_names.index("price")
    rows = (
        rows.set_column(at, "price", rows["price"].cast(pa.string())) if change == "retyped" else rows.drop(["price"])
    )
    write_deltalake(str(job.source), rows, mode="overwrite", schema_mode="overwrite")
    refused(job, 3, "'price'", "retrain")


@pytest.mark.parametrize(("name", "narrow"), [("quantity", pa.int32()), ("price", pa.float32())])
def test_a_wider_type_just_works(name: str, narrow: pa.DataType, any_job: Job) -> None:
    wide = DeltaTable(str(any_job.source)).to_pyarrow_table()
    at = wide.column_names.index(name)
    rows = wide.set_column(at, name, wide[name].cast(narrow))
    write_deltalake(str(any_job.source), rows, mode="overwrite", schema_mode="overwrite")
    vm.fit(rows, vm.ColumnOptions(ignore=("order_id", "day")), seed=1, epochs=1, members=1).save(any_job.bundle)
    run(any_job, "--full")
    write_deltalake(str(any_job.source), wide, mode="overwrite", schema_mode="overwrite")
    outcome = run(any_job)
    assert outcome.last["rows"] == 600 and f"{name}: " in why(outcome)


def test_a_feature_that_turns_all_null_is_scored(any_job: Job) -> None:
    rows = new_rows(any_job, 600, day="2024-01-04")
    append(any_job, rows.set_column(rows.column_names.index("shop"), "shop", pa.nulls(30, pa.string())))
    assert run(any_job).last["rows"] == 30


def test_a_log_that_was_cleaned_away(any_job: Job) -> None:
    for first in (600, 630):
        append(any_job, new_rows(any_job, first))
    table = DeltaTable(str(any_job.source))
    table.create_checkpoint()
    for version in (0, 1):
        (any_job.source / "_delta_log" / f"{version:020d}.json").unlink()
    outcome = run(any_job)
    assert outcome.last["rows"] == 660 and "the log no longer tells what changed since version 0" in why(outcome)
    nothing(any_job)


def test_a_recreated_source_is_refused(any_job: Job) -> None:
    rows = DeltaTable(str(any_job.source)).to_pyarrow_table().slice(100)
    shutil.rmtree(any_job.source)
    write_deltalake(str(any_job.source), rows, partition_by=["day"])
    refused(any_job, 3, "another table of that name", "--full")
    run(any_job, "--full")
    nothing(any_job)


def test_a_new_model_scores_new_rows(any_job: Job, orders: pa.Table) -> None:
    old = vm.load(any_job.bundle)
    vm.fit(orders, vm.ColumnOptions(ignore=("order_id", "day")), seed=2, epochs=1, members=1).save(any_job.bundle)
    new = vm.load(any_job.bundle)
    assert old.model_id != new.model_id
    nothing(any_job)
    append(any_job, new_rows(any_job, 600))
    assert any_job.run("score").last["rows"] == 30
    check(any_job, {old.model_id: old, new.model_id: new})
    assert pc.sum(pc.equal(any_job.read()["model_id"], new.model_id)).as_py() == 30
    assert run(any_job, "--full").last["rows"] == 630


@pytest.mark.parametrize("mode", ["replace", "merge"])
def test_a_backfill_and_the_night_after_it(mode: str, any_job: Job) -> None:
    any_job.settings["score"]["mode"] = mode
    append(any_job, new_rows(any_job, 600))
    any_job.run("score", "--where", "day = '2024-01-02'")
    append(any_job, new_rows(any_job, 630, day="2024-01-04"))
    outcome = run(any_job)
    assert "some are scored already" in why(outcome)
    nothing(any_job)


def test_a_backfill_that_finished_after_a_newer_night(job: Job) -> None:
    """It read an older version of the source, and puts older rows where the night had put newer ones."""
    config, bundle = job.config(), vm.load(job.bundle)
    engine = build_engine(config)
    append(job, new_rows(job, 600, day="2024-01-04"))
    run(job)
    before = engine.describe(make_plan(config, engine, bundle, full=True).source.ref, 0)
    plan = make_plan(config, engine, bundle, "day = '2024-01-04'")
    old = replace(plan, source=before, work=replace(plan.work, rows=0))
    carry_out(job, old)
    assert job.read().num_rows == 600, "the older rows"
    run(job)
    nothing(job)


def test_a_restored_target(any_job: Job) -> None:
    append(any_job, new_rows(any_job, 600))
    run(any_job)
    DeltaTable(str(any_job.target)).restore(0)
    outcome = run(any_job)
    assert outcome.last["rows"] == 630 and "no run over the whole table is on record" in why(outcome)
    nothing(any_job)


@pytest.mark.parametrize(("section", "key", "value"), [("source", "where", "price > 20"), ("score", "columns", "key")])
def test_settings_that_decide_what_the_table_holds(section: str, key: str, value: str, any_job: Job) -> None:
    any_job.settings[section][key] = value
    outcome = any_job.run("score")
    assert outcome.code == 0 and f"{section}.{key} has changed" in why(outcome)
    prices = DeltaTable(str(any_job.source)).to_pyarrow_table()["price"].to_pylist()
    assert any_job.read().num_rows == (sum(price > 20 for price in prices) if key == "where" else 600)
    nothing(any_job)


def test_overlapping_runs_never_duplicate(any_job: Job) -> None:
    """Both build on the same night, the second one with another night's rows: one commits, the other is refused."""
    config, bundle = any_job.config(), vm.load(any_job.bundle)
    engine = build_engine(config)
    append(any_job, new_rows(any_job, 600))
    first = make_plan(config, engine, bundle)
    append(any_job, new_rows(any_job, 630))
    second = make_plan(config, engine, bundle)
    carry_out(any_job, first)
    before = fingerprint(any_job.target)
    with pytest.raises(ConflictError, match="run it again"):
        carry_out(any_job, second)
    assert fingerprint(any_job.target) == before
    assert run(any_job).last["rows"] == 30


def test_deletion_vectors_in_the_source(any_job: Job, spark: SparkSession) -> None:
    table = f"delta.`{any_job.source}`"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    nothing(any_job)
    spark.sql(f"DELETE FROM {table} WHERE order_id IN (1, 2, 300)")
    outcome = any_job.run("score")
    assert outcome.code == 0, outcome.stderr
    assert set(any_job.read()["order_id"].to_pylist()) == set(range(600)) - {1, 2, 300}
    nothing(any_job)
