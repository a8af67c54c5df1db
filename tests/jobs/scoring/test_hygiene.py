"""What years of nightly runs leave behind: few files, with statistics that let readers skip them, and comments."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.engines.splitting import MANY_FILES
from tests.jobs.job import Job, live_files

NIGHTS = MANY_FILES + 4


def add_late_rows(job: Job, orders: pa.Table, night: int) -> None:
    ids = pa.array(range(1_000 + 5 * night, 1_005 + 5 * night), pa.int64())
    days = pc.cast(pa.array(["2024-01-01"] * 5), pa.date32())
    late = orders.slice(5 * night, 5).set_column(0, "order_id", ids).set_column(1, "day", days)
    write_deltalake(str(job.source), late, mode="append")


def test_nightly_appends_leave_few_files(job: Job, orders: pa.Table) -> None:
    before = live_files(job.target)
    counts = []
    for night in range(NIGHTS):
        add_late_rows(job, orders, night)
        assert job.run("score").code == 0
        counts.append(len([path for path in live_files(job.target) if "day=2024-01-01" in path]))
    assert max(counts) <= MANY_FILES + 1
    assert counts[-1] < MANY_FILES
    assert {path for path in before if "day=2024-01-01" not in path} <= live_files(job.target)
    ids = job.read()["order_id"].to_pylist()
    assert ids == [*range(600), *range(1_000, 1_000 + 5 * NIGHTS)]
    scored = vm.score(DeltaTable(str(job.source)).to_pyarrow_table().sort_by("order_id"), vm.load(job.bundle))
    assert pc.max(pc.abs(pc.subtract(job.read()["anomaly_score"], scored["anomaly_score"]))).as_py() < 1e-9


def test_moved_rows_are_no_change_to_those_who_follow_the_table(job: Job, orders: pa.Table) -> None:
    for night in range(MANY_FILES):
        add_late_rows(job, orders, night)
        assert job.run("score").code == 0
    log = sorted(Path(job.target, "_delta_log").glob("*.json"))
    last = [json.loads(line) for line in log[-1].read_text(encoding="utf-8").splitlines()]
    changed = [action["add"] for action in last if "add" in action and action["add"]["dataChange"]]
    removed = [action["remove"]["dataChange"] for action in last if "remove" in action]
    assert [json.loads(add["stats"])["numRecords"] for add in changed] == [5]
    assert len(removed) >= MANY_FILES - 1
    assert not any(removed)


def test_score_columns_have_statistics_and_comments(any_job: Job) -> None:
    any_job.settings["score"]["table"] += "_new"
    assert any_job.run("score").code == 0
    table = DeltaTable(str(any_job.target))
    actions = pa.table(table.get_add_actions(flatten=True))
    highest = actions["max.anomaly_score"].to_pylist()
    assert None not in highest
    assert max(highest) == pc.max(any_job.read()["anomaly_score"]).as_py()
    fields = {field.name: field for field in table.schema().fields}
    for name in vm.SCORE_COLUMNS:
        assert fields[name].metadata.get("comment"), name


def test_a_wide_table_has_statistics_on_its_scores(job: Job, orders: pa.Table, spark: object) -> None:
    wide = orders
    for number in range(40):
        wide = wide.append_column(f"more_{number}", pa.array([float(number)] * wide.num_rows))
    for engine in ("local", "spark"):
        job.settings["score"] |= {"table": str(job.folder / f"wide_{engine}"), "engine": engine}
        job.settings["source"] |= {"table": str(job.folder / "wide")}
        write_deltalake(str(job.source), wide, partition_by=["day"], mode="overwrite")
        assert job.run("score").code == 0
        actions = pa.table(DeltaTable(str(job.target)).get_add_actions(flatten=True))
        assert None not in actions["max.anomaly_score"].to_pylist()
        assert None not in actions["min.order_id"].to_pylist()
