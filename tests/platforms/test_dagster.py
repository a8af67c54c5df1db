"""The Dagster jobs on a real install, in process: the same nights as Airflow's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.platforms.orchestrated import BIN, Project, make_project

RUN = """
import json, sys
import dagster_job

partition, tags, only = json.loads(sys.argv[1])
if partition:
    config = {"ops": {"score": {"config": {"only_this_day": only}}}}
    done = dagster_job.sandtimer_score.execute_in_process(
        partition_key=partition, tags=tags, run_config=config, raise_on_error=False
    )
else:
    done = dagster_job.sandtimer_train.execute_in_process(raise_on_error=False)
steps = [[e.event_type_value, e.step_key] for e in done.all_events if e.step_key and "OUTPUT" not in e.event_type_value]
schedules = {s.job_name: s.cron_schedule for s in dagster_job.defs.schedules}
print(json.dumps({"success": done.success, "steps": steps, "schedules": schedules}))
"""


@pytest.fixture(scope="module")
def project(orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("dagster"), orders)


def run_job(project: Project, partition: str | None, tags: dict[str, str] | None = None, only: bool = False) -> Any:
    done = subprocess.run(
        [BIN / "python", "-c", RUN, json.dumps([partition, tags or {}, only])],
        env=project.environment, cwd=project.folder / "jobs" / "orchestrators",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    ends = {"STEP_SUCCESS": "success", "STEP_FAILURE": "failed", "STEP_UP_FOR_RETRY": "retry"}
    states = [(step, ends[event]) for event, step in found["steps"] if event in ends]
    return found["success"], states, done.stderr, found["schedules"]


def test_a_week_and_its_nights(project: Project, orders: pa.Table) -> None:
    done, states, log, schedules = run_job(project, None)
    assert (done, states) == (True, [("extract", "success"), ("train", "success")]), log
    assert schedules == {"sandtimer_train": "0 2 * * 0", "sandtimer_score": "0 5 * * *"}
    assert project.take_calls() == ["extract", "train"]

    project.demand("kill")
    done, states, log, _ = run_job(project, "2024-01-02")
    assert (done, states) == (True, [("score", "retry"), ("score", "success"), ("monitor", "success")]), log
    assert project.take_calls() == [*["score --logical-time 2024-01-02T00:00:00+00:00"] * 2, "monitor"]
    project.check_every_row_once(versions=1)

    project.add_day(orders, "2024-01-03")
    project.demand("alarm")
    done, states, log, _ = run_job(project, "2024-01-03")
    project.withdraw("alarm")
    assert (done, states) == (False, [("score", "success"), ("monitor", "failed")]), log
    assert "exit code 5: drift alarm" in log
    project.check_every_row_once(versions=2)
    project.take_calls()

    done, states, log, _ = run_job(project, "2024-01-01", {"dagster/backfill": "abc"})
    assert done, log
    assert project.take_calls()[0] == "score --logical-time 2024-01-01T00:00:00+00:00 --where day = '2024-01-01'"
    project.check_every_row_once(versions=3)
    assert project.times() == {(day, day) for day in ("2024-01-01", "2024-01-02", "2024-01-03")}

    shutil.move(project.job.bundle, project.folder / "hidden")
    done, states, log, _ = run_job(project, "2024-01-03", only=True)
    assert (done, states) == (False, [("score", "failed")]), log
    assert "exit code 3: the data break the contract" in log
    assert project.take_calls() == ["score --logical-time 2024-01-03T00:00:00+00:00 --where day = '2024-01-03'"]


def test_the_crontab_names_real_commands(root: Path) -> None:
    lines = (root / "jobs" / "orchestrators" / "crontab").read_text(encoding="utf-8").splitlines()
    jobs = [line for line in lines if line[:1].isdigit()]
    assert [line.split()[:5] for line in jobs] == [list("02**0"), list("05***")]
