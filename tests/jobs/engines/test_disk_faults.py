"""A disk that is full, files that cannot be read or are garbled, and many writers at once: after each the scored table
is untouched or whole, and another run completes it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.jobs.job import Job, fingerprint, live_files
from tests.jobs.scoring.test_increment import append, check, new_rows, nothing, run, update

# Under root's eyes every file can be read.
AS_ROOT = os.geteuid() == 0


def start(job: Job, root: Path, *arguments: str, preexec: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs.score", "--config", str(job.write_config()), *arguments]
    return subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec,  # noqa: PLW1509
    )


def limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [0, 1_000, 4_096, 12_000, 16_000])
def test_a_full_disk(size: int, job: Job, root: Path) -> None:
    """No file can grow beyond `size`: the writes fail at the first byte, in the Parquet files, or in the log."""
    append(job, new_rows(job, 600, 200))
    before = fingerprint(job.target)
    process = start(job, root, "--full", preexec=limit_files(size))
    said = process.communicate(timeout=120)
    assert process.returncode in (3, 4), said
    assert "Traceback" not in said[1]
    error = json.loads(said[1].splitlines()[-1])
    assert error["event"] == "error" and error["remedy"]
    assert fingerprint(job.target) == before
    assert run(job).last["rows"] == 200


@pytest.mark.skipif(AS_ROOT, reason="root reads everything")
@pytest.mark.parametrize("where", ["data", "log", "bundle"])
def test_no_permission_to_read(where: str, job: Job) -> None:
    append(job, new_rows(job, 600))
    places = {"data": job.source_file, "log": job.source / "_delta_log", "bundle": job.bundle / "bundle.json"}
    mode, before = places[where].stat().st_mode, fingerprint(job.target)
    places[where].chmod(0)
    outcome = job.run("score", "--full")
    places[where].chmod(mode)
    assert outcome.code in (3, 4), outcome.stderr
    assert fingerprint(job.target) == before
    run(job)


@pytest.mark.skipif(AS_ROOT, reason="root writes everywhere")
def test_no_permission_to_write(job: Job) -> None:
    append(job, new_rows(job, 600))
    before = fingerprint(job.target)
    log = job.target / "_delta_log"
    log.chmod(0o500)
    outcome = job.run("score")
    log.chmod(0o700)
    assert outcome.code in (3, 4), outcome.stderr
    assert fingerprint(job.target) == before
    run(job)


@pytest.mark.parametrize("damage", ["half", "zeros", "empty", "gone", "text"])
def test_a_broken_file_of_new_rows(damage: str, any_job: Job) -> None:
    there = live_files(any_job.source)
    append(any_job, new_rows(any_job, 600, day="2024-01-04"))
    path = any_job.source / (live_files(any_job.source) - there).pop()
    content = path.read_bytes()
    broken = {"half": content[: len(content) // 2], "zeros": bytes(len(content)), "empty": b"", "text": b"not Parquet"}
    path.unlink()
    if damage != "gone":
        path.write_bytes(broken[damage])
    for crc in path.parent.glob(".*.crc"):
        crc.unlink()
    before = fingerprint(any_job.target)
    outcome = any_job.run("score")
    assert outcome.code in (3, 4), outcome.stdout
    assert "Traceback" not in outcome.stderr and outcome.error["remedy"]
    assert fingerprint(any_job.target) == before
    path.write_bytes(content)
    assert run(any_job).last["rows"] == 30


@pytest.mark.parametrize("damage", ["half", "empty", "garbled", "binary", "gone"])
@pytest.mark.parametrize("table", ["source", "target"])
def test_a_broken_log(table: str, damage: str, job: Job) -> None:
    append(job, new_rows(job, 600))
    run(job)
    append(job, new_rows(job, 630))
    folder = job.source if table == "source" else job.target
    path = max((folder / "_delta_log").glob("*.json"))
    content = path.read_bytes()
    broken = {"half": content[: len(content) // 2], "empty": b"", "garbled": content[::-1], "binary": b"\xff\xfe\x00"}
    path.unlink()
    if damage != "gone":
        path.write_bytes(broken[damage])
    logs = {entry.name: entry.read_bytes() for entry in (job.target / "_delta_log").iterdir()}
    outcome = job.run("score")
    assert "Traceback" not in outcome.stderr
    # A log whose last line is missing, or all of it, is a log of one version less.
    assert outcome.code in ((0, 3, 4) if damage in ("gone", "empty", "half") else (3, 4)), outcome.stderr
    if outcome.code:
        assert {entry.name: entry.read_bytes() for entry in (job.target / "_delta_log").iterdir()} == logs
        path.write_bytes(content)
        run(job)
        nothing(job)


@pytest.mark.parametrize("nights", ["the same", "others"])
def test_four_processes_at_once(nights: str, job: Job, root: Path) -> None:
    days = ["2024-01-01"] * 4 if nights == "the same" else ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]
    append(job, new_rows(job, 600, day="2024-01-04"))
    processes = [start(job, root, "--where", f"day = '{day}'") for day in days]
    said = [process.communicate(timeout=180) for process in processes]
    codes = Counter(process.returncode for process in processes)
    assert codes[0] + codes[4] == 4 and codes[0] >= 1, said
    if nights == "others":
        assert codes[0] == 4, said
    assert DeltaTable(str(job.target)).version() == codes[0]
    run(job)


def test_four_nights_at_once(job: Job, root: Path) -> None:
    append(job, new_rows(job, 600))
    update(job, "order_id = 1", {"price": "price + 1"})
    processes = [start(job, root) for _ in range(4)]
    said = [process.communicate(timeout=180) for process in processes]
    assert {process.returncode for process in processes} == {0}, said
    check(job)
    assert DeltaTable(str(job.target)).version() == 1, "one scored, three found nothing left to do"
    nothing(job)
