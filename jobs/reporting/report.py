"""`report`: one HTML page about a run, a range of nights or a condition, that needs nothing but a browser. It is read
from the scored table alone, and the same version of the table gives the same page, byte for byte."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine
from jobs.reporting.findings import collect
from jobs.reporting.page import render_page
from jobs.tables.refs import target_ref

DEFAULT_PATH = Path("data/report.html")


def report(
    config: Config,
    engine: Engine,
    reporter: Reporter,
    where: str | None = None,
    since: str | None = None,
    until: str | None = None,
    output: Path | None = None,
) -> Path:
    """The command: read, judge, write the page.

    Args:
        config: the job.
        engine: to read with.
        reporter: hears what the page says and where it is.
        where: only these rows; a condition on the scored table's columns.
        since: first night; with or without `until`, the last. Without any of the three: the last run.
        until: last night.
        output: the file to write; by default the config's, or beside the scored table.

    Returns:
        The page's path.

    Raises:
        ConfigError: options that contradict each other.
        DataError: there is no scored table.
        SetupError: what draws and renders is not installed.
    """
    found = collect(config, engine, where, since, until)
    path = output or choose_path(config)
    if not found.counts.rows and path.exists():
        # A page that says something is worth more than one that says nothing.
        message = f"nothing to do: no scored row in {found.scope.title}; {path} is as it was"
        reporter.say("done", message, path=str(path), rows=0, alerts=0, version=found.target.version)
        return path
    page = render_page(found)
    write_whole(path, page)
    verdict = found.verdict
    reporter.say("verdict", f"{verdict.headline}. {verdict.detail}", level=verdict.level, nights_over=len(verdict.over))
    reporter.say(
        "done",
        f"report on {found.scope.title} in {path} ({len(page.encode()) / 1e6:.1f} MB): open it in any browser",
        path=str(path),
        rows=found.counts.rows,
        alerts=found.counts.alerts,
        level=verdict.level,
        version=found.target.version,
    )
    return path


def choose_path(config: Config) -> Path:
    """Where the page goes: as the config says, else beside a scored table that is a folder here, else into data/."""
    if config.report.path:
        return config.report.path
    ref: TableRef = target_ref(config)
    if ref.in_catalog or "://" in ref.uri:
        return DEFAULT_PATH
    table = Path(config.score.table.removeprefix("file://"))
    return table.with_name(f"{table.name}_report.html")


def write_whole(path: Path, page: str) -> None:
    """Write a file that is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
