"""Route `files`, the same on every engine: what a run touches, its tasks, and their one commit. An engine only decides
where the tasks run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from jobs.common.errors import ConfigError
from jobs.delta.commit import Change, check_names, check_removable, check_writable, create_table, replace_files
from jobs.delta.datafile import DataFile
from jobs.delta.filelist import NO_FILES, FileList
from jobs.delta.files import FileLayout, delete_files
from jobs.delta.keys import KeySet
from jobs.delta.pruning import bind, count_by_file, prune_files
from jobs.delta.reading import Condition, Filter, HasKey
from jobs.delta.snapshot import open_snapshot
from jobs.delta.storage import TableRef, create_root
from jobs.delta.version import Snapshot
from jobs.engines.base import Lineage, ScoreIntent, ScorePlan, ScoreResult, Work
from jobs.engines.logs import take_snapshot
from jobs.engines.splitting import find_small_files, split_matches, split_work
from jobs.engines.tasks import CompactFiles, KeepRows, ScoreFiles, Target, Task, TaskResult
from vae_model import SCORE_COLUMNS
from vae_model.errors import DataError

# Runs tasks, adding the result of each one that is done to a list, also where another one fails.
RunTasks: TypeAlias = Callable[[Sequence[Task], list[TaskResult]], None]


def find_obstacle(plan: ScoreIntent) -> str | None:
    """What a run would do that this route cannot do faithfully; None: it can."""
    if plan.source.ref.in_catalog or plan.target_ref.in_catalog:
        return "a catalog's tables are Spark's to find"
    if plan.action == "merge":
        return "MERGE is Delta's own"
    try:
        source = take_snapshot(plan.source)
        check_names(plan.schema, plan.target_ref)
        if plan.target:
            current = take_snapshot(plan.target)
            check_writable(current)
            if plan.action == "replace":
                check_removable(current, prune_files(current, plan.scope))
    except (DataError, ConfigError) as error:
        return error.found
    other = [f.name for f in source.schema if f.type != plan.source.schema.field(f.name).type]
    return f"{', '.join(other)} of a type that only Spark knows" if other else None


def measure_files(plan: ScoreIntent, keys: KeySet | None = None) -> Work:
    """How much a run would touch, from the tables' logs as far as they tell.

    Args:
        plan: of route `files`.
        keys: that a merge is about.

    Raises:
        DataError: a target that cannot be written file by file.
    """
    source = take_snapshot(plan.source)
    current = take_snapshot(plan.target) if plan.target else None
    if current:
        check_writable(current)
    read = _source_files(plan, source)
    chosen = _choose_rows(plan, source, keys)
    matches: dict[str, int] | None = None
    if chosen:
        matches = {path: n for snapshot, files in read for path, n in count_by_file(snapshot, files, chosen).items()}
    rows = sum(files.total_rows for _, files in read) if matches is None else sum(matches.values())
    count = sum(len(files) for _, files in read)
    skipped = max(len(source.files) - count, 0)
    if current is None:
        return Work(rows, 0, count, skipped, 0, 0, matches)
    if plan.action == "append":
        return Work(rows, 0, count, skipped, 0, len(current.files), matches)
    replaced, _ = _choose_replaced(plan, current, keys)
    touched = prune_files(current, plan.scope)
    gone = touched.total_rows
    if replaced:
        by_file = count_by_file(current, touched, replaced)
        touched = touched.select_paths([path for path, found in by_file.items() if found])
        gone = sum(by_file.values())
    check_removable(current, touched)
    return Work(rows, gone, count, skipped, len(touched), len(current.files) - len(touched), matches)


def score_files(
    plan: ScorePlan, lineage: Lineage, cores: int, run: RunTasks, keys: KeySet | None = None
) -> ScoreResult:
    """Carry out a plan: tasks that write files, then one commit of all of them.

    Args:
        plan: of route `files`.
        lineage: goes into the commit.
        cores: that the tasks will share.
        run: carries out the tasks.
        keys: that a merge is about.

    Raises:
        DataError: rows in and rows out differ; nothing was committed.
        ConflictError: another writer was there first; nothing was committed.
    """
    source = take_snapshot(plan.source)
    current = take_snapshot(plan.target) if plan.target else None
    check_names(plan.schema, plan.target_ref)
    create_root(plan.target_ref.uri)
    target = Target(_absolute(plan.target_ref), FileLayout(plan.schema, plan.source.partition_columns, SCORE_COLUMNS))
    todo = _list_tasks(plan, source, current, target, cores, keys)
    done: list[TaskResult] = []
    try:
        run(todo.tasks, done)
        rows = sum(result.scored_rows for result in done)
        _check_rows(plan, rows)
    except BaseException:
        delete_files(target.filesystem, [add.path for result in done for add in result.adds])
        raise
    # From here on the files may be part of the table: they are not touched again, whatever happens.
    change = Change(
        layout=target.layout,
        adds=[add for result in done for add in result.adds],
        removes=[*todo.removes, *_find(current, [path for result in done for path in result.removes])],
        compacted=_find(current, [path for result in done for path in result.compacted]),
        scope=plan.scope,
        lineage=lineage,
        transaction=plan.transaction,
        whole=plan.action == "replace" and plan.scope is None,
    )
    return ScoreResult(replace_files(current, change) if current else create_table(plan.target_ref, change), rows)


@dataclass(frozen=True)
class _Todo:
    """A run's tasks, and target files that go without being read."""

    tasks: Sequence[Task]
    removes: Sequence[DataFile] = ()


def _list_tasks(
    plan: ScorePlan, source: Snapshot, current: Snapshot | None, target: Target, cores: int, keys: KeySet | None
) -> _Todo:
    without_files = _without_files(current) if current else None
    read = _source_files(plan, source)
    chosen = _choose_rows(plan, source, keys)
    matches = plan.work.matches or {}
    tasks: list[Task] = [
        ScoreFiles(_without_files(snapshot), parts, chosen, target)
        for snapshot, files in read
        for parts in (split_matches(files, matches) if keys else split_work(files, snapshot, cores))
    ]
    if current is None or without_files is None:
        return _Todo(tasks)
    if plan.action == "append":
        small = find_small_files(current, [file for _, files in read for file in files])
        return _Todo([*tasks, *(CompactFiles(without_files, files, target) for files in small)])
    files = prune_files(current, plan.scope)
    replaced, others = _choose_replaced(plan, current, keys)
    if replaced is None or others is None:
        return _Todo(tasks, files)
    return _Todo([*tasks, *(KeepRows(without_files, file, replaced, others, target) for file in files)])


def _choose_rows(plan: ScoreIntent, source: Snapshot, keys: KeySet | None) -> Filter | None:
    """The source rows to score, of the files that are read; None: all."""
    # Files of partitions that do not match are not read: of the others every row matches.
    whole = plan.read is None or plan.read.partition_only(source.partition_columns)
    condition: Condition | None = None if whole else bind(plan.read, source)
    return condition if keys is None else HasKey(keys, also=condition)


def _choose_replaced(plan: ScoreIntent, current: Snapshot, keys: KeySet | None) -> tuple[Filter | None, Filter | None]:
    """The target rows that go, of the files that can hold them, and those that stay; None: all go."""
    if keys is not None:
        return HasKey(keys), HasKey(keys, wanted=False)
    if plan.scope is None or plan.scope.partition_only(current.partition_columns):
        return None, None
    return bind(plan.scope, current), bind(plan.scope.is_not_true(), current)


def _find(current: Snapshot | None, paths: Sequence[str]) -> Sequence[DataFile]:
    return current.files.select_paths(paths) if current else ()


def _without_files(snapshot: Snapshot) -> Snapshot:
    """The snapshot as a task needs it, wherever it runs."""
    return dataclasses.replace(snapshot, ref=_absolute(snapshot.ref), files=NO_FILES)


def _absolute(ref: TableRef) -> TableRef:
    return dataclasses.replace(ref, name=ref.uri)


def _source_files(plan: ScoreIntent, source: Snapshot) -> list[tuple[Snapshot, FileList]]:
    """The files to read, each list with the version that it belongs to, under the columns of the planned version."""
    if plan.action in ("replace", "merge"):
        return [(source, prune_files(source, plan.read))]
    found: list[tuple[Snapshot, FileList]] = []
    for piece in plan.pieces:
        snapshot = source if piece.version == source.version else open_snapshot(source.ref, piece.version)
        chosen = snapshot.files.select_paths(piece.paths)
        if len(chosen) != len(piece.paths):
            raise DataError(
                f"{len(piece.paths)} added files in {source.ref.name} version {piece.version}",
                f"{len(chosen)}",
                "run it again, or once with --full",
            )
        later = dataclasses.replace(snapshot, schema=source.schema, physical=source.physical)
        found.append((later, chosen))
    return found


def _check_rows(plan: ScorePlan, rows: int) -> None:
    if rows != plan.work.rows:
        raise DataError(
            f"{plan.work.rows:,} rows, as many as {plan.source.ref.name} version {plan.source.version} has in scope",
            f"{rows:,} rows",
            "nothing was committed; check the source table's files, then run it again",
        )
