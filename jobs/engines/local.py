"""The embedded engine: deltalake keeps the log, pyarrow reads and writes the files, threads score them. No JVM. Threads
do as well as processes here, since pyarrow and numpy release the interpreter lock in all that takes time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa
from deltalake.exceptions import DeltaError

from jobs.config import EngineName
from jobs.delta import snapshot as snapshots
from jobs.delta.changes import parse_lineage
from jobs.delta.commit import Change, check_names, check_removable, check_writable, create_table, replace_files
from jobs.delta.feed import NetChange, read_feed
from jobs.delta.files import Layout, delete_files
from jobs.delta.reading import count_rows, prune_files, read_file
from jobs.delta.snapshot import DataFile, Snapshot, open_snapshot, open_table
from jobs.delta.storage import TableRef, create_root, open_filesystem
from jobs.engines.base import Lineage, LogEntry, Route, ScorePlan, ScoreResult, ScoringOptions, TableState, Work
from jobs.engines.tasks import (
    Target,
    TaskResult,
    compact_files,
    find_small_files,
    keep_other_keys,
    keep_rows,
    score_part,
    score_rows,
    split_work,
)
from jobs.errors import ConfigError
from jobs.events import Advance
from jobs.predicate import Predicate
from jobs.sampling import Sample
from vae_model import SCORE_COLUMNS, Bundle, Scorer
from vae_model.errors import DataError
from vae_model.products import one_blas_thread

T = TypeVar("T")


class LocalEngine:
    """Runs on this machine's cores."""

    name: EngineName = "local"

    def describe(self, ref: TableRef, version: int | None = None) -> TableState:
        """See `Engine`."""
        table = open_snapshot(ref, version)
        return TableState(ref, table.version, table.table_id, table.schema, table.partition_columns, ref)

    def exists(self, ref: TableRef) -> bool:
        """See `Engine`."""
        return snapshots.exists(ref)

    def choose_route(self, source: TableState, wanted: Literal["auto", "files", "dataframe"]) -> tuple[Route, str]:
        """See `Engine`."""
        if wanted == "dataframe":
            raise ConfigError(
                "score.route: auto or files with --engine local", "dataframe", "use --engine spark for it"
            )
        return "files", "the local engine reads and writes the Parquet files itself"

    def count(self, table: TableState, where: Predicate | None) -> int:
        """See `Engine`."""
        snapshot = open_snapshot(table.ref, table.version)
        return count_rows(snapshot, prune_files(snapshot, where), where)

    def history(self, table: TableState) -> list[LogEntry]:
        """See `Engine`."""
        found = open_table(table.ref, table.version).history()
        return [
            LogEntry(
                int(entry["version"]),
                datetime.fromtimestamp(entry.get("timestamp", 0) / 1_000, UTC),
                str(entry.get("operation", "")),
                parse_lineage(entry.get("userMetadata")),
            )
            for entry in found
            if int(entry["version"]) <= table.version
        ]

    def has_change_feed(self, table: TableState, since: int) -> bool:
        """See `Engine`."""
        # Where the feed is off deltalake makes one up from whole files.
        ends = [open_table(table.ref, version).metadata().configuration for version in (since + 1, table.version)]
        if any(end.get("delta.enableChangeDataFeed") != "true" for end in ends):
            return False
        try:
            feed = open_table(table.ref).load_cdf(since + 1, table.version)
            for _ in pa.RecordBatchReader.from_stream(feed):
                pass
        except (DeltaError, OSError, ValueError, pa.ArrowException):
            return False
        return True

    def measure(self, plan: ScorePlan) -> Work:
        """See `Engine`."""
        source = open_snapshot(plan.source.ref, plan.source.version)
        files = [file for _, chosen in _source_files(plan, source) for file in chosen]
        if plan.action == "merge":
            change = _read_net_change(plan)
            rows = _matching_rows(change, plan).num_rows
        else:
            rows = count_rows(source, files, plan.read)
        skipped = max(len(source.files) - len(files), 0)
        if plan.target is None:
            return Work(rows, 0, len(files), skipped, 0, 0)
        there = open_snapshot(plan.target.ref, plan.target.version)
        check_writable(there)
        if plan.action == "append":
            return Work(rows, 0, len(files), skipped, 0, len(there.files))
        if plan.action == "merge":
            return Work(rows, change.touched.num_rows, None, None, None, None)
        replaced = prune_files(there, plan.scope)
        check_removable(there, replaced)
        kept = len(there.files) - len(replaced)
        return Work(rows, count_rows(there, replaced, plan.scope), len(files), skipped, len(replaced), kept)

    def read(self, table: TableState, columns: Sequence[str], where: Predicate | None, limit: int) -> pa.Table:
        """See `Engine`."""
        snapshot = open_snapshot(table.ref, table.version)
        batches: list[pa.RecordBatch] = []
        rows = 0
        for file in prune_files(snapshot, where):
            for batch in read_file(snapshot, file, columns, where):
                # Without the empty ones: a table of a hundred empty chunks is a nuisance to whoever reads it.
                batches += [batch.slice(0, limit - rows)] if batch.num_rows else []
                rows += min(batch.num_rows, limit - rows)
            if rows >= limit:
                break
        schema = pa.schema([snapshot.schema.field(name) for name in columns])
        return pa.Table.from_batches(batches, schema=schema)

    def sample(self, table: TableState, columns: Sequence[str], where: Predicate | None, sample: Sample) -> pa.Table:
        """See `Engine`."""
        snapshot = open_snapshot(table.ref, table.version)
        needed = [*columns, *(name for name in sample.columns if name not in columns)]
        schema = pa.schema([snapshot.schema.field(name) for name in columns])

        def pick(file: DataFile) -> list[pa.RecordBatch]:
            kept = []
            for batch in read_file(snapshot, file, needed, where):
                if batch.num_rows:
                    chosen = sample.keeps(sample.hash(batch))
                    kept.append(batch.select(list(columns)).take(pa.array(np.flatnonzero(chosen))))
            return kept

        parts: list[list[pa.RecordBatch]] = []
        run_all([partial(pick, file) for file in prune_files(snapshot, where)], parts)
        return pa.Table.from_batches([batch for part in parts for batch in part], schema=schema)

    def score(
        self, plan: ScorePlan, bundle: Bundle, options: ScoringOptions, lineage: Lineage, advance: Advance
    ) -> ScoreResult:
        """See `Engine`."""
        source = open_snapshot(plan.source.ref, plan.source.version)
        there = open_snapshot(plan.target.ref, plan.target.version) if plan.target else None
        check_names(plan.schema, plan.target_ref)
        layout = Layout(plan.schema, plan.source.partition_columns, SCORE_COLUMNS)
        create_root(plan.target_ref.uri)
        target = Target(open_filesystem(plan.target_ref.uri, plan.target_ref.storage_options), layout)
        done: list[TaskResult] = []
        try:
            run_all(_list_tasks(plan, source, there, options.build(bundle), target, advance), done)
            rows = sum(result.scored_rows for result in done)
            _check_rows(plan, rows)
        except BaseException:
            delete_files(target.filesystem, [add.path for result in done for add in result.adds])
            raise
        # From here on the files may be part of the table: they are not touched again, whatever happens.
        change = Change(
            layout=layout,
            adds=[add for result in done for add in result.adds],
            removes=[file for result in done for file in result.removes],
            compacted=[file for result in done for file in result.compacted],
            scope=plan.scope,
            lineage=lineage,
            transaction=plan.transaction,
            whole=plan.action == "replace" and plan.scope is None,
        )
        return ScoreResult(replace_files(there, change) if there else create_table(plan.target_ref, change), rows)


def _list_tasks(
    plan: ScorePlan,
    source: Snapshot,
    there: Snapshot | None,
    scorer: Scorer,
    target: Target,
    advance: Advance,
) -> list[Callable[[], TaskResult]]:
    if plan.action == "merge" and there:
        change = _read_net_change(plan)
        batches = _matching_rows(change, plan).to_batches()
        tasks: list[Callable[[], TaskResult]] = [partial(score_rows, batches, scorer, target, advance)]
        return tasks + [partial(keep_other_keys, there, file, change.touched, target) for file in there.files]
    read = _source_files(plan, source)
    tasks = [
        partial(score_part, snapshot, parts, plan.read, scorer, target, advance)
        for snapshot, files in read
        for parts in split_work(files, snapshot)
    ]
    if there is None:
        return tasks
    if plan.action == "append":
        small = find_small_files(there, [file for _, files in read for file in files])
        return tasks + [partial(compact_files, there, files, target) for files in small]
    return tasks + _replacing_tasks(there, plan.scope, target)


def _source_files(plan: ScorePlan, source: Snapshot) -> list[tuple[Snapshot, Sequence[DataFile]]]:
    """The files to read, each list with the version that it belongs to, under the columns of the planned version."""
    if plan.action == "merge":
        return []
    if plan.action == "replace":
        return [(source, prune_files(source, plan.read))]
    found: list[tuple[Snapshot, Sequence[DataFile]]] = []
    for piece in plan.pieces:
        snapshot = source if piece.version == source.version else open_snapshot(source.ref, piece.version)
        wanted = set(piece.paths)
        chosen = tuple(file for file in snapshot.files if file.path in wanted)
        if len(chosen) != len(wanted):
            raise DataError(
                f"{len(wanted)} added files in {source.ref.name} version {piece.version}",
                f"{len(chosen)}",
                "run it again, or once with --full",
            )
        later = dataclasses.replace(snapshot, schema=source.schema, physical=source.physical)
        found.append((later, chosen))
    return found


def _read_net_change(plan: ScorePlan) -> NetChange:
    return read_feed(plan.source.ref, plan.since or 0, plan.source.version, plan.keys, plan.source.schema)


def _matching_rows(change: NetChange, plan: ScorePlan) -> pa.Table:
    return change.rows.filter(plan.read.to_pyarrow(change.rows.schema)) if plan.read else change.rows


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


def _run_into(task: Callable[[], T], done: list[T]) -> None:
    done.append(task())


def _replacing_tasks(there: Snapshot, scope: Predicate | None, target: Target) -> list[Callable[[], TaskResult]]:
    files = prune_files(there, scope)
    if scope is None or scope.partition_only(there.partition_columns):
        return [partial(TaskResult, (), files)]
    return [partial(keep_rows, there, file, scope, target) for file in files]


def _check_rows(plan: ScorePlan, rows: int) -> None:
    if rows != plan.work.rows:
        raise DataError(
            f"{plan.work.rows:,} rows, as many as {plan.source.ref.name} version {plan.source.version} has in scope",
            f"{rows:,} rows",
            "nothing was committed; check the source table's files, then run it again",
        )
