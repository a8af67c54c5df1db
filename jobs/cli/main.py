"""The command line. Each command loads what it needs when it runs, so that `--help` is quick and scoring never loads
torch; every error ends in one sentence and the exit code of its kind."""

from __future__ import annotations

import sys

import typer

from jobs.cli import feedback, look, models, nightly, start
from jobs.cli.options import LOOK

app = typer.Typer(
    help="Score every row of a Delta table for how unusual it is, and say why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for group in (start, nightly, look, models):
    app.add_typer(group.app)
app.add_typer(feedback.app, name="feedback", rich_help_panel=LOOK)


def main(command: str | None = None) -> None:
    """Run the command line; `command` is given where a job's own file was started."""
    app(args=[command, *sys.argv[1:]] if command else None)
