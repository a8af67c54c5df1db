"""The blocks of the README that tests execute: those that a line `<!-- test: NAME -->` precedes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MARKED_BLOCK = re.compile(
    r"<!-- test: (?P<name>[\w ]+) -->\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """One fenced block that a test runs."""

    name: str
    language: str
    code: str

    @property
    def command(self) -> list[str]:
        """The block as a command."""
        return [*(["bash", "-euo", "pipefail"] if self.language == "bash" else ["python"]), "-c", self.code]


def read_blocks(root: Path, name: str) -> list[Block]:
    """The blocks of that name, in order."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    blocks = [Block(match["name"], match["language"], match["code"]) for match in MARKED_BLOCK.finditer(readme)]
    return [block for block in blocks if block.name == name]
