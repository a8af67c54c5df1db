"""A table with a struct and a list through all commands: what is wrong within them is told by its path."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from tests.jobs.job import Job

TOWNS = [("rome", "it"), ("milan", "it"), ("paris", "fr"), ("lyon", "fr"), ("bonn", "de")]
BROKEN = 6


def make_night(number: int, broken: int = 0) -> pa.Table:
    chosen = [(7 * i + i // 11 + number) % len(TOWNS) for i in range(200)]
    return pa.table(
        {
            "order_id": [f"{number:03}-{i:05}" for i in range(200)],
            "day": pa.array([dt.date(2024, 3, 1) + dt.timedelta(number)] * 200),
            "ship": [
                {"town": TOWNS[k][0], "country": "xx" if i < broken else TOWNS[k][1]} for i, k in enumerate(chosen)
            ],
            "tags": [["gift", "new"] if k % 2 else ["new"] for k in chosen],
        }
    )


def test_what_is_wrong_within_a_struct_is_told_by_its_path(tmp_path: Path):
    job = Job(tmp_path)
    for number in range(10):
        write_deltalake(tmp_path / "source", make_night(number), mode="append")
    job.settings["model"], job.settings["train"] = {"members": 1}, {"epochs": 4}
    for command in ("extract", "train", "score"):
        assert job.run(command).code == 0
    write_deltalake(tmp_path / "source", make_night(10, BROKEN), mode="append")
    assert job.run("score").code == 0

    monitored = job.run("monitor")
    assert monitored.code == 5
    compared = {event["column"] for event in monitored.events if event["event"] == "drift"}
    compared |= {name for event in monitored.events if event["event"] == "within limits" for name in event["columns"]}
    assert {"ship.town", "ship.country", "tags.length", "tags.members"} < compared
    incidents = [event for event in monitored.events if event["event"] == "incident"]
    assert [(incident["column"], incident["rows"]) for incident in incidents] == [("ship.country", BROKEN)]

    explained = job.run("explain", "--key", "order_id=010-00000")
    first = next(event for event in explained.events if event["event"] == "column")
    assert (first["column"], first["observed"]) == ("ship.country", "xx")
    assert job.run("report").code == 0
    page = (tmp_path / "scored_report.html").read_text(encoding="utf-8")
    assert "ship.country" in page and "tags.members" in page
