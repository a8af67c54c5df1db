"""What every command of the command line shares: its options, and how it runs and ends."""

from __future__ import annotations

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
# The groups of `sandtimer --help`.
START, NIGHTLY, LOOK, MODELS = "Start here", "Every night", "Look", "Models"

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
NullOption = Annotated[
    list[str] | None,
    typer.Option("--null", metavar="COLUMN", help="A column that is NULL in the row."),
]
EngineOption = Annotated[
    Literal["local", "spark"] | None,
    typer.Option("--engine", help="Instead of score.engine; spark when under spark-submit."),
]
LogOption = Annotated[
    Literal["pretty", "json"] | None,
    typer.Option("--log", help="Default: json when the output is not a terminal."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def run_command(work: Callable[[Reporter], None], log: LogFormat | None, debug: bool) -> None:
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


def load_job(path: Path, overrides: list[str] | None) -> Config:
    """The config file with its overrides."""
    from jobs.config import load_config

    return load_config(path, overrides or [])


def find_demo_config(path: Path) -> Path:
    """The demo's config: in the current folder, or beside the installed packages."""
    beside = Path(__file__).parents[1] / path
    return beside if not path.exists() and path == DEMO_CONFIG and beside.exists() else path


def build_engine_for(config: Config, name: EngineName | None) -> Engine:
    """The engine that runs a job; `name` wins over the config."""
    from jobs.engines import build_engine

    return build_engine(config, name)


def parse_time(text: str) -> datetime:
    """The moment that `--logical-time` names."""
    from jobs.errors import ConfigError

    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        example = "for example 2013-06-01T05:00:00Z"
        raise ConfigError("--logical-time in ISO format", f"'{text}'", example) from error
