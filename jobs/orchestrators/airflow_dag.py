"""Sandtimer in Airflow 3. Copy this file into the DAGs folder; docs/orchestrators.md says more.

    sandtimer_train    every week: extract, then train
    sandtimer_score    every night: score, then monitor

A scheduled night scores what changed since the last one. A backfill scores the days that it names, whatever was scored.
Retries are safe: a run of `sandtimer score` commits once or not at all, and doing it again changes nothing.
"""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

COMMAND = os.environ.get("SANDTIMER_COMMAND", "sandtimer")
CONFIG = os.environ.get("SANDTIMER_CONFIG", "conf/flights.yaml")
# Relative paths in a config are relative to this folder.
FOLDER = os.environ.get("SANDTIMER_FOLDER", ".")
# The column whose values are the nights: source.partition.
DAY_COLUMN = os.environ.get("SANDTIMER_DAY_COLUMN", "flight_date")
RETRY_DELAY_S = float(os.environ.get("SANDTIMER_RETRY_DELAY_S", "300"))

# Exit codes of sandtimer that another try does not help against.
FINAL = {
    2: "wrong usage or config, or something is not installed",
    3: "the data break the contract",
    5: "drift alarm: the scores are in the table, look at the monitor's findings before trusting them",
}


def run_sandtimer(*arguments: str) -> None:
    """Run one command of sandtimer, its output in the task's log; how it ended decides whether to try again."""
    with subprocess.Popen(
        [COMMAND, *arguments, "--config", CONFIG, "--log", "json"],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                print(line, end="", flush=True)
        except BaseException:  # the task is cancelled or timed out: its command must not go on
            process.kill()
            raise
    code = process.returncode
    if code in FINAL:
        raise AirflowFailException(f"sandtimer {arguments[0]} ended with exit code {code}: {FINAL[code]}")
    if code:
        raise AirflowException(f"sandtimer {arguments[0]} ended with exit code {code}; it is safe to run it again")


def score_night(dag_run: Any, params: dict[str, Any]) -> None:
    """Score what changed, or one day alone: the run's own date decides the day and `scored_at`."""
    moment: datetime = dag_run.logical_date or dag_run.run_after
    arguments = ["score", "--logical-time", moment.isoformat()]
    if dag_run.run_type == "backfill" or params["only_this_day"]:
        arguments += ["--where", f"{DAY_COLUMN} = '{moment.date()}'"]
    run_sandtimer(*arguments)


DEFAULTS = {
    "retries": 3,
    "retry_delay": timedelta(seconds=RETRY_DELAY_S),
    "retry_exponential_backoff": True,
    "execution_timeout": timedelta(hours=6),
}

with DAG(
    "sandtimer_train",
    description="Sample the table and train the model on it.",
    schedule=CronDataIntervalTimetable("0 2 * * 0", timezone="UTC"),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["sandtimer"],
):
    extract = PythonOperator(task_id="extract", python_callable=run_sandtimer, op_args=["extract"])
    train = PythonOperator(task_id="train", python_callable=run_sandtimer, op_args=["train"])
    extract >> train

with DAG(
    "sandtimer_score",
    description="Score what changed since the last night, then look for drift.",
    schedule=CronDataIntervalTimetable("0 5 * * *", timezone="UTC"),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={"only_this_day": Param(False, type="boolean", description="Score the run's day again, and only that.")},
    tags=["sandtimer"],
):
    score = PythonOperator(task_id="score", python_callable=score_night)
    # A failed monitor is an alarm: what was scored stays, and the next night is scored.
    monitor = PythonOperator(task_id="monitor", python_callable=run_sandtimer, op_args=["monitor"])
    score >> monitor
