"""A clone of the project with a source table and a trained model, and the blocks that README has for each platform."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake

from tests.platforms.servers import HOST, copy_clone, find_port, listens, serve

SECRET = "not-to-be-said-by-anyone"
KEYS = {"AWS_ACCESS_KEY_ID": "the-key-of-tests", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-north-1"}
# What deltalake wants to hear of a store without TLS; our commands see it in the address.
HTTP = {"AWS_ALLOW_HTTP": "true"}
CONFIG = """\
source:  {{table: {source}, key: [order_id], partition: day}}
extract: {{path: data/orders_extract}}
bundle:  {{path: data/orders_bundle}}
score:   {{table: {target}, explain: all}}
"""


@pytest.fixture(scope="session")
def executor_python(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a worker has: numpy, pandas and pyarrow, at the versions of constraints.txt."""
    python = tmp_path_factory.mktemp("executor") / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, python.parents[1]], check=True)
    install = [*uv, "pip", "install", "--python", python, "--constraint", root / "constraints.txt"]
    subprocess.run([*install, "numpy", "pandas", "pyarrow"], check=True)
    return python


@pytest.fixture(scope="session")
def heavy_orders(orders: pa.Table) -> pa.Table:
    """The orders, each with a photograph as it were: tasks are cut by their size, and small tables are one task."""
    rng = np.random.default_rng(3)
    return orders.append_column("photo", pa.array([rng.bytes(30_000) for _ in range(orders.num_rows)]))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that reaches a store of our own, with the bucket `lake`."""
    port = find_port()
    log = tmp_path_factory.mktemp("s3") / "server.log"
    command = [Path(sys.executable).parent / "moto_server", "-H", HOST, "-p", str(port)]
    with serve(command, log, os.environ, lambda: listens(port)):
        access = KEYS | {"AWS_ENDPOINT_URL": f"http://{HOST}:{port}"}
        client = boto3.client(
            "s3",
            endpoint_url=access["AWS_ENDPOINT_URL"],
            region_name=KEYS["AWS_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]})
        yield access


@pytest.fixture(scope="module")
def clone(root: Path, orders_bundle: Path, heavy_orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose data folder holds the table of orders, in several files a day, and a config for it."""
    folder = copy_clone(root, tmp_path_factory.mktemp("platform") / "sandtimer")
    for part in range(4):
        rows = heavy_orders.filter(pc.equal(pc.bit_wise_and(heavy_orders["order_id"], 3), part))
        write_deltalake(folder / "data" / "orders", rows, partition_by=["day"], mode="append")
    shutil.copytree(orders_bundle, folder / "data" / "orders_bundle")
    config = CONFIG.format(source="data/orders", target="data/orders_scored")
    (folder / "data" / "orders.yaml").write_text(config, encoding="utf-8")
    return folder
