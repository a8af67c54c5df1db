"""`report`: one HTML page about a run, a range of nights or a condition, that needs nothing but a browser. It is read
from the scored table alone, and the same version of the table gives the same page, byte for byte."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.common.errors import DataError
from jobs.common.sampling import hashable_columns
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, TableState
from jobs.models.store import find_model
from jobs.reporting.column_counts import read_counts
from jobs.reporting.headline import write_headline
from jobs.reporting.latent import read_map
from jobs.reporting.monitoring import watch_rows
from jobs.reporting.nights import Night, read_nights
from jobs.reporting.page import Findings, render_page
from jobs.reporting.quality import list_quality
from jobs.reporting.row_filter import choose_scope
from jobs.reporting.strangest import read_strangest
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


def collect(
    config: Config, engine: Engine, where: str | None = None, since: str | None = None, until: str | None = None
) -> Findings:
    """Everything that the page shows, read from the scored table."""
    target = engine.describe(target_ref(config))
    _check_scored(target)
    runs = [entry for entry in engine.history(target) if entry.lineage]
    scope = choose_scope(config, engine, target, runs, where, since, until)
    counts = read_counts(engine, target, scope.rows, {}, ())
    bundle = find_model(config, counts.model_ids[0]) if counts.model_ids else None
    carried = [name for name in target.schema.names if name not in vm.SCORE_COLUMNS]
    encoders = dict(zip(bundle.encoder.names, bundle.encoder.encoders, strict=True)) if bundle else {}
    contents = read_counts(engine, target, scope.rows, encoders, carried)
    key = [name for name in config.source.key if name in carried]
    hashed = key or [name for name in hashable_columns(target.schema) if name in carried]
    nights = read_nights(engine, target, scope, rows=True)
    context = nights if scope.rows == scope.context else read_nights(engine, target, scope)
    shown = show_before(nights, context, config.report.nights)
    watched = watch_rows(config, engine, target, scope, counts, nights, bundle)
    return Findings(
        target=target,
        source=config.source.table,
        budget=config.score.alert_budget,
        limits=config.monitor,
        scope=scope,
        runs=runs,
        counts=counts,
        context=shown,
        nights=nights,
        verdict=write_headline(nights, context, config.score.alert_budget, watched),
        strangest=read_strangest(engine, target, scope, counts, key, config.report.rows, config),
        quality=list_quality(contents, bundle, carried, target.schema),
        latent=read_map(engine, target, scope.rows, counts, hashed, config.report.sample),
        watched=watched,
        bundle=bundle,
    )


def show_before(nights: Sequence[Night], context: Sequence[Night], count: int) -> list[Night]:
    """The nights from the report's first to its last, and at most so many before them."""
    if not nights:
        return list(context[-count:]) if count else []
    first, last = nights[0].name, nights[-1].name
    before = [night for night in context if night.name < first]
    return before[max(len(before) - count, 0) :] + [night for night in context if first <= night.name <= last]


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


def _check_scored(target: TableState) -> None:
    missing = [name for name in vm.SCORE_COLUMNS if name not in target.schema.names]
    if missing:
        raise DataError(
            f"a scored table at {target.ref.name}", f"no column {', '.join(missing)}", "run `sandtimer score` first"
        )
