"""Spark Connect: README's commands, `score_udf` and SQL through a real server, which has no broadcast and is another
process, whose Python has numpy, pandas and pyarrow alone: packages and bundles have to travel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pyspark
import pytest
from deltalake import DeltaTable

from jobs.common.config import SparkConfig
from jobs.engines.spark.jars import find_jars, resolve_packages
from jobs.engines.spark.session import (
    DELTA_CATALOG,
    DELTA_EXTENSION,
    EXTENSIONS,
    SESSION_CATALOG,
    delta_packages,
    jars_folder,
)
from tests.documents import read_blocks
from tests.engines.workbench import assert_same_cells, assert_same_scores
from tests.platforms.servers import BASH, HOST, find_port, listens, run, serve, spark_environment
from tests.platforms.tables import check_scores, expect_scores

SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
UDF_SCRIPT = """
import sys
import pyarrow.parquet as pq
from datetime import UTC, datetime
from pyspark.sql import SparkSession
import vae_model as vm
from jobs.engines.spark.udf import is_connect, register, score_udf

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
def remote(executor_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Connect server of our own."""
    port = find_port()
    environment = spark_environment(PYSPARK_PYTHON=str(executor_python))
    log = tmp_path_factory.mktemp("connect") / "server.log"
    with serve(server_command(port), log, environment, lambda: listens(port)):
        yield f"sc://{HOST}:{port}"


def server_command(port: int) -> list[str]:
    spark = SparkConfig()
    folder = jars_folder(spark)
    jars = find_jars(folder) if folder else resolve_packages(delta_packages(spark))
    settings = {
        "spark.connect.grpc.binding.address": HOST,
        "spark.connect.grpc.binding.port": port,
        "spark.driver.host": HOST,
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


def test_readme_runs_through_a_server(remote, root, clone, heavy_orders, orders_bundle):
    [block] = read_blocks(root / "README.md", "connect")
    said = run([*BASH, block.code], clone, CONNECT_SERVER=remote.removeprefix("sc://"))
    assert "on the spark engine, route dataframe" in said
    assert DeltaTable(clone / "data" / "orders_scored").version() == 1
    check_scores(clone / "data" / "orders_scored", heavy_orders, orders_bundle)


def test_a_night_that_is_replaced_twice_is_there_once(remote, clone, heavy_orders, orders_bundle):
    target = clone / "data" / "twice"
    command = ["sandtimer", "score", "--config", "data/orders.yaml", "--engine", "spark"]
    command += ["--set", f"score.table={target}"]
    run(command, clone, SPARK_REMOTE=remote)
    for version in (1, 2):
        said = run([*command, "--where", "day = '2024-01-02'"], clone, SPARK_REMOTE=remote)
        assert f"version {version} with model" in said
    check_scores(target, heavy_orders, orders_bundle)


def test_plan_and_extract_run_through_a_server(remote, clone, orders):
    job = ["--config", "data/orders.yaml", "--engine", "spark"]
    assert "nothing was changed" in run(["sandtimer", "plan", *job], clone, SPARK_REMOTE=remote)
    run(["sandtimer", "extract", *job], clone, SPARK_REMOTE=remote)
    assert pq.read_table(clone / "data" / "orders_extract").num_rows == orders.num_rows


def test_the_column_function_and_sql_run_through_a_server(remote, clone, heavy_orders, orders_bundle):
    scored_file = clone / "data" / "udf.parquet"
    run(["python", "-c", UDF_SCRIPT, clone / "data" / "orders", orders_bundle, scored_file], clone, SPARK_REMOTE=remote)
    scored = pq.read_table(scored_file).sort_by("order_id")
    assert_same_cells(scored, heavy_orders)
    assert_same_scores(scored, expect_scores(heavy_orders, orders_bundle))


def test_a_server_that_is_down_is_said_at_once(clone):
    said = run(
        ["sandtimer", "score", "--config", "data/orders.yaml", "--engine", "spark"],
        clone,
        code=2,
        SPARK_REMOTE=f"sc://{HOST}:{find_port()}/;token=secret",
    )
    assert "expected a Spark Connect server" in said and "refused" in said and "secret" not in said
