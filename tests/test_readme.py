"""Runs the README's marked blocks, and after them those of docs/operations.md, on the table that the README made; what
is not executed is at least checked to exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.documents import Block, make_clone, read_blocks, run_block


@pytest.fixture(scope="module")
def clone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clone(root, tmp_path_factory.mktemp("readme") / "sandtimer")


@pytest.fixture(scope="module")
def outputs(root: Path, clone: Path) -> list[tuple[Block, str]]:
    """The README's blocks and what they printed."""
    return [(block, run_block(block, clone)) for block in read_blocks(root / "README.md", "own table")]


def test_scoring_your_own_table(clone: Path, outputs: list[tuple[Block, str]], root: Path) -> None:
    assert len(outputs) >= 8
    scored = DeltaTable(clone / "data" / "orders_scored").to_pyarrow_table()
    assert sorted(scored["order_id"].to_pylist()) == list(range(5_000))
    # The broken row is the strangest, an alert, and the reasons are the pair that does not belong together.
    ranking = scored.sort_by([("anomaly_score", "descending")]).to_pylist()
    assert ranking[0]["order_id"] == 42 and ranking[0]["is_anomaly"]
    assert {reason["column"] for reason in ranking[0]["top_columns"]} == {"shop", "currency"}
    assert sum(row["is_anomaly"] for row in ranking) <= 10
    explanation = next(output for block, output in outputs if "explain --" in block.code)
    assert re.search(r"shop|currency", explanation)
    trained = next(output for block, output in outputs if "train " in block.code)
    assert "of the planted faults are alerts" in trained and "never seen" in trained
    made = {path.name for path in clone.iterdir()} - {path.name for path in root.iterdir()}
    assert made <= {"__pycache__"}, "everything that a command makes lies under data/"


def test_operations(root: Path, clone: Path, outputs: list[tuple[Block, str]]) -> None:
    blocks = read_blocks(root / "docs" / "operations.md", "operations")
    assert len(blocks) >= 7
    said = "".join(run_block(block, clone) for block in blocks)
    for words in ("nothing to do", "the challenger is now in", "is back in", "all ", "bad load", "precision"):
        assert words in said, words
    assert DeltaTable(clone / "data" / "orders_scored").to_pyarrow_table().num_rows == 5_000
    assert DeltaTable(clone / "data" / "orders_scored_feedback").to_pyarrow_table().num_rows == 4


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
