"""Tells that a command failed: through the outbox, or at once where that cannot be reached."""

from __future__ import annotations

from datetime import UTC, datetime

from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.engines.base import Engine
from jobs.notifying.channels import open_channels
from jobs.notifying.message import Item, Message
from jobs.notifying.outbox import send_with_retries, tell
from vae_model.errors import SandtimerError


def tell_failure(
    config: Config, engine: Engine | None, reporter: Reporter, command: str, error: SandtimerError
) -> None:
    """Tell it once a day, however often the command is tried; that it cannot be told is said.

    Args:
        config: the job.
        engine: to write the outbox with; None where it did not start.
        reporter: hears what was sent.
        command: that failed.
        error: why.
    """
    channels = open_channels(config.notify)
    if not channels or "failed" not in config.notify.events:
        return
    item = Item.of(
        "failed", f"{command} failed: {error}", config.source.table, command, datetime.now(UTC).date(), error
    )
    try:
        if engine is not None:
            tell(config, engine, reporter, [item])
            return
    except Exception as trouble:  # noqa: BLE001  the first error is the one that counts
        reporter.say("not written", f"the outbox cannot be reached: {trouble}")
    message = Message(config.source.table, (item,))
    for channel, send in channels.items():
        reason = send_with_retries(send, message)
        reporter.say("sent" if reason is None else "not sent", f"{channel}: {reason or 'the failure was told'}")
