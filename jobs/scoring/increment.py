"""What a run without `--where` has left to do: the source's changes since the version that the target's own log names.

The order of preference is exact rows first: nothing; the files that were added; rows of the change feed by key; the
partitions that were touched; everything. The reason for each step down is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from jobs.common.config import Config
from jobs.common.errors import ConfigError
from jobs.delta.changes import Changes, VersionFiles, are_readable, read_changes
from jobs.engines.base import Action, Engine, LogEntry, TableState
from jobs.predicates.conditions import is_any_of
from jobs.predicates.predicate import Predicate, parse_where, resolve_column
from vae_model.errors import DataError

MAX_PARTITIONS: Final = 1_000
UNSCORED: Final = "model_id IS NULL"


@dataclass(frozen=True)
class Increment:
    """What to do.

    Attributes:
        action: append the pieces, merge the change feed after `since`, or replace the rows of `scope` (None: all).
        why: a sentence for people.
        since: the version that was scored last; None: none.
        last: the target's version that the last run over the whole table made; None: the run does not build on it.
    """

    action: Action
    why: str
    since: int | None = None
    pieces: tuple[VersionFiles, ...] = ()
    scope: Predicate | None = None
    last: int | None = None


def find_increment(config: Config, engine: Engine, source: TableState, target: TableState | None) -> Increment:
    """Decide what is left to score.

    Raises:
        DataError: another source table than before, or changes that mode append cannot follow.
        ConfigError: mode merge without a key.
    """
    mode = config.score.mode
    if mode == "merge" and not config.source.key:
        raise ConfigError("source.key in mode merge: it names the rows", "none", "set source.key, or use mode replace")
    if target is None or (mode == "in_place" and "model_id" not in target.schema.names):
        return Increment("replace", "everything: the table was not scored before")
    entries = engine.history(target)
    last = find_last(entries, source)
    if last is None:
        return Increment("replace", "everything: no run over the whole table is on record")
    return replace(_since_last(config, engine, source, entries, last), last=last.version)


def _since_last(
    config: Config, engine: Engine, source: TableState, entries: Sequence[LogEntry], last: LogEntry
) -> Increment:
    mode, lineage = config.score.mode, last.lineage or {}
    watermark = int(lineage["watermark"])
    if lineage.get("standing") != config.source.where:
        return Increment("replace", "everything: source.where has changed", watermark)
    if lineage.get("columns") != config.score.columns:
        return Increment("replace", "everything: score.columns has changed", watermark)
    backfilled = _find_backfilled(entries, last)
    # A run with --where that read an older version, and finished last, has put older rows there.
    since = min([watermark, *backfilled])
    if since > source.version:
        raise _recreated(source, f"version {since} was scored, and it is at version {source.version}")
    if since == source.version:
        return Increment("nothing", f"version {since} is scored already", since)
    changes = read_changes(source.location, since, source.version) if source.location else None
    if changes is None:
        return Increment("replace", f"everything: the log no longer tells what changed since version {since}", since)
    if changes.columns:
        return Increment("replace", f"everything: {changes.columns}, since version {since}", since)
    if changes.is_empty:
        return Increment("nothing", f"no row changed since version {since}", since)
    if mode == "in_place":
        return _in_place(changes, source, since)
    some_scored = any(version != since for version in [watermark, *backfilled])
    return _follow(config, engine, source, changes, since, some_scored)


def _find_backfilled(entries: Sequence[LogEntry], last: LogEntry) -> list[int]:
    """The source versions that were scored in part since the last run over the whole table."""
    later = [entry.lineage or {} for entry in entries if entry.version > last.version]
    return [int(entry["source_version"]) for entry in later if "source_version" in entry]


def check_columns(engine: Engine, source: TableState, target: TableState) -> None:
    """Refuse to put rows beside others that were read when the source's columns had other names or types.

    Raises:
        DataError: naming what changed.
    """
    entries = engine.history(target)
    runs = [entry for entry in entries if (entry.lineage or {}).get("watermark") is not None]
    if not runs or (runs[0].lineage or {}).get("source_id") != source.table_id or source.location is None:
        return
    since = min([int((runs[0].lineage or {})["watermark"]), *_find_backfilled(entries, runs[0])])
    changes = read_changes(source.location, since, source.version) if since < source.version else None
    if changes and changes.columns:
        raise DataError(
            f"a source whose columns are those of the scored rows that stay in {target.ref.name}",
            f"{changes.columns}, since version {since}",
            "score the whole table once, with --full",
        )


def find_last(entries: Sequence[LogEntry], source: TableState) -> LogEntry | None:
    """The last run over the whole table; None where there is none, or where the table was restored after it.

    Raises:
        DataError: that run scored another table.
    """
    for entry in entries:
        if entry.operation == "RESTORE":
            return None
        lineage = entry.lineage
        if lineage and lineage.get("watermark") is not None:
            if lineage["source_id"] != source.table_id:
                raise _recreated(source, f"id {lineage['source_id']} was scored, and its id is {source.table_id}")
            return entry
    return None


def _recreated(source: TableState, found: str) -> DataError:
    return DataError(
        f"{source.ref.name} to be the table that was scored before",
        f"another table of that name: {found}",
        "score it whole with --full, which replaces the scored table, or choose another score.table",
    )


def _follow(
    config: Config, engine: Engine, source: TableState, changes: Changes, since: int, some_scored: bool
) -> Increment:
    mode = config.score.mode
    exact = changes.only_appends and not some_scored
    if exact and source.location and are_readable(source.location, changes.pieces):
        files = sum(len(piece.paths) for piece in changes.pieces)
        return Increment("append", f"the {files:,} files added since version {since}", since, changes.pieces)
    if mode == "append" and not changes.only_appends:
        raise DataError(
            f"only new rows in {source.ref.name} since version {since}, which is all that mode append can follow",
            "rows that were updated or deleted",
            "set score.mode to merge (rows by key) or replace (their partitions), or run once with --full",
        )
    if mode == "merge" and engine.has_change_feed(source, since, _keys(config, source)):
        return Increment("merge", f"the rows that changed since version {since}, from the change data feed", since)
    reason = "some are scored already" if some_scored else "rows were updated or deleted"
    reason = "the added files are gone" if exact else reason
    reason = f"no change data feed of them, and {reason}" if mode == "merge" and not exact else reason
    return _touched(changes, source, since, reason)


def _keys(config: Config, source: TableState) -> list[str]:
    return [resolve_column(name, source.schema.names, source.ref.name) for name in config.source.key]


def _in_place(changes: Changes, source: TableState, since: int) -> Increment:
    if changes.only_appends:
        return Increment("replace", f"the rows added since version {since}", since, scope=parse_where(UNSCORED))
    return _touched(changes, source, since, "rows were updated or deleted")


def _touched(changes: Changes, source: TableState, since: int, reason: str) -> Increment:
    if not source.partition_columns:
        return Increment("replace", f"everything: {reason}, and the table has no partitions", since)
    if changes.partitions is None or len(changes.partitions) > MAX_PARTITIONS:
        return Increment("replace", f"everything: {reason} in too many or unknown partitions", since)
    names = source.partition_columns
    rows = [[dict(values).get(name) for name in names] for values in sorted(changes.partitions, key=repr)]
    try:
        scope = is_any_of(names, rows)
        scope.to_pyarrow(source.schema)
    except ConfigError:
        return Increment("replace", f"everything: {reason} in partitions that no condition can name", since)
    return Increment("replace", f"the {len(rows):,} partitions touched: {reason}", since, scope=scope)
