"""Spark Connect: the score job and `score_udf` through a real server, which has no broadcast and another process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.config import SparkConfig
from jobs.jars import find_jars, resolve_packages
from jobs.java import ensure_java_home
from jobs.spark_session import DELTA_CATALOG, DELTA_EXTENSION, EXTENSIONS, SESSION_CATALOG, delta_packages, jars_folder
from tests.engines.workbench import AT, assert_same_cells, assert_same_scores

SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
START_S = 120
UDF_SCRIPT = """
import sys
import pyarrow.parquet as pq
from datetime import UTC, datetime
from pyspark.sql import SparkSession
import vae_model as vm
from jobs.spark import is_connect, register, score_udf

spark = SparkSession.builder.getOrCreate()
assert is_connect(spark)
bundle = vm.load(sys.argv[2])
udf = score_udf(bundle, explain="all", scored_at=datetime(2024, 5, 1, tzinfo=UTC), spark=spark)
rows = spark.read.format("delta").load(sys.argv[1])
scored = rows.select("*", udf(*bundle.feature_names).alias("a")).select(*rows.columns, "a.*")
pq.write_table(scored.toArrow(), sys.argv[3])
register(spark, bundle, "vae_score")
rows.createOrReplaceTempView("orders")
best = spark.sql("SELECT max(vae_score(struct(*)).anomaly_score) AS best FROM orders").collect()[0]["best"]
assert best == scored.agg({"anomaly_score": "max"}).collect()[0][0], best
"""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Connect server of our own, which is stopped by its own process id."""
    folder = tmp_path_factory.mktemp("connect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(server_command(port), cwd=folder, env=server_environment(), stdout=log, stderr=log)
    try:
        wait_for(server, port, folder / "server.log")
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def server_command(port: int) -> list[str]:
    spark = SparkConfig()
    folder = jars_folder(spark)
    jars = find_jars(folder) if folder else resolve_packages(delta_packages(spark))
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": 1,
        "spark.databricks.delta.snapshotPartitions": 1,
        "spark.log.level": "WARN",
        EXTENSIONS: DELTA_EXTENSION,
        SESSION_CATALOG: DELTA_CATALOG,
    }
    conf = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    submit = str(Path(pyspark.__file__).parent / "bin" / "spark-submit")
    options = ["--master", "local[2]", "--driver-memory", "1g", "--jars", ",".join(map(str, jars)), *conf]
    return [submit, *options, "--class", SERVER, "spark-internal"]


def server_environment() -> dict[str, str]:
    # The server's workers must not find our packages by themselves: the client has to send them.
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SPARK_REMOTE")}
    own = {"JAVA_HOME": str(ensure_java_home()), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    return inherited | own


def wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(2 * START_S):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.5)
    pytest.fail(f"no Connect server after {START_S} s: {log.read_text(encoding='utf-8')}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, orders: pa.Table, orders_bundle: Path) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    write_deltalake(folder / "orders", orders, partition_by=["day"])
    (folder / "orders.yaml").write_text(
        f"source: {{table: {folder}/orders, key: [order_id], partition: day}}\n"
        f"extract: {{path: {folder}/extract}}\n"
        f"bundle: {{path: {orders_bundle}}}\n"
        f"score: {{table: {folder}/scored, explain: all, engine: spark}}\n"
    )
    return folder


def run(root: Path, folder: Path, remote: str, *arguments: str | Path) -> str:
    environment = os.environ | {"SPARK_REMOTE": remote, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def expect(orders: pa.Table, bundle: Path) -> pa.Table:
    return vm.score(orders, vm.load(bundle), explain="all", scored_at=AT)


def test_the_score_job_runs_through_a_server(remote, root, folder, orders, orders_bundle):
    config = folder / "orders.yaml"
    run(root, folder, remote, "-m", "jobs.score", "--config", config)
    run(root, folder, remote, "-m", "jobs.score", "--config", config, "--where", "day = '2024-01-02'")
    table = DeltaTable(folder / "scored")
    assert table.version() == 1
    scored = table.to_pyarrow_table().sort_by("order_id")
    assert_same_cells(scored, orders)
    expected = expect(orders, orders_bundle)
    names = [name for name in scored.column_names if name != "scored_at"]
    assert_same_scores(scored.select(names), expected.select(names))


def test_plan_and_extract_run_through_a_server(remote, root, folder, orders):
    run(root, folder, remote, "-m", "jobs.plan", "--config", folder / "orders.yaml")
    run(root, folder, remote, "-m", "jobs.extract", "--config", folder / "orders.yaml", "--engine", "spark")
    assert pq.read_table(folder / "extract").num_rows == orders.num_rows


def test_the_column_function_runs_through_a_server(remote, root, folder, orders, orders_bundle):
    run(root, folder, remote, "-c", UDF_SCRIPT, folder / "orders", orders_bundle, folder / "udf.parquet")
    scored = pq.read_table(folder / "udf.parquet").sort_by("order_id")
    assert_same_cells(scored, orders)
    assert_same_scores(scored, expect(orders, orders_bundle))
