"""What a Delta table's own log says of it, without an engine."""

from __future__ import annotations

from datetime import UTC, datetime

from jobs.delta.changes import parse_lineage
from jobs.delta.snapshot import open_snapshot, open_table
from jobs.delta.storage import TableRef
from jobs.engines.base import LogEntry, TableState


def describe_table(ref: TableRef, version: int | None = None) -> TableState:
    """The table's latest or given version.

    Raises:
        ConfigError: a catalog's table.
        DataError: there is none, or none that deltalake can read.
    """
    table = open_snapshot(ref, version)
    return TableState(ref, table.version, table.table_id, table.schema, table.partition_columns, ref)


def read_history(table: TableState) -> list[LogEntry]:
    """The commits up to the table's version, newest first."""
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
