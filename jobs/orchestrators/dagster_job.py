"""Sandtimer in Dagster: two jobs, a weekly and a nightly schedule. `dagster dev -f dagster_job.py` shows them, and
docs/orchestrators.md says more. The nightly job is partitioned by day: a backfill of partitions scores its days again.
Retries are safe: a run of `sandtimer score` commits once or not at all, and doing it again changes nothing.
"""

import os
import subprocess

from dagster import (
    Backoff,
    DailyPartitionsDefinition,
    Definitions,
    Failure,
    Field,
    In,
    Nothing,
    OpExecutionContext,
    Out,
    RetryPolicy,
    ScheduleDefinition,
    build_schedule_from_partitioned_job,
    job,
    op,
)

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
RETRIES = RetryPolicy(max_retries=3, delay=RETRY_DELAY_S, backoff=Backoff.EXPONENTIAL)


def run_sandtimer(context: OpExecutionContext, *arguments: str) -> None:
    """Run one command of sandtimer, its output in the run's log; how it ended decides whether to try again."""
    with subprocess.Popen(
        [COMMAND, *arguments, "--config", CONFIG, "--log", "json"],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                context.log.info(line.rstrip())
        except BaseException:  # the run is cancelled: its command must not go on
            process.kill()
            raise
    code = process.returncode
    if code:
        meaning = FINAL.get(code, "it is safe to run it again")
        raise Failure(
            f"sandtimer {arguments[0]} ended with exit code {code}: {meaning}", allow_retries=code not in FINAL
        )


@op(retry_policy=RETRIES, out=Out(Nothing))
def extract(context: OpExecutionContext) -> None:
    """Delta table -> sampled Parquet extract."""
    run_sandtimer(context, "extract")


@op(retry_policy=RETRIES, ins={"extracted": In(Nothing)})
def train(context: OpExecutionContext) -> None:
    """Extract -> bundle."""
    run_sandtimer(context, "train")


@op(
    retry_policy=RETRIES,
    out=Out(Nothing),
    config_schema={"only_this_day": Field(bool, default_value=False, description="Score the day again, and only it.")},
)
def score(context: OpExecutionContext) -> None:
    """Score what changed, or one day alone: the partition decides the day and `scored_at`."""
    day = context.partition_key
    arguments = ["score", "--logical-time", f"{day}T00:00:00+00:00"]
    if context.op_config["only_this_day"] or "dagster/backfill" in context.run.tags:
        arguments += ["--where", f"{DAY_COLUMN} = '{day}'"]
    run_sandtimer(context, *arguments)


@op(retry_policy=RETRIES, ins={"scored": In(Nothing)})
def monitor(context: OpExecutionContext) -> None:
    """Look for drift. Its failure is an alarm: what was scored stays, and the next night is scored."""
    run_sandtimer(context, "monitor")


@job
def sandtimer_train() -> None:
    """Every week: extract, then train."""
    train(extract())


@job(partitions_def=DailyPartitionsDefinition(start_date="2013-01-01"))
def sandtimer_score() -> None:
    """Every night: score, then monitor."""
    monitor(score())


defs = Definitions(
    jobs=[sandtimer_train, sandtimer_score],
    schedules=[
        ScheduleDefinition(job=sandtimer_train, cron_schedule="0 2 * * 0"),
        build_schedule_from_partitioned_job(sandtimer_score, hour_of_day=5),
    ],
)
