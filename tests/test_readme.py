"""Runs the README: blocks marked `<!-- test: NAME -->` are executed in order, in a fresh folder that holds what a clone
holds; what is not executed is at least checked to exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.readme import Block, read_blocks

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "data", "__pycache__", ".*_cache", "tests")


def run_block(block: Block, folder: Path) -> str:
    # As after `. .venv/bin/activate`, and with the clone's own sources.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    done = subprocess.run(block.command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def clone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone holds, without git."""
    folder = tmp_path_factory.mktemp("readme") / "sandtimer"
    shutil.copytree(root, folder, ignore=LEFT_OUT)
    (folder / "data").mkdir()
    return folder


def test_scoring_your_own_table(root: Path, clone: Path) -> None:
    blocks = read_blocks(root, "own table")
    assert len(blocks) >= 8
    before = {path.name for path in clone.iterdir()}
    outputs = [run_block(block, clone) for block in blocks]
    scored = DeltaTable(clone / "data" / "orders_scored").to_pyarrow_table()
    assert sorted(scored["order_id"].to_pylist()) == list(range(5_000))
    # The broken row is among the strangest hundredth, and the reason is the pair that does not belong together.
    ranking = scored.sort_by([("anomaly_score", "descending")])["order_id"].to_pylist()
    assert ranking.index(42) < 50
    explanation = next(output for block, output in zip(blocks, outputs, strict=True) if "explain --" in block.code)
    assert re.search(r"shop|currency", explanation)
    made = {path.name for path in clone.iterdir()} - before
    assert made <= {"__pycache__"}, "everything that a command makes lies under data/"


def test_the_readme_names_real_targets_commands_and_files(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^(?:`make |make )([a-z]+)", readme, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\(([\w./]+)\)", readme):
        assert (root / link).is_file(), link
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    for command in set(re.findall(r"^sandtimer (\w+)", readme, re.MULTILINE)):
        assert re.search(rf"\b{command}\b", done.stdout), command


def test_the_readme_lists_the_score_columns(root: Path) -> None:
    import vae_model as vm

    table = (root / "README.md").read_text(encoding="utf-8").split("## What scoring attaches")[1].split("\n## ")[0]
    named = [name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert named == list(vm.SCORE_COLUMNS)
