"""What a simulation of nights goes through, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.nights.source import CODE, KEY

LATE_SHARE = 0.02


@dataclass(frozen=True)
class Course:
    """What a simulation goes through.

    Attributes:
        days: of flights that arrive in one night.
        kills: attempts to kill a run in each night where one is due; those that came too late do not count.
        kill_every: nights from one kill to the next.
        key: the job's `source.key`.
    """

    engine: str
    mode: str
    nights: int
    days: int = 1
    kills: int = 1
    kill_every: int = 1
    seed: int = 0
    key: str = KEY

    @property
    def name(self) -> str:
        return f"{self.engine}, {self.mode}{', twins and NULLs among keys' if self.key == CODE else ''}"


@dataclass
class Tally:
    """What happened so far."""

    kills: int = 0
    kill_attempts: int = 0
    overlaps: int = 0
    rows_scored: int = 0
    events: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """How the scored table differs from the oracle: all zero, or something is wrong."""

    rows: int
    lost: int
    duplicated: int
    stale: int
    models: int
    misnamed: int = 0

    @property
    def is_clean(self) -> bool:
        return (self.lost, self.duplicated, self.stale, self.misnamed) == (0, 0, 0, 0)


class Quiet:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, event: str, message: str, **fields: Any) -> None:
        self.said.append(message)

    def table(self, event: str, title: str, rows: Any) -> None:
        self.said.append(title)

    @contextmanager
    def progress(self, event: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        yield lambda *_, **__: None

    def fail(self, error: Any) -> None:
        self.said.append(str(error))
