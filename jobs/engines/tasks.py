"""The tasks of a scoring run on route `files`: read some source files, score them, write target files; or keep the rows
of a target file that the run does not replace. A task depends on nothing but its arguments, so any pool can run it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from jobs.delta.feed import has_keys
from jobs.delta.files import FILE_BYTES, Layout, PartitionKey, TableWriter, serialise_partition
from jobs.delta.reading import count_rows, read_file
from jobs.delta.snapshot import DataFile, Snapshot
from jobs.events import Advance
from jobs.predicate import Predicate
from vae_model import Scorer

MIN_TASK_BYTES: Final = 4 * 2**20
# So many files below that size in one partition are merged by the next run that adds to it.
MANY_FILES: Final = 16
SMALL_BYTES: Final = 16 * 2**20
# Rows that are scored at once: below it the network's fixed costs show, far above it its caches overflow.
SCORE_ROWS: Final = 32_768


Columns: TypeAlias = dict[str, pa.Array]


@dataclass(frozen=True)
class Part:
    """A whole file, or some of its row groups."""

    file: DataFile
    row_groups: tuple[int, ...] | None = None


@dataclass(frozen=True)
class TaskResult:
    """What a task did: files written, target files that they replace, rows scored (kept rows do not count), and small
    target files whose rows were only moved into larger ones."""

    adds: tuple[AddAction, ...]
    removes: tuple[DataFile, ...] = ()
    scored_rows: int = 0
    compacted: tuple[DataFile, ...] = ()


@dataclass(frozen=True)
class Target:
    """Where tasks write."""

    filesystem: pafs.FileSystem
    layout: Layout


def split_work(files: Sequence[DataFile], snapshot: Snapshot) -> list[tuple[Part, ...]]:
    """Tasks of 4 to 128 MB, two or more per core; a partition stays together, large files are cut at row groups."""
    total = sum(file.size_bytes for file in files)
    task_bytes = min(FILE_BYTES, max(MIN_TASK_BYTES, total // (2 * (os.cpu_count() or 1))))
    by_partition: dict[PartitionKey, list[DataFile]] = defaultdict(list)
    for file in files:
        by_partition[_partition_key(file)].append(file)
    tasks: list[tuple[Part, ...]] = []
    packed: list[Part] = []
    for same in by_partition.values():
        if sum(part.file.size_bytes for part in packed) + sum(file.size_bytes for file in same) > task_bytes:
            tasks += [tuple(packed)] if packed else []
            packed = []
        pieces = list(_split_partition(same, snapshot, task_bytes))
        tasks += pieces[:-1]
        packed += pieces[-1]
    return [*tasks, tuple(packed)] if packed else tasks


def score_part(
    source: Snapshot, parts: Sequence[Part], where: Predicate | None, scorer: Scorer, target: Target, advance: Advance
) -> TaskResult:
    """Score the matching rows of some files into new target files; on failure they are removed again."""
    needed = needed_columns(source.schema, scorer, target.layout.schema)
    rows = (batch for part in parts for batch in read_file(source, part.file, needed, where, part.row_groups))
    return score_rows(rows, scorer, target, advance)


def needed_columns(source: pa.Schema, scorer: Scorer, target: pa.Schema) -> list[str]:
    """Source columns that are carried into the target, then further features."""
    carried = [name for name in target.names if name in source.names and name not in scorer.schema.names]
    return [*carried, *(name for name in scorer.feature_names if name not in carried)]


def score_rows(rows: Iterable[pa.RecordBatch], scorer: Scorer, target: Target, advance: Advance) -> TaskResult:
    """Score rows into new target files; columns of the target that the rows lack are NULL."""
    scored = 0

    def attach_scores() -> Iterator[Columns]:
        nonlocal scored
        for batch in coalesce(rows, SCORE_ROWS):
            yield _columns(batch) | _columns(scorer.score_batch(batch))
            scored += batch.num_rows
            advance(batch.num_rows)

    return TaskResult(_write_files(attach_scores(), target), scored_rows=scored)


def coalesce(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at least `rows`, the last one excepted, and none empty."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            pending.append(batch)
        if sum(part.num_rows for part in pending) >= rows:
            yield pa.concat_batches(pending)
            pending = []
    if pending:
        yield pa.concat_batches(pending)


def keep_rows(snapshot: Snapshot, file: DataFile, scope: Predicate, target: Target) -> TaskResult:
    """Rewrite a target file without the rows that match; a file without such rows stays as it is."""
    replaced = count_rows(snapshot, [file], scope)
    return _rewrite(file, replaced, read_file(snapshot, file, snapshot.schema.names, scope.is_not_true()), target)


def keep_other_keys(snapshot: Snapshot, file: DataFile, touched: pa.Table, target: Target) -> TaskResult:
    """Rewrite a target file without the rows whose keys are among `touched`; see `keep_rows`."""
    keys = read_file(snapshot, file, touched.column_names)
    replaced = sum(int(has_keys(batch, touched).sum()) for batch in keys)
    rows = read_file(snapshot, file, snapshot.schema.names)
    return _rewrite(file, replaced, (batch.filter(pa.array(~has_keys(batch, touched))) for batch in rows), target)


def find_small_files(there: Snapshot, read: Iterable[DataFile]) -> list[tuple[DataFile, ...]]:
    """Small files of the partitions that get the rows of the files `read`, where there are many: nightly appends leave
    one each."""
    wanted = set(map(_partition_key, read))
    small: dict[PartitionKey, list[DataFile]] = defaultdict(list)
    for file in there.files:
        if file.size_bytes < SMALL_BYTES and file.removable:
            small[_partition_key(file)].append(file)
    return [tuple(files) for key, files in small.items() if key in wanted and len(files) >= MANY_FILES]


def compact_files(snapshot: Snapshot, files: Sequence[DataFile], target: Target) -> TaskResult:
    """Move the rows of small target files into larger ones; no row changes."""
    batches = (batch for file in files for batch in read_file(snapshot, file, snapshot.schema.names))
    adds = _write_files(map(_columns, coalesce(batches, SCORE_ROWS)), target)
    return TaskResult(tuple(replace(add, data_change=False) for add in adds), compacted=tuple(files))


def _partition_key(file: DataFile) -> PartitionKey:
    return tuple(map(serialise_partition, file.partition.values()))


def _rewrite(file: DataFile, replaced: int, kept: Iterable[pa.RecordBatch], target: Target) -> TaskResult:
    if replaced == 0:
        return TaskResult(())
    if replaced == file.rows:
        return TaskResult((), (file,))
    return TaskResult(_write_files(map(_columns, kept), target), (file,))


def _columns(batch: pa.RecordBatch) -> Columns:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def _write_files(batches: Iterable[Columns], target: Target) -> tuple[AddAction, ...]:
    """Write rows, given as columns by name, into new target files; columns of the target that are not there are NULL.
    On failure the files are removed again."""
    writer, schema = TableWriter(target.filesystem, target.layout), target.layout.schema
    try:
        for columns in batches:
            rows = len(next(iter(columns.values())))
            arrays = [columns[f.name] if f.name in columns else pa.nulls(rows, f.type) for f in schema]
            writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
        return tuple(writer.close())
    except BaseException:
        writer.abort()
        raise


def _split_partition(files: Sequence[DataFile], snapshot: Snapshot, task_bytes: int) -> Iterator[tuple[Part, ...]]:
    small: list[Part] = []
    small_bytes = 0
    for file in files:
        if file.size_bytes > 1.5 * task_bytes and file.live is None:
            yield from _split_file(file, snapshot, task_bytes)
            continue
        if small and small_bytes + file.size_bytes > task_bytes:
            yield tuple(small)
            small, small_bytes = [], 0
        small.append(Part(file))
        small_bytes += file.size_bytes
    if small:
        yield tuple(small)


def _split_file(file: DataFile, snapshot: Snapshot, task_bytes: int) -> Iterator[tuple[Part, ...]]:
    metadata = pq.read_metadata(file.path, filesystem=snapshot.filesystem)
    groups: list[int] = []
    size = 0
    for i in range(metadata.num_row_groups):
        row_group = metadata.row_group(i)
        groups.append(i)
        size += sum(row_group.column(j).total_compressed_size for j in range(row_group.num_columns))
        if size >= task_bytes or i == metadata.num_row_groups - 1:
            yield (Part(file, tuple(groups)),)
            groups, size = [], 0
