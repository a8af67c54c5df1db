"""Mode merge where keys name no single row: twins, NULLs, and keys of several columns. Whatever happens to one of the
rows of a key, the scored table is the source's again, on both engines."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.delta.keys import KeySet, collect
from tests.jobs.job import Job
from tests.jobs.scoring.test_increment import append, new_rows, update, why
from tests.jobs.scoring.test_modes import FEED, with_feed

NAN = float("nan")
TWINS = pa.array([3, 5, 5, None, None, 700], pa.int64())


def twins(job: Job, ids: pa.Array = TWINS) -> pa.Table:
    """Rows with ids that are there already, or that several of them have, each with a price of its own."""
    rows = new_rows(job, 600, len(ids)).set_column(0, "order_id", ids)
    return rows.set_column(3, "price", pa.array([1000.0 + i for i in range(len(ids))]))


def same_rows(job: Job) -> None:
    """The scored table holds the source's rows, each as often, with the scores that the model gives them."""
    source = DeltaTable(str(job.source)).to_pyarrow_table()
    scored = DeltaTable(str(job.target)).to_pyarrow_table()
    assert _sorted(scored.select(source.column_names)) == _sorted(source)
    expected = vm.score(source, vm.load(job.bundle), explain="none")
    wanted = _sorted(source.append_column("nll", _rounded(expected["reconstruction_nll"])))
    found = scored.select(source.column_names)
    assert _sorted(found.append_column("nll", _rounded(scored["reconstruction_nll"]))) == wanted


def _rounded(values: pa.ChunkedArray) -> pa.Array:
    return pa.array([f"{value:.3e}" for value in values.to_pylist()])


def _sorted(rows: pa.Table) -> list[str]:
    return sorted(map(repr, rows.to_pylist()))


def run(job: Job) -> int:
    outcome = job.run("score")
    assert outcome.code == 0, outcome.stderr
    same_rows(job)
    again = job.run("score")
    assert (again.code, again.last["rows"]) == (0, 0), again.stdout
    return int(outcome.last["rows"])


def delete(job: Job, where: str) -> None:
    DeltaTable(str(job.source)).delete(where)


CHANGES: dict[str, Callable[[Job], None]] = {
    "one twin deleted": lambda job: delete(job, "price = 1001"),
    "one twin updated": lambda job: update(job, "price = 1001", {"price": "2000"}),
    "the older twin deleted": lambda job: delete(job, "order_id = 5 AND price < 1000"),
    "a twin of a new key deleted": lambda job: delete(job, "order_id = 700"),
    "all of a key deleted": lambda job: delete(job, "order_id = 5"),
    "a NULL updated": lambda job: update(job, "price = 1003", {"price": "2000"}),
    "a NULL deleted": lambda job: delete(job, "price = 1004"),
    "a NULL becomes a twin": lambda job: update(job, "price = 1003", {"order_id": "3"}),
    "a row becomes a twin": lambda job: update(job, "order_id = 9", {"order_id": "10"}),
    "twins change places": lambda job: update(
        job, "order_id IN (11, 12)", {"order_id": "23 - order_id", "price": "price + 1"}
    ),
}


def test_twins_and_nulls_lose_nothing(any_job: Job) -> None:
    """One change after the other on one table: each night rests on what the nights before it left."""
    with_feed(any_job)
    append(any_job, twins(any_job))
    assert run(any_job) == len(TWINS), "appended"
    for name, change in CHANGES.items():
        change(any_job)
        assert run(any_job) >= 0, name
    update(any_job, "order_id = 1", {"price": "price + 1"})
    append(any_job, twins(any_job))
    outcome = any_job.run("score")
    assert outcome.code == 0 and "change data feed" in why(outcome)
    same_rows(any_job)


@pytest.mark.parametrize("first", [True, False])
def test_twins_that_come_and_go_between_two_nights(first: bool, any_job: Job) -> None:
    with_feed(any_job)
    if first:
        delete(any_job, "order_id = 5")
    append(any_job, twins(any_job))
    delete(any_job, "price IN (1001, 1004)")
    update(any_job, "price = 1002", {"price": "3000"})
    run(any_job)


def test_twins_in_the_first_load(any_job: Job) -> None:
    append(any_job, twins(any_job))
    DeltaTable(str(any_job.source)).alter.set_table_properties(FEED)
    shutil.rmtree(any_job.target)
    any_job.settings["score"]["mode"] = "merge"
    assert run(any_job) == 600 + len(TWINS)
    delete(any_job, "price = 1001")
    run(any_job)


def test_twins_of_which_a_standing_condition_knows_one(any_job: Job) -> None:
    append(any_job, twins(any_job))
    any_job.settings["source"]["where"] = "price < 1002"
    any_job.settings["score"]["mode"] = "merge"
    assert any_job.run("score").code == 0
    DeltaTable(str(any_job.source)).alter.set_table_properties(FEED)
    update(any_job, "price = 1002", {"price": "1001.5"})
    update(any_job, "price = 1000", {"price": "5000"})
    delete(any_job, "price = 1003")
    assert any_job.run("score").code == 0
    source = DeltaTable(str(any_job.source)).to_pyarrow_table(filters=[("price", "<", 1002)])
    assert _sorted(any_job.read().select(source.column_names)) == _sorted(source)


def test_keys_of_several_columns(any_job: Job) -> None:
    any_job.settings["source"]["key"] = ["shop", "quantity"]
    with_feed(any_job)
    update(any_job, "order_id = 1", {"price": "price + 1"})
    delete(any_job, "order_id = 2")
    assert run(any_job) > 1, "the rows that share their shop and quantity with one that changed"
    rows = new_rows(any_job, 600, 3)
    append(any_job, rows.set_column(rows.column_names.index("shop"), "shop", pa.nulls(3, pa.string())))
    update(any_job, "shop IS NULL AND order_id = 601", {"price": "7"})
    run(any_job)


@pytest.mark.parametrize(
    ("values", "probes", "found"),
    [
        ({"a": [1, None, 1]}, {"a": [None, 1, 2]}, [True, True, False]),
        ({"a": [NAN, 1.5]}, {"a": [NAN, None, 1.5]}, [True, False, True]),
        ({"a": ["x", "y"], "b": [1, 2]}, {"b": [2, 2, 1], "a": ["x", "y", "x"]}, [False, True, True]),
        ({"a": ["x", None], "b": [None, 2]}, {"a": [None, "x", None], "b": [2, None, 1]}, [True, True, False]),
        ({"a": pa.array([], pa.int64())}, {"a": [1, None]}, [False, False]),
    ],
)
def test_a_set_of_keys(values: dict[str, list[object]], probes: dict[str, list[object]], found: list[bool]) -> None:
    keys = KeySet(pa.table(values))
    probe = pa.table(probes).combine_chunks().to_batches()[0]
    assert keys.keeps(probe).to_pylist() == found
    parts = [keys.table.slice(i, 1) for i in range(len(keys))] * 2
    assert len(collect(parts, keys.table.schema)) == len(keys)


def test_keys_by_many_columns() -> None:
    columns = {name: [i % (3 + k) for i in range(5_000)] for k, name in enumerate("abcdefghijklmnopqrst")}
    rows = pa.table(columns)
    assert set(KeySet(rows.slice(0, 100)).keeps(rows.slice(0, 100).to_batches()[0]).to_pylist()) == {True}
    one = KeySet(rows.slice(7, 1)).keeps(rows.combine_chunks().to_batches()[0])
    assert one.true_count == sum(row == rows.slice(7, 1).to_pylist()[0] for row in rows.to_pylist())


def test_a_change_feed_on_a_table_without_partitions(any_job: Job) -> None:
    rows = DeltaTable(str(any_job.source)).to_pyarrow_table()
    for folder in (any_job.source, any_job.target):
        shutil.rmtree(folder)
    write_deltalake(str(any_job.source), rows, configuration=FEED)
    any_job.settings["score"]["mode"] = "merge"
    run(any_job)
    append(any_job, twins(any_job))
    update(any_job, "price = 1001", {"price": "9"})
    run(any_job)
