"""Documents as programs: blocks marked `<!-- test: NAME -->` are executed in order, in a folder that holds what a clone
holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MARKED_BLOCK = re.compile(
    r"<!-- test: (?P<name>[\w ]+) -->\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "data", "__pycache__", ".*_cache", "tests")


@dataclass(frozen=True)
class Block:
    """One fenced block that a test runs."""

    name: str
    language: str
    code: str


def read_blocks(document: Path, name: str) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    blocks = [Block(match["name"], match["language"], match["code"]) for match in MARKED_BLOCK.finditer(text)]
    return [block for block in blocks if block.name == name]


def run_block(block: Block, folder: Path) -> str:
    # As after `. .venv/bin/activate`, and with the clone's own sources.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, block.code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr[-5000:]}"
    return done.stdout


def make_clone(root: Path, folder: Path) -> Path:
    """What a fresh clone holds, without git."""
    shutil.copytree(root, folder, ignore=LEFT_OUT)
    (folder / "data").mkdir()
    return folder
