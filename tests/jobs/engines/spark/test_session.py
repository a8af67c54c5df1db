"""The session: Sandtimer's own (the shared fixture), spark-submit's, and what happens where one cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.common.config import SparkConfig
from jobs.common.errors import SetupError
from jobs.engines.spark import session
from jobs.engines.spark.java import ensure_java_home
from jobs.engines.spark.session import DELTA_CATALOG, DELTA_EXTENSION, build_session, delta_packages

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_the_session_reads_and_writes_delta(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    spark.range(10).write.format("delta").save(path)
    assert spark.read.format("delta").load(path).count() == 10


def test_the_settings_that_results_depend_on(spark: SparkSession) -> None:
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.conf.get("spark.sql.extensions") == DELTA_EXTENSION
    assert spark.conf.get("spark.sql.catalog.spark_catalog") == DELTA_CATALOG
    assert spark.conf.get("spark.driver.host") == "127.0.0.1"
    assert spark.conf.get("spark.ui.enabled") == "false"


def test_workers_run_the_drivers_python(spark: SparkSession) -> None:
    def name_python(batches):
        # Shipped to a worker, which lacks this module's imports.
        import sys

        import pyarrow as pa

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"python": [sys.executable]})

    found = spark.range(1).mapInArrow(name_python, "python string").collect()
    assert [row.python for row in found] == [os.environ.get("PYSPARK_PYTHON", sys.executable)]


def test_an_active_session_is_used_as_it_is(spark: SparkSession) -> None:
    assert build_session(SparkConfig(master="local[1]"), "another", {}) is spark


def test_a_session_without_delta_is_refused_with_the_flags_that_it_lacks(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "DELTA_EXTENSION", "io.delta.Other")
    with pytest.raises(SetupError, match=r"start that session or server with `--packages io\.delta:delta-spark_4\.2"):
        build_session(None, "test", {})


SCRIPT = """
import json, sys
from jobs.engines.spark.session import build_session
spark = build_session(None, "ignored", {})
spark.range(7).write.format("delta").save(sys.argv[1])
keys = ["spark.app.name", "spark.master", "spark.sql.session.timeZone", "spark.sql.extensions"]
print(json.dumps({key: spark.conf.get(key) for key in keys}))
"""


def test_under_spark_submit_delta_comes_by_itself(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    table = tmp_path / "table"
    # As after `. .venv/bin/activate`: spark-submit finds its Python on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root), "JAVA_HOME": str(ensure_java_home())}
    command = [Path(sys.executable).parent / "spark-submit", "--master", "local[1]", "--name", "nightly"]
    done = subprocess.run(
        [*command, "--conf", "spark.ui.enabled=false", script, table],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "spark.app.name": "nightly",
        "spark.master": "local[1]",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": DELTA_EXTENSION,
    }
    assert (table / "_delta_log").is_dir()
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "job.py", "table"}


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Spark had not been started, though another test may have."""
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)


@pytest.mark.usefixtures("no_session")
def test_no_connect_server_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_REMOTE", "sc://127.0.0.1:9/;token=secret")
    with pytest.raises(
        SetupError, match=r"expected a Spark Connect server at sc://127\.0\.0\.1:9; found .*refused"
    ) as e:
        build_session(None, "test", {})
    assert "secret" not in str(e.value)


@pytest.mark.usefixtures("no_session")
def test_no_java_is_said_before_spark_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise SetupError("Java 17 or newer for Spark", "none", "install it")

    monkeypatch.setattr(session, "ensure_java_home", fail)
    with pytest.raises(SetupError, match="expected Java 17 or newer"):
        build_session(None, "test", {})


@pytest.mark.parametrize("version", [None, "3.0.1"])
def test_pandas_must_be_there_and_older_than_3(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    monkeypatch.setattr(session, "installed_version", lambda name: version)
    with pytest.raises(SetupError, match=f"expected pandas 2.*found {f'pandas {version}' if version else 'no pandas'}"):
        build_session(None, "test", {})


def test_delta_joins_the_users_packages_unless_they_name_it() -> None:
    assert delta_packages(SparkConfig()) == ["io.delta:delta-spark_4.2_2.13:4.4.0"]
    assert delta_packages(SparkConfig(packages=("a:b:1",))) == ["io.delta:delta-spark_4.2_2.13:4.4.0", "a:b:1"]
    assert delta_packages(SparkConfig(packages=("io.delta:delta-spark_4.2_2.13:9",))) == [
        "io.delta:delta-spark_4.2_2.13:9"
    ]


def test_storage_options_reach_the_session(spark: SparkSession) -> None:
    build_session(None, "test", {"AWS_REGION": "eu-north-1"})
    assert spark.conf.get("fs.s3a.endpoint.region") == "eu-north-1"
    spark.conf.unset("fs.s3a.endpoint.region")
