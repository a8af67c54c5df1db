"""The pages under docs/: the quickstart runs as it stands, the configuration is the config's, and links lead somewhere.
tests/test_readme.py runs docs/operations.md."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from docs.configuration import PAGE, build_page, read_meanings
from jobs.common.config import Config
from jobs.common.errors import exit_code
from tests.documents import make_clone, read_blocks, run_block


def test_the_quickstart(root: Path, tmp_path: Path) -> None:
    clone = make_clone(root, tmp_path / "sandtimer")
    blocks = read_blocks(root / "docs" / "quickstart.md", "quickstart")
    assert len(blocks) == 6
    said = "".join(run_block(block, clone) for block in blocks)
    assert "is Parquet, not Delta" in said and "key (origin, time_hour)" in said and "15 of 15 columns" in said
    scored = DeltaTable(clone / "data" / "weather_scored").to_pyarrow_table()
    assert scored.num_rows == 26_115
    assert "<svg" in (clone / "data" / "weather_scored_report.html").read_text(encoding="utf-8")
    alerts = scored.filter(pc.field("is_anomaly"))
    assert pc.max(alerts["wind_speed"]).as_py() > 1_000, "the published data have a wind of 1,048 miles an hour"
    assert "named by it yet" not in said.splitlines()[-1], "the verdict is on a row that is there"


def test_the_configuration_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == build_page(), "run `make docs`"


def test_every_key_of_a_section_is_explained() -> None:
    meanings = read_meanings()
    sections = {name for name, _ in meanings}
    assert len(sections) >= 9
    for name, section in Config.model_fields.items():
        if name not in sections:
            continue
        for key in getattr(section.annotation, "model_fields", {}):
            assert meanings.get((name, key)), f"{name}.{key} has no comment in conf/template.yaml"


def test_links_lead_somewhere(root: Path) -> None:
    for page in (root / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_every_exit_code_is_documented(page: str, root: Path) -> None:
    from jobs.common import errors

    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    text = (root / page).read_text(encoding="utf-8")
    table = text.split("## Exit codes")[1].split("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes | {0}
    assert exit_code(errors.AlarmError("a", "b", "c")) == errors.EXIT_ALARM
