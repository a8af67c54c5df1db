"""The command line. Each command loads what it needs when it runs, so that `--help` is quick and scoring never loads
torch; every error ends in one sentence and the exit code of its kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs import cli_feedback, cli_models, cli_monitor, cli_report, cli_start
from jobs.cli_options import (
    DEMO_CONFIG,
    LOOK,
    MODELS,
    NIGHTLY,
    START,
    ConfigOption,
    DebugOption,
    EngineOption,
    FullOption,
    LogOption,
    NullOption,
    SetOption,
    WhereOption,
    build_engine_for,
    find_demo_config,
    load_job,
    parse_time,
    run_command,
)

if TYPE_CHECKING:
    from jobs.events import Reporter

app = typer.Typer(
    help="Score every row of a Delta table for how unusual it is, and say why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command(rich_help_panel=START)(cli_start.init)
app.command(rich_help_panel=START)(cli_start.doctor)
app.command(rich_help_panel=NIGHTLY)(cli_monitor.monitor)
app.command(rich_help_panel=LOOK)(cli_monitor.incidents)
app.command(rich_help_panel=LOOK)(cli_report.report)
app.command(rich_help_panel=MODELS)(cli_models.compare)
app.command(rich_help_panel=MODELS)(cli_models.rollback)
app.add_typer(cli_feedback.app, name="feedback", rich_help_panel=LOOK)


def main(command: str | None = None) -> None:
    """Run the command line; `command` is given where a job's own file was started."""
    app(args=[command, *sys.argv[1:]] if command else None)


@app.command(rich_help_panel=START)
def demo(
    config: Annotated[Path, typer.Option("--config", "-c", help="The demo's YAML file.")] = DEMO_CONFIG,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Real flights end to end: Delta table, extract, train, score, the ten strangest, and the report.

    Example: `sandtimer demo --engine spark`
    """

    def run(reporter: Reporter) -> None:
        from jobs.demo import demo as run_demo

        loaded = load_job(find_demo_config(config), overrides)
        run_demo(loaded, build_engine_for(loaded, engine), reporter)

    run_command(run, log, debug)


@app.command(rich_help_panel=MODELS)
def extract(
    config: ConfigOption,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Delta table -> sampled Parquet extract to train on; the same rows every time.

    Example: `sandtimer extract --config conf/flights.yaml --set extract.rows=50000`
    """

    def run(reporter: Reporter) -> None:
        from jobs.extract import extract as run_extract

        loaded = load_job(config, overrides)
        run_extract(loaded, build_engine_for(loaded, engine), reporter)

    run_command(run, log, debug)


@app.command(rich_help_panel=MODELS)
def train(
    config: ConfigOption,
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training stopped.")] = False,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias", metavar="NAME", help="Of the version that mlflow.register_as registers: champion, say."
        ),
    ] = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Parquet extract -> bundle, the trained model.

    Example: `sandtimer train --config conf/flights.yaml --set train.epochs=20`
    """

    def run(reporter: Reporter) -> None:
        from jobs.train import train as run_train

        run_train(load_job(config, overrides), reporter, resume, alias)

    run_command(run, log, debug)


@app.command(rich_help_panel=NIGHTLY)
def plan(
    config: ConfigOption,
    where: WhereOption = None,
    full: FullOption = False,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """What `score` would read, write and skip; changes nothing.

    Example: `sandtimer plan --config conf/flights.yaml --where "flight_date = '2013-06-01'"`
    """

    def run(reporter: Reporter) -> None:
        from jobs.plan import plan as run_plan

        loaded = load_job(config, overrides)
        run_plan(loaded, build_engine_for(loaded, engine), reporter, where, full)

    run_command(run, log, debug)


@app.command(rich_help_panel=NIGHTLY)
def score(
    config: ConfigOption,
    where: WhereOption = None,
    full: FullOption = False,
    logical_time: Annotated[
        str | None, typer.Option("--logical-time", metavar="ISO", help="The run's time, for scored_at; default: now.")
    ] = None,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Attach scores to what changed in the source since the last run: one commit, safe to run again.

    Example: `sandtimer score --config conf/flights.yaml --where "flight_date = '2013-06-01'"`
    """

    def run(reporter: Reporter) -> None:
        from jobs.score import score as run_score

        moment = parse_time(logical_time) if logical_time else None
        loaded = load_job(config, overrides)
        run_score(loaded, build_engine_for(loaded, engine), reporter, where, moment, full)

    run_command(run, log, debug)


@app.command(rich_help_panel=LOOK)
def explain(
    config: ConfigOption,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="COLUMN=VALUE", help="Names the row; may be repeated.")
    ] = None,
    nulls: NullOption = None,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Recompute one row: every column's share in its score, observed against expected.

    Example: `sandtimer explain --config conf/flights.yaml --key carrier=UA --key flight=1545 --key
    time_hour=2013-01-01T10:00:00Z`
    """

    def run(reporter: Reporter) -> None:
        from jobs.explain import explain as run_explain

        loaded = load_job(config, overrides)
        run_explain(loaded, build_engine_for(loaded, engine), reporter, key or (), nulls or ())

    run_command(run, log, debug)


@app.command(rich_help_panel=LOOK)
def history(
    config: ConfigOption,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most runs to show.")] = 20,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """The runs that made the scored table, newest first: what each read, scored and wrote.

    Example: `sandtimer history --config conf/flights.yaml --limit 5`
    """

    def run(reporter: Reporter) -> None:
        from jobs.history import history as run_history

        loaded = load_job(config, overrides)
        run_history(loaded, build_engine_for(loaded, engine), reporter, limit)

    run_command(run, log, debug)


if __name__ == "__main__":
    main()
