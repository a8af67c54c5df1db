"""The commands that decide which model is in use: `compare` and `rollback`."""

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
    WhereOption,
    build_engine_for,
    load_job,
    run_command,
)

if TYPE_CHECKING:
    from jobs.events import Reporter


def compare(
    config: ConfigOption,
    challenger: Annotated[Path, typer.Option("--challenger", help="The other bundle's folder.", show_default=False)],
    where: WhereOption = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Put the challenger in the champion's place if the gate lets it pass.")
    ] = False,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Champion and challenger: score the same rows by both models, and let the config's rules decide.

    Says how far the ranks agree, which rows are alerts for one model only and why, and how well each is calibrated.
    Ends with 0 where the challenger passes the gate (section `compare`), with 5 where it is refused.

    Example: `sandtimer train --config conf/orders.yaml --set bundle.path=data/challenger`

    Example: `sandtimer compare --config conf/orders.yaml --challenger data/challenger --where "day = '2024-01-03'"
    --promote`
    """

    def run(reporter: Reporter) -> None:
        from jobs.compare import compare as run_compare

        loaded = load_job(config, overrides)
        run_compare(loaded, build_engine_for(loaded, engine), reporter, challenger, where, promote)

    run_command(run, log, debug)


def rollback(
    config: ConfigOption,
    to: Annotated[
        str | None, typer.Option("--to", metavar="MODEL_ID", help="Another one of the past; its first digits do.")
    ] = None,
    overrides: SetOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Put the model before the last back into its place: undoes a training or a promotion.

    Example: `sandtimer rollback --config conf/orders.yaml`
    """

    def run(reporter: Reporter) -> None:
        from jobs.compare import rollback as run_rollback

        run_rollback(load_job(config, overrides), reporter, to)

    run_command(run, log, debug)
