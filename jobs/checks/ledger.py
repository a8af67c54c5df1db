"""The ledger: what each night of a table was like when `monitor` looked at it, one row each in a Delta table beside the
scored one, and one row without a night for the table itself. It is what later nights are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa

from jobs.checks.counting import NO_KEY, ROWS
from jobs.checks.finding import Finding
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine
from jobs.tables.nights import NightName

MAX_NIGHTS: Final = 100_000
_FINDING = pa.struct(
    [
        ("check", pa.string()),
        ("subject", pa.string()),
        ("night", pa.string()),
        ("sentence", pa.string()),
        ("rows", pa.int64()),
        ("since", pa.string()),
    ]
)
_SEGMENT = pa.struct([("column", pa.string()), ("value", pa.string()), ("rows", pa.int64())])
_COLUMN = pa.struct([("name", pa.string()), ("type", pa.string())])
SCHEMA: Final = pa.schema(
    [
        ("night", pa.string()),
        ("version", pa.int64()),
        ("looked_at", pa.timestamp("us", tz="UTC")),
        ("arrived", pa.timestamp("us", tz="UTC")),
        ("rows", pa.int64()),
        ("late_rows", pa.int64()),
        ("copied", pa.int64()),
        ("shared_keys", pa.int64()),
        ("no_key", pa.int64()),
        ("likeness", pa.float64()),
        ("digest", pa.int64()),
        ("sketch", pa.list_(pa.int64())),
        ("segments", pa.list_(_SEGMENT)),
        ("findings", pa.list_(_FINDING)),
        ("columns", pa.list_(_COLUMN)),
    ]
)
# What was found of them says that a night is not one to learn from.
_SPOILING: Final = frozenset({"rows", "segment", "copies", "changed"})


@dataclass(frozen=True)
class NightRecord:
    """One night as it was last seen.

    Attributes:
        night: its name.
        version: of the source, at the last look.
        looked_at: moment of that look.
        arrived: moment of the commit that brought its first rows, where the log tells.
        rows: of the night.
        late_rows: that came after it had been looked at.
        copied, shared_keys: see `Copies`; None where they were not looked at.
        no_key: rows without a value in a key column.
        likeness: largest share of rows that it had in common with one earlier night.
        digest, sketch: see `Copies`.
        segments: rows by column and value.
        findings: what was found of it.
    """

    night: str
    version: int
    looked_at: datetime
    arrived: datetime | None = None
    rows: int = 0
    late_rows: int = 0
    copied: int | None = None
    shared_keys: int | None = None
    no_key: int = 0
    likeness: float | None = None
    digest: int | None = None
    sketch: tuple[int, ...] = ()
    segments: Mapping[tuple[str, str], int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> NightName:
        return NightName.of(self.night)

    @property
    def day(self) -> date | None:
        """The night as a date, where it is one."""
        try:
            return date.fromisoformat(self.night)
        except ValueError:
            return None

    @property
    def is_ordinary(self) -> bool:
        """Whether later nights may be like it."""
        return not any(finding.check in _SPOILING for finding in self.findings)


@dataclass(frozen=True)
class Ledger:
    """All records, by night; and the table as it was at the last look: its version, the moment and its columns with
    their types; None before the first look."""

    records: Mapping[str, NightRecord]
    version: int | None = None
    looked_at: datetime | None = None
    columns: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()

    def before(self, night: NightName) -> list[NightRecord]:
        """The records of earlier nights, in order."""
        found = [(record.name, record) for record in self.records.values()]
        return [record for name, record in sorted(found, key=lambda pair: pair[0]) if name < night]

    def having(self, records: Iterable[NightRecord]) -> Ledger:
        """The same with some records anew."""
        return replace(self, records={**self.records, **{record.night: record for record in records}})


def to_records(lines: pa.Table, version: int, looked_at: datetime) -> dict[str, NightRecord]:
    """The nights that were counted (`counting.LINES`), by name, in order; rows without a night are none.

    Args:
        lines: merged.
        version: of the table that was counted.
        looked_at: when.
    """
    rows: dict[str, int] = {}
    no_key: dict[str, int] = {}
    segments: dict[str, dict[tuple[str, str], int]] = {}
    for line in lines.to_pylist():
        night = line["night"]
        if line["what"] == ROWS:
            rows[night] = line["rows"]
        elif line["what"] == NO_KEY:
            no_key[night] = no_key.get(night, 0) + line["rows"]
        else:
            segments.setdefault(night, {})[line["column"], line["value"]] = line["rows"]
    rows.pop("NULL", None)
    return {
        night: NightRecord(
            night, version, looked_at, rows=rows[night], no_key=no_key.get(night, 0), segments=segments.get(night, {})
        )
        for night in sorted(rows, key=NightName.of)
    }


def read_ledger(engine: Engine, place: TableRef) -> Ledger:
    """What is known; nothing before the first look."""
    if not engine.exists(place):
        return Ledger({})
    rows = engine.read(engine.describe(place), SCHEMA.names, None, MAX_NIGHTS).to_pylist()
    records = {row["night"]: _from_row(row) for row in rows if row["night"]}
    table = next((row for row in rows if not row["night"]), None)
    if table is None:
        return Ledger(records)
    columns = tuple((column["name"], column["type"]) for column in table["columns"] or ())
    return Ledger(records, table["version"], table["looked_at"], columns, _findings_of(table))


def write_ledger(engine: Engine, place: TableRef, ledger: Ledger, changed: Sequence[NightRecord]) -> None:
    """Put the changed records and the table's own row into the ledger, in one commit."""
    table = {
        "night": "",
        "version": ledger.version,
        "looked_at": ledger.looked_at,
        "columns": [{"name": name, "type": dtype} for name, dtype in ledger.columns],
        "findings": [asdict(finding) for finding in ledger.findings],
    }
    rows = [table, *map(_to_row, changed)]
    engine.upsert(place, pa.Table.from_pylist(rows, SCHEMA), ("night",))


def accept_findings(engine: Engine, place: TableRef, check: str, since: NightName) -> None:
    """What a check found of the nights from one on is usual from now on."""
    ledger = read_ledger(engine, place)
    accepted = [
        replace(record, findings=tuple(one for one in record.findings if one.check != check))
        for record in ledger.records.values()
        if record.name >= since and any(one.check == check for one in record.findings)
    ]
    if accepted:
        write_ledger(engine, place, ledger, accepted)


def _to_row(record: NightRecord) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in SCHEMA.names if hasattr(record, name)}
    row["segments"] = [
        {"column": column, "value": value, "rows": rows} for (column, value), rows in sorted(record.segments.items())
    ]
    row["findings"] = [asdict(finding) for finding in record.findings]
    return row


def _from_row(row: Mapping[str, Any]) -> NightRecord:
    given = {name: row[name] for name in SCHEMA.names if name not in ("segments", "findings", "columns", "sketch")}
    segments = {(one["column"], one["value"]): one["rows"] for one in row["segments"] or ()}
    given |= {name: row[name] or 0 for name in ("rows", "late_rows", "no_key")}
    return NightRecord(**given, sketch=tuple(row["sketch"] or ()), segments=segments, findings=_findings_of(row))


def _findings_of(row: Mapping[str, Any]) -> tuple[Finding, ...]:
    return tuple(Finding(**finding) for finding in row["findings"] or ())
