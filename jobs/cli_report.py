"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_options import (
    ConfigOption,
    DebugOption,
    EngineOption,
    LogOption,
    SetOption,
    build_engine_for,
    load_job,
    run_command,
)

if TYPE_CHECKING:
    from jobs.events import Reporter


def report(
    config: ConfigOption,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Only these rows: a condition on the scored table.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="The first night.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="The last night.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: report.path, or beside the scored table."),
    ] = None,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """One HTML page about the last run, some nights or a condition: is something wrong, since when, in which column.

    Example: `sandtimer report --config conf/flights.yaml --since 2013-06-01 --until 2013-06-07`
    """

    def run(reporter: Reporter) -> None:
        from jobs.report import report as run_report

        loaded = load_job(config, overrides)
        run_report(loaded, build_engine_for(loaded, engine), reporter, where, since, until, output)

    run_command(run, log, debug)
