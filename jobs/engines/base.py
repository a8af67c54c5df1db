"""What the jobs ask of an engine, and the plan of a scoring run: a pure description that both engines carry out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias

import pyarrow as pa

from jobs.common.console import Advance
from jobs.common.engine_names import EngineName
from jobs.common.sampling import Sample
from jobs.delta.changes import VersionFiles
from jobs.delta.storage import TableRef
from jobs.predicates.predicate import Predicate
from vae_model import Bundle, ScoringOptions

if TYPE_CHECKING:
    from jobs.delta.version import Snapshot

Route: TypeAlias = Literal["files", "dataframe"]
Lineage: TypeAlias = Mapping[str, str | int | None]
Action: TypeAlias = Literal["nothing", "append", "merge", "replace"]
# A few rows that stand for a part of a table. It travels to Spark's workers, so it must be one that pickles.
Summarise: TypeAlias = Callable[[Iterator[pa.RecordBatch]], pa.RecordBatch]


@dataclass(frozen=True)
class TableState:
    """One version of a table, as far as planning needs it.

    Attributes:
        location: its folder, where the engine knows it.
        snapshot: its files, where they were listed already.
    """

    ref: TableRef
    version: int
    table_id: str
    schema: pa.Schema
    partition_columns: tuple[str, ...]
    location: TableRef | None = None
    snapshot: Snapshot | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class LogEntry:
    """One commit of a table; `lineage` is what one of our runs said of itself, `read_version` what it was made from."""

    version: int
    timestamp: datetime
    operation: str
    lineage: Mapping[str, Any] | None
    read_version: int | None = None


@dataclass(frozen=True)
class Work:
    """How much a run touches; file counts are None where the engine leaves the choice of files to itself.

    Attributes:
        rows: source rows to score.
        replaced_rows: target rows that go; None where that is not known without reading.
        matches: how many rows of each source file match, by path, where that was counted; not part of what is said.
    """

    rows: int
    replaced_rows: int | None
    files_read: int | None
    files_skipped: int | None
    files_replaced: int | None
    files_kept: int | None
    matches: Mapping[str, int] | None = field(default=None, compare=False, repr=False)


NO_WORK = Work(0, 0, None, None, None, None)


@dataclass(frozen=True)
class ScoreIntent:
    """What a scoring run is to do, before it is known how, and how much that is.

    Attributes:
        source: the version to read.
        target: what is there now; None: nothing.
        target_ref: where to write.
        read: source rows to score; None: all.
        scope: target rows to replace; None: all.
        schema: of the target, score columns included.
        carried: source columns that go into the target.
        action: replace the rows of `scope` by those of `read`, append the rows of `pieces`, or merge: put the rows as
            they are now in the place of all that had one of the `keys` which the change feed names after version
            `since`.
        why: what the run does, for people.
        watermark: source version that is scored afterwards; None for a run over a part of the table.
        serial: larger than that of every run that this one builds on; of two with the same one, one commits.
    """

    engine: EngineName
    source: TableState
    target: TableState | None
    target_ref: TableRef
    read: Predicate | None
    scope: Predicate | None
    schema: pa.Schema
    carried: tuple[str, ...]
    action: Action = "replace"
    why: str = ""
    pieces: tuple[VersionFiles, ...] = ()
    since: int | None = None
    keys: tuple[str, ...] = ()
    watermark: int | None = None
    serial: int = 0

    @property
    def in_place(self) -> bool:
        """Whether the source table itself gets the scores."""
        return self.target_ref.identity == self.source.ref.identity

    @property
    def transaction(self) -> tuple[str, int] | None:
        """Application id and version that the commit records."""
        return None if self.watermark is None else (f"sandtimer:{self.source.table_id}", self.serial)


@dataclass(frozen=True, kw_only=True)
class ScorePlan(ScoreIntent):
    """What a scoring run will do; making it changes nothing.

    Attributes:
        route: how rows are read and written.
        reason: why so.
        work: how much that touches.
    """

    route: Route
    reason: str
    work: Work

    @classmethod
    def of(cls, intent: ScoreIntent, route: Route, reason: str, work: Work) -> Self:
        """The plan that carries out an intent."""
        given = {field.name: getattr(intent, field.name) for field in fields(intent)}
        return cls(**given, route=route, reason=reason, work=work)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write and nothing to replace."""
        return self.action == "nothing" or (self.work.rows == 0 and self.work.replaced_rows == 0)


@dataclass(frozen=True)
class ScoreResult:
    """What a run did: the target's new version, and rows written by scoring."""

    version: int
    rows: int


class Engine(Protocol):
    """Reads tables, and carries out plans. Both engines give the same rows, bit for bit where they only carry them."""

    name: EngineName

    def describe(self, ref: TableRef, version: int | None = None) -> TableState:
        """The table's latest or given version.

        Raises:
            DataError: there is none.
        """

    def exists(self, ref: TableRef) -> bool:
        """Whether the table is there."""

    def choose_route(self, intent: ScoreIntent, wanted: Literal["auto", "files", "dataframe"]) -> tuple[Route, str]:
        """The route of a run and why; the plan's own is not looked at.

        Raises:
            ConfigError: this engine cannot take the wanted route in this run.
        """

    def count(self, table: TableState, where: Predicate | None) -> int:
        """Rows that match."""

    def history(self, table: TableState) -> list[LogEntry]:
        """The commits up to the table's version, newest first, as far back as the log keeps them."""

    def has_change_feed(self, table: TableState, since: int, keys: Sequence[str]) -> bool:
        """Whether the change data feed tells the keys of all rows that changed from the version after `since` on."""

    def measure(self, intent: ScoreIntent, route: Route) -> Work:
        """How much a run by that route would touch.

        Raises:
            DataError: the target is one that this engine cannot write.
        """

    def read(self, table: TableState, columns: Sequence[str], where: Predicate | None, limit: int) -> pa.Table:
        """At most `limit` matching rows."""

    def sample(self, table: TableState, columns: Sequence[str], where: Predicate | None, sample: Sample) -> pa.Table:
        """The sampled rows in any order."""

    def upsert(self, ref: TableRef, rows: pa.Table, keys: Sequence[str]) -> int:
        """Put a few rows into a small table, which the first of them make: rows with the same keys (NULL equals NULL)
        are replaced, the others added; columns that the table lacks are added to it. The table's new version.

        Raises:
            ConflictError: another writer was there first; nothing was committed.
        """

    def summarise(
        self,
        table: TableState,
        columns: Sequence[str],
        where: Predicate | None,
        schema: pa.Schema,
        summarise: Summarise,
    ) -> pa.Table:
        """What `summarise` makes of each part of the matching rows, one below the other; every batch is seen once.

        Memory holds a batch for each core and the summaries, however large the table is.

        Args:
            table: one version of it.
            columns: that the batches have, in that order.
            where: matching rows; None: all.
            schema: of the summaries.
            summarise: gets the batches of a part, of which there may be none.
        """

    def score(
        self, plan: ScorePlan, bundle: Bundle, options: ScoringOptions, lineage: Lineage, advance: Advance
    ) -> ScoreResult:
        """Carry out a plan in one commit.

        Raises:
            DataError: rows in and rows out differ; nothing was committed.
            ConflictError: another writer was there first; nothing was committed.
        """
