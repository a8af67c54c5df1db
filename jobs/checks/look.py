"""One look at the source table: counts its nights, compares them with the ledger, and writes down what it saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import vae_model as vm
from jobs.checks.finding import Finding
from jobs.checks.judge import (
    judge_columns,
    judge_lateness,
)
from jobs.checks.ledger import Ledger, NightRecord, read_ledger, write_ledger
from jobs.checks.nights import Nights
from jobs.common.config import Config
from jobs.engines.base import Engine
from jobs.tables.nights import RUN, find_night_column
from jobs.tables.refs import ledger_ref, source_ref


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

    def began(self, finding: Finding) -> str:
        """The night since which a finding is so, by which it is the same one on later nights."""
        return finding.since or finding.night or self.last


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
        updated = Nights(config, engine, bundle, source, night, ledger, now).look_at()
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
