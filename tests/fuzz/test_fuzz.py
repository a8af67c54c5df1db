"""A few of the runs of `make test-fuzz`: exit codes that mean something, plans that score keeps, no row lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.runs import run_one

# Among them: names with backticks, quotes and spaces, NULL and composite keys, partitions by odd values, one row alone.
SEEDS = (2, 5, 8, 11, 20, 23)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_generated_run_ends_as_it_should(seed: int, tmp_path: Path) -> None:
    codes = run_one(seed, tmp_path / "run")
    assert codes.keys() & {"score", "plan", "report"}
