"""One look at the source table: counts its nights, compares them with the ledger, and writes down what it saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

import pyarrow as pa

import vae_model as vm
from jobs.checks.copies import Copies, measure_copies
from jobs.checks.counting import LINES, NO_KEY, ROWS, SEGMENT, count_nights, merge_lines
from jobs.checks.finding import Finding
from jobs.checks.judge import (
    HISTORY,
    judge_again,
    judge_columns,
    judge_gone,
    judge_late_rows,
    judge_lateness,
    judge_night,
    likeness_of,
)
from jobs.checks.ledger import Ledger, NightRecord, read_ledger, write_ledger
from jobs.common.config import Config
from jobs.common.sampling import Sample, hashable_columns
from jobs.delta.loads import Load, read_loads
from jobs.engines.base import Engine, TableState
from jobs.predicates.predicate import Predicate, combine, parse_where, resolve_column
from jobs.tables.nights import RUN, NightName, between, find_night_column, look_back
from jobs.tables.refs import ledger_ref, source_ref
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


@dataclass(frozen=True)
class Look:
    """What a look found.

    Attributes:
        alarms: what is new and not as usual; `notes` what is new and worth a word; `settled` what is still so.
        usual: when the next load usually comes, in words; empty where that is not known.
        is_news: whether the source has changed since the last look.
        is_repeated: whether it has not, and that was on an earlier day: what was told then is not told again. A look
            that is repeated on the same day tells the same.
        last: the latest night, and the moment of the last look; empty and None on the first.
        seen, changed: the ledger with what was seen, and its changed records; None where nothing is to be written.
    """

    alarms: tuple[Finding, ...]
    notes: tuple[Finding, ...] = ()
    settled: tuple[Finding, ...] = ()
    usual: str = ""
    is_news: bool = True
    is_repeated: bool = False
    last: str = ""
    looked_at: datetime | None = None
    seen: Ledger | None = None
    changed: tuple[NightRecord, ...] = ()


def look(config: Config, engine: Engine, bundle: vm.Bundle, now: datetime) -> Look:
    """Look at the source as it is now. Nothing is written: a look that nobody was told of is repeated by the next one.

    Args:
        config: the job.
        engine: to read with.
        bundle: whose categories name segments.
        now: the moment of the look.

    Raises:
        DataError: there is no source table, or no column of the name that `source.partition` has.
    """
    source = engine.describe(source_ref(config))
    ledger = read_ledger(engine, ledger_ref(config))
    columns = tuple((field.name, str(field.type)) for field in source.schema)
    is_news = ledger.version != source.version
    columns_changed = judge_columns(ledger.columns, columns) if ledger.columns else []
    night = find_night_column(config, source)
    updated: list[NightRecord] = []
    if is_news and night != RUN:
        updated = _Nights(config, engine, bundle, source, night, ledger, now).look_at()
    after = ledger.having(updated)
    records = sorted(after.records.values(), key=lambda record: record.name)
    usual, late = judge_lateness([one for one in records if one.rows], now)
    # A table that nothing came to for long before anybody looked is as it is.
    before = late if ledger.version is None else ledger.findings
    known_late = {finding.subject for finding in before if finding.check == "late"}
    # Without news the last look's findings are those of this one: it may have been cut short before it told anybody.
    of_columns = columns_changed if is_news else [one for one in ledger.findings if one.check == "schema"]
    found = [one for record in updated for one in _new_findings(record, ledger)] if is_news else _last_findings(ledger)
    seen = None
    if is_news or {finding.subject for finding in late} != known_late:
        looked_at = now if is_news else ledger.looked_at
        findings = (*of_columns, *late)
        seen = replace(after, version=source.version, looked_at=looked_at, columns=columns, findings=findings)
    # A night that was missed by the clock is not missed again when the next one comes.
    found = [one for one in found if one.check != "missing" or one.subject.split(" ")[0] not in known_late]
    told = [one for one in (*of_columns, *found) if one.is_alarm]
    is_repeated = not is_news and _is_another_day(ledger, now)
    return Look(
        alarms=(
            *(finding for finding in told if not finding.is_settled and not is_repeated),
            *(finding for finding in late if finding.subject not in known_late),
        ),
        notes=tuple(finding for finding in of_columns if not finding.is_alarm),
        settled=(
            *(finding for finding in told if finding.is_settled or is_repeated),
            *(finding for finding in late if finding.subject in known_late),
        ),
        is_repeated=is_repeated,
        usual=usual,
        is_news=is_news,
        last=records[-1].night if records else "",
        looked_at=ledger.looked_at,
        seen=seen,
        changed=tuple(updated),
    )


def remember(config: Config, engine: Engine, looked: Look) -> None:
    """Write down what a look saw, once somebody was told."""
    if looked.seen is not None:
        write_ledger(engine, ledger_ref(config), looked.seen, looked.changed)


def _is_another_day(ledger: Ledger, now: datetime) -> bool:
    return ledger.looked_at is not None and now.date() > ledger.looked_at.date()


def _last_findings(ledger: Ledger) -> list[Finding]:
    """What the last look that found the source changed found of its nights."""
    looked_at = ledger.looked_at
    return [one for record in ledger.records.values() if record.looked_at == looked_at for one in record.findings]


def _new_findings(record: NightRecord, ledger: Ledger) -> list[Finding]:
    """What was not found of a night before."""
    old = ledger.records.get(record.night)
    known = {(one.check, one.subject) for one in old.findings} if old else set()
    return [one for one in record.findings if (one.check, one.subject) not in known]


class _Nights:
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
        copies = self._read_copies(sorted(read))
        updated: list[NightRecord] = []
        known = ledger
        for name in changed:
            record = replace(found[name], arrived=arrivals.get(name))
            judged = self._judge(record, known, copies.get(name), is_last=name == changed[-1])
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
        rows: dict[str, int] = {}
        no_key: dict[str, int] = {}
        segments: dict[str, dict[tuple[str, str], int]] = {}
        for line in table.to_pylist():
            if line["night"] == "NULL":
                continue
            if line["what"] == ROWS:
                rows[line["night"]] = line["rows"]
            elif line["what"] == NO_KEY:
                no_key[line["night"]] = no_key.get(line["night"], 0) + line["rows"]
            elif line["what"] == SEGMENT:
                segments.setdefault(line["night"], {})[line["column"], line["value"]] = line["rows"]
        ordered = sorted(rows, key=NightName.of)
        version = self._source.version
        return {
            name: NightRecord(
                name, version, self._now, rows=rows[name], no_key=no_key.get(name, 0), segments=segments.get(name, {})
            )
            for name in ordered
        }

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

    def _read_copies(self, nights: Iterable[str]) -> dict[str, Copies]:
        """Copies within each of some nights, from rows chosen by their key: all rows of one key, or none."""
        found = {}
        names = list(hashable_columns(self._source.schema))
        for name in nights:
            where = combine(self._where, self._of_night(name))
            total = self._engine.count(self._source, where)
            sample = Sample(self._key or tuple(names), COPY_ROWS, total, _SEED)
            rows = self._engine.sample(self._source, names, where, sample)
            copies = measure_copies(rows, self._night, self._key)
            found[name] = copies
        return found

    def _of_night(self, name: str) -> Predicate | None:
        night = NightName.of(name)
        return between(self._engine, self._source, self._night, night, night)


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
