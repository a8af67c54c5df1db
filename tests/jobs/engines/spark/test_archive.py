"""The archive for executors: the same bytes from the same sources, complete, and content with numpy and pyarrow."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jobs.common.errors import SetupError
from jobs.engines.spark import udf
from jobs.engines.spark.archive import read_archive, read_modules, write_archive

# What executors run: the column functions, the sample and the tasks of route `files`.
IMPORT = """
import sys

BLOCKED = {"deltalake", "sqlglot", "pydantic", "torch", "scipy", "threadpoolctl", "safetensors", "yaml", "typer"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import jobs.engines.tasks, jobs.common.sampling, jobs.engines.spark.worker, vae_model
from jobs.delta.storage import TableRef, open_filesystem

modules = (jobs.engines.spark.worker, jobs.engines.tasks, vae_model)
assert all(module.__file__.startswith(sys.argv[1]) for module in modules)
open_filesystem("s3://lake/orders", TableRef("s3://lake/orders", {"AWS_REGION": "eu-north-1"}).storage_options)
with open(sys.argv[2], "rb") as file:
    bundle = vae_model.Bundle.from_bytes(file.read())
print(bundle.model_id)
"""


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = write_archive(tmp_path / "a.zip"), write_archive(tmp_path / "b" / "b.zip")
    assert first.read_bytes() == second.read_bytes()


def test_it_holds_every_module(root: Path, tmp_path: Path) -> None:
    files = {str(path.relative_to(root)) for name in ("jobs", "vae_model") for path in (root / name).rglob("*.py")}
    assert set(zipfile.ZipFile(write_archive(tmp_path / "a.zip")).namelist()) == files
    assert read_archive(tmp_path / "a.zip") == read_modules()


def test_it_loads_where_there_are_numpy_and_pyarrow_alone(orders_bundle: Path, tmp_path: Path) -> None:
    import vae_model as vm

    bundle = vm.load(orders_bundle)
    (tmp_path / "bundle").write_bytes(bundle.to_bytes())
    command = [sys.executable, "-c", IMPORT, write_archive(tmp_path / "sandtimer.zip"), tmp_path / "bundle"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == bundle.model_id


class Context:
    """What of a SparkContext decides about shipping."""

    master = "spark://cluster:7077"

    def __init__(self, py_files: str) -> None:
        self.py_files, self.added = py_files, list[str]()

    def getConf(self) -> dict[str, str]:  # noqa: N802  Spark's name
        return {"spark.submit.pyFiles": self.py_files}

    def addPyFile(self, path: str) -> None:  # noqa: N802  Spark's name
        self.added.append(path)


class Session:
    """A classic session on a cluster."""

    def __init__(self, py_files: str) -> None:
        self.sparkContext = Context(py_files)


def test_the_packages_are_sent_once_unless_spark_submit_brought_them(tmp_path: Path) -> None:
    alone, submitted = Session(""), Session(f"/other.zip,{write_archive(tmp_path / 'sandtimer.zip')}")
    for session in (alone, alone, submitted):
        udf.ship_packages(session)
    assert [Path(path).name for path in alone.sparkContext.added] == ["sandtimer.zip"]
    assert submitted.sparkContext.added == []


def test_an_archive_of_other_sources_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "sandtimer.zip", "w") as archive:
        archive.writestr("vae_model/__init__.py", "older")
    with pytest.raises(SetupError, match="found an archive of other sources; run `make dist` again"):
        udf.ship_packages(Session(str(tmp_path / "sandtimer.zip")))
