"""Which rows a report is about: one run, a range of nights, a condition, or everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.common.config import Config
from jobs.common.errors import ConfigError
from jobs.engines.base import Engine, LogEntry, TableState
from jobs.predicates.conditions import equals
from jobs.predicates.predicate import Predicate, parse_where
from jobs.tables.nights import RUN, NightName, between, find_night_column, read_night


@dataclass(frozen=True)
class Scope:
    """The rows of a report.

    Attributes:
        title: the rows in words.
        rows: rows reported on; None: all that are scored.
        context: rows of the trend, in which the report's own nights stand out.
        night: the column whose values are the nights.
        run: the run that the report is about, if it is one run.
    """

    title: str
    rows: Predicate | None
    context: Predicate | None
    night: str
    run: LogEntry | None = None


def choose_scope(
    config: Config,
    engine: Engine,
    target: TableState,
    runs: Sequence[LogEntry],
    where: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Scope:
    """What the options ask for; without any, the last run that scored rows.

    Args:
        config: the job.
        engine: to list the nights with, where they are text.
        target: the scored table.
        runs: its scoring runs, newest first.
        where: a condition on its columns.
        since: first night: a date, or a value of the column that names the nights.
        until: last night.

    Raises:
        ConfigError: options that contradict each other, or no night.
        DataError: a column that the table does not have.
    """
    night = find_night_column(config, target)
    if where is not None and (since or until):
        raise ConfigError("--where, or --since and --until", "both", "put the dates into --where")
    if where is not None:
        asked = parse_where(where)
        asked.to_pyarrow(target.schema)
        return Scope(f"rows where {asked}", asked, asked, night)
    if since or until:
        begin, end = (
            _read_night(text, target, night, option) for text, option in ((since, "--since"), (until, "--until"))
        )
        return _choose_range(engine, target, night, begin, end)
    last = next((run for run in runs if (run.lineage or {}).get("rows")), None)
    lineage = (last.lineage or {}) if last else {}
    if last is None or _is_everything(lineage):
        return Scope(f"all rows of {target.ref.name}", None, None, night, last)
    moment = datetime.fromisoformat(str(lineage["scored_at"]))
    return Scope(f"the run of {moment:%Y-%m-%d %H:%M} UTC", equals(RUN, moment), None, night, last)


def _is_everything(lineage: dict[str, object] | object) -> bool:
    run = lineage if isinstance(lineage, dict) else {}
    return run.get("action") == "replace" and run.get("where") is None


def _choose_range(
    engine: Engine, target: TableState, night: str, since: NightName | None, until: NightName | None
) -> Scope:
    if since and until and until < since:
        raise ConfigError("--until on or after --since", f"--since {since} --until {until}", "swap them")
    parts = [f"from {since}" if since else "", f"up to {until}" if until else ""]
    title = f"the night of {since}" if since and since == until else f"nights {' '.join(p for p in parts if p)}"
    return Scope(title, between(engine, target, night, since, until), None, night)


def _read_night(text: str | None, target: TableState, night: str, option: str) -> NightName | None:
    where = f"{option}, a value of {night}"
    return None if text is None else read_night(text, target.schema.field(night).type, where)
