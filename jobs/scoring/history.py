"""`history`: the scoring runs that made a scored table, as its own log tells them."""

from __future__ import annotations

from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.engines.base import Engine, LogEntry
from jobs.tables.refs import target_ref


def history(config: Config, engine: Engine, reporter: Reporter, limit: int = 20) -> None:
    """The command: one line for each run, newest first.

    Args:
        config: the job.
        engine: to read the log with.
        reporter: gets the table.
        limit: the most runs to show.

    Raises:
        DataError: there is no scored table.
    """
    target = engine.describe(target_ref(config))
    runs = [entry for entry in engine.history(target) if entry.lineage]
    reporter.table("run", f"Runs that made {target.ref.name}", [_describe(entry) for entry in runs[:limit]])
    shown = f"{min(limit, len(runs)):,} of {len(runs):,} runs" if runs else "no run"
    reporter.say("done", f"{shown} in the log of {target.ref.name} version {target.version}", runs=len(runs))


def _describe(entry: LogEntry) -> dict[str, Field]:
    lineage = entry.lineage or {}
    since, until = lineage.get("since_version"), lineage.get("source_version")
    return {
        "version": entry.version,
        "at": entry.timestamp.isoformat(timespec="seconds"),
        "source": lineage.get("source"),
        "source versions": f"{until}" if since is None else f"{since + 1} to {until}",
        "action": lineage.get("action"),
        "where": lineage.get("where"),
        "rows": lineage.get("rows"),
        "model": str(lineage.get("model_id"))[:12],
        "engine": lineage.get("engine"),
        "run": lineage.get("run_id"),
    }
