"""Jobs on the small table of orders, each in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.jobs.job import Job


@pytest.fixture(scope="session")
def scored_once(orders: pa.Table, orders_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source, a bundle and the scored table, to copy."""
    folder = tmp_path_factory.mktemp("jobs") / "orders"
    write_deltalake(str(folder / "source"), orders, partition_by=["day"])
    shutil.copytree(orders_bundle, folder / "bundle")
    outcome = Job(folder).run("score", "--logical-time", "2024-05-01T00:00:00Z")
    assert outcome.code == 0, outcome.stderr
    return folder


@pytest.fixture
def job(scored_once: Path, tmp_path: Path) -> Job:
    """A job on the local engine whose table is scored already."""
    shutil.copytree(scored_once, tmp_path / "job")
    return Job(tmp_path / "job")


@pytest.fixture(params=["local", "spark"])
def any_job(job: Job, request: pytest.FixtureRequest) -> Job:
    """The same on each engine."""
    if request.param == "spark":
        request.getfixturevalue("spark")
    return Job(job.folder, request.param)
