"""Scoring runs: rerun, races, interruption, and what a commit says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.common.errors import ConflictError
from jobs.engines import build_engine
from jobs.engines.base import Engine, ScorePlan
from jobs.scoring.plan import make_plan
from tests.jobs.job import Job, fingerprint, live_files
from vae_model import ScoringOptions

NIGHT, OTHER = "day = '2024-01-02'", "day = '2024-01-03'"
AT = datetime(2024, 6, 1, tzinfo=UTC)


def check_rows(job: Job) -> pa.Table:
    """Every source row is there once, with a score."""
    scored = job.read()
    assert scored["order_id"].to_pylist() == list(range(600))
    assert scored["anomaly_score"].null_count == 0
    return scored


def version(job: Job) -> int:
    return DeltaTable(str(job.target)).version()


def plan_night(job: Job, where: str) -> ScorePlan:
    config = job.config()
    return make_plan(config, build_engine(config), vm.load(job.bundle), where)


def carry_out(job: Job, plan: ScorePlan, run_id: str = "me", engine: Engine | None = None) -> int:
    options = ScoringOptions(0.001, "alerts", None, AT)
    engine = engine or build_engine(job.config())
    return engine.score(plan, vm.load(job.bundle), options, {"run_id": run_id}, lambda *_, **__: None).version


@pytest.mark.parametrize("where", [NIGHT, f"{NIGHT} AND shop = 'oslo'", "price > 30"])
def test_running_again_changes_no_score_and_duplicates_nothing(where: str, any_job: Job) -> None:
    before, files = check_rows(any_job), live_files(any_job.target)
    for number in (1, 2):
        outcome = any_job.run("score", "--where", where, "--logical-time", "2024-06-01T00:00:00Z")
        assert outcome.code == 0, outcome.stderr
        assert outcome.last["version"] == version(any_job)
        after = check_rows(any_job)
        for name in ("anomaly_score", "reconstruction_nll"):
            assert pc.max(pc.abs(pc.subtract(after[name], before[name]))).as_py() < 1e-4
        assert pc.sum(pc.equal(after["scored_at"], AT)).as_py() == outcome.last["rows"], number
    if "day" in where:
        assert {path for path in files if "day=2024-01-02" not in path} <= live_files(any_job.target)


def test_a_whole_run_follows_the_source(any_job: Job) -> None:
    rows = DeltaTable(str(any_job.source)).to_pyarrow_table()
    changed = rows.filter(pc.field("order_id") < 500).append_column("note", pa.array(["new"] * 500))
    write_deltalake(str(any_job.source), changed, mode="overwrite", schema_mode="overwrite", partition_by=["day"])
    assert any_job.run("score", "--where", NIGHT).code == 0
    notes = any_job.read()
    assert set(notes.filter(pc.is_valid(notes["note"]))["day"].to_pylist()) == {date(2024, 1, 2)}
    assert any_job.run("score").code == 0
    assert any_job.read()["order_id"].to_pylist() == list(range(500))
    assert set(any_job.read()["note"].to_pylist()) == {"new"}


def test_rows_gone_from_the_source_go_from_their_scope_alone(any_job: Job) -> None:
    DeltaTable(str(any_job.source)).delete("order_id = 1 OR order_id = 2")
    assert any_job.run("score", "--where", NIGHT).code == 0
    assert any_job.read()["order_id"].to_pylist() == [0, *range(2, 600)]


def test_nothing_to_do_is_done(any_job: Job) -> None:
    before = fingerprint(any_job.target)
    outcome = any_job.run("score", "--where", "day = '1999-01-01'")
    assert outcome.code == 0
    assert outcome.last["event"] == "done" and outcome.last["message"].startswith("nothing to do")
    assert fingerprint(any_job.target) == before


def test_the_commit_says_what_was_done(any_job: Job) -> None:
    assert any_job.run("score", "--where", NIGHT).code == 0
    metadata = json.loads(DeltaTable(str(any_job.target)).history(1)[0]["userMetadata"])
    assert metadata["app"] == "sandtimer"
    assert metadata["model_id"] == vm.load(any_job.bundle).model_id
    assert (metadata["source"], metadata["source_version"]) == (str(any_job.source), 0)
    assert (metadata["rows"], metadata["engine"]) == (200, any_job.engine)
    assert "2024-01-02" in metadata["where"]


@pytest.mark.parametrize("columns", ["all", "key"])
@pytest.mark.parametrize("explain", ["alerts", "all", "none"])
def test_what_is_carried_and_explained(columns: str, explain: str, job: Job) -> None:
    shutil.rmtree(job.target)
    job.settings["score"] |= {"columns": columns, "explain": explain, "alert_budget": 0.05}
    assert job.run("score").code == 0
    scored = check_rows(job)
    carried = DeltaTable(str(job.source)).schema().to_arrow().names if columns == "all" else ["order_id", "day"]
    assert set(scored.column_names) == {*carried, *vm.SCORE_COLUMNS}
    explained = pc.is_valid(scored["top_columns"])
    wanted = {"alerts": scored["is_anomaly"], "all": pc.is_valid(scored["day"]), "none": pc.is_null(scored["day"])}
    assert explained.equals(wanted[explain])


def test_a_run_that_was_overtaken_on_its_rows_commits_nothing(job: Job) -> None:
    mine = plan_night(job, NIGHT)
    assert carry_out(job, plan_night(job, NIGHT), "other") == 1
    before, stored = fingerprint(job.target), set(job.target.rglob("*.parquet"))
    with pytest.raises(ConflictError, match="run it again"):
        carry_out(job, mine)
    assert fingerprint(job.target) == before
    assert len(set(job.target.rglob("*.parquet")) - stored) <= 1, "an orphan at most"
    assert carry_out(job, plan_night(job, NIGHT)) == 2
    check_rows(job)


def test_runs_on_other_rows_do_not_disturb(job: Job) -> None:
    mine = plan_night(job, NIGHT)
    assert carry_out(job, plan_night(job, OTHER), "other") == 1
    assert carry_out(job, mine) == 2
    check_rows(job)


def test_a_target_made_meanwhile_is_not_overwritten(job: Job) -> None:
    shutil.rmtree(job.target)
    config = job.config()
    mine = make_plan(config, build_engine(config), vm.load(job.bundle))
    assert job.run("score").code == 0
    before = fingerprint(job.target)
    with pytest.raises(ConflictError):
        carry_out(job, mine)
    assert fingerprint(job.target) == before


@pytest.mark.parametrize("others", [NIGHT, OTHER])
def test_two_processes_at_once(others: str, job: Job, root: Path) -> None:
    job.write_config()
    command = [sys.executable, "-m", "jobs.score", "--config", str(job.config_file), "--where"]
    both = [
        subprocess.Popen([*command, where], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for where in (NIGHT, others)
    ]
    said = [process.communicate(timeout=120) for process in both]
    codes = Counter(process.returncode for process in both)
    assert codes[0] + codes[4] == 2, said
    assert codes[0] == 2 if others != NIGHT else codes[0] >= 1, said
    assert version(job) == codes[0]
    check_rows(job)


@pytest.mark.parametrize("others", [NIGHT, OTHER])
def test_two_plans_at_once(others: str, any_job: Job) -> None:
    engine, plans = build_engine(any_job.config()), [plan_night(any_job, where) for where in (NIGHT, others)]

    def attempt(number: int) -> int | None:
        try:
            return carry_out(any_job, plans[number], f"run {number}", engine)
        except ConflictError:
            return None

    with ThreadPoolExecutor(2) as pool:
        versions = [found for found in pool.map(attempt, range(2)) if found is not None]
    assert sorted(versions) == list(range(1, version(any_job) + 1))
    assert len(versions) == 2 if others != NIGHT else versions
    check_rows(any_job)


def test_a_killed_run_leaves_the_table_as_it_was(job: Job, root: Path) -> None:
    job.write_config()
    before = fingerprint(job.target)
    # Far too many draws to be done soon; killed as soon as its scoring is announced.
    rows = DeltaTable(str(job.source)).to_pyarrow_table()
    for _ in range(5):
        write_deltalake(str(job.source), pa.concat_tables([rows] * 100), mode="append")
    command = [sys.executable, "-m", "jobs.score", "--config", str(job.config_file)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "scoring"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert fingerprint(job.target) == before
    check_rows(job)
