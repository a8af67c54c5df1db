"""The Airflow DAGs on a real install, by `airflow dags test`: the README's block, two dates, a killed task, a drift
alarm, and a failure that no retry helps against."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from tests.documents import read_blocks
from tests.jobs.job import all_files
from tests.platforms.orchestrated import BIN, Project, make_project

ONLY_THIS_DAY = ["--conf", '{"only_this_day": true}']


@pytest.fixture(scope="module")
def project(orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("airflow"), orders)


def run_dag(project: Project, day: str, *arguments: str) -> tuple[int, dict[str, list[str]], str]:
    """Exit code, the states that each task of a night ended in, and the log."""
    return run(project, [BIN / "airflow", "dags", "test", "sandtimer_score", day, *arguments])


def run(project: Project, command: list[str | Path]) -> tuple[int, dict[str, list[str]], str]:
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    states: dict[str, list[str]] = {}
    task = ""
    for started, state in re.findall(r"starting task_id=(\w+)|new_state=(\w+)", done.stdout):
        task = started or task
        states.setdefault(task, []).extend([state] if state else [])
    return done.returncode, states, done.stdout


def test_a_week_and_its_nights(project: Project, orders: pa.Table, root: Path) -> None:
    """In the order in which they happen, each building on what is there."""
    # The README's block trains and scores a night. That run is killed with everything written and nothing committed,
    # and Airflow itself tries it again.
    (block,) = read_blocks(root / "README.md", "airflow")
    project.demand("kill")
    code, states, log = run(project, ["bash", "-euo", "pipefail", "-c", block.code])
    assert code == 0, log
    assert states["extract"] == states["train"] == states["monitor"] == ["success"]
    assert states["score"][-1] == "success" and len(states["score"]) == 2, states
    assert "exit code -9; it is safe to run it again" in log
    night = "score --logical-time 2024-01-02T00:00:00+00:00"
    assert project.take_calls() == ["extract", "train", night, night, "monitor"]
    project.check_every_row_once(versions=1)
    assert project.times() == {("2024-01-01", "2024-01-02"), ("2024-01-02", "2024-01-02")}

    # The next night brings rows, and an alarm: the monitor alone has failed, once, and the scores are there.
    project.add_day(orders, "2024-01-03")
    project.demand("alarm")
    code, states, log = run_dag(project, "2024-01-03")
    project.withdraw("alarm")
    assert (code, states) == (1, {"score": ["success"], "monitor": ["failed"]}), log
    assert "exit code 5: drift alarm" in log
    assert project.take_calls() == ["score --logical-time 2024-01-03T00:00:00+00:00", "monitor"]
    project.check_every_row_once(versions=2)

    # The same night again: nothing to do, and nothing changes.
    before = all_files(project.job.target)
    code, states, log = run_dag(project, "2024-01-03")
    assert (code, states) == (0, {"score": ["success"], "monitor": ["success"]}), log
    assert "nothing to do" in log
    assert all_files(project.job.target) == before
    assert project.take_calls() == ["score --logical-time 2024-01-03T00:00:00+00:00", "monitor"]

    # One day of the past, whatever was scored: that day has the run's time, the others keep theirs.
    code, states, log = run_dag(project, "2024-01-01", *ONLY_THIS_DAY)
    assert (code, states["score"]) == (0, ["success"]), log
    assert project.take_calls()[0] == "score --logical-time 2024-01-01T00:00:00+00:00 --where day = '2024-01-01'"
    project.check_every_row_once(versions=3)
    assert project.times() == {(day, day) for day in ("2024-01-01", "2024-01-02", "2024-01-03")}

    # What no retry helps against fails at once, and the monitor does not run.
    shutil.move(project.job.bundle, project.folder / "hidden")
    code, states, log = run_dag(project, "2024-01-03")
    assert (code, states) == (1, {"score": ["failed"]}), log
    assert "exit code 3: the data break the contract" in log
    assert project.take_calls() == ["score --logical-time 2024-01-03T00:00:00+00:00"]


BACKFILL = """
from types import SimpleNamespace
from datetime import datetime, UTC
import airflow_dag
run = SimpleNamespace(logical_date=datetime(2024, 1, 2, tzinfo=UTC), run_after=None, run_type="backfill")
for dag in (airflow_dag.extract.dag, airflow_dag.score.dag):
    print(dag.dag_id, dag.timetable.expression, dag.catchup, dag.max_active_runs)
airflow_dag.score_night(run, {"only_this_day": False})
"""


def test_the_runs_of_a_backfill_score_their_days(project: Project, root: Path) -> None:
    """`airflow backfill create` wants a scheduler; its runs are told from others by their type."""
    done = subprocess.run(
        [BIN / "python", "-c", BACKFILL],
        env=project.environment, cwd=root / "jobs" / "orchestrators", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert project.take_calls() == ["score --logical-time 2024-01-02T00:00:00+00:00 --where day = '2024-01-02'"]
    assert "sandtimer_train 0 2 * * 0 False 1\nsandtimer_score 0 5 * * * False 1\n" in done.stdout
