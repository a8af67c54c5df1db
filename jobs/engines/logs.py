"""What a Delta table's own log says of it, without an engine."""

from __future__ import annotations

from datetime import UTC, datetime

from jobs.delta.changes import parse_lineage
from jobs.delta.log import read_commit_infos
from jobs.delta.snapshot import open_snapshot, open_table
from jobs.delta.storage import TableRef, open_filesystem
from jobs.delta.version import Snapshot
from jobs.engines.base import LogEntry, TableState


def describe_table(ref: TableRef, version: int | None = None) -> TableState:
    """The table's latest or given version.

    Raises:
        ConfigError: a catalog's table.
        DataError: there is none, or none that deltalake can read.
    """
    table = open_snapshot(ref, version)
    return TableState(ref, table.version, table.table_id, table.schema, table.partition_columns, ref, table)


def take_snapshot(table: TableState) -> Snapshot:
    """The table's files: as they were listed when it was described, or now.

    Raises:
        DataError: one that deltalake cannot read.
    """
    known = table.snapshot
    return known if known and known.version == table.version else open_snapshot(table.ref, table.version)


def count_logged(table: TableState) -> int:
    """The table's rows, as the log counts them.

    Raises:
        DataError: one that deltalake cannot read.
    """
    return take_snapshot(table).rows


def read_history(ref: TableRef, version: int | None = None) -> list[LogEntry]:
    """The commits up to a version (None: the latest), newest first.

    Raises:
        DataError: there is no table, or none that deltalake can open.
    """
    known = read_commit_infos(open_filesystem(ref.uri, ref.storage_options), version)
    if not known:
        table = open_table(ref, version)
        known = [(int(e["version"]), e) for e in table.history() if int(e["version"]) <= table.version()]
    return [
        LogEntry(
            number,
            datetime.fromtimestamp(entry.get("timestamp", 0) / 1_000, UTC),
            str(entry.get("operation", "")),
            parse_lineage(entry.get("userMetadata")),
            entry.get("readVersion"),
        )
        for number, entry in known
    ]
