"""The modes append, merge and in_place on both engines; what all modes share is in test_increment."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.common.errors import ConflictError
from jobs.engines import build_engine
from jobs.scoring.plan import make_plan
from tests.jobs.job import Job, fingerprint
from tests.jobs.scoring.test_increment import append, carry_out, check, new_rows, nothing, refused, run, update, why
from vae_model import SCORE_COLUMNS, load

FEED = {"delta.enableChangeDataFeed": "true"}


def in_mode(job: Job, mode: str) -> Job:
    job.settings["score"]["mode"] = mode
    if mode == "in_place":
        shutil.rmtree(job.target)
        job.settings["score"]["table"] = str(job.source)
    return job


def with_feed(job: Job) -> Job:
    """In mode merge, with a source that keeps a change data feed from here on."""
    DeltaTable(str(job.source)).alter.set_table_properties(FEED)
    in_mode(job, "merge")
    nothing(job)
    return job


@pytest.mark.parametrize("mode", ["append", "merge", "in_place"])
def test_new_rows_are_appended_once(mode: str, any_job: Job) -> None:
    in_mode(any_job, mode)
    if mode == "in_place":
        assert run(any_job).last["rows"] == 600
    nothing(any_job)
    for first, day in ((600, "2024-01-04"), (630, None)):
        append(any_job, new_rows(any_job, first, day=day))
        assert run(any_job).last["rows"] == 30
        nothing(any_job)
    DeltaTable(str(any_job.source)).optimize.compact()
    nothing(any_job, "no row changed")


@pytest.mark.parametrize("change", ["update", "delete"])
def test_append_refuses_what_it_cannot_follow(change: str, any_job: Job) -> None:
    in_mode(any_job, "append")
    append(any_job, new_rows(any_job, 600))
    table = DeltaTable(str(any_job.source))
    table.delete("order_id = 1") if change == "delete" else update(any_job, "order_id = 1", {"price": "price + 1"})
    refused(any_job, 3, "updated or deleted", "merge", "replace", "--full")
    run(any_job, "--full")
    nothing(any_job)


def test_merge_touches_single_rows(any_job: Job) -> None:
    with_feed(any_job)
    update(any_job, "order_id IN (3, 205)", {"price": "price + 1"})
    DeltaTable(str(any_job.source)).delete("order_id < 2")
    append(any_job, new_rows(any_job, 600, day="2024-01-04"))
    update(any_job, "order_id IN (3, 601)", {"price": "price * 2"})
    append(any_job, new_rows(any_job, 700).append_column("note", pa.array(["new"] * 30)))
    DeltaTable(str(any_job.source)).delete("order_id = 701")
    outcome = run(any_job)
    assert (outcome.last["rows"], "change data feed" in why(outcome)) == (2 + 30 + 29, True)
    nothing(any_job)


def test_a_row_that_moves_to_another_partition(any_job: Job) -> None:
    with_feed(any_job)
    update(any_job, "order_id = 0", {"day": "DATE '2024-01-03'"})
    assert run(any_job).last["rows"] == 1


def test_merge_follows_a_standing_condition(any_job: Job) -> None:
    any_job.settings["source"]["where"] = "shop = 'oslo'"
    assert any_job.run("score").code == 0
    DeltaTable(str(any_job.source)).alter.set_table_properties(FEED)
    any_job.settings["score"]["mode"] = "merge"
    before = any_job.read()["order_id"].to_pylist()
    moved, joins = before[0], next(i for i in range(600) if i not in before)
    update(any_job, f"order_id = {moved}", {"shop": "'rome'"})
    update(any_job, f"order_id = {joins}", {"shop": "'oslo'"})
    assert any_job.run("score").code == 0
    assert any_job.read()["order_id"].to_pylist() == sorted({*before, joins} - {moved})


def test_merge_needs_a_key(any_job: Job) -> None:
    in_mode(any_job, "merge").settings["source"]["key"] = []
    refused(any_job, 2, "source.key", "merge")


def test_a_feed_that_is_gone(any_job: Job) -> None:
    """Vacuumed away, or on only for a part of the versions: the partitions are scored again, and the run says so."""
    with_feed(any_job)
    update(any_job, "order_id = 1", {"price": "price + 1"})
    shutil.rmtree(any_job.source / "_change_data")
    outcome = run(any_job)
    assert outcome.last["rows"] == 200 and "1 partitions touched: no change data feed" in why(outcome)
    nothing(any_job)


def test_merge_without_a_feed(any_job: Job) -> None:
    in_mode(any_job, "merge")
    DeltaTable(str(any_job.source)).delete("order_id = 1")
    outcome = run(any_job)
    assert outcome.last["rows"] == 199 and "change data feed" in why(outcome)


def test_in_place_keeps_the_source(any_job: Job) -> None:
    source = DeltaTable(str(any_job.source)).to_pyarrow_table().sort_by("order_id")
    in_mode(any_job, "in_place")
    run(any_job)
    scored = any_job.read()
    assert scored.column_names == [*source.column_names, *SCORE_COLUMNS]
    assert scored.select(source.column_names).equals(source)
    append(any_job, new_rows(any_job, 600).append_column("note", pa.array(["new"] * 30)))
    assert run(any_job).last["rows"] == 30
    update(any_job, "order_id = 1", {"price": "price + 1"})
    assert run(any_job).last["rows"] == 210
    DeltaTable(str(any_job.source)).delete("day = '2024-01-02'")
    run(any_job)
    run(any_job, "--where", "day = '2024-01-03'")
    run(any_job, "--full")
    nothing(any_job)


def test_in_place_never_drops_rows(any_job: Job) -> None:
    in_mode(any_job, "in_place")
    any_job.settings["source"]["where"] = "price > 20"
    refused(any_job, 2, "source.where", "in_place")
    del any_job.settings["source"]["where"]
    any_job.settings["score"]["table"] = str(any_job.folder / "elsewhere")
    refused(any_job, 2, "score.table")
    any_job.settings["score"] |= {"table": str(any_job.source), "columns": "key"}
    refused(any_job, 2, "score.columns")


@pytest.mark.parametrize("first", [True, False])
def test_a_writer_of_the_source_meets_a_run_in_place(first: bool, any_job: Job) -> None:
    """Its rows come between the plan and the commit; they must be there afterwards."""
    in_mode(any_job, "in_place")
    if not first:
        run(any_job)
        append(any_job, new_rows(any_job, 600))
    config = any_job.config()
    plan = make_plan(config, build_engine(config), load(any_job.bundle))
    append(any_job, new_rows(any_job, 630))
    before = any_job.read()
    with pytest.raises(ConflictError, match="run it again"):
        carry_out(any_job, plan)
    assert any_job.read().select(before.column_names).equals(before)
    run(any_job)
    nothing(any_job)


@pytest.mark.parametrize("mode", ["replace", "append", "merge", "in_place"])
def test_a_target_without_partitions(mode: str, any_job: Job) -> None:
    rows = DeltaTable(str(any_job.source)).to_pyarrow_table()
    shutil.rmtree(any_job.source)
    shutil.rmtree(any_job.target)
    write_deltalake(str(any_job.source), rows, configuration=FEED if mode == "merge" else None)
    any_job.settings["score"]["mode"] = mode
    if mode == "in_place":
        any_job.settings["score"]["table"] = str(any_job.source)
    run(any_job)
    append(any_job, new_rows(any_job, 600))
    assert run(any_job).last["rows"] == 30
    update(any_job, "order_id = 1", {"price": "price + 1"})
    if mode == "append":
        before = fingerprint(any_job.target)
        assert any_job.run("score").code == 3
        assert fingerprint(any_job.target) == before
        return
    assert run(any_job).last["rows"] == (1 if mode == "merge" else 630)
    nothing(any_job)


def test_a_run_that_keeps_no_row_of_another_model(job: Job) -> None:
    """What a merge touches gets the model of the night, and says so."""
    with_feed(job)
    update(job, "order_id = 1", {"price": "price + 1"})
    run(job)
    check(job)
    assert pc.count_distinct(job.read()["model_id"]).as_py() == 1
    assert pc.count_distinct(job.read()["scored_at"]).as_py() == 2
