"""What every command shares: `command` adds the common options to a function, loads the job when it is asked for, and
ends with the exit code of its error."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jobs.common.engine_names import EngineName

if TYPE_CHECKING:
    from jobs.common.config import Config
    from jobs.common.console import Reporter
    from jobs.common.errors import SandtimerError
    from jobs.engines.base import Engine

_INTERRUPTED = 130
# Commands of a schedule, whose failure somebody has to hear of.
_TOLD = frozenset({"extract", "train", "score", "monitor"})


def _option(name: str, annotation: Any, default: Any = None) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


CONFIG = _option(
    "config",
    Annotated[Path, typer.Option("--config", "-c", help="The job's YAML file.", show_default=False)],
    Parameter.empty,
)
OVERRIDES = _option(
    "overrides",
    Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Override one key of the config; may be repeated."),
    ],
)
ENGINE = _option(
    "engine",
    Annotated[
        EngineName | None,
        typer.Option("--engine", help="Instead of score.engine; spark when under spark-submit."),
    ],
)
LOG = _option(
    "log",
    Annotated[
        Literal["pretty", "json"] | None,
        typer.Option("--log", help="Default: json when the output is not a terminal."),
    ],
)
DEBUG = _option("debug", Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")], False)
JOB = (CONFIG, OVERRIDES, ENGINE)


class CommandRun:
    """One run of a command: its reporter, and its config and engine, which are built when they are first asked for."""

    def __init__(
        self,
        name: str,
        reporter: Reporter,
        config: Path | None,
        overrides: Sequence[str] | None,
        engine: EngineName | None,
    ) -> None:
        self.name = name
        self.reporter = reporter
        self._path = config
        self.overrides = list(overrides or ())
        self._engine = engine

    @property
    def has_config(self) -> bool:
        return self._path is not None

    def use_packaged_config(self, path: Path) -> None:
        """Where `path` was asked for and is not in the current folder, the file beside the installed packages."""
        beside = Path(__file__).parents[2] / path
        if self._path == path and not path.exists() and beside.exists():
            self._path = beside

    @cached_property
    def config(self) -> Config:
        """The config file with its overrides."""
        from jobs.common.config_file import load_config
        from jobs.common.errors import ConfigError

        if self._path is None:
            raise ConfigError("a config", "none", "name one with --config")
        return load_config(self._path, self.overrides)

    @cached_property
    def engine(self) -> Engine:
        """The engine of the job; `--engine` wins over the config."""
        return self.build_engine(self.config)

    def tell_failure(self, error: SandtimerError) -> None:
        """Tell whoever the config names that a run of the night failed; an alarm was told already."""
        from jobs.common.errors import AlarmError

        if self.name not in _TOLD or isinstance(error, AlarmError) or "config" not in vars(self):
            return
        from jobs.notifying.failure import tell_failure

        tell_failure(self.config, self._engine_or_none(), self.reporter, self.name, error)

    def _engine_or_none(self) -> Engine | None:
        """The engine, where it has started."""
        return vars(self).get("engine")

    def build_engine(self, config: Config) -> Engine:
        """The engine for a config that is not this command's own."""
        from jobs.engines import build_engine

        return build_engine(config, self._engine)


Body = Callable[..., None]


def command(
    app: typer.Typer, panel: str | None = None, *, name: str | None = None, shared: Sequence[Parameter] = JOB
) -> Callable[[Body], Body]:
    """Register a function as a command of `app`.

    Args:
        app: the group.
        panel: the heading below which `--help` lists it.
        name: where the function's own name cannot be it.
        shared: common options that it has beside `--log` and `--debug`; the first one comes before its own options.
    """

    def register(body: Body) -> Body:
        own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]
        first = [option for option in shared if option.name == "config"]
        options = [*first, *own, *(option for option in shared if option not in first), LOG, DEBUG]

        @functools.wraps(body)
        def start(**given: Any) -> None:
            common = {option.name: given.pop(option.name, None) for option in (*JOB, LOG, DEBUG)}
            _run(body.__name__, lambda run: body(run, **given), **common)

        keyword_only = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]
        start.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        start.__annotations__ = {option.name: option.annotation for option in options}
        del start.__wrapped__
        app.command(name, rich_help_panel=panel)(start)
        return body

    return register


def _run(
    name: str,
    work: Callable[[CommandRun], None],
    *,
    config: Path | None,
    overrides: Sequence[str] | None,
    engine: EngineName | None,
    log: Literal["pretty", "json"] | None,
    debug: bool,
) -> None:
    from jobs.common.console import build_reporter
    from jobs.common.errors import SandtimerError, describe, exit_code

    reporter = build_reporter(log)
    started = CommandRun(name, reporter, config, overrides, engine)
    try:
        work(started)
    except KeyboardInterrupt:
        if debug:
            raise
        reporter.fail(SandtimerError("the command to finish", "an interruption", "run it again; the target is whole"))
        raise typer.Exit(_INTERRUPTED) from None
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001  nothing may end in a traceback
        if debug:
            import traceback

            traceback.print_exc()
        reporter.fail(describe(error))
        started.tell_failure(describe(error))
        raise typer.Exit(exit_code(error)) from None
