"""Alert rows are copied into the quarantine once, whatever is killed or run again."""

from __future__ import annotations

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.scoring import score as scoring
from tests.jobs.job import Job


def break_some(job: Job, rows: int, day: str) -> None:
    """A new night in the source, of which so many rows are wrong."""
    table = DeltaTable(str(job.source)).to_pyarrow_table().sort_by("order_id").slice(0, 60)
    number = DeltaTable(str(job.source)).to_pyarrow_table().num_rows
    wrong = pc.less(table["order_id"], rows)
    price = pc.if_else(wrong, pc.multiply(table["price"], 1e6), table["price"])
    table = table.set_column(table.column_names.index("price"), "price", price)
    table = table.set_column(0, "order_id", pc.add(table["order_id"], number))
    table = table.set_column(1, "day", pc.cast(pc.if_else(wrong, day, day), "date32"))
    write_deltalake(str(job.source), table, mode="append")


def read_quarantine(job: Job) -> list[tuple[str, int]]:
    rows = DeltaTable(str(job.folder / "quarantine")).to_pyarrow_table().to_pylist()
    assert all(row["is_anomaly"] and row["top_columns"] for row in rows)
    return sorted((row["run_id"], row["order_id"]) for row in rows)


def test_alert_rows_of_each_run_are_copied_once(any_job: Job):
    job = any_job
    job.settings["score"]["quarantine"] = str(job.folder / "quarantine")
    break_some(job, 4, "2024-01-04")
    assert job.run("score").code == 0
    first = read_quarantine(job)
    assert {order for _, order in first} >= {600, 601, 602, 603}
    assert job.run("score").code == 0
    assert read_quarantine(job) == first
    break_some(job, 2, "2024-01-05")
    outcome = job.run("score")
    assert outcome.code == 0 and any(event["event"] == "quarantine" for event in outcome.events)
    both = read_quarantine(job)
    assert len({run for run, _ in both}) == 2 and {*first} < {*both}


def test_a_run_that_was_killed_after_its_commit_is_caught_up(job: Job, monkeypatch: pytest.MonkeyPatch):
    job.settings["score"]["quarantine"] = str(job.folder / "quarantine")
    break_some(job, 4, "2024-01-04")
    assert job.run("score").code == 0
    before = read_quarantine(job)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    break_some(job, 3, "2024-01-05")
    with monkeypatch.context() as patched:
        patched.setattr(scoring, "fill_quarantine", die)
        assert job.run("score").code == 130
    assert read_quarantine(job) == before
    break_some(job, 1, "2024-01-06")
    assert job.run("score").code == 0
    assert len({run for run, _ in read_quarantine(job)}) == 3
