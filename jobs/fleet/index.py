"""The index page: a row for each table with its state, its last night and a link to its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from jobs.checks.ledger import read_ledger
from jobs.common.config import Config
from jobs.common.errors import SandtimerError, SetupError
from jobs.engines.base import Engine
from jobs.monitoring.incident_table import list_known
from jobs.predicates.conditions import is_true
from jobs.predicates.predicate import combine
from jobs.reporting.report import write_whole
from jobs.tables.nights import NightName, between, find_night_column
from jobs.tables.refs import ledger_ref, target_ref

State = Literal["quiet", "alarm", "failed"]


@dataclass(frozen=True)
class TableLine:
    """A table's line; None where it is not known.

    Attributes:
        what: the first alarm or the error; empty where all is well.
        night: the last one, `rows` and `alerts` of it.
        incidents: that are open.
        report: path of the table's page.
    """

    name: str
    state: State
    what: str = ""
    night: str = ""
    rows: int | None = None
    alerts: int | None = None
    incidents: int | None = None
    report: Path | None = None


def describe_table(config: Config, engine: Engine, state: State, what: str, report: Path | None) -> TableLine:
    """The line of a table, as far as it can be read."""
    line = TableLine(config.source.table, state, what, report=report)
    try:
        records = [one for one in read_ledger(engine, ledger_ref(config)).records.values() if one.rows]
        incidents = sum(one.status == "open" for one in list_known(config, engine) or ())
        if not records:
            return TableLine(config.source.table, state, what, incidents=incidents, report=report)
        last = max(records, key=lambda record: record.name)
        target = engine.describe(target_ref(config))
        night = NightName.of(last.night)
        of_night = between(engine, target, find_night_column(config, target), night, night)
        alerts = engine.count(target, combine(of_night, is_true("is_anomaly")))
        return TableLine(config.source.table, state, what, last.night, last.rows, alerts, incidents, report)
    except (SandtimerError, OSError):
        return line


def write_index(path: Path, lines: Sequence[TableLine], moment: datetime) -> None:
    """Write the page, those that failed first.

    Raises:
        SetupError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise SetupError("jinja2, for the index page", str(error), "pip install 'sandtimer[report]'") from error
    environment = Environment(loader=PackageLoader("jobs.fleet"), autoescape=True, undefined=StrictUndefined)
    order = ("failed", "alarm", "quiet")
    tables = [
        {**vars(line), "report": os.path.relpath(line.report, path.parent) if line.report else ""}
        for line in sorted(lines, key=lambda line: (order.index(line.state), line.name))
    ]
    page = environment.get_template("index.html.jinja").render(
        tables=tables, headline=write_headline(lines), moment=f"{moment:%Y-%m-%d %H:%M} UTC"
    )
    write_whole(path, page)


def write_headline(lines: Sequence[TableLine]) -> str:
    """One sentence on all tables."""
    failed, alarms = (sum(line.state == state for line in lines) for state in ("failed", "alarm"))
    count = f"{len(lines)} table{'' if len(lines) == 1 else 's'}"
    if not failed and not alarms:
        return f"Nothing unusual in {count}"
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{alarms} with alarms"] if alarms else []
    return f"Of {count} {' and '.join(parts)}"
