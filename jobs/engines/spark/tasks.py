"""Route `files` on Spark: the tasks that the local engine runs in threads, one in each partition of an RDD, which costs
least. A task that is tried again writes other files; those of the first try are orphans that no commit mentions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.engines.tasks import Task, TaskResult

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.common.console import Advance
    from jobs.engines.spark.worker import RemoteScorer


def run_tasks(
    session: SparkSession, remote: RemoteScorer, advance: Advance, tasks: Sequence[Task], done: list[TaskResult]
) -> None:
    """Run tasks on the executors, adding their results to `done`."""
    if not tasks:
        return

    def work(task: Task) -> str:
        return json.dumps(task.run(remote.scorer, _ignore).to_json())

    for text in session.sparkContext.parallelize(tasks, len(tasks)).map(work).collect():
        done.append(TaskResult.from_json(json.loads(text)))
        advance(done[-1].scored_rows)


def _ignore(steps: int, remark: str = "", total: int | None = None) -> None:
    """The driver tells of progress, by the results."""
