"""How a run is cut into tasks: by bytes, along partitions, files and row groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import pyarrow.parquet as pq

from jobs.delta.datafile import DataFile
from jobs.delta.files import FILE_BYTES, PartitionKey, serialise_partition
from jobs.delta.version import Snapshot
from jobs.engines.tasks import SMALL_BYTES, FileSlice

MIN_TASK_BYTES: Final = 4 * 2**20
# So many small files in one partition are merged by the next run that adds to it.
MANY_FILES: Final = 16
MATCHED_ROWS: Final = 131_072


def split_work(files: Sequence[DataFile], snapshot: Snapshot, cores: int) -> list[tuple[FileSlice, ...]]:
    """Tasks of 4 to 128 MB, two or more for each core; a partition stays together, large files are cut at row
    groups."""
    total = sum(file.size_bytes for file in files)
    task_bytes = min(FILE_BYTES, max(MIN_TASK_BYTES, total // (2 * cores)))
    by_partition: dict[PartitionKey, list[DataFile]] = defaultdict(list)
    for file in files:
        by_partition[_partition_key(file)].append(file)
    tasks: list[tuple[FileSlice, ...]] = []
    packed: list[FileSlice] = []
    for same in by_partition.values():
        if sum(part.file.size_bytes for part in packed) + sum(file.size_bytes for file in same) > task_bytes:
            tasks += [tuple(packed)] if packed else []
            packed = []
        pieces = list(_split_partition(same, snapshot, task_bytes))
        tasks += pieces[:-1]
        packed += pieces[-1]
    return [*tasks, tuple(packed)] if packed else tasks


def split_matches(files: Sequence[DataFile], matches: Mapping[str, int]) -> list[tuple[FileSlice, ...]]:
    """Tasks for the few rows of files that match: as many files as give a task enough rows, files without any left
    out, so that a night of single rows does not leave a new file for each file that it read."""
    tasks: list[list[FileSlice]] = [[]]
    rows = 0
    for file in files:
        if not matches[file.path]:
            continue
        if rows >= MATCHED_ROWS:
            tasks.append([])
            rows = 0
        tasks[-1].append(FileSlice(file))
        rows += matches[file.path]
    return [tuple(parts) for parts in tasks if parts]


def find_small_files(there: Snapshot, read: Iterable[DataFile]) -> list[tuple[DataFile, ...]]:
    """Small files of the partitions that get the rows of the files `read`, where there are many: nightly appends leave
    one each."""
    wanted = set(map(_partition_key, read))
    small: dict[PartitionKey, list[DataFile]] = defaultdict(list)
    for file in there.files:
        if file.size_bytes < SMALL_BYTES and file.removable:
            small[_partition_key(file)].append(file)
    return [tuple(files) for key, files in small.items() if key in wanted and len(files) >= MANY_FILES]


def _partition_key(file: DataFile) -> PartitionKey:
    return tuple(map(serialise_partition, file.partition.values()))


def _split_partition(files: Sequence[DataFile], snapshot: Snapshot, task_bytes: int) -> Iterator[tuple[FileSlice, ...]]:
    small: list[FileSlice] = []
    small_bytes = 0
    for file in files:
        if file.size_bytes > 1.5 * task_bytes and file.live_mask is None:
            yield from _split_file(file, snapshot, task_bytes)
            continue
        if small and small_bytes + file.size_bytes > task_bytes:
            yield tuple(small)
            small, small_bytes = [], 0
        small.append(FileSlice(file))
        small_bytes += file.size_bytes
    if small:
        yield tuple(small)


def _split_file(file: DataFile, snapshot: Snapshot, task_bytes: int) -> Iterator[tuple[FileSlice, ...]]:
    metadata = pq.read_metadata(file.path, filesystem=snapshot.filesystem)
    groups: list[int] = []
    size = 0
    for i in range(metadata.num_row_groups):
        row_group = metadata.row_group(i)
        groups.append(i)
        size += sum(row_group.column(j).total_compressed_size for j in range(row_group.num_columns))
        if size >= task_bytes or i == metadata.num_row_groups - 1:
            yield (FileSlice(file, tuple(groups)),)
            groups, size = [], 0
