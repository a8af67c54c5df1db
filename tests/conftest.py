"""Fixtures that both packages' tests share. Spark starts when the first test asks for it, once for the whole run, and
is the only thing here that needs Java."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_OPTIONS = "spark.driver.extraJavaOptions"
ROOT = Path(__file__).parent.parent
# Hypothesis would put its examples beside the sources.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / "data" / "cache" / "hypothesis"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of the whole run: Delta on, no user interface, loopback only, UTC (its module says why)."""
    from jobs.common.config import SparkConfig
    from jobs.engines.spark.session import build_session, local_settings

    conf: dict[str, str | int | float | bool] = {
        # Test tables have a handful of rows: every further partition is a task that does nothing.
        "spark.sql.shuffle.partitions": 1,
        "spark.databricks.delta.snapshotPartitions": 1,
        # Tables by name are a test's own and vanish with the run.
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        # A JVM that lives for a minute gains more from compiling fast than from compiling well. It
        # needs room for what it compiled: with the 48 MB that come with this setting it stops compiling at all.
        JAVA_OPTIONS: f"-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m {local_settings('local')[JAVA_OPTIONS]}",
        "spark.driver.memory": "1g",
    }
    # Two cores: enough to run two partitions at once, which one core would never do.
    session = build_session(SparkConfig(master="local[2]", conf=conf), "sandtimer tests", {})
    yield session
    session.stop()


@pytest.fixture(scope="session")
def orders() -> pa.Table:
    """600 orders whose columns belong together: the total is quantity x price, the shop decides the currency."""
    rng = np.random.default_rng(7)
    quantity = rng.integers(1, 10, 600)
    price = rng.gamma(4.0, 5.0, 600).round(2)
    shop = rng.choice(["oslo", "rome", "lima"], 600)
    currency = np.select([shop == "oslo", shop == "rome"], ["NOK", "EUR"], "PEN")
    return pa.table(
        {
            "order_id": pa.array(range(600), pa.int64()),
            "day": pa.array([f"2024-01-{1 + number % 3:02}" for number in range(600)]).cast(pa.date32()),
            "quantity": quantity,
            "price": price,
            "total": (quantity * price).round(2),
            "shop": shop,
            "currency": currency,
        }
    )


@pytest.fixture(scope="session")
def orders_bundle(orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model of `orders`."""
    path = tmp_path_factory.mktemp("bundles") / "orders"
    vm.fit(orders, vm.ColumnOptions(ignore=("order_id", "day")), seed=1, epochs=2, members=1).save(path)
    return path
