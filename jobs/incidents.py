"""Incidents: alert rows that one cause explains, as one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["open", "closed"]


@dataclass(frozen=True)
class Incident:
    """One upstream break.

    Attributes:
        id: stable over nights.
        column: that is wrong.
        segment: SQL condition of the rows that can be hit, such as `carrier = 'UA'`; empty: all rows.
        effect: what is wrong, such as `x1.6`, `+300`, `NULL`, `'QQQ' (never seen)`, `swapped with dest`.
        rows: alert rows so far.
        share: of the segment's rows in the nights from first to last seen.
        first_seen: the first night with such an alert: a value of `source.partition`, else the run's day.
        last_seen: the last one.
        status: open, or closed once it has been gone for `monitor.close_after` nights.
    """

    id: str
    column: str
    segment: str
    effect: str
    rows: int
    share: float
    first_seen: str
    last_seen: str
    status: Status = "open"

    @property
    def description(self) -> str:
        """One line for people: `distance x1.6 for carrier = 'UA', 41 % of rows, since 2013-06-03`."""
        where = f" for {self.segment}" if self.segment else ""
        until = f", until {self.last_seen}" if self.status == "closed" else ""
        return f"{self.column} {self.effect}{where}, {self.share:.2g} of rows, since {self.first_seen}{until}"
