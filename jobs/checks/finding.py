"""What a check of the table says: one sentence, which check it comes from, and what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Check: TypeAlias = Literal["rows", "segment", "copies", "keys", "late", "missing", "changed", "schema"]
# In the monitor and the incidents table checks stand in the place of a column.
PREFIX: Final = "table:"


@dataclass(frozen=True)
class Finding:
    """Something about a night as a whole that is not as usual.

    Attributes:
        check: which one found it.
        subject: what it is about, so that the same on another night is told from something new: a direction, a segment,
            a column.
        night: name of the night; empty where it is about the table.
        sentence: for people.
        rows: that it concerns.
        since: first night on which it was so without a break; the night itself where it is new.
    """

    check: Check
    subject: str
    night: str
    sentence: str
    rows: int = 0
    since: str = ""

    @property
    def is_alarm(self) -> bool:
        """Whether somebody should look: a new column is worth a word, but no more."""
        return not (self.check == "schema" and self.subject.endswith(" new"))

    @property
    def is_settled(self) -> bool:
        """Whether it was told before: it is still so."""
        return bool(self.since) and self.since != self.night

    @property
    def column(self) -> str:
        """Its place among columns."""
        return f"{PREFIX}{self.check}"
