"""The commands of every night: `plan`, `score` and `monitor`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from jobs.cli.command import CommandRun, command
from jobs.cli.options import NIGHTLY, FullOption, WhereOption

app = typer.Typer()


@command(app, NIGHTLY)
def plan(run: CommandRun, where: WhereOption = None, full: FullOption = False) -> None:
    """What `score` would read, write and skip; changes nothing.

    Example: `sandtimer plan --config conf/flights.yaml --where "flight_date = '2013-06-01'"`
    """
    from jobs.scoring.plan import plan

    plan(run.config, run.engine, run.reporter, where, full)


@command(app, NIGHTLY)
def score(
    run: CommandRun,
    where: WhereOption = None,
    full: FullOption = False,
    logical_time: Annotated[
        str | None, typer.Option("--logical-time", metavar="ISO", help="The run's time, for scored_at; default: now.")
    ] = None,
) -> None:
    """Attach scores to what changed in the source since the last run: one commit, safe to run again.

    Example: `sandtimer score --config conf/flights.yaml --where "flight_date = '2013-06-01'"`
    """
    from jobs.scoring.score import score

    moment = _parse_time(logical_time) if logical_time else None
    score(run.config, run.engine, run.reporter, where, moment, full)


@command(app, NIGHTLY)
def monitor(
    run: CommandRun,
    where: WhereOption = None,
    logical_time: Annotated[
        str | None, typer.Option("--logical-time", metavar="ISO", help="By which a load is late; default: now.")
    ] = None,
) -> None:
    """Look at the night as a whole, at the drift of the rows of the last run, and at incidents; exit code 5 past the
    limits.

    Rows, missing segments and nights, copies, keys, late loads and changed columns are judged by the nights before,
    which `<score.table>_nights` keeps. Every input column's drift, NULL rates, unseen categories, score quantiles,
    alert rate and latent layer go into `<score.table>_monitor`, incidents into `<score.table>_incidents`. Running it
    again changes nothing.

    Example: `sandtimer monitor --config conf/flights.yaml --where "flight_date >= '2013-06-01'"`
    """
    from jobs.monitoring.monitor import monitor

    moment = _parse_time(logical_time) if logical_time else None
    monitor(run.config, run.engine, run.reporter, where, moment)


def _parse_time(text: str) -> datetime:
    from jobs.common.errors import ConfigError

    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        example = "for example 2013-06-01T05:00:00Z"
        raise ConfigError("--logical-time in ISO format", f"'{text}'", example) from error
