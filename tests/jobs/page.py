"""A report's page as a test reads it: its tables, its text and every address that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "input", "br", "img", "link", "hr", "path", "use"}


@dataclass
class Page(HTMLParser):
    """Parses on construction. `tables` maps an id to its body's rows, each a list of cell texts."""

    html: str
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._stack: list[str] = []
        self._table = ""
        self.feed(self.html)
        assert self._stack == [], f"unclosed: {self._stack}"

    def __hash__(self) -> int:
        return id(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._stack.append(tag)
        if tag == "table":
            self._table = dict(attrs)["id"] or ""
            self.tables[self._table] = []
        if "tbody" in self._stack and tag == "tr":
            self.tables[self._table].append([])
        if "tbody" in self._stack and tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._stack or "style" in self._stack:
            return
        self.text += data
        if {"td", "th"} & set(self._stack) and "tbody" in self._stack:
            row = self.tables[self._table][-1]
            row[-1] = " ".join((row[-1] + " " + data).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def addresses(self) -> set[str]:
        """Everything that a browser could follow or fetch."""
        named = ("href", "src", "action", "xlink:href", "data", "poster", "srcset")
        return {value or "" for _, attrs in self.tags for name, value in attrs.items() if name in named}
