"""The commands that make a model and decide which one is in use: `extract`, `train`, `compare` and `rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.command import CONFIG, OVERRIDES, CommandRun, command
from jobs.cli.options import MODELS, WhereOption

app = typer.Typer()


@command(app, MODELS)
def extract(run: CommandRun) -> None:
    """Delta table -> sampled Parquet extract to train on; the same rows every time.

    Example: `sandtimer extract --config conf/flights.yaml --set extract.rows=50000`
    """
    from jobs.training.extract import extract

    extract(run.config, run.engine, run.reporter)


@command(app, MODELS, shared=[CONFIG, OVERRIDES])
def train(
    run: CommandRun,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training stopped.")] = False,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias", metavar="NAME", help="Of the version that mlflow.register_as registers: champion, say."
        ),
    ] = None,
) -> None:
    """Parquet extract -> bundle, the trained model.

    Example: `sandtimer train --config conf/flights.yaml --set train.epochs=20`
    """
    from jobs.training.train import train

    train(run.config, run.reporter, resume, alias)


@command(app, MODELS)
def compare(
    run: CommandRun,
    challenger: Annotated[Path, typer.Option("--challenger", help="The other bundle's folder.", show_default=False)],
    where: WhereOption = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Put the challenger in the champion's place if the gate lets it pass.")
    ] = False,
) -> None:
    """Champion and challenger: score the same rows by both models, and let the config's rules decide.

    Says how far the ranks agree, which rows are alerts for one model only and why, and how well each is calibrated.
    Ends with 0 where the challenger passes the gate (section `compare`), with 5 where it is refused.

    Example: `sandtimer train --config conf/orders.yaml --set bundle.path=data/challenger`

    Example: `sandtimer compare --config conf/orders.yaml --challenger data/challenger --where "day = '2024-01-03'"
    --promote`
    """
    from jobs.models.compare import compare

    compare(run.config, run.engine, run.reporter, challenger, where, promote)


@command(app, MODELS, shared=[CONFIG, OVERRIDES])
def rollback(
    run: CommandRun,
    to: Annotated[
        str | None, typer.Option("--to", metavar="MODEL_ID", help="Another one of the past; its first digits do.")
    ] = None,
) -> None:
    """Put the model before the last back into its place: undoes a training or a promotion.

    Example: `sandtimer rollback --config conf/orders.yaml`
    """
    from jobs.models.compare import rollback

    rollback(run.config, run.reporter, to)
