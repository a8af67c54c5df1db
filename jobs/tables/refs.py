"""Where a job's tables are: the source, the scored table, and those that lie beside it."""

from __future__ import annotations

from jobs.common.config import Config
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, TableState


def source_ref(config: Config) -> TableRef:
    """The source table."""
    return TableRef(config.source.table, config.source.storage_options)


def target_ref(config: Config) -> TableRef:
    """The scored table; it lives in the same store as the source."""
    return TableRef(config.score.table, config.source.storage_options)


def describe_target(config: Config, engine: Engine, source: TableState) -> TableState | None:
    """The scored table; None where it is not there yet."""
    if config.score.mode == "in_place":
        return source
    return engine.describe(target_ref(config)) if engine.exists(target_ref(config)) else None


def feedback_ref(config: Config) -> TableRef:
    """Where a job's verdicts lie."""
    return TableRef(
        config.feedback.table or f"{config.score.table.rstrip('/')}_feedback", config.source.storage_options
    )


def incidents_ref(config: Config) -> TableRef:
    """The table with one row for each incident."""
    return TableRef(config.monitor.incidents or f"{config.score.table}_incidents", config.source.storage_options)


def monitor_ref(config: Config) -> TableRef:
    """The table with one row for each column and run."""
    return TableRef(config.monitor.table or f"{config.score.table}_monitor", config.source.storage_options)


def quarantine_ref(config: Config) -> TableRef | None:
    """The table that gets the alert rows; None where nobody asked for one."""
    place = config.score.quarantine
    return None if place is None else TableRef(place, config.source.storage_options)


def outbox_ref(config: Config) -> TableRef:
    """The table with what was told to people, and what could not be sent yet."""
    return TableRef(f"{config.score.table.rstrip('/')}_messages", config.source.storage_options)


def ledger_ref(config: Config) -> TableRef:
    """The table with one row for each night, as `monitor` saw it."""
    return TableRef(f"{config.score.table.rstrip('/')}_nights", config.source.storage_options)
