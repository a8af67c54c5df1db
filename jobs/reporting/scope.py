"""Which rows a report is about: one run, a range of nights, a condition, or everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from jobs.conditions import equals
from jobs.config import Config
from jobs.engines.base import LogEntry, TableState
from jobs.errors import ConfigError
from jobs.predicate import Predicate, combine, parse_where, resolve_column

WHEN = "scored_at"


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
    target: TableState,
    runs: Sequence[LogEntry],
    where: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Scope:
    """What the options ask for; without any, the last run that scored rows.

    Args:
        config: the job.
        target: the scored table.
        runs: its scoring runs, newest first.
        where: a condition on its columns.
        since: first night, in ISO format.
        until: last night, in ISO format.

    Raises:
        ConfigError: options that contradict each other, or no date.
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
        return _choose_range(night, _parse_date(since, "--since"), _parse_date(until, "--until"))
    last = next((run for run in runs if (run.lineage or {}).get("rows")), None)
    lineage = (last.lineage or {}) if last else {}
    if last is None or _is_everything(lineage):
        return Scope(f"all rows of {target.ref.name}", None, None, night, last)
    moment = datetime.fromisoformat(str(lineage["scored_at"]))
    return Scope(f"the run of {moment:%Y-%m-%d %H:%M} UTC", equals(WHEN, str(lineage["scored_at"])), None, night, last)


def find_night_column(config: Config, target: TableState) -> str:
    """The partition column that the config names, the table's own first one, or the time of the run."""
    if config.source.partition:
        return resolve_column(config.source.partition, target.schema.names, f"{target.ref.name} (source.partition)")
    return target.partition_columns[0] if target.partition_columns else WHEN


def _is_everything(lineage: dict[str, object] | object) -> bool:
    run = lineage if isinstance(lineage, dict) else {}
    return run.get("action") == "replace" and run.get("where") is None


def _choose_range(night: str, since: date | None, until: date | None) -> Scope:
    if since and until and until < since:
        raise ConfigError("--until on or after --since", f"--since {since} --until {until}", "swap them")
    first = parse_where(f"`{night}` >= '{since}'") if since else None
    # A column of moments has its last ones within the last day.
    last = parse_where(f"`{night}` < '{until + timedelta(days=1)}'") if until else None
    parts = [f"from {since}" if since else "", f"up to {until}" if until else ""]
    title = f"the night of {since}" if since and since == until else f"nights {' '.join(p for p in parts if p)}"
    return Scope(title, combine(first, last), None, night)


def _parse_date(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} YYYY-MM-DD", f"'{text}'", "for example 2013-06-01") from error
