"""Options that more than one command has, and the headings of `sandtimer --help`."""

from __future__ import annotations

from typing import Annotated

import typer

START, NIGHTLY, LOOK, MODELS = "Start here", "Every night", "Look", "Models"

WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Only these rows: one SQL condition on the source's columns."),
]
FullOption = Annotated[bool, typer.Option("--full", help="Everything again, also what is scored already.")]
NullOption = Annotated[
    list[str] | None,
    typer.Option("--null", metavar="COLUMN", help="A column that is NULL in the row."),
]
