"""Incidents of a night with several breaks: one line each, and the condition of each selects its rows."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.delta.storage import TableRef
from jobs.engines.local import LocalEngine
from jobs.predicates.conditions import is_true
from jobs.predicates.predicate import combine, parse_where
from tests.bench.table_checks import make_up
from tests.jobs.job import Job

SALES = make_up(30)
FIRST = date(2024, 1, 1)
NIGHT = FIRST + timedelta(29)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sales")
    known = SALES.filter(pc.less(SALES["day"], pa.scalar(NIGHT, pa.date32())))
    write_deltalake(str(folder / "source"), known)
    job = make_job(folder)
    for command in ("extract", "train", "score", "monitor"):
        assert job.run(command).code == 0
    return folder


def make_job(folder: Path) -> Job:
    job = Job(folder)
    job.settings["source"] |= {"key": ["id"], "partition": "day"}
    job.settings["model"], job.settings["train"] = {"members": 1}, {"epochs": 6}
    return job


def spoil(rows: pa.Table, column: str, value: pa.ChunkedArray, where: pa.ChunkedArray) -> pa.Table:
    position = rows.column_names.index(column)
    return rows.set_column(position, column, pc.if_else(where, value, rows[column]))


@pytest.mark.parametrize(
    ("column", "segment", "effect"),
    [
        ("shop", "", "with values never seen, of a form like A A"),
        ("shop", "", "NULL"),
        ("price", "shop = 'shop B'", "x"),
        ("quantity", "shop = 'shop C'", "always 0"),
    ],
)
def test_one_break_is_one_line_whose_condition_selects_its_rows(trained, tmp_path, column, segment, effect):
    shutil.copytree(trained, tmp_path / "job")
    job = make_job(tmp_path / "job")
    rows = SALES.filter(pc.equal(SALES["day"], pa.scalar(NIGHT, pa.date32())))
    every = pc.equal(pc.bit_wise_and(rows["id"], 3), 0)
    if effect == "NULL":
        rows = spoil(rows, "shop", pa.scalar(None, pa.string()), every)
    elif column == "shop":
        rows = spoil(rows, "shop", pc.utf8_upper(rows["shop"]), every)
    elif column == "price":
        rows = spoil(rows, "price", pc.multiply(rows["price"], 100.0), pc.equal(rows["shop"], "shop B"))
    else:
        rows = spoil(rows, "quantity", pa.scalar(0, pa.int32()), pc.equal(rows["shop"], "shop C"))
    write_deltalake(str(job.source), rows, mode="append")
    assert job.run("score").code == 0
    assert job.run("monitor").code == 5
    found = [event for event in job.run("incidents").events if event["event"] == "incident"]
    (incident,) = [
        one for one in found if "table:" not in str(one) and one["status"] == "open" and column in one["what"]
    ]
    assert incident["what"].startswith(f"{column} {effect}") or (
        effect == "x" and f"{column} about x" in incident["what"]
    )
    assert segment in incident["where"]
    condition = combine(parse_where(incident["where"]), is_true("is_anomaly"))
    engine = LocalEngine()
    selected = engine.count(engine.describe(TableRef(str(job.target))), condition)
    assert incident["rows"] <= selected <= 1.1 * incident["rows"] + 2
    assert DeltaTable(str(job.target)).version() == 1


def test_a_corrected_source_closes_its_incident_and_opens_none(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "job")
    job = make_job(tmp_path / "job")
    rows = SALES.filter(pc.equal(SALES["day"], pa.scalar(NIGHT, pa.date32())))
    wrong = spoil(rows, "price", pc.multiply(rows["price"], 100.0), pc.equal(rows["shop"], "shop B"))
    write_deltalake(str(job.source), wrong, mode="append")
    assert job.run("score").code == 0
    assert job.run("monitor").code == 5
    opened = job.run("incidents")
    (incident,) = [one for one in opened.events if one["event"] == "incident" and one["status"] == "open"]
    assert incident["loads"] and incident["loads"][0].startswith("version 1 (WRITE at ")

    write_deltalake(str(job.source), rows, mode="overwrite", predicate=f"day = '{NIGHT}'")
    assert job.run("score").code == 0
    corrected = job.run("monitor")
    assert corrected.code == 0, corrected.stdout
    assert not [event for event in corrected.events if event["event"] == "incident"]
    after = [one for one in job.run("incidents", "--all").events if one["event"] == "incident"]
    assert {one["status"] for one in after if one["id"] == incident["id"]} == {"closed"}
    assert all(one["status"] != "open" for one in after)
