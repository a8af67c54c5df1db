"""The outbox: a Delta table beside the scored one with a row for each item and channel.

Items are written down before they are sent and marked afterwards, so that none is lost, and none is told again that was
told; what could not be sent is tried again by the next command.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.engines.base import Engine
from jobs.notifying.channels import Send, open_channels
from jobs.notifying.message import Item, Message
from jobs.tables.refs import outbox_ref

# Seconds before each further try within one command.
PAUSES_S: Final = (1.0, 4.0)
# What could not be sent for so many commands is given up.
MAX_ATTEMPTS: Final = 50
MAX_ROWS: Final = 1_000_000
SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("channel", pa.string()),
        ("kind", pa.string()),
        ("sentence", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("sent_at", pa.timestamp("us", tz="UTC")),
        ("attempts", pa.int64()),
        ("error", pa.string()),
    ]
)


def tell(config: Config, engine: Engine, reporter: Reporter, items: Sequence[Item]) -> None:
    """Tell what was not told yet, on every channel of the config; and what could not be sent before.

    That a message cannot be sent is said, and is no error: the command has done its work.

    Args:
        config: the job; nothing is told where its section `notify` is empty.
        engine: to read and write the outbox with.
        reporter: hears what was sent, and what could not be.
        items: all that is so now, told or not.
    """
    channels = open_channels(config.notify)
    if not channels:
        return
    wanted = [item for item in items if item.kind in config.notify.events]
    rows = _read(config, engine)
    known = {(row["id"], row["channel"]) for row in rows}
    now = datetime.now(UTC)
    new = [_to_row(item, channel, now) for channel in channels for item in wanted if (item.id, channel) not in known]
    if new:
        _write(config, engine, new)
    waiting = [row for row in (*rows, *new) if row["sent_at"] is None and row["attempts"] < MAX_ATTEMPTS]
    done: list[dict[str, Any]] = []
    for channel, send in channels.items():
        mine = [row for row in waiting if row["channel"] == channel]
        if mine:
            done += _deliver(config.source.table, channel, send, mine, reporter)
    if done:
        _write(config, engine, done)


def read_told(config: Config, engine: Engine) -> set[str]:
    """Ids of all items that were ever written down."""
    return {row["id"] for row in _read(config, engine)}


def _deliver(
    table: str, channel: str, send: Send, rows: Sequence[dict[str, Any]], reporter: Reporter
) -> Iterable[dict[str, Any]]:
    message = Message(table, tuple(Item(row["id"], row["kind"], row["sentence"]) for row in rows))
    count = f"{len(rows)} message{'' if len(rows) == 1 else 's'}"
    error = send_with_retries(send, message)
    if error is None:
        reporter.say("sent", f"{count} sent by {channel}", channel=channel, items=len(rows))
        return [{**row, "sent_at": datetime.now(UTC), "error": None} for row in rows]
    reporter.say(
        "not sent",
        f"{count} could not be sent by {channel}: {error}; the next command tries again",
        channel=channel,
        items=len(rows),
    )
    return [{**row, "attempts": row["attempts"] + 1, "error": error} for row in rows]


def send_with_retries(send: Send, message: Message, pauses_s: Sequence[float] | None = None) -> str | None:
    """Send, and again after each pause; the reason why it could not be, or None."""
    reason = ""
    for pause_s in (0.0, *(PAUSES_S if pauses_s is None else pauses_s)):
        time.sleep(pause_s)
        try:
            send(message)
            return None
        except OSError as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
    return reason


def _to_row(item: Item, channel: str, now: datetime) -> dict[str, Any]:
    row = {"id": item.id, "channel": channel, "kind": item.kind, "sentence": item.sentence}
    return {**row, "created_at": now, "sent_at": None, "attempts": 0, "error": None}


def _read(config: Config, engine: Engine) -> list[dict[str, Any]]:
    place = outbox_ref(config)
    if not engine.exists(place):
        return []
    rows: list[dict[str, Any]] = engine.read(engine.describe(place), SCHEMA.names, None, MAX_ROWS).to_pylist()
    return rows


def _write(config: Config, engine: Engine, rows: Sequence[dict[str, Any]]) -> None:
    engine.upsert(outbox_ref(config), pa.Table.from_pylist(list(rows), SCHEMA), ("id", "channel"))
