"""The commands that look at what was scored: `explain`, `history`, `incidents` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.cli.command import CommandRun, command
from jobs.cli.options import LOOK, NullOption

app = typer.Typer()


@command(app, LOOK)
def explain(
    run: CommandRun,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="COLUMN=VALUE", help="Names the row; may be repeated.")
    ] = None,
    nulls: NullOption = None,
) -> None:
    """Recompute one row: every column's share in its score, observed against expected.

    Example: `sandtimer explain --config conf/flights.yaml --key carrier=UA --key flight=1545 --key
    time_hour=2013-01-01T10:00:00Z`
    """
    from jobs.scoring.explain import explain

    explain(run.config, run.engine, run.reporter, key or (), nulls or ())


@command(app, LOOK)
def history(
    run: CommandRun,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most runs to show.")] = 20,
) -> None:
    """The runs that made the scored table, newest first: what each read, scored and wrote.

    Example: `sandtimer history --config conf/flights.yaml --limit 5`
    """
    from jobs.scoring.history import history

    history(run.config, run.engine, run.reporter, limit)


@command(app, LOOK)
def incidents(
    run: CommandRun,
    action: Annotated[
        Literal["list", "ack", "close"], typer.Argument(help="ack: seen, no alarm any more; close: it is over.")
    ] = "list",
    identity: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of the incident, or its beginning.")] = None,
    with_closed: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
) -> None:
    """Incidents that `monitor` found: alert rows with one cause, or a night that is not as usual, as one line.

    Example: `sandtimer incidents --config conf/flights.yaml --all`
    """
    from jobs.common.errors import ConfigError
    from jobs.monitoring.incident_list import change_status, list_incidents

    if action == "list":
        list_incidents(run.config, run.engine, run.reporter, with_closed)
        return
    if identity is None:
        raise ConfigError(f"the id of the incident to {action}", "none", f"`sandtimer incidents {action} ID`")
    status: Literal["acknowledged", "closed"] = "acknowledged" if action == "ack" else "closed"
    change_status(run.config, run.engine, run.reporter, identity, status)


@command(app, LOOK)
def report(
    run: CommandRun,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Only these rows: a condition on the scored table.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="The first night.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="The last night.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: report.path, or beside the scored table."),
    ] = None,
) -> None:
    """One HTML page about the last run, some nights or a condition: is something wrong, since when, in which column.

    Example: `sandtimer report --config conf/flights.yaml --since 2013-06-01 --until 2013-06-07`
    """
    from jobs.reporting.report import report

    report(run.config, run.engine, run.reporter, where, since, until, output)
