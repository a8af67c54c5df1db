"""What the tests of the orchestrators share: a project's folder, its job, and a witness of what sandtimer is asked."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from tests.conftest import ROOT
from tests.jobs.job import Job

# Made by `make test-airflow`.
BIN = ROOT / ".venv" / "orchestrators" / "bin"

# In the place of sandtimer: sandtimer itself, behind a line in a file for each call. On demand `score` is killed with
# -9 when its files are written and nothing is committed, or `monitor` ends with an alarm's exit code.
WITNESS = """#!/bin/bash
echo "$*" >> {folder}/calls
if [ "$1" = score ] && [ -e {folder}/kill ]; then rm {folder}/kill; exec {python} -c '{killed}' "$@"; fi
if [ "$1" = monitor ] && [ -e {folder}/alarm ]; then exit 5; fi
if [ "$1" = monitor ]; then exit 0; fi
exec {python} -m jobs.cli "$@"
"""
KILLED = """
import os, signal
from jobs.engines import files
files.create_table = files.replace_files = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
from jobs.cli.main import main
main()
"""


@dataclass(frozen=True)
class Project:
    """A clone's folder with a job whose source has the first two days of the orders, never scored."""

    folder: Path
    job: Job

    @property
    def environment(self) -> dict[str, str]:
        """For an orchestrator, as docs/orchestrators.md says, and with a home of its own."""
        own = {
            "SANDTIMER_COMMAND": str(self.folder / ".venv" / "bin" / "sandtimer"),
            "SANDTIMER_CONFIG": "data/orders.yaml",
            "SANDTIMER_FOLDER": str(self.folder),
            "SANDTIMER_DAY_COLUMN": "day",
            "SANDTIMER_RETRY_DELAY_S": "1",
            "PYTHONPATH": str(self.folder),
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "jobs" / "orchestrators"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "DAGSTER_HOME": str(self.folder / "home"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }
        return os.environ | own | {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]])}

    def demand(self, what: str) -> None:
        """Let the next `score` be killed ('kill'), or every `monitor` alarm ('alarm')."""
        (self.folder / what).touch()

    def withdraw(self, what: str) -> None:
        """End what was demanded."""
        (self.folder / what).unlink(missing_ok=True)

    def take_calls(self) -> list[str]:
        """What sandtimer was asked for since the last look: the command lines up to --config."""
        path = self.folder / "calls"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.split(" --config ")[0] for line in lines]

    def add_day(self, orders: pa.Table, day: str) -> None:
        """The orders of one day arrive in the source."""
        rows = orders.filter(pc.equal(pc.cast(orders["day"], pa.string()), day))
        write_deltalake(str(self.job.source), rows, partition_by=["day"], mode="append")

    def check_every_row_once(self, versions: int) -> None:
        """The scored table has the source's rows, each once, and came about in so many commits."""
        source = DeltaTable(str(self.job.source)).to_pyarrow_table().sort_by("order_id")
        assert self.job.read()["order_id"].equals(source["order_id"])
        assert DeltaTable(str(self.job.target)).version() + 1 == versions

    def times(self) -> set[tuple[str, str]]:
        """The day of each row and the day of the run that scored it."""
        return {(str(row["day"]), str(row["scored_at"].date())) for row in self.job.read().to_pylist()}


def make_project(folder: Path, orders: pa.Table) -> Project:
    """Lay out the folder."""
    for name in ("jobs", "vae_model"):
        (folder / name).symlink_to(ROOT / name)
    project = Project(folder, Job(folder / "data"))
    for day in ("2024-01-01", "2024-01-02"):
        project.add_day(orders, day)
    project.job.settings |= {"model": {"members": 1}, "train": {"epochs": 2}}
    project.job.write_config().rename(folder / "data" / "orders.yaml")
    witness = folder / ".venv" / "bin" / "sandtimer"
    witness.parent.mkdir(parents=True)
    witness.write_text(WITNESS.format(folder=folder, python=sys.executable, killed=KILLED), encoding="utf-8")
    witness.chmod(0o755)
    (folder / "home").mkdir()
    return project
