"""Values as short texts."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal

MAX_TEXT = 200


def to_words(value: object) -> str:
    """A value as a short text that is the same on every engine."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number_in_words(value)
    if isinstance(value, datetime):
        value = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        shown = ", ".join(to_words(v) for v in value[:8])
        return f"[{shown}{', ...' if len(value) > 8 else ''}]"
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _number_in_words(value: float) -> str:
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.4g}"
