"""Nights and keys of every type: their order is that of time, and what is printed for reuse names the same rows."""

from __future__ import annotations

import random
import shlex
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.tables.nights import NightName
from tests.jobs.job import Job, Outcome, invoke
from tests.jobs.page import Page

KINDS: dict[str, tuple[list[Any], pa.DataType]] = {
    "whole numbers": (list(range(6, 15)), pa.int32()),
    "dates as text": ([f"2024-1-{day}" for day in range(6, 15)], pa.string()),
    "numbers as text": ([str(number) for number in range(6, 15)], pa.string()),
    "words with quotes": ([f"night's ${{HOME}} {number}" for number in range(6, 15)], pa.string()),
    "moments": ([datetime(2024, 1, day, 23, 59, tzinfo=UTC) for day in range(6, 15)], pa.timestamp("us", "UTC")),
    "dates": ([date(2024, 1, day) for day in range(6, 15)], pa.date32()),
}
BROKEN = (1, 2)  # numbers of the nights in which one shop's totals are in cents


def on_engines(kinds: Iterable[str], on_spark: Sequence[str]) -> list[tuple[str, str]]:
    """Every kind on the local engine, one on Spark, where a test takes twenty times as long."""
    return [*((kind, "local") for kind in kinds), *((kind, "spark") for kind in on_spark)]


@pytest.fixture
def ready(engine: str, request: pytest.FixtureRequest) -> None:
    if engine == "spark":
        request.getfixturevalue("spark")


def build_job(folder: Path, orders: pa.Table, bundle: Path, engine: str, kind: str) -> Job:
    values, dtype = KINDS[kind]
    number = np.arange(orders.num_rows) % len(values)
    cents = np.isin(number, BROKEN) & (np.array(orders["shop"].to_pylist()) == "rome")
    total = orders["total"].to_numpy() * np.where(cents, 100.0, 1.0)
    rows = orders.drop_columns(["day", "total"]).append_column("total", pa.array(total))
    rows = rows.append_column("the`night", pa.array([values[k] for k in number], dtype))
    if not DeltaTable.is_deltatable(str(folder / "source")):
        write_deltalake(str(folder / "source"), rows)
        shutil.copytree(bundle, folder / "bundle")
    job = Job(folder, engine)
    job.settings["source"] |= {"partition": "the`night"}
    job.settings["score"] |= {"alert_budget": 0.02}
    job.settings["monitor"] = {"window": 3, "close_after": 2}
    job.write_config()
    return job


def run(job: Job, *arguments: str, codes: tuple[int, ...] = (0,)) -> Outcome:
    outcome = invoke(*arguments, "--config", str(job.config_file))
    assert outcome.code in codes, outcome.stderr
    return outcome


@pytest.mark.parametrize(("kind", "engine"), on_engines(KINDS, ["dates as text"]))
@pytest.mark.usefixtures("ready")
def test_nights_come_in_the_order_of_time(
    kind: str, engine: str, orders: pa.Table, orders_bundle: Path, tmp_path: Path
) -> None:
    job = build_job(tmp_path, orders, orders_bundle, engine, kind)
    texts = [text_of(value) for value in KINDS[kind][0]]
    run(job, "score", "--full", "--logical-time", "2024-05-01T00:00:00Z")
    for first, last in ((0, 3), (4, 8)):
        ids = [str(number) for number in range(orders.num_rows) if first <= number % 9 <= last]
        run(job, "monitor", "--where", f"order_id IN ({', '.join(ids)})", codes=(0, 5))
    found = DeltaTable(f"{job.target}_incidents").to_pyarrow_table().to_pylist()
    worst = max(found, key=lambda row: row["rows"])
    assert (worst["column"], worst["first_seen"], worst["last_seen"]) == ("total", texts[1], texts[2])
    assert (worst["status"], worst["closed"]) == ("closed", texts[4])
    assert run(job, "incidents", "--all").events[0]["last_seen"] == max(
        (row["last_seen"] for row in found), key=NightName.of
    )
    page = read_page(run(job, "report", "--since", texts[1], "--until", texts[3]))
    assert [row[0] for row in page.tables["table-nights"]] == [texts[3], texts[2], texts[1]]
    assert page.tables["table-incidents"]
    again = run(job, "report", "--since", texts[8], "--until", texts[1], codes=(2,))
    assert "swap them" in again.error["message"]


def read_page(outcome: Outcome) -> Page:
    return Page(Path(outcome.last["path"]).read_text(encoding="utf-8"))


def text_of(value: Any) -> str:
    return str(value.date() if isinstance(value, datetime) else value)


@pytest.mark.parametrize(("kind", "engine"), on_engines(KINDS, ["words with quotes"]))
@pytest.mark.usefixtures("ready")
def test_verdicts_on_nights_hold_in_these_nights(
    kind: str, engine: str, orders: pa.Table, orders_bundle: Path, tmp_path: Path
) -> None:
    job = build_job(tmp_path, orders, orders_bundle, engine, kind)
    job.settings["source"] |= {"key": []}
    job.write_config()
    texts = [text_of(value) for value in KINDS[kind][0]]
    run(job, "score", "--full")
    before = run(job, "feedback", "pending", "--limit", "1000")
    outcome = run(job, "feedback", "add", "--from", texts[1], "--to", texts[2], "--verdict", "expected")
    assert "no row" not in outcome.last["message"]
    scored = DeltaTable(str(job.target)).to_pyarrow_table().filter(pc.field("is_anomaly"))
    left = sum(number % 9 not in BROKEN for number in scored["order_id"].to_pylist())
    assert run(job, "feedback", "pending").last["pending"] == left < before.last["pending"]
    flags = shlex.split(run(job, "feedback", "pending").events[0]["flags"])
    assert flags[0] == "--from"
    named = run(job, "feedback", "add", *flags, "--verdict", "expected")
    assert "no row" not in named.last["message"]
    assert run(job, "feedback", "pending").last["pending"] < left


KEYS: dict[str, tuple[list[Any], pa.DataType]] = {
    "text": (["New York City", "O'Hara", "", "NULL", "None", None, "${HOME}", "a=b", '"', "-x"], pa.string()),
    "decimals": ([*(pa.scalar(f"{k}.50").cast(pa.decimal128(10, 2)).as_py() for k in range(9)), None],
                 pa.decimal128(10, 2)),
    "doubles": ([0.1, 1e300, -2.5, 1e-7, 3.0, None, 2.0**60, 7.25, 8.125, 9.0], pa.float64()),
    "moments": ([*(datetime(2024, 1, 1, 5, 6, 7, k, UTC) for k in range(9)), None], pa.timestamp("us", "UTC")),
    "booleans": ([True, False, None, True, False, None, True, False, None, True], pa.bool_()),
    "dates": ([date(1, 1, 1), date(9999, 12, 31), None, *(date(2024, 1, k) for k in range(1, 8))], pa.date32()),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "engine"), on_engines(KEYS, ["moments"]))
@pytest.mark.usefixtures("ready")
def test_what_pending_prints_names_the_row(
    kind: str, engine: str, orders: pa.Table, orders_bundle: Path, tmp_path: Path
) -> None:
    values, dtype = KEYS[kind]
    part = pa.array([values[k % len(values)] for k in range(orders.num_rows)], dtype)
    write_deltalake(str(tmp_path / "source"), orders.append_column("the`part", part))
    shutil.copytree(orders_bundle, tmp_path / "bundle")
    job = Job(tmp_path, engine)
    job.settings["source"] |= {"key": ["order_id", "the`part"]}
    job.settings["score"] |= {"alert_budget": 0.1}
    job.write_config()
    run(job, "score")
    pending = run(job, "feedback", "pending", "--limit", "1000").events[:-1]
    assert len(pending) == run(job, "feedback", "pending").last["pending"] > 20
    chosen = random.Random(3).sample(pending, 4 if engine == "spark" else 12)
    flagged = [shlex.split(str(event["flags"])) for event in chosen]
    missing = next(flags for flags in (shlex.split(str(event["flags"])) for event in pending) if "--null" in flags)
    for count, flags in enumerate([flags for flags in flagged if flags != missing] + [missing], 1):
        assert "has anomaly score" in run(job, "explain", *flags).last["message"]
        outcome = run(job, "feedback", "add", *flags, "--verdict", "expected")
        assert outcome.last["written"] == 1 and "no row" not in outcome.last["message"]
        assert run(job, "feedback", "pending").last["pending"] == len(pending) - count
    assert run(job, "feedback", "summary").code == 0


def test_the_order_of_names() -> None:
    names = ["-3", "2.5", "8", "14", "2024-1-8", "2024-01-14", "2024-1-15", "2024-02-01", "W9", "W10"]
    shuffled = random.Random(1).sample(names, len(names))
    assert [name.text for name in sorted(map(NightName.of, shuffled))] == names
    assert max(NightName.of(f"{y:04}-{m:02}-01") for y in (1, 999, 2024) for m in (2, 11)).text == "2024-11-01"
