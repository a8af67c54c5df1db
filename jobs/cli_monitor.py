"""The commands of the on-call engineer: `monitor` and `incidents`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_options import (
    ConfigOption,
    DebugOption,
    EngineOption,
    LogOption,
    SetOption,
    WhereOption,
    build_engine_for,
    load_job,
    run_command,
)

if TYPE_CHECKING:
    from jobs.events import Reporter


def monitor(
    config: ConfigOption,
    where: WhereOption = None,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Compare what the last run scored with training, and follow incidents; exit code 5 past the limits.

    Every input column's drift, NULL rates, unseen categories, score quantiles, alert rate and latent layer go into
    `<score.table>_monitor`, incidents into `<score.table>_incidents`. Running it again changes nothing.

    Example: `sandtimer monitor --config conf/flights.yaml --where "flight_date >= '2013-06-01'"`
    """

    def run(reporter: Reporter) -> None:
        from jobs.monitor import monitor as run_monitor

        loaded = load_job(config, overrides)
        run_monitor(loaded, build_engine_for(loaded, engine), reporter, where)

    run_command(run, log, debug)


def incidents(
    config: ConfigOption,
    with_closed: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Incidents that `monitor` found: alert rows with one cause, as one line.

    Example: `sandtimer incidents --config conf/flights.yaml --all`
    """

    def run(reporter: Reporter) -> None:
        from jobs.incident_table import list_incidents

        loaded = load_job(config, overrides)
        list_incidents(loaded, build_engine_for(loaded, engine), reporter, with_closed)

    run_command(run, log, debug)
