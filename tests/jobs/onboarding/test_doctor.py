"""The doctor: each finding, and for each problem a remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, write_deltalake

from jobs.common.config import Config
from jobs.common.errors import SetupError
from jobs.onboarding import doctor, table_checks
from jobs.onboarding.checks import Check
from jobs.onboarding.doctor import run_checks


@pytest.fixture
def config(tmp_path: Path, orders: pa.Table, orders_bundle: Path) -> Config:
    """A job whose every part is there."""
    write_deltalake(tmp_path / "orders", orders, partition_by=["day"])
    (tmp_path / "extract").mkdir()
    pq.write_table(orders, tmp_path / "extract" / "part-0.parquet")
    return Config.model_validate(
        {
            "source": {"table": str(tmp_path / "orders"), "key": ["order_id"], "partition": "day"},
            "extract": {"path": tmp_path / "extract"},
            "bundle": {"path": orders_bundle},
            "score": {"table": str(tmp_path / "scored")},
        }
    )


def find(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def replace(config: Config, section: str, **values: object) -> Config:
    tree = config.model_dump()
    tree[section] |= values
    return Config.model_validate(tree)


def test_a_machine_that_can_run_sandtimer() -> None:
    checks = run_checks(None)
    assert [check for check in checks if not check.ok] == []
    assert {"python", "numpy", "pyarrow", "deltalake", "torch", "java", "delta jars"} <= {c.name for c in checks}


def test_every_problem_has_a_remedy_and_no_other_finding_has_one(config: Config, tmp_path: Path) -> None:
    broken = replace(replace(config, "source", table=str(tmp_path / "no")), "extract", path=tmp_path / "no")
    for check in [*run_checks(config), *run_checks(broken)]:
        assert bool(check.remedy) != check.ok, check
        assert check.detail, check


def test_a_job_that_can_run(config: Config) -> None:
    checks = run_checks(config)
    assert [check for check in checks if not check.ok] == []
    assert "version 0, 7 columns" in find(checks, "source table").detail
    assert "will be created" in find(checks, "scored table").detail
    assert "600 rows" in find(checks, "extract").detail


def test_without_spark_only_the_spark_engine_is_a_problem(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.installed_version
    absent = {"pyspark", "delta-spark", "pandas", "torch"}
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name in absent else real(name))
    assert all(check.ok for check in run_checks(config))
    checks = run_checks(replace(config, "score", engine="spark"))
    assert "sandtimer[spark]" in find(checks, "pyspark and delta-spark").remedy
    assert not find(checks, "pandas").ok


@pytest.mark.parametrize(
    ("name", "version", "check"),
    [
        ("pandas", "3.0.0", "pandas"),
        ("delta-spark", "4.3.0", "pyspark and delta-spark"),
        ("delta-spark", "4.4.1", "pyspark and delta-spark"),
        ("deltalake", "1.5.2", "deltalake"),
        ("deltalake", "2.0.0", "deltalake"),
        ("pyspark-client", "4.2.0", "pyspark-client"),
    ],
)
def test_versions_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, name: str, version: str, check: str) -> None:
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda asked: version if asked == name else real(asked))
    found = find(run_checks(None), check)
    assert not found.ok
    assert version in found.detail
    assert "pip install" in found.remedy


def test_an_extension_of_another_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"duckdb": "2.0.0", "duckdb-extension-delta": "1.5.5"}
    monkeypatch.setattr(doctor, "installed_version", lambda name: versions.get(name, "1.6.4"))
    found = find(run_checks(None), "DuckDB's delta_scan")
    assert (found.ok, "duckdb==1.5.5" in found.remedy) == (False, True)
    versions["duckdb"] = "1.5.5"
    assert find(run_checks(None), "DuckDB's delta_scan").ok


def test_no_torch_and_no_model_yet(config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "torch" else real(name))
    assert find(run_checks(config), "torch").ok
    assert "sandtimer[train]" in find(run_checks(replace(config, "bundle", path=tmp_path / "none")), "torch").remedy


def test_another_spark_than_pyspark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark-core_2.13-3.5.1.jar").touch()
    found = find(run_checks(None), "SPARK_HOME")
    assert not found.ok and "spark-core_2.13-3.5.1.jar" in found.detail and "unset SPARK_HOME" in found.remedy
    (tmp_path / "jars" / f"spark-core_2.13-{doctor.installed_version('pyspark')}.jar").touch()
    assert find(run_checks(None), "SPARK_HOME").ok


def test_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise SetupError("Java 17 or newer for Spark", "PATH: Java 11", "install Java 17")

    monkeypatch.setattr(doctor, "ensure_java_home", fail)
    expected = Check("java", False, "expected Java 17 or newer for Spark; found PATH: Java 11", "install Java 17")
    assert find(run_checks(None), "java") == expected


def test_a_worker_python_that_cannot_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", str(tmp_path / "no-such-python"))
    found = find(run_checks(None), "worker python")
    assert not found.ok
    assert "unset PYSPARK_PYTHON" in found.remedy
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module named numpy' >&2\nexit 1\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PYSPARK_PYTHON", str(stand_in))
    assert "No module named numpy" in find(run_checks(None), "worker python").detail
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    assert find(run_checks(None), "worker python").ok


def test_a_folder_of_jars_without_delta(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SANDTIMER_JARS", str(tmp_path))
    found = find(run_checks(None), "delta jars")
    assert not found.ok
    assert "SANDTIMER_JARS" in found.remedy


def test_a_source_that_is_not_a_table(config: Config, tmp_path: Path) -> None:
    found = find(run_checks(replace(config, "source", table=str(tmp_path / "nothing"))), "source table")
    assert not found.ok
    assert str(tmp_path / "nothing") in found.detail
    assert not (tmp_path / "nothing").exists()


def test_a_key_that_is_no_column(config: Config) -> None:
    found = find(run_checks(replace(config, "source", key=["order"], partition="month")), "source table")
    assert found.detail.endswith("without order, month")


def test_a_catalog_name_is_left_to_spark(config: Config) -> None:
    assert (
        "catalog name" in find(run_checks(replace(config, "source", table="main.sales.orders")), "source table").detail
    )


def test_a_target_below_a_file_cannot_be_written(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = find(run_checks(replace(config, "score", table=str(tmp_path / "file" / "scored"))), "scored table")
    assert (found.ok, found.detail) == (False, f"{tmp_path / 'file'} is a file, not a folder")


def test_an_extract_that_is_missing_or_broken(config: Config, tmp_path: Path) -> None:
    found = find(run_checks(replace(config, "extract", path=tmp_path / "none")), "extract")
    assert (found.ok, found.remedy) == (False, "run `sandtimer extract` with this config")
    (tmp_path / "extract" / "part-1.parquet").write_bytes(b"PAR1 not really PAR1")
    assert not find(run_checks(config), "extract").ok


def test_a_bundle_that_is_missing_or_tampered_with(config: Config, tmp_path: Path) -> None:
    found = find(run_checks(replace(config, "bundle", path=tmp_path / "none")), "bundle")
    assert (found.ok, found.remedy) == (False, "run `sandtimer train` with this config")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in config.bundle.path.iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        (bundle / file.name).write_bytes(data)
    assert not find(run_checks(replace(config, "bundle", path=bundle)), "bundle").ok


def test_a_target_that_only_spark_can_write(config: Config, orders: pa.Table) -> None:
    write_deltalake(config.score.table, orders, configuration={"delta.enableDeletionVectors": "true"})
    found = find(run_checks(config), "features of the scored table")
    assert not found.ok and "feature" in found.detail and "--engine spark" in found.remedy
    assert "features of the scored table" not in [c.name for c in run_checks(replace(config, "score", engine="spark"))]


def test_a_disk_without_room(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(run_checks(config), "disk").ok
    monkeypatch.setattr(table_checks, "MIN_FREE_BYTES", 2**80)
    found = find(run_checks(config), "disk")
    assert not found.ok and "MB free" in found.detail and "vacuum" in found.remedy


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "AWS_REGION; AWS_ACCESS_KEY_ID"),
        ({"AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "k"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_REGION": "x", "AWS_PROFILE": "p", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, ""),
        ({"AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "hunter2"}, ""),
    ],
)
@pytest.mark.parametrize("place", ["environment", "options"])
def test_what_s3_needs(
    settings: dict[str, str], missing: str, place: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items() if place == "environment" else ():
        monkeypatch.setenv(name, value)
    options = settings if place == "options" else {}
    on_s3 = replace(replace(config, "source", storage_options=options), "score", table="s3://bucket/scored")
    found = table_checks._check_store(on_s3)
    assert found.ok == (not missing) and missing in found.detail and "hunter2" not in found.detail


def test_two_engines_on_one_table_of_s3(config: Config, orders: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage = '{"app": "sandtimer", "engine": "spark"}'
    properties = CommitProperties(custom_metadata={"userMetadata": lineage})
    write_deltalake(config.score.table, orders, commit_properties=properties)
    monkeypatch.setattr(table_checks, "is_s3", lambda name: name == config.score.table)
    found = find(run_checks(config), "one writer on S3")
    assert not found.ok and "written by spark" in found.detail and "one engine" in found.remedy
    assert find(run_checks(replace(config, "score", engine="spark")), "one writer on S3").ok
