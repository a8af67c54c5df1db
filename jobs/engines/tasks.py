"""The tasks of a scoring run on route `files`: read some source files, score them, write target files; or keep the rows
of a target file that the run does not replace. A task depends on nothing but itself and the scorer, and can travel: any
pool of threads, and any worker that has numpy and pyarrow, can run it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.fs as pafs

from jobs.delta.datafile import DataFile
from jobs.delta.files import FileLayout, NewFile, TableWriter, delete_files
from jobs.delta.reading import Filter, count_matching, read_file, read_row_group
from jobs.delta.splicing import Group, check_carried, find_finite, splice_file
from jobs.delta.storage import TableRef, open_filesystem
from jobs.delta.version import Snapshot
from jobs.parquet.footer import Footer, NotUnderstood
from vae_model.errors import DataError
from vae_model.features.arrays import count_bytes
from vae_model.features.nested import source_columns
from vae_model.scoring.scorer import Scorer

# Rows that are scored at once: below it the network's fixed costs show, far above it its caches overflow.
SCORE_ROWS: Final = 32_768
SCORE_BYTES: Final = 64 * 2**20
SMALL_BYTES: Final = 16 * 2**20
# The new columns of a row group that is carried are held until it is whole: of larger ones the rows are written anew.
CARRIED_ROWS: Final = 524_288

if TYPE_CHECKING:
    from jobs.common.console import Advance

Columns: TypeAlias = dict[str, pa.Array]


@dataclass(frozen=True)
class FileSlice:
    """A whole file, or some of its row groups."""

    file: DataFile
    row_groups: tuple[int, ...] | None = None


@dataclass(frozen=True)
class TaskResult:
    """What a task did: files written, paths of target files that they replace, rows scored (kept rows do not count),
    and paths of small target files whose rows only moved into larger ones."""

    adds: tuple[NewFile, ...]
    removes: tuple[str, ...] = ()
    scored_rows: int = 0
    compacted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TaskResult:
        adds = tuple(NewFile(**add) for add in data["adds"])
        return cls(adds, tuple(data["removes"]), data["scored_rows"], tuple(data["compacted"]))


@dataclass(frozen=True)
class Target:
    """Where tasks write."""

    ref: TableRef
    layout: FileLayout

    @property
    def filesystem(self) -> pafs.FileSystem:
        """Rooted at the table's folder."""
        return open_filesystem(self.ref.uri, self.ref.storage_options)


class Task(Protocol):
    """A piece of a run. What it wrote is removed again where it fails."""

    def run(self, scorer: Scorer, advance: Advance) -> TaskResult:
        """Do it.

        Raises:
            DataError: rows that cannot be read.
        """


@dataclass(frozen=True)
class ScoreFiles:
    """Score the matching rows of some source files into new target files. Where whole row groups are scored and all
    that is in them is carried, their bytes are."""

    source: Snapshot
    parts: tuple[FileSlice, ...]
    condition: Filter | None
    target: Target

    def run(self, scorer: Scorer, advance: Advance) -> TaskResult:
        """See `Task`."""
        done: list[NewFile] = []
        anew: list[FileSlice] = []
        rows = 0
        try:
            for part in self.parts:
                spliced = self._splice(part, scorer, advance) if self._stands_alone(part) else None
                if spliced is None:
                    anew.append(part)
                else:
                    done.append(spliced[0])
                    rows += spliced[1]
            rest = score_rows(self._read(anew, scorer), scorer, self.target, advance)
        except BaseException:
            delete_files(self.target.filesystem, [file.path for file in done])
            raise
        return TaskResult((*done, *rest.adds), scored_rows=rows + rest.scored_rows)

    def _read(self, parts: Sequence[FileSlice], scorer: Scorer) -> Iterator[pa.RecordBatch]:
        needed = needed_columns(self.source.schema, scorer, self.target.layout.schema)
        for part in parts:
            yield from read_file(self.source, part.file, needed, self.condition, part.row_groups)

    def _stands_alone(self, part: FileSlice) -> bool:
        """Whether a part makes a file of its own; small ones of one partition are written into one."""
        beside = sum(other.file.partition == part.file.partition for other in self.parts)
        return self.condition is None and (beside == 1 or part.file.size_bytes >= SMALL_BYTES)

    def _splice(self, part: FileSlice, scorer: Scorer, advance: Advance) -> tuple[NewFile, int] | None:
        """The new file and its rows; None where the bytes cannot be carried."""
        file, layout = part.file, self.target.layout
        try:
            footer = check_carried(self.source, file, layout, scorer.schema.names)
        except (NotUnderstood, OSError, pa.ArrowException):
            # A file that cannot be read says so when it is read in full.
            return None
        numbers = range(len(footer.groups)) if part.row_groups is None else part.row_groups
        if any(footer.group_rows[number] > CARRIED_ROWS for number in numbers):
            return None
        groups = (self._score_group(file, footer, number, scorer, advance) for number in numbers)
        try:
            added = splice_file(self.source, file, footer, part.row_groups, self.target.filesystem, layout, groups)
        except NotUnderstood:
            return None
        return added, sum(footer.group_rows[number] for number in numbers)

    def _score_group(self, file: DataFile, footer: Footer, number: int, scorer: Scorer, advance: Advance) -> Group:
        needed = source_columns(scorer.feature_names, self.source.schema)
        batches = read_row_group(self.source, file, footer.metadata, number, needed)
        scored: list[pa.RecordBatch] = []
        finite = set(needed)
        for batch in coalesce(batches, SCORE_ROWS):
            scored.append(scorer.score_batch(batch))
            finite &= find_finite(batch)
            advance(batch.num_rows)
        return number, pa.Table.from_batches(scored, scorer.schema), finite


@dataclass(frozen=True)
class KeepRows:
    """Rewrite a target file without the rows that match; a file without such rows stays as it is.

    Attributes:
        replaced: the rows that go.
        kept: the others.
    """

    there: Snapshot
    file: DataFile
    replaced: Filter
    kept: Filter
    target: Target

    def run(self, scorer: Scorer, advance: Advance) -> TaskResult:
        """See `Task`."""
        replaced = count_matching(self.there, self.file, self.replaced)
        if replaced == 0:
            return TaskResult(())
        if replaced == self.file.rows:
            return TaskResult((), (self.file.path,))
        rows = read_file(self.there, self.file, self.there.schema.names, self.kept)
        kept, adds = _write_files(map(_columns, rows), self.target)
        if kept != self.file.rows - replaced:
            delete_files(self.target.filesystem, [add.path for add in adds])
            raise _miscounted(self.file, self.file.rows - replaced, kept)
        return TaskResult(adds, (self.file.path,))


@dataclass(frozen=True)
class CompactFiles:
    """Move the rows of small target files into larger ones; no row changes."""

    there: Snapshot
    files: tuple[DataFile, ...]
    target: Target

    def run(self, scorer: Scorer, advance: Advance) -> TaskResult:
        """See `Task`."""
        batches = (row for file in self.files for row in read_file(self.there, file, self.there.schema.names))
        rows, adds = _write_files(map(_columns, coalesce(batches, SCORE_ROWS)), self.target)
        expected = sum(file.rows for file in self.files)
        if rows != expected:
            delete_files(self.target.filesystem, [add.path for add in adds])
            raise _miscounted(self.files[0], expected, rows)
        moved = tuple(replace(add, is_new_data=False) for add in adds)
        return TaskResult(moved, compacted=tuple(file.path for file in self.files))


def needed_columns(source: pa.Schema, scorer: Scorer, target: pa.Schema) -> list[str]:
    """Source columns that are carried into the target, then further features."""
    carried = [name for name in target.names if name in source.names and name not in scorer.schema.names]
    return [*carried, *(name for name in source_columns(scorer.feature_names, source) if name not in carried)]


def score_rows(rows: Iterable[pa.RecordBatch], scorer: Scorer, target: Target, advance: Advance) -> TaskResult:
    """Score rows into new target files; columns of the target that the rows lack are NULL."""
    scored = 0

    def attach_scores() -> Iterator[Columns]:
        nonlocal scored
        for batch in coalesce(rows, SCORE_ROWS):
            yield _columns(batch) | _columns(scorer.score_batch(batch))
            scored += batch.num_rows
            advance(batch.num_rows)

    written, adds = _write_files(attach_scores(), target)
    if written != scored:
        delete_files(target.filesystem, [add.path for add in adds])
        raise DataError(f"{scored:,} scored rows to be written", f"{written:,}", "run it again")
    return TaskResult(adds, scored_rows=scored)


def coalesce(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at least `rows`, or of 64 MB, the last one excepted; none is empty."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            pending.append(batch)
        full = sum(part.num_rows for part in pending) >= rows
        if full or sum(map(count_bytes, pending)) >= SCORE_BYTES:
            yield pending[0] if len(pending) == 1 else pa.concat_batches(pending)
            pending = []
    if pending:
        yield pa.concat_batches(pending)


def _miscounted(file: DataFile, expected: int, found: int) -> DataError:
    return DataError(
        f"{expected:,} rows of {file.path} to stay as they are",
        f"{found:,}",
        "nothing was committed; restore the file, or score the whole table with --full",
    )


def _columns(batch: pa.RecordBatch) -> Columns:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def _fit(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """The same values; the fields of a struct may come in another order."""
    return array if array.type == dtype else array.cast(dtype)


def _write_files(batches: Iterable[Columns], target: Target) -> tuple[int, tuple[NewFile, ...]]:
    """Write rows, given as columns by name, into new target files; columns of the target that are not there are NULL.
    The rows that are in them, and the files. On failure the files are removed again."""
    writer, schema = TableWriter(target.filesystem, target.layout), target.layout.schema
    try:
        for columns in batches:
            rows = len(next(iter(columns.values())))
            arrays = [_fit(columns[f.name], f.type) if f.name in columns else pa.nulls(rows, f.type) for f in schema]
            writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
        files = tuple(writer.close())
        return sum(file.rows for file in files), files
    except BaseException:
        writer.abort()
        raise
