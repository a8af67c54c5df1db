"""The embedded engine: deltalake keeps the log, pyarrow reads and writes the files, threads score them. No JVM. Threads
do as well as processes here, since pyarrow and numpy release the interpreter lock in all that takes time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa

from jobs.common.console import Advance
from jobs.common.engine_names import EngineName
from jobs.common.errors import ConfigError
from jobs.common.memory import keep_freed_memory
from jobs.common.sampling import Sample
from jobs.delta import snapshot as snapshots
from jobs.delta.commit import check_names
from jobs.delta.datafile import DataFile
from jobs.delta.feed import read_changed_keys
from jobs.delta.keys import KeySet
from jobs.delta.pruning import bind, count_rows, prune_files
from jobs.delta.reading import read_file
from jobs.delta.storage import TableRef
from jobs.delta.upsert import upsert_rows
from jobs.engines.base import (
    Lineage,
    LogEntry,
    Route,
    ScoreIntent,
    ScorePlan,
    ScoreResult,
    Summarise,
    TableState,
    Work,
)
from jobs.engines.files import measure_files, score_files
from jobs.engines.logs import describe_table, read_history, take_snapshot
from jobs.engines.tasks import Task, TaskResult
from jobs.predicates.predicate import Predicate
from vae_model import Bundle, Scorer, ScoringOptions
from vae_model.errors import DataError
from vae_model.network.products import one_blas_thread

T = TypeVar("T")
# Of a table that is summarised, at most.
_PARTS = 64


class LocalEngine:
    """Runs on this machine's cores."""

    name: EngineName = "local"

    def __init__(self) -> None:
        self._feed: tuple[object, KeySet | None] | None = None

    def describe(self, ref: TableRef, version: int | None = None) -> TableState:
        """See `Engine`."""
        return describe_table(ref, version)

    def exists(self, ref: TableRef) -> bool:
        """See `Engine`."""
        return snapshots.exists(ref)

    def choose_route(self, intent: ScoreIntent, wanted: Literal["auto", "files", "dataframe"]) -> tuple[Route, str]:
        """See `Engine`."""
        if wanted == "dataframe":
            raise ConfigError(
                "score.route: auto or files with --engine local", "dataframe", "use --engine spark for it"
            )
        check_names(intent.schema, intent.target_ref)
        return "files", "the local engine reads and writes the Parquet files itself"

    def count(self, table: TableState, where: Predicate | None) -> int:
        """See `Engine`."""
        snapshot = take_snapshot(table)
        return count_rows(snapshot, prune_files(snapshot, where), where)

    def history(self, table: TableState) -> list[LogEntry]:
        """See `Engine`."""
        return read_history(table.ref, table.version)

    def has_change_feed(self, table: TableState, since: int, keys: Sequence[str]) -> bool:
        """See `Engine`."""
        return self._read_keys(table, since, keys) is not None

    def _read_keys(self, table: TableState, since: int, names: Sequence[str]) -> KeySet | None:
        """The keys that changed; the feed is read once for a plan and its run."""
        asked = (table.ref, table.table_id, table.version, since, tuple(names))
        if self._feed is None or self._feed[0] != asked:
            keys = pa.schema([table.schema.field(name) for name in names])
            self._feed = (asked, read_changed_keys(table.ref, since, table.version, keys))
        return self._feed[1]

    def _planned_keys(self, plan: ScoreIntent) -> KeySet | None:
        if plan.action != "merge":
            return None
        keys = self._read_keys(plan.source, plan.since or 0, plan.keys)
        if keys is None:
            raise DataError(
                f"the change data feed of {plan.source.ref.name} since version {plan.since}",
                "it can no longer be read",
                "run it again, or once with --full",
            )
        return keys

    def measure(self, intent: ScoreIntent, route: Route) -> Work:
        """See `Engine`."""
        return measure_files(intent, self._planned_keys(intent))

    def read(self, table: TableState, columns: Sequence[str], where: Predicate | None, limit: int) -> pa.Table:
        """See `Engine`."""
        snapshot = take_snapshot(table)
        condition = bind(where, snapshot)
        batches: list[pa.RecordBatch] = []
        rows = 0
        for file in prune_files(snapshot, where):
            for batch in read_file(snapshot, file, columns, condition):
                # Without the empty ones: a table of a hundred empty chunks is a nuisance to whoever reads it.
                batches += [batch.slice(0, limit - rows)] if batch.num_rows else []
                rows += min(batch.num_rows, limit - rows)
            if rows >= limit:
                break
        schema = pa.schema([snapshot.schema.field(name) for name in columns])
        return pa.Table.from_batches(batches, schema=schema)

    def sample(self, table: TableState, columns: Sequence[str], where: Predicate | None, sample: Sample) -> pa.Table:
        """See `Engine`."""
        snapshot = take_snapshot(table)
        needed = [*columns, *(name for name in sample.columns if name not in columns)]
        schema = pa.schema([snapshot.schema.field(name) for name in columns])
        condition = bind(where, snapshot)

        def pick(file: DataFile) -> list[pa.RecordBatch]:
            kept = []
            for batch in read_file(snapshot, file, needed, condition):
                if batch.num_rows:
                    chosen = sample.keeps(sample.hash(batch))
                    kept.append(batch.select(list(columns)).take(pa.array(np.flatnonzero(chosen))))
            return kept

        parts: list[list[pa.RecordBatch]] = []
        run_all([partial(pick, file) for file in prune_files(snapshot, where)], parts)
        return pa.Table.from_batches([batch for part in parts for batch in part], schema=schema)

    def upsert(self, ref: TableRef, rows: pa.Table, keys: Sequence[str]) -> int:
        """See `Engine`."""
        return upsert_rows(ref, rows, keys)

    def summarise(
        self,
        table: TableState,
        columns: Sequence[str],
        where: Predicate | None,
        schema: pa.Schema,
        summarise: Summarise,
    ) -> pa.Table:
        """See `Engine`."""
        snapshot = take_snapshot(table)
        condition = bind(where, snapshot)

        def run_part(number: int, files: Sequence[DataFile]) -> tuple[int, pa.RecordBatch]:
            batches = (batch for file in files for batch in read_file(snapshot, file, columns, condition))
            return number, summarise(batches)

        found: list[tuple[int, pa.RecordBatch]] = []
        parts = split_evenly(prune_files(snapshot, where), _PARTS)
        run_all([partial(run_part, number, files) for number, files in enumerate(parts)], found)
        # In the files' order, so that sums of floating-point numbers come out the same every time.
        ordered = [batch for _, batch in sorted(found, key=lambda pair: pair[0])]
        return pa.Table.from_batches(ordered, schema=schema)

    def score(
        self, plan: ScorePlan, bundle: Bundle, options: ScoringOptions, lineage: Lineage, advance: Advance
    ) -> ScoreResult:
        """See `Engine`."""
        keep_freed_memory()
        scorer = Scorer(bundle, options)

        def run(tasks: Sequence[Task], done: list[TaskResult]) -> None:
            run_all([partial(task.run, scorer, advance) for task in tasks], done)

        return score_files(plan, lineage, os.cpu_count() or 1, run, self._planned_keys(plan))


def run_all(tasks: Sequence[Callable[[], T]], done: list[T]) -> None:
    """Run tasks on all cores, adding each result to `done`; after a failure no other starts, and it is raised."""
    # Threads work on tasks; more of them inside each matrix product would only wait for each other, and burn the cores.
    with one_blas_thread, ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(_run_into, task, done) for task in tasks]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def split_evenly(items: Sequence[T], parts: int) -> list[Sequence[T]]:
    """At most so many runs of neighbours, none empty."""
    size = -(-len(items) // parts) or 1
    return [items[start : start + size] for start in range(0, len(items), size)]


def _run_into(task: Callable[[], T], done: list[T]) -> None:
    done.append(task())
