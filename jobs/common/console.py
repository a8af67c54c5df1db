"""What a job says while it runs: on a terminal sentences, tables and a progress bar; elsewhere one JSON line for each
event. The last line says what was done and where."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Literal, Protocol, TextIO, TypeAlias

from jobs.common.errors import AlarmError
from vae_model.errors import SandtimerError

# What JSON can say.
Field: TypeAlias = "str | int | float | bool | Sequence[Field] | Mapping[str, Field] | None"
LogFormat: TypeAlias = Literal["pretty", "json"]
PROGRESS_INTERVAL_S = 5.0


class Advance(Protocol):
    """Tell a progress bar that so many more steps are done; optionally a remark, and the total once it is known."""

    def __call__(self, steps: int, remark: str = "", total: int | None = None) -> None: ...


class Reporter(Protocol):
    """Where a job's events go."""

    def say(self, event: str, message: str, **fields: Field) -> None:
        """One thing that happened: a sentence for people, fields for machines."""

    def table(self, event: str, title: str, rows: Sequence[Mapping[str, Field]]) -> None:
        """Rows of one shape: a table for people, one event for each row for machines."""

    def progress(self, event: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """A bar while the block runs."""

    def fail(self, error: SandtimerError) -> None:
        """The sentence about what went wrong, or what somebody has to look at, on stderr."""


class JsonReporter:
    """One JSON object per line on stdout; errors on stderr."""

    def say(self, event: str, message: str, **fields: Field) -> None:
        _print_json({"event": event, "message": message, **fields})

    def table(self, event: str, title: str, rows: Sequence[Mapping[str, Field]]) -> None:
        for row in rows:
            _print_json({"event": event, "message": title, **row})

    @contextmanager
    def progress(self, event: str, total: int, unit: str) -> Iterator[Advance]:
        started, done, last = time.monotonic(), 0, time.monotonic()
        known = total

        def advance(steps: int, remark: str = "", total: int | None = None) -> None:
            nonlocal done, last, known
            done, known = done + steps, total or known
            now = time.monotonic()
            if now - last >= PROGRESS_INTERVAL_S:
                last = now
                rate = round(done / (now - started), 1)
                fields: dict[str, Field] = {"done": done, "total": known, "unit": unit, "per_second": rate}
                _print_json({"event": event, "message": remark or f"{done:,} of {known:,} {unit}", **fields})

        yield advance

    def fail(self, error: SandtimerError) -> None:
        parts = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
        event = "alarm" if isinstance(error, AlarmError) else "error"
        _print_json({"event": event, "message": str(error), **parts}, sys.stderr)


class PrettyReporter:
    """Sentences, tables and a progress bar, by rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, event: str, message: str, **fields: Field) -> None:
        self._console.print(message, markup=False)

    def table(self, event: str, title: str, rows: Sequence[Mapping[str, Field]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", header_style="bold", expand=False)
        for name in rows[0] if rows else ():
            numeric = all(isinstance(row[name], int | float) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_show(value)) for value in row.values()))
        self._console.print(table, soft_wrap=False)

    @contextmanager
    def progress(self, event: str, total: int, unit: str) -> Iterator[Advance]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(event, total=total or None, rate="", remark="")
            started, done = time.monotonic(), 0

            def advance(steps: int, remark: str = "", total: int | None = None) -> None:
                nonlocal done
                done += steps
                rate = f"{done / max(time.monotonic() - started, 1e-3):,.0f} {unit}/s"
                bar.update(task, total=total, advance=steps, rate=rate, remark=remark)

            yield advance

    def fail(self, error: SandtimerError) -> None:
        if isinstance(error, AlarmError):
            self._errors.print("alarm:", style="bold yellow", end=" ")
        else:
            self._errors.print("error:", style="bold red", end=" ")
        self._errors.print(_printable(str(error)), markup=False)


def build_reporter(log: LogFormat | None) -> Reporter:
    """JSON lines when stdout is not a terminal, unless told."""
    chosen = log or ("pretty" if sys.stdout.isatty() else "json")
    return PrettyReporter() if chosen == "pretty" else JsonReporter()


def _print_json(fields: Mapping[str, Field], stream: TextIO | None = None) -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"time": moment, **fields}), file=stream or sys.stdout, flush=True)


def _show(value: Field) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else _printable(str(value))


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
