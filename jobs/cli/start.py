"""The commands of the first day: `init`, `doctor` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.command import CONFIG, ENGINE, JOB, OVERRIDES, CommandRun, command
from jobs.cli.options import START

DEMO_CONFIG = Path("conf/flights.yaml")
_DEMO_CONFIG_OPTION = CONFIG.replace(
    default=DEMO_CONFIG, annotation=Annotated[Path, typer.Option("--config", "-c", help="The demo's YAML file.")]
)
_ALSO_CONFIG = CONFIG.replace(
    default=None,
    annotation=Annotated[Path | None, typer.Option("--config", "-c", help="Also check this job's tables.")],
)

app = typer.Typer()


@command(app, START, shared=[_DEMO_CONFIG_OPTION, *JOB[1:]])
def demo(run: CommandRun) -> None:
    """Real flights end to end: Delta table, extract, train, score, the ten strangest, and the report.

    Example: `sandtimer demo --engine spark`
    """
    from jobs.onboarding.demo import demo

    run.use_packaged_config(DEMO_CONFIG)
    demo(run.config, run.engine, run.reporter)


@command(app, START, shared=[ENGINE])
def init(
    run: CommandRun,
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A Delta table (path, URI, Spark's catalog name) or Parquet files.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The config to write.", show_default="conf/NAME.yaml")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier init wrote.")] = False,
) -> None:
    """A commented config for your own table, guessed from its schema and a sample; plain Parquet becomes Delta first.

    The guesses (key, night, what each column is) come with their reasons, as comments to correct. Then `extract`,
    `train`, `score` and `report` run with it as it stands.

    Example: `sandtimer init data/orders --output conf/orders.yaml`

    Example: `sandtimer init downloads/trips.parquet`
    """
    from jobs.onboarding.init import init

    init(table, run.build_engine, run.reporter, output, force)


@command(app, START, shared=[_ALSO_CONFIG, OVERRIDES])
def doctor(run: CommandRun) -> None:
    """Check Python, Java, Spark, the Delta jars and, with a config, the job's tables; each problem with its fix.

    Example: `sandtimer doctor --config conf/flights.yaml`
    """
    from jobs.onboarding.doctor import doctor

    doctor(run.config if run.has_config else None, run.reporter)
