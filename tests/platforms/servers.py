"""What the platforms' tests share: servers that are started and stopped by their own process id, and commands that run
as a user would run them, with what README says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.engines.spark.java import ensure_java_home
from tests.documents import make_clone

START_S = 240
STOP_S = 30
COMMAND_S = 480
INTERVAL_S = 0.1
HOST = "127.0.0.1"
# The routes of a run on Spark.
ROUTES = ("files", "dataframe")
BASH = ("bash", "-euo", "pipefail", "-c")


def find_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str], is_ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; the block begins when it is ready."""
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, cwd=log.parent, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        wait_until(is_ready, server, log)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until(is_ready: Callable[[], bool], server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for something that can be observed, while the server lives, and not for ever."""
    deadline = time.monotonic() + START_S
    while not is_ready():
        assert server.poll() is None, log.read_text(encoding="utf-8")
        if time.monotonic() > deadline:
            pytest.fail(f"not ready after {START_S} s: {log.read_text(encoding='utf-8')}")
        time.sleep(INTERVAL_S)


def listens(port: int) -> bool:
    """Whether someone takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def spark_environment(**more: str) -> dict[str, str]:
    """The environment of a Spark server: ours without what would tell it where our packages are."""
    hidden = ("PYTHONPATH", "SPARK_REMOTE", "SPARK_HOME", "VIRTUAL_ENV")
    inherited = {key: value for key, value in os.environ.items() if key not in hidden}
    own = {"JAVA_HOME": str(ensure_java_home()), "SPARK_LOCAL_IP": HOST}
    return inherited | own | more


def user_environment(folder: Path, **more: str) -> dict[str, str]:
    """As after `. .venv/bin/activate` in a clone."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # A make that runs this test hands down its own flags and its job server.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return inherited | {"PATH": path, "PYTHONPATH": str(folder), "JAVA_HOME": str(ensure_java_home())} | more


def run(command: Sequence[str | Path], folder: Path, code: int = 0, **environment: str) -> str:
    """Run a command in a clone as a user would; what it said."""
    output = subprocess.PIPE
    job = subprocess.Popen(
        command,
        cwd=folder,
        env=user_environment(folder, **environment),
        stdout=output,
        stderr=output,
        text=True,
        start_new_session=True,
    )
    try:
        said = "\n".join(job.communicate(timeout=COMMAND_S))
    except subprocess.TimeoutExpired:
        # With what it started.
        os.killpg(job.pid, signal.SIGKILL)
        raise
    assert job.returncode == code, f"exit code {job.returncode}: {command}\n{said[-8000:]}"
    return said


def copy_clone(root: Path, folder: Path) -> Path:
    """What a fresh clone holds after `make setup`, without git and tests."""
    make_clone(root, folder)
    (folder / ".venv").symlink_to(root / ".venv")
    # Older than what is installed: nothing is to be set up again.
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(folder / name, (0, 0))
    return folder
