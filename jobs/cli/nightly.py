"""The commands of every night: `plan`, `score` and `monitor`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.command import ENGINE, OVERRIDES, CommandRun, command
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


@command(app, NIGHTLY)
def check(
    run: CommandRun,
    files: Annotated[
        list[Path] | None,
        typer.Option("--files", metavar="PATH", help="Parquet files, or folders of them; repeatable."),
    ] = None,
    table: Annotated[str | None, typer.Option("--table", metavar="TABLE", help="A staging table instead.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Rows of the source table, or only these of the batch.")
    ] = None,
) -> None:
    """May a batch be published? Scores it without writing anything; exit code 5 where it should be held back.

    Its nights are judged by those that `monitor` has seen, its rows by the model; the last line says the verdict.

    Example: `sandtimer check --config conf/flights.yaml --files staging/2013-06-01.parquet`
    """
    from jobs.monitoring.gate import check

    check(run.config, run.engine, run.reporter, files or (), table, where)


@command(app, NIGHTLY, shared=(OVERRIDES, ENGINE))
def nightly(
    run: CommandRun,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="With a config for each table, as *.yaml.")],
    alerts: Annotated[
        float | None, typer.Option("--alerts", min=0.0, help="Expected a night over all tables, in place of budgets.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", metavar="FILE", help="The page about all; default: data/nightly.html.")
    ] = None,
) -> None:
    """What is due for every table: extract and train where there is no model, score, monitor, report, tell.

    Goes on where one fails; the exit code is the worst.

    Example: `sandtimer nightly conf/ --alerts 20`
    """
    from jobs.fleet.run import run_nightly

    code = run_nightly(folder, run.build_engine, run.reporter, run.overrides, alerts, index)
    if code:
        raise typer.Exit(code)


def _parse_time(text: str) -> datetime:
    from jobs.common.errors import ConfigError

    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        example = "for example 2013-06-01T05:00:00Z"
        raise ConfigError("--logical-time in ISO format", f"'{text}'", example) from error
