"""What is told: items, each with an id by which it is told once, and a message of those that are new."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["alarm", "incident", "closed", "failed"]
_HEADINGS: dict[Kind, str] = {
    "failed": "A run failed",
    "alarm": "Alarms",
    "incident": "New incidents",
    "closed": "Over",
}


@dataclass(frozen=True)
class Item:
    """One thing to tell.

    Attributes:
        id: the same for the same thing in every run.
        kind: what it is.
        sentence: for people.
    """

    id: str
    kind: Kind
    sentence: str

    @classmethod
    def of(cls, kind: Kind, sentence: str, *names: object) -> Item:
        """The item that is named so."""
        content = "\n".join([kind, *map(str, names)])
        return cls(hashlib.sha256(content.encode()).hexdigest()[:24], kind, sentence)


@dataclass(frozen=True)
class Message:
    """Items of one table that are told together."""

    table: str
    items: tuple[Item, ...]

    @property
    def id(self) -> str:
        """The same for the same items: a receiver that gets it twice can tell."""
        return hashlib.sha256("\n".join(sorted(item.id for item in self.items)).encode()).hexdigest()[:24]

    @property
    def subject(self) -> str:
        """One line: how much of what, where."""
        first = self.items[0].sentence if len(self.items) == 1 else f"{len(self.items)} things to look at"
        return f"[Sandtimer] {self.table}: {first}"

    @property
    def text(self) -> str:
        """All of it, for people."""
        lines = []
        for kind, heading in _HEADINGS.items():
            mine = [item.sentence for item in self.items if item.kind == kind]
            if mine:
                lines += [f"{heading}:", *(f"- {sentence}" for sentence in mine)]
        return "\n".join([self.table, *lines])

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        items: Sequence[dict[str, Any]] = [asdict(item) for item in self.items]
        return {"app": "sandtimer", "id": self.id, "table": self.table, "subject": self.subject, "items": items}
