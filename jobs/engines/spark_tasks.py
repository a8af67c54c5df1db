"""Route `files` on Spark: the tasks that the local engine runs in threads, one in each partition of a small DataFrame.
A task that Spark tries again writes other files; those of the first try are orphans that no commit mentions."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.engines.tasks import Task, TaskResult
from jobs.spark import carry, is_connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.events import Advance
    from jobs.worker import RemoteScorer


def run_tasks(
    session: SparkSession, remote: RemoteScorer, advance: Advance, tasks: Sequence[Task], done: list[TaskResult]
) -> None:
    """Run tasks on the executors, adding their results to `done`."""
    if not tasks:
        return
    read_tasks = carry(session, pickle.dumps(tasks))

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                result = pickle.loads(read_tasks())[number].run(remote.scorer, _ignore)  # noqa: S301  the driver's own
                yield pa.RecordBatch.from_pydict({"result": [json.dumps(result.to_json())]})

    numbers = session.range(0, len(tasks), 1, len(tasks))
    for row in numbers.mapInArrow(work, "result string").collect():
        done.append(TaskResult.from_json(json.loads(row["result"])))
        advance(done[-1].scored_rows)


def count_cores(session: SparkSession) -> int:
    """Tasks that the cluster runs at once; a Connect client cannot know, and takes its own machine for one like it."""
    return os.cpu_count() or 1 if is_connect(session) else int(session.sparkContext.defaultParallelism)


def _ignore(_: int) -> None:
    """The driver tells of progress, by the results."""
