"""Scoring where torch and scipy cannot be imported: in the driver of both engines, and in Spark's executors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from tests.engines.workbench import AT, ENGINES, assert_same_cells, assert_same_scores

# Python imports it at its start, also in Spark's workers, which inherit PYTHONPATH.
BLOCKER = """
import sys

class Blocker:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ("torch", "scipy"):
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Blocker, sys.meta_path)
"""
CHECK_BLOCKED = """
try:
    import torch
except ImportError:
    pass
else:
    raise AssertionError("torch can be imported")
"""
API = f"""{CHECK_BLOCKED}
import sys
from datetime import UTC, datetime
import pyarrow.parquet as pq
import vae_model as vm

bundle = vm.load(sys.argv[2])
rows = pq.read_table(sys.argv[1])
pq.write_table(vm.score(rows, bundle, explain="all", scored_at=datetime(2024, 5, 1, tzinfo=UTC)), sys.argv[3])
vm.explain(rows.slice(0, 2), bundle), vm.encode(rows, bundle), vm.reconstruct(rows, bundle), vm.generate(3, bundle)
"""
EXECUTORS = """
from jobs.common.config import SparkConfig
from jobs.engines.spark.session import build_session
from pyspark.sql.functions import udf

def find_torch(_):
    try:
        import torch
    except ImportError as error:
        return str(error)
    return "torch can be imported"

spark = build_session(SparkConfig(master="local[1]"), "blocked", {})
found = {row[0] for row in spark.range(2).select(udf(find_torch)("id")).collect()}
assert found == {"No module named 'torch'"}, found
"""


@pytest.fixture(scope="module")
def blocker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return folder


def run(root: Path, blocker: Path, *arguments: str | Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(blocker), str(root)])}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=blocker, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expect(orders: pa.Table, bundle: Path) -> pa.Table:
    return vm.score(orders, vm.load(bundle), explain="all", scored_at=AT)


def test_the_python_api_works(root, blocker, orders, orders_bundle, tmp_path):
    pq.write_table(orders, tmp_path / "orders.parquet")
    run(root, blocker, "-c", API, tmp_path / "orders.parquet", orders_bundle, tmp_path / "scored.parquet")
    scored = pq.read_table(tmp_path / "scored.parquet")
    assert_same_cells(scored, orders)
    assert_same_scores(scored, expect(orders, orders_bundle))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_score_job_works(root, blocker, orders, orders_bundle, tmp_path, engine):
    write_deltalake(tmp_path / "orders", orders, partition_by=["day"])
    config = tmp_path / "orders.yaml"
    config.write_text(
        f"source: {{table: {tmp_path}/orders, key: [order_id], partition: day}}\n"
        f"extract: {{path: {tmp_path}/extract}}\n"
        f"bundle: {{path: {orders_bundle}}}\n"
        f"score: {{table: {tmp_path}/scored, explain: all, engine: {engine}}}\n"
        "spark: {master: 'local[1]'}\n"
    )
    run(root, blocker, "-m", "jobs.score", "--config", config)
    scored = DeltaTable(tmp_path / "scored").to_pyarrow_table().sort_by("order_id")
    assert_same_cells(scored, orders)
    names = [name for name in scored.column_names if name != "scored_at"]
    assert_same_scores(scored.select(names), expect(orders, orders_bundle).select(names))


def test_the_executors_cannot_import_torch_here(root, blocker):
    run(root, blocker, "-c", EXECUTORS)
