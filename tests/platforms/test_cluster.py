"""A standalone cluster of two workers, whose Python has numpy, pandas and pyarrow beside Spark's own pyspark: README's
commands on it, and a worker that is killed in the middle of a run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyspark
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.documents import read_blocks
from tests.platforms.conftest import HTTP
from tests.platforms.servers import (
    BASH,
    COMMAND_S,
    HOST,
    ROUTES,
    find_port,
    listens,
    run,
    serve,
    spark_environment,
    user_environment,
)
from tests.platforms.tables import check_scores

WORKERS = 2
# What this machine has to do with it: nothing leaves it.
CONF = {
    "spark.driver.host": HOST,
    "spark.driver.bindAddress": HOST,
    "spark.ui.enabled": "false",
    "spark.log.level": "WARN",
    "spark.databricks.delta.snapshotPartitions": 2,
}
# Python imports it at its start, also on executors. Each batch says whose it is and waits for an answer, as long as the
# test listens.
CHECKPOINT = """
import os, socket, sys

class Announcer:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        spec = self.finder.find_spec(name, path, target)
        if spec is not None and name == "vae_model.scoring.scorer":
            load = spec.loader.exec_module

            def load_and_wrap(module):
                load(module)
                score_batch = module.Scorer.score_batch
                module.Scorer.score_batch = lambda self, batch: announce() or score_batch(self, batch)

            spec.loader.exec_module = load_and_wrap
        return spec

def announce():
    try:
        with socket.create_connection(("127.0.0.1", {port})) as listener:
            listener.sendall(os.getcwd().encode())
            listener.recv(1)
    except OSError:
        pass

sys.meta_path[:] = map(Announcer, sys.meta_path)
"""


SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"


@dataclass
class Cluster:
    """A master, its workers by the folder that each works in, and the Python that they run."""

    folder: Path
    python: Path
    port: int = field(default_factory=find_port)
    page: int = field(default_factory=find_port)
    workers: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)
    servers: ExitStack = field(default_factory=ExitStack)

    @property
    def master(self) -> str:
        return f"spark://{HOST}:{self.port}"

    def start(self, name: str, log: str, is_ready: Callable[[], bool], *options: str | Path) -> subprocess.Popen[bytes]:
        command = [SPARK_CLASS, f"org.apache.spark.deploy.{name}", "--host", HOST, *options]
        environment = spark_environment(SPARK_DAEMON_MEMORY="256m")
        return self.servers.enter_context(serve(command, self.folder / log, environment, is_ready))

    def start_master(self) -> None:
        ports = ["--port", str(self.port), "--webui-port", str(self.page)]
        self.start("master.Master", "master.log", lambda: listens(self.page), *ports)

    def fill(self) -> None:
        """Start workers, with one core each, until two live."""
        while (living := sum(worker.poll() is None for worker in self.workers.values())) < WORKERS:
            place = self.folder / f"worker-{len(self.workers)}"
            options = ["--cores", "1", "--memory", "1g", "--webui-port", str(find_port()), "--work-dir", place]

            def is_known(alive: int = living + 1) -> bool:
                return count_workers(self.page) == alive

            log = f"{place.name}.log"
            self.workers[place] = self.start("worker.Worker", log, is_known, *options, self.master)


@pytest.fixture(scope="module")
def master(executor_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose master runs."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), executor_python)
    with made.servers:
        made.start_master()
        yield made


@pytest.fixture
def cluster(master: Cluster) -> Cluster:
    """A cluster with two workers, whatever an earlier test did to them."""
    master.fill()
    return master


def count_workers(page: int) -> int:
    """Workers that the master's page calls alive; none before it has the page."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{page}/json/", timeout=10) as answer:
            return int(json.load(answer)["aliveworkers"])
    except urllib.error.HTTPError:
        return 0


def submit(cluster: Cluster, route: str, **more: str | Path) -> list[str | Path]:
    """The score job on a table of its own for each route."""
    conf = {
        "spark.pyspark.python": cluster.python,
        "spark.pyspark.driver.python": "python",
        # One task for each of the small files: a killed worker must have something left to do.
        "spark.sql.files.openCostInBytes": 128 * 2**20,
        **CONF,
        **more,
    }
    options = [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
    job = ["jobs/score.py", "--config", "data/orders.yaml", "--set", f"score.table=data/{route}"]
    return ["spark-submit", "--master", cluster.master, *options, *job, "--set", f"score.route={route}"]


def kill_a_worker_in_the_middle(listener: socket.socket, workers: Mapping[Path, subprocess.Popen[bytes]]) -> Path:
    """Let batches pass until a worker that has done some has begun another; kill it, as if its machine had died."""
    begun: Counter[Path] = Counter()
    while True:
        connection, _ = listener.accept()
        with connection:
            folder = Path(connection.recv(4096).decode())
            worker = next(worker for worker in workers if worker in folder.parents)
            begun[worker] += 1
            if begun[worker] > 1:
                # The executor is in the worker's own group of processes.
                os.killpg(workers[worker].pid, signal.SIGKILL)
                return worker


def test_readme_runs_on_the_cluster(cluster, root, clone, heavy_orders, orders_bundle, tmp_path):
    [block] = read_blocks(root / "README.md", "cluster")
    (tmp_path / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in CONF.items()))
    environment = {"MASTER": cluster.master, "WORKER_PYTHON": str(cluster.python), "SPARK_CONF_DIR": str(tmp_path)}
    said = run([*BASH, block.code], clone, **environment)
    assert "scored 600 rows" in said
    check_scores(clone / "data" / "orders_scored", heavy_orders, orders_bundle)


@pytest.mark.parametrize("route", ROUTES)
def test_a_killed_worker_loses_and_doubles_no_row(cluster, clone, heavy_orders, orders_bundle, tmp_path, route):
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(COMMAND_S)
        (tmp_path / "sitecustomize.py").write_text(CHECKPOINT.replace("{port}", str(listener.getsockname()[1])))
        command = submit(cluster, route, **{"spark.executorEnv.PYTHONPATH": tmp_path})
        output = subprocess.PIPE
        job = subprocess.Popen(command, cwd=clone, env=user_environment(clone), stdout=output, stderr=subprocess.STDOUT)
        try:
            killed = kill_a_worker_in_the_middle(listener, cluster.workers)
            listener.close()
            said = job.communicate(timeout=COMMAND_S)[0].decode()
        finally:
            job.kill()
    assert job.returncode == 0, said[-8000:]
    assert "scored 600 rows" in said
    assert "Lost executor" in said
    assert cluster.workers[killed].wait() == -signal.SIGKILL
    check_scores(clone / "data" / route, heavy_orders, orders_bundle)


def test_executors_read_and_write_an_object_store_with_pyarrow_alone(cluster, clone, store, orders, orders_bundle):
    write_deltalake("s3://lake/orders", orders, partition_by=["day"], storage_options=store | HTTP)
    tables = ["--set", "source.table=s3://lake/orders", "--set", "score.table=s3://lake/orders_scored"]
    said = run([*submit(cluster, "files"), *tables], clone, **store)
    assert "on the spark engine, route files" in said
    check_scores(DeltaTable("s3://lake/orders_scored", storage_options=store | HTTP), orders, orders_bundle)
