"""The commands of people's verdicts: `feedback add`, `import`, `list`, `pending` and `summary`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.cli_options import (
    ConfigOption,
    DebugOption,
    EngineOption,
    LogOption,
    NullOption,
    SetOption,
    build_engine_for,
    load_job,
    run_command,
)

if TYPE_CHECKING:
    from jobs.events import Reporter

app = typer.Typer(
    help="Verdicts on alerts: hush what is expected, keep bad rows out of training, measure precision.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; default: you.", show_default=False)]


@app.command()
def add(
    config: ConfigOption,
    verdict: Annotated[
        Literal["expected", "anomaly"], typer.Option("--verdict", help="expected: no alert; anomaly: a real one.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="COLUMN=VALUE", help="A key column; those left out may have any value."),
    ] = None,
    nulls: NullOption = None,
    night_from: Annotated[str | None, typer.Option("--from", help="The first night that it is about.")] = None,
    night_to: Annotated[str | None, typer.Option("--to", help="The last one.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="The last day that it holds.")] = None,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why.")] = None,
    by: ByOption = None,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """One verdict on one row, or on all rows with some key values or in some nights.

    A row that is `expected` stays scored but is no alert in lists, reports and incidents; one that is an `anomaly` is
    left out of the next training sample. A second verdict on the same rows replaces the first.

    Example: `sandtimer feedback add --config conf/orders.yaml --key order_id=42 --verdict expected --until 2026-12-31
    --note "known refund"`

    Example: `sandtimer feedback add --config conf/orders.yaml --from 2024-01-02 --to 2024-01-03 --verdict anomaly`
    """

    def run(reporter: Reporter) -> None:
        from jobs.feedback import Given
        from jobs.feedback import add as run_add

        loaded = load_job(config, overrides)
        given = Given(verdict, tuple(key or ()), tuple(nulls or ()), (night_from, night_to), until, note, by)
        run_add(loaded, build_engine_for(loaded, engine), reporter, given)

    run_command(run, log, debug)


@app.command("import")
def import_file(
    config: ConfigOption,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (with a header) or Parquet.")],
    by: ByOption = None,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Verdicts from a file, in one commit: key columns, verdict, and if you like night_from, night_to, until, note.

    Example: `sandtimer feedback import --config conf/orders.yaml verdicts.csv`
    """

    def run(reporter: Reporter) -> None:
        from jobs.feedback import import_file as run_import

        loaded = load_job(config, overrides)
        run_import(loaded, build_engine_for(loaded, engine), reporter, file, by)

    run_command(run, log, debug)


@app.command("list")
def list_verdicts(
    config: ConfigOption,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """All verdicts, the latest first, and whether they hold today.

    Example: `sandtimer feedback list --config conf/orders.yaml`
    """

    def run(reporter: Reporter) -> None:
        from jobs.feedback import list_verdicts as run_list

        loaded = load_job(config, overrides)
        run_list(loaded, build_engine_for(loaded, engine), reporter)

    run_command(run, log, debug)


@app.command()
def pending(
    config: ConfigOption,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most alerts to show.")] = 20,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """The alerts without a verdict, the strangest first, each with the flags that name it for `feedback add`.

    Example: `sandtimer feedback pending --config conf/orders.yaml --limit 5`
    """

    def run(reporter: Reporter) -> None:
        from jobs.feedback import list_pending

        loaded = load_job(config, overrides)
        list_pending(loaded, build_engine_for(loaded, engine), reporter, limit)

    run_command(run, log, debug)


@app.command()
def summary(
    config: ConfigOption,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """What the verdicts say: precision at the alert budget, with its interval, and the budget that they suggest.

    Example: `sandtimer feedback summary --config conf/orders.yaml`
    """

    def run(reporter: Reporter) -> None:
        from jobs.precision import summarise

        loaded = load_job(config, overrides)
        summarise(loaded, build_engine_for(loaded, engine), reporter)

    run_command(run, log, debug)
