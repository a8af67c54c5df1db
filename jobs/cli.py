"""The command line. Each command loads what it needs when it runs, so that `--help` is quick and scoring never loads
torch; every error ends in one sentence and the exit code of its kind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from jobs.config import Config, EngineName
    from jobs.engines.base import Engine
    from jobs.events import LogFormat, Reporter

_INTERRUPTED = 130
DEMO_CONFIG = Path("conf/flights.yaml")

app = typer.Typer(
    help="Score every row of a Delta table for how unusual it is, and say why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The job's YAML file.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Override one key of the config; may be repeated."),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Only these rows: one SQL condition on the source's columns."),
]
FullOption = Annotated[bool, typer.Option("--full", help="Everything again, also what is scored already.")]
EngineOption = Annotated[
    Literal["local", "spark"] | None,
    typer.Option("--engine", help="Instead of score.engine; spark when under spark-submit."),
]
LogOption = Annotated[
    Literal["pretty", "json"] | None,
    typer.Option("--log", help="Default: json when the output is not a terminal."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def main(command: str | None = None) -> None:
    """Run the command line; `command` is given where a job's own file was started."""
    app(args=[command, *sys.argv[1:]] if command else None)


@app.command()
def demo(
    config: Annotated[Path, typer.Option("--config", "-c", help="The demo's YAML file.")] = DEMO_CONFIG,
    overrides: SetOption = None,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Real flights end to end: Delta table, extract, train, score, the ten strangest.

    Example: `sandtimer demo --engine spark`
    """

    def run(reporter: Reporter) -> None:
        from jobs.demo import demo as run_demo

        loaded = _load(_find_demo_config(config), overrides)
        run_demo(loaded, _build_engine(loaded, engine), reporter)

    _run(run, log, debug)


@app.command()
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

        loaded = _load(config, overrides)
        run_extract(loaded, _build_engine(loaded, engine), reporter)

    _run(run, log, debug)


@app.command()
def train(
    config: ConfigOption,
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training stopped.")] = False,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Parquet extract -> bundle, the trained model.

    Example: `sandtimer train --config conf/flights.yaml --set train.epochs=20`
    """

    def run(reporter: Reporter) -> None:
        from jobs.train import train as run_train

        run_train(_load(config, overrides), reporter, resume)

    _run(run, log, debug)


@app.command()
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

        loaded = _load(config, overrides)
        run_plan(loaded, _build_engine(loaded, engine), reporter, where, full)

    _run(run, log, debug)


@app.command()
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

        moment = _parse_time(logical_time) if logical_time else None
        loaded = _load(config, overrides)
        run_score(loaded, _build_engine(loaded, engine), reporter, where, moment, full)

    _run(run, log, debug)


@app.command()
def explain(
    config: ConfigOption,
    key: Annotated[list[str], typer.Option("--key", metavar="COLUMN=VALUE", help="Names the row; may be repeated.")],
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

        loaded = _load(config, overrides)
        run_explain(loaded, _build_engine(loaded, engine), reporter, key)

    _run(run, log, debug)


@app.command()
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

        loaded = _load(config, overrides)
        run_history(loaded, _build_engine(loaded, engine), reporter, limit)

    _run(run, log, debug)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Also check this job's tables.")] = None,
    overrides: SetOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Check Python, Java, Spark, the Delta jars and, with a config, the job's tables.

    Example: `sandtimer doctor --config conf/flights.yaml`
    """

    def run(reporter: Reporter) -> None:
        from jobs.doctor import run_checks
        from jobs.errors import SetupError

        checks = run_checks(_load(config, overrides) if config else None)
        shown = [{"check": c.name, "ok": "yes" if c.ok else "NO", "detail": c.detail, "do": c.remedy} for c in checks]
        reporter.table("check", "What was found", shown)
        bad = [check for check in checks if not check.ok]
        if bad:
            raise SetupError(
                "every check to pass", "; ".join(f"{c.name}: {c.detail}" for c in bad), "; ".join(c.remedy for c in bad)
            )
        reporter.say("done", f"all {len(checks)} checks passed")

    _run(run, log, debug)


def _run(work: Callable[[Reporter], None], log: LogFormat | None, debug: bool) -> None:
    """Run a command and end with the exit code of its error."""
    from jobs.errors import SandtimerError, describe, exit_code
    from jobs.events import build_reporter

    reporter = build_reporter(log)
    try:
        work(reporter)
    except KeyboardInterrupt:
        if debug:
            raise
        reporter.fail(SandtimerError("the command to finish", "an interruption", "run it again; the target is whole"))
        raise typer.Exit(_INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001  nothing may end in a traceback
        if debug:
            import traceback

            traceback.print_exc()
        reporter.fail(describe(error))
        raise typer.Exit(exit_code(error)) from None


def _load(path: Path, overrides: list[str] | None) -> Config:
    from jobs.config import load_config

    return load_config(path, overrides or [])


def _find_demo_config(path: Path) -> Path:
    beside = Path(__file__).parents[1] / path
    return beside if not path.exists() and path == DEMO_CONFIG and beside.exists() else path


def _build_engine(config: Config, name: EngineName | None) -> Engine:
    from jobs.engines import build_engine

    return build_engine(config, name)


def _parse_time(text: str) -> datetime:
    from jobs.errors import ConfigError

    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        example = "for example 2013-06-01T05:00:00Z"
        raise ConfigError("--logical-time in ISO format", f"'{text}'", example) from error


if __name__ == "__main__":
    main()
