"""Delta's jars: from a folder, from the cache, or by package name; a fake spark-submit stands for the resolver."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.common.errors import SetupError
from jobs.engines.spark import jars
from jobs.engines.spark.jars import cached_jars, delta_package, find_jars, resolve_packages

PACKAGES = ["io.delta:delta-spark_4.2_2.13:4.4.0"]


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The installed versions, which a test may change; the cache is empty."""
    found = {"pyspark": "4.2.0", "delta-spark": "4.4.0"}
    monkeypatch.setattr(jars, "installed_version", found.get)
    monkeypatch.setattr(jars, "cache_dir", lambda: tmp_path / "cache")
    return found


def test_the_package_fits_the_installed_spark_and_delta(versions: dict[str, str]) -> None:
    assert delta_package() == PACKAGES[0]
    versions |= {"pyspark": "4.3.1", "delta-spark": "5.0.0"}
    assert delta_package() == "io.delta:delta-spark_4.3_2.13:5.0.0"


@pytest.mark.parametrize("missing", ["pyspark", "delta-spark"])
def test_a_missing_package_is_named(versions: dict[str, str], missing: str) -> None:
    del versions[missing]
    with pytest.raises(SetupError, match=rf"found {missing} is not installed; run `pip install 'sandtimer\[spark\]'`"):
        delta_package()


@pytest.mark.parametrize("name", ["delta-spark_4.2_2.13-4.4.0.jar", "io.delta_delta-spark_2.13-4.4.0.jar"])
def test_a_folder_of_jars(tmp_path: Path, name: str) -> None:
    for file in (name, "delta-storage-4.4.0.jar", "notes.txt"):
        (tmp_path / file).touch()
    assert find_jars(tmp_path) == sorted([tmp_path / "delta-storage-4.4.0.jar", tmp_path / name])


@pytest.mark.parametrize("files", [None, [], ["delta-storage-4.4.0.jar"]])
def test_a_folder_without_delta_is_refused(tmp_path: Path, files: list[str] | None) -> None:
    folder = tmp_path / "jars"
    if files is not None:
        folder.mkdir()
        for file in files:
            (folder / file).touch()
    with pytest.raises(SetupError, match="none of them delta-spark; put the jars there"):
        find_jars(folder)


def test_a_jar_for_another_spark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "delta-spark_4.1_2.13-4.4.0.jar").touch()
    with pytest.raises(SetupError, match=r"built for Spark 4\.2.*found delta-spark_4\.1_2\.13-4\.4\.0\.jar"):
        find_jars(tmp_path)


def fake_spark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> Path:
    """A SPARK_HOME whose spark-submit notes its arguments and runs `body`, with $folder as the resolver's own."""
    submit = tmp_path / "spark" / "bin" / "spark-submit"
    submit.parent.mkdir(parents=True)
    submit.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
for argument do case "$argument" in spark.jars.ivy=*) folder="${{argument#*=}}" ;; esac; done
{body}
"""
    )
    submit.chmod(0o755)
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "spark"))
    monkeypatch.setattr(jars, "ensure_java_home", lambda: tmp_path / "java")
    return tmp_path / "calls"


def test_packages_are_resolved_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = fake_spark(monkeypatch, tmp_path, 'mkdir "$folder/jars" && touch "$folder/jars/delta.jar"')
    assert cached_jars(PACKAGES) is None
    first = resolve_packages(PACKAGES)
    assert [jar.name for jar in first] == ["delta.jar"]
    assert resolve_packages(PACKAGES) == first == cached_jars(PACKAGES)
    assert len(calls.read_text().splitlines()) == 1
    assert f"--packages {PACKAGES[0]}" in calls.read_text()
    # Nothing half done is left beside the jars.
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first[0].parent.name]


def test_another_list_of_packages_is_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_spark(monkeypatch, tmp_path, 'mkdir "$folder/jars" && touch "$folder/jars/delta.jar"')
    assert resolve_packages(PACKAGES)[0].parent != resolve_packages([*PACKAGES, "a:b:1"])[0].parent


def test_two_jobs_that_resolve_at_once_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = f"mkdir -p {tmp_path}/cache/{jars._cache_folder(PACKAGES).name} && "
    other += f"touch {tmp_path}/cache/{jars._cache_folder(PACKAGES).name}/theirs.jar && "
    fake_spark(monkeypatch, tmp_path, f'{other} mkdir "$folder/jars" && touch "$folder/jars/ours.jar"')
    assert [jar.name for jar in resolve_packages(PACKAGES)] == ["theirs.jar"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('echo "[unresolved dependency: io.delta#x;1: not found]" >&2; exit 1', "unresolved dependency: io.delta#x;1"),
        ('mkdir "$folder/jars"', "a resolver that said nothing"),
        ('echo "Module jdk.incubator.vector not found"; exit 1', "Module jdk.incubator.vector not found"),
    ],
)
def test_a_failed_download_has_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, found: str
) -> None:
    fake_spark(monkeypatch, tmp_path, body)
    with pytest.raises(SetupError) as caught:
        resolve_packages(PACKAGES)
    assert found in caught.value.found
    assert PACKAGES[0] in caught.value.expected
    assert "SANDTIMER_JARS" in caught.value.remedy
    assert list((tmp_path / "cache").iterdir()) == []
