"""The nights of one version of the source: counted, compared with the ledger and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial

import pyarrow as pa

import vae_model as vm
from jobs.checks.copies import Copies, measure_copies
from jobs.checks.counting import LINES, count_nights, merge_lines
from jobs.checks.judge import HISTORY, judge_again, judge_gone, judge_late_rows, judge_night, likeness_of
from jobs.checks.ledger import Ledger, NightRecord, to_records
from jobs.common.config import Config
from jobs.common.sampling import Sample, hashable_columns
from jobs.delta.loads import Load, read_loads
from jobs.engines.base import Engine, TableState
from jobs.predicates.predicate import Predicate, combine, parse_where, resolve_column
from jobs.tables.nights import between, look_back
from vae_model.features.nested import expand_schema, source_columns

# Rows of a night that are compared with each other, at most; and nights that are read for it in one look.
COPY_ROWS = 200_000
READ_NIGHTS = 31
# On the first look so many nights before the last say what is usual.
FIRST_NIGHTS = 10
# A column with more values is no segment; of more columns each says less.
SEGMENT_VALUES = 100
SEGMENT_COLUMNS = 6
# Commits whose files the first look goes through.
FIRST_COMMITS = 400
_SEED = 17


class Nights:
    """The nights of one version of the source, beside the ledger."""

    def __init__(
        self, config: Config, engine: Engine, bundle: vm.Bundle, source: TableState, night: str, ledger: Ledger,
        now: datetime,
    ) -> None:  # fmt: skip
        self._engine, self._source, self._night, self._ledger, self._now = engine, source, night, ledger, now
        self._key = tuple(resolve_column(name, source.schema.names, source.ref.name) for name in config.source.key)
        self._where = parse_where(config.source.where, "source.where") if config.source.where else None
        self._segments = choose_segments(bundle, source.schema, night)
        self._window = self._find_window()

    def look_at(self) -> list[NightRecord]:
        """The records of the nights that are new or have changed, judged, in order."""
        ledger = self._ledger
        found = self._count()
        loads = self._read_loads()
        arrivals = _find_arrivals(loads, found)
        touched = _find_touched(loads, ledger.version)
        changed = [name for name, record in found.items() if _has_changed(ledger.records.get(name), record, touched)]
        if ledger.version is None:
            changed = list(found)
        read = set(changed[-(FIRST_NIGHTS + 1) if ledger.version is None else -READ_NIGHTS :])
        updated: list[NightRecord] = []
        known = ledger
        for name in changed:
            record = replace(found[name], arrived=arrivals.get(name))
            copies = self._read_copies(record) if name in read else None
            judged = self._judge(record, known, copies, is_last=name == changed[-1])
            updated.append(judged)
            known = known.having([judged])
        return updated + self._find_gone(found)

    def _judge(self, record: NightRecord, known: Ledger, copies: Copies | None, is_last: bool) -> NightRecord:
        before, old = known.before(record.name), known.records.get(record.night)
        if copies:
            likeness, _ = likeness_of(copies.sketch, before)
            record = replace(
                record, copied=copies.copied, shared_keys=max(copies.shared - copies.copied, 0), likeness=likeness,
                digest=copies.digest, sketch=copies.sketch,
            )  # fmt: skip
        if old is not None and old.rows:
            grown = max(record.rows - old.rows, 0)
            record = replace(record, arrived=old.arrived, late_rows=old.late_rows + grown if grown else old.late_rows)
            lost = judge_again(old, record)
            # What a night lacks now is what it lost.
            findings = lost or judge_night(record, before, copies)
            has_copies = any(finding.check == "copies" for finding in findings)
            late = () if has_copies or not grown else judge_late_rows(record, [*known.records.values()])
            return replace(record, findings=(*findings, *late))
        # On the first look the nights before the last one are what is usual, whatever they are.
        if self._ledger.version is None and not is_last:
            return record
        return replace(record, findings=judge_night(record, before, copies))

    def _find_gone(self, found: Mapping[str, NightRecord]) -> list[NightRecord]:
        first = min((record.name for record in found.values()), default=None)
        gone = [one for one in self._ledger.records.values() if one.rows and one.night not in found]
        # What was before the nights that are counted is not looked at.
        gone = [one for one in gone if first is None or one.name > first or self._window is None]
        return [
            replace(one, rows=0, looked_at=self._now, version=self._source.version, findings=(judge_gone(one),))
            for one in gone
        ]

    def _count(self) -> dict[str, NightRecord]:
        """The nights that the source has, in order."""
        columns = list(dict.fromkeys([self._night, *source_columns(self._segments, self._source.schema), *self._key]))
        summarise = partial(count_nights, self._night, self._segments, self._key)
        table = merge_lines(
            self._engine.summarise(self._source, columns, combine(self._where, self._window), LINES, summarise)
        )
        return to_records(table, self._source.version, self._now)

    def _find_window(self) -> Predicate | None:
        """The last nights, where there are many more."""
        known = sorted(record.name for record in self._ledger.records.values())
        if len(known) <= HISTORY:
            return None
        first = look_back(self._engine, self._source, self._night, known[-1], HISTORY)
        return between(self._engine, self._source, self._night, first, None)

    def _read_loads(self) -> list[Load]:
        place = self._source.location or self._source.ref
        since = self._ledger.version
        if since is None:
            since = max(-1, self._source.version - FIRST_COMMITS)
        return [] if place.in_catalog else read_loads(place, self._night, since, self._source.version)

    def _read_copies(self, record: NightRecord) -> Copies:
        """Copies within a night, from rows chosen by their key: all rows of one key, or none."""
        names = hashable_columns(self._source.schema)
        of_night = between(self._engine, self._source, self._night, record.name, record.name)
        sample = Sample(self._key or names, COPY_ROWS, record.rows, _SEED)
        rows = self._engine.sample(self._source, names, combine(self._where, of_night), sample)
        return measure_copies(rows, self._night, self._key)


def choose_segments(bundle: vm.Bundle, schema: pa.Schema, night: str) -> list[str]:
    """The features that name parts of a table: categories of a few values, those of the fewest first."""
    there = set(expand_schema(schema).names) - {night}
    sized = [
        (len(encoder.known_levels), column.name)
        for column, encoder in zip(bundle.features, bundle.encoder.encoders, strict=True)
        if column.kind == "category" and column.name in there and 2 <= len(encoder.known_levels) <= SEGMENT_VALUES
    ]
    return [name for _, name in sorted(sized)[:SEGMENT_COLUMNS]]


def _has_changed(old: NightRecord | None, now: NightRecord, touched: set[str] | None) -> bool:
    return old is None or old.rows != now.rows or (touched is not None and now.night in touched)


def _find_touched(loads: Sequence[Load], since: int | None) -> set[str] | None:
    """Nights that commits after the last look added rows to or took rows from, as far as each file has one night."""
    if since is None:
        return None
    spans = [span for load in loads for span in load.spans if span]
    return {low[:10] for low, high in spans if low[:10] == high[:10]}


def _find_arrivals(loads: Sequence[Load], nights: Mapping[str, NightRecord]) -> dict[str, datetime]:
    """Night -> moment of the first commit that brought it alone, or with a few others."""
    found: dict[str, datetime] = {}
    for load in loads:
        named = {name for span in load.spans if span for name in _nights_between(*span) if name in nights}
        if 0 < len(named) <= 3:
            for name in named:
                found.setdefault(name, load.moment)
    return found


def _nights_between(low: str, high: str) -> list[str]:
    if low[:10] == high[:10]:
        return [low[:10]]
    try:
        first, last = date.fromisoformat(low[:10]), date.fromisoformat(high[:10])
    except ValueError:
        return []
    return [str(first + timedelta(days=k)) for k in range(min((last - first).days + 1, 10))]
