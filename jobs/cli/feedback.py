"""The commands of people's verdicts: `feedback add`, `import`, `list`, `pending` and `summary`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.cli.command import CommandRun, command
from jobs.cli.options import NullOption

app = typer.Typer(
    help="Verdicts on alerts: silence what is expected, keep bad rows out of training, measure precision.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; default: you.", show_default=False)]


@command(app)
def add(
    run: CommandRun,
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
) -> None:
    """One verdict on one row, or on all rows with some key values or in some nights.

    A row that is `expected` stays scored but is no alert in lists, reports and incidents; one that is an `anomaly` is
    left out of the next training sample. A second verdict on the same rows replaces the first.

    Example: `sandtimer feedback add --config conf/orders.yaml --key order_id=42 --verdict expected --until 2026-12-31
    --note "known refund"`

    Example: `sandtimer feedback add --config conf/orders.yaml --from 2024-01-02 --to 2024-01-03 --verdict anomaly`
    """
    from jobs.labels.feedback import Given, add

    given = Given(verdict, tuple(key or ()), tuple(nulls or ()), (night_from, night_to), until, note, by)
    add(run.config, run.engine, run.reporter, given)


@command(app, name="import")
def import_file(
    run: CommandRun,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (with a header) or Parquet.")],
    by: ByOption = None,
) -> None:
    """Verdicts from a file, in one commit: key columns, verdict, and if you like night_from, night_to, until, note.

    Example: `sandtimer feedback import --config conf/orders.yaml verdicts.csv`
    """
    from jobs.labels.feedback import import_file

    import_file(run.config, run.engine, run.reporter, file, by)


@command(app, name="list")
def list_verdicts(run: CommandRun) -> None:
    """All verdicts, the latest first, and whether they hold today.

    Example: `sandtimer feedback list --config conf/orders.yaml`
    """
    from jobs.labels.feedback import list_verdicts

    list_verdicts(run.config, run.engine, run.reporter)


@command(app)
def pending(
    run: CommandRun,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most alerts to show.")] = 20,
) -> None:
    """The alerts without a verdict, the strangest first, each with the flags that name it for `feedback add`.

    Example: `sandtimer feedback pending --config conf/orders.yaml --limit 5`
    """
    from jobs.labels.feedback import list_pending

    list_pending(run.config, run.engine, run.reporter, limit)


@command(app)
def summary(run: CommandRun) -> None:
    """What the verdicts say: precision at the alert budget, with its interval, and the budget that they suggest.

    Example: `sandtimer feedback summary --config conf/orders.yaml`
    """
    from jobs.labels.precision import summarise

    summarise(run.config, run.engine, run.reporter)
