"""Route `files`, the same on every engine: what a run touches, its tasks, and their one commit. An engine only decides
where the tasks run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from jobs.delta.commit import Change, check_names, check_removable, check_writable, create_table, replace_files
from jobs.delta.datafile import DataFile, Snapshot
from jobs.delta.feed import NetChange, read_feed
from jobs.delta.files import Layout, delete_files
from jobs.delta.pruning import bind, count_rows, prune_files
from jobs.delta.snapshot import open_snapshot
from jobs.delta.storage import TableRef, create_root
from jobs.engines.base import Lineage, ScorePlan, ScoreResult, Work
from jobs.engines.splitting import find_small_files, split_work
from jobs.engines.tasks import (
    CompactFiles,
    KeepOtherKeys,
    KeepRows,
    ScoreFiles,
    ScoreRows,
    Target,
    Task,
    TaskResult,
)
from jobs.errors import ConfigError
from vae_model import SCORE_COLUMNS
from vae_model.errors import DataError

# Runs tasks, adding the result of each one that is done to a list, also where another one fails.
RunTasks: TypeAlias = Callable[[Sequence[Task], list[TaskResult]], None]


def find_obstacle(plan: ScorePlan) -> str | None:
    """What a run would do that this route cannot do faithfully; None: it can."""
    if plan.source.ref.in_catalog or plan.target_ref.in_catalog:
        return "a catalog's tables are Spark's to find"
    if plan.action == "merge":
        return "MERGE is Delta's own"
    try:
        source = open_snapshot(plan.source.ref, plan.source.version)
        check_names(plan.schema, plan.target_ref)
        if plan.target:
            there = open_snapshot(plan.target.ref, plan.target.version)
            check_writable(there)
            check_removable(there, prune_files(there, plan.scope) if plan.action == "replace" else [])
    except (DataError, ConfigError) as error:
        return error.found
    other = [f.name for f in source.schema if f.type != plan.source.schema.field(f.name).type]
    return f"{', '.join(other)} of a type that only Spark knows" if other else None


def measure_files(plan: ScorePlan) -> Work:
    """How much a run would touch, from the tables' logs as far as they tell.

    Raises:
        DataError: a target that cannot be written file by file.
    """
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


def score_files(plan: ScorePlan, lineage: Lineage, cores: int, run: RunTasks) -> ScoreResult:
    """Carry out a plan: tasks that write files, then one commit of all of them.

    Args:
        plan: of route `files`.
        lineage: goes into the commit.
        cores: that the tasks will share.
        run: carries out the tasks.

    Raises:
        DataError: rows in and rows out differ; nothing was committed.
        ConflictError: another writer was there first; nothing was committed.
    """
    source = open_snapshot(plan.source.ref, plan.source.version)
    there = open_snapshot(plan.target.ref, plan.target.version) if plan.target else None
    check_names(plan.schema, plan.target_ref)
    create_root(plan.target_ref.uri)
    target = Target(_absolute(plan.target_ref), Layout(plan.schema, plan.source.partition_columns, SCORE_COLUMNS))
    todo = _list_tasks(plan, source, there, target, cores)
    done: list[TaskResult] = []
    try:
        run(todo.tasks, done)
        rows = sum(result.scored_rows for result in done)
        _check_rows(plan, rows)
    except BaseException:
        delete_files(target.filesystem, [add.path for result in done for add in result.adds])
        raise
    # From here on the files may be part of the table: they are not touched again, whatever happens.
    known = {file.path: file for file in there.files} if there else {}
    change = Change(
        layout=target.layout,
        adds=[add for result in done for add in result.adds],
        removes=[*todo.removes, *(known[path] for result in done for path in result.removes)],
        compacted=[known[path] for result in done for path in result.compacted],
        scope=plan.scope,
        lineage=lineage,
        transaction=plan.transaction,
        whole=plan.action == "replace" and plan.scope is None,
    )
    return ScoreResult(replace_files(there, change) if there else create_table(plan.target_ref, change), rows)


@dataclass(frozen=True)
class _Todo:
    """A run's tasks, and target files that go without being read."""

    tasks: Sequence[Task]
    removes: Sequence[DataFile] = ()


def _list_tasks(plan: ScorePlan, source: Snapshot, there: Snapshot | None, target: Target, cores: int) -> _Todo:
    light = _without_files(there) if there else None
    if plan.action == "merge" and there and light:
        change = _read_net_change(plan)
        kept = [KeepOtherKeys(light, file, change.touched, target) for file in there.files]
        return _Todo([ScoreRows(_matching_rows(change, plan), target), *kept])
    read = _source_files(plan, source)
    # Files of partitions that do not match are not read: of the others every row matches.
    condition = None if plan.read is None or plan.read.partition_only(source.partition_columns) else plan.read
    tasks: list[Task] = [
        ScoreFiles(_without_files(snapshot), parts, bind(condition, snapshot), target)
        for snapshot, files in read
        for parts in split_work(files, snapshot, cores)
    ]
    if there is None or light is None:
        return _Todo(tasks)
    if plan.action == "append":
        small = find_small_files(there, [file for _, files in read for file in files])
        return _Todo([*tasks, *(CompactFiles(light, files, target) for files in small)])
    files = prune_files(there, plan.scope)
    if plan.scope is None or plan.scope.partition_only(there.partition_columns):
        return _Todo(tasks, files)
    replaced, others = bind(plan.scope, there), bind(plan.scope.is_not_true(), there)
    return _Todo([*tasks, *(KeepRows(light, file, replaced, others, target) for file in files)])


def _without_files(snapshot: Snapshot) -> Snapshot:
    """The snapshot as a task needs it, wherever it runs."""
    return dataclasses.replace(snapshot, ref=_absolute(snapshot.ref), files=())


def _absolute(ref: TableRef) -> TableRef:
    return dataclasses.replace(ref, name=ref.uri)


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


def _check_rows(plan: ScorePlan, rows: int) -> None:
    if rows != plan.work.rows:
        raise DataError(
            f"{plan.work.rows:,} rows, as many as {plan.source.ref.name} version {plan.source.version} has in scope",
            f"{rows:,} rows",
            "nothing was committed; check the source table's files, then run it again",
        )
