"""The commands of the first day: `init` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_options import DebugOption, EngineOption, LogOption, SetOption, build_engine_for, load_job, run_command

if TYPE_CHECKING:
    from jobs.events import Reporter


def init(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A Delta table (path, URI, Spark's catalog name) or Parquet files.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The config to write.", show_default="conf/NAME.yaml")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier init wrote.")] = False,
    engine: EngineOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """A commented config for your own table, guessed from its schema and a sample; plain Parquet becomes Delta first.

    The guesses (key, night, what each column is) come with their reasons, as comments to correct. Then `extract`,
    `train`, `score` and `report` run with it as it stands.

    Example: `sandtimer init data/orders --output conf/orders.yaml`

    Example: `sandtimer init downloads/trips.parquet`
    """

    def run(reporter: Reporter) -> None:
        from jobs.init import init as run_init

        run_init(table, lambda config: build_engine_for(config, engine), reporter, output, force)

    run_command(run, log, debug)


def doctor(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Also check this job's tables.")] = None,
    overrides: SetOption = None,
    log: LogOption = None,
    debug: DebugOption = False,
) -> None:
    """Check Python, Java, Spark, the Delta jars and, with a config, the job's tables; each problem with its fix.

    Example: `sandtimer doctor --config conf/flights.yaml`
    """

    def run(reporter: Reporter) -> None:
        from jobs.doctor import run_checks
        from jobs.errors import SetupError

        checks = run_checks(load_job(config, overrides) if config else None)
        shown = [{"check": c.name, "ok": "yes" if c.ok else "NO", "detail": c.detail, "do": c.remedy} for c in checks]
        reporter.table("check", "What was found", shown)
        bad = [check for check in checks if not check.ok]
        if bad:
            raise SetupError(
                "every check to pass", "; ".join(f"{c.name}: {c.detail}" for c in bad), "; ".join(c.remedy for c in bad)
            )
        reporter.say("done", f"all {len(checks)} checks passed")

    run_command(run, log, debug)
