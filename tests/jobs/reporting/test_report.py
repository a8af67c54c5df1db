"""`report`: the page says what the table holds, whatever is in it, and the same on every engine."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.jobs.job import Job, Outcome, invoke
from tests.jobs.page import Page

BUDGET = "score.alert_budget=0.02"
EVIL = "<script>alert('x')</script>"
MAX_BYTES = 6_000_000


@pytest.fixture
def alerting(job: Job) -> Job:
    """The job with a budget that gives alerts, scored again."""
    job.settings["score"]["alert_budget"] = 0.02
    assert job.run("score", "--full", "--logical-time", "2024-05-02T00:00:00Z").code == 0
    return job


def report(job: Job, *arguments: str) -> Outcome:
    outcome = job.run("report", *arguments)
    assert outcome.code == 0, outcome.stderr
    return outcome


def read_page(outcome: Outcome) -> Page:
    return Page(Path(outcome.last["path"]).read_text(encoding="utf-8"))


def test_rows_that_are_expected_are_not_among_the_strangest(alerting: Job) -> None:
    worst = (
        alerting.read().sort_by([("anomaly_score", "descending"), ("order_id", "ascending")])["order_id"].to_pylist()
    )
    said = invoke(
        *("feedback", "add", "--config", str(alerting.config_file)),
        *("--key", f"order_id={worst[0]}", "--verdict", "expected", "--note", "known"),
    )
    assert said.code == 0, said.stderr
    shown = [row[3] for row in read_page(report(alerting)).tables["table-rows"]]
    assert str(worst[0]) not in shown and str(worst[1]) == shown[0]
    assert len(shown) == 50


def test_the_page_says_what_the_table_holds(alerting: Job) -> None:
    outcome = report(alerting)
    page, table = read_page(outcome), alerting.read()
    assert outcome.last["path"] == f"{alerting.target}_report.html"
    assert outcome.last["rows"] == table.num_rows == 600
    assert outcome.last["alerts"] == pc.sum(table["is_anomaly"]).as_py() > 0
    grouped = table.group_by("day").aggregate([("is_anomaly", "sum"), ("order_id", "count")]).sort_by("day")
    expected = [[str(r["day"]), str(r["order_id_count"]), str(r["is_anomaly_sum"])] for r in grouped.to_pylist()]
    assert [row[:3] for row in page.tables["table-nights"]] == expected[::-1]
    worst = table.sort_by([("anomaly_score", "descending"), ("order_id", "ascending")]).slice(0, 50).to_pylist()
    shown = page.tables["table-rows"]
    assert [row[0] for row in shown] == [f"{row['anomaly_score']:.2f}" for row in worst]
    assert [row[3] for row in shown] == [str(row["order_id"]) for row in worst]
    first = worst[0]["top_columns"][0]
    assert shown[0][-1].startswith(f"{first['column']} {first['share']:.0%}".replace("%", " %"))
    assert worst[0]["why"][0] in shown[0][-1]
    assert f"order_id {worst[0]['order_id']} " in shown[0][-1]
    assert worst[0]["model_id"][:12] in page.text


def test_both_engines_write_the_same_page(alerting: Job, spark) -> None:
    first = Path(report(alerting).last["path"]).read_bytes()
    assert Path(report(alerting).last["path"]).read_bytes() == first
    on_spark = report(alerting, "--engine", "spark", "--output", str(alerting.folder / "spark.html"))
    assert Path(on_spark.last["path"]).read_bytes() == first


def test_everything_is_inside_the_page(alerting: Job) -> None:
    outcome = report(alerting)
    page = read_page(outcome)
    assert len(page.html.encode()) < MAX_BYTES
    assert {address[:1] for address in page.addresses()} == {"#"}
    assert not re.search(r"url\((?!#)|@import|https?://", page.html)
    script = re.search(r"<script>(.*)</script>", page.html, re.DOTALL)
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert script is not None and policy is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = {address[1:] for address in page.addresses()}
    assert used <= set(ids)


def test_it_can_be_heard_and_read_without_a_mouse(alerting: Job) -> None:
    page = read_page(report(alerting))
    assert page.count("caption") == page.count("table") == len(page.tables)
    heads = re.findall(r'<th scope="col"[^>]* aria-sort="none"><button type="button"', page.html)
    assert len(heads) == page.html.count('<th scope="col"') > 20
    pictures = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("aria-hidden") != "true"]
    assert len(pictures) >= 7
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)


def test_data_cannot_become_markup(alerting: Job, orders: pa.Table) -> None:
    row = orders.slice(0, 1).set_column(orders.column_names.index("shop"), "shop", pa.array([EVIL]))
    row = row.set_column(0, "order_id", pa.array([9_999]))
    write_deltalake(str(alerting.source), row, mode="append")
    assert alerting.run("score").code == 0
    page = read_page(report(alerting, "--where", "order_id = 9999"))
    assert page.count("script") == 1
    assert any(EVIL in cell for cell in page.tables["table-rows"][0])
    assert any(EVIL in cell for row in page.tables["table-data"] for cell in row if row[0].startswith("shop"))
    asked = read_page(report(alerting, "--where", "order_id = 9999 OR shop = '<script>alert(1)</script>'"))
    assert asked.count("script") == 1
    assert "<script>alert(1)</script>" in asked.text


def test_the_last_run_is_the_default(alerting: Job) -> None:
    arguments = ["--where", "day = '2024-01-02'", "--logical-time", "2024-05-03T06:00:00Z"]
    assert alerting.run("score", *arguments).code == 0
    outcome = report(alerting)
    page = read_page(outcome)
    assert outcome.last["rows"] == 200
    assert "the run of 2024-05-03 06:00 UTC" in page.text
    assert [row[0] for row in page.tables["table-nights"]] == ["2024-01-02"]
    # The night before it is there to compare with.
    assert "Alerts and rows of 2 nights" in page.html


@pytest.mark.parametrize(
    ("arguments", "nights"),
    [
        (["--since", "2024-01-02"], ["2024-01-03", "2024-01-02"]),
        (["--until", "2024-01-01"], ["2024-01-01"]),
        (["--since", "2024-01-02", "--until", "2024-01-02"], ["2024-01-02"]),
        (["--where", "shop = 'oslo' AND day > '2024-01-01'"], ["2024-01-03", "2024-01-02"]),
    ],
)
def test_some_nights(arguments: list[str], nights: list[str], alerting: Job) -> None:
    page = read_page(report(alerting, *arguments))
    assert [row[0] for row in page.tables["table-nights"]] == nights


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--since", "yesterday"], 2, "a date such as"),
        (["--since", "2024-01-02", "--until", "2024-01-01"], 2, "--until"),
        (["--since", "2024-01-02", "--where", "shop = 'oslo'"], 2, "both"),
        (["--where", "shopp = 'oslo'"], 3, "shop"),
        (["--where", "1; DROP TABLE x"], 2, "--where"),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], code: int, words: str, job: Job) -> None:
    outcome = job.run("report", *arguments)
    assert outcome.code == code
    assert words in outcome.error["message"]
    assert not list(job.folder.glob("*.html"))


def test_no_rows_no_reasons_no_model(alerting: Job) -> None:
    empty = report(alerting, "--where", "quantity > 1000")
    assert (empty.last["rows"], empty.last["level"]) == (0, "quiet")
    assert "No rows to report on" in read_page(empty).text
    one = report(alerting, "--where", "order_id = 42")
    assert one.last["rows"] == 1
    shutil.rmtree(alerting.bundle)
    outcome = report(alerting)
    assert "the model is not kept" in read_page(outcome).text
    assert outcome.last["rows"] == 600


def test_rows_without_reasons_get_them_from_their_model(job: Job) -> None:
    table = job.read()
    assert pc.sum(table["is_anomaly"]).as_py() < 50
    shown = read_page(report(job)).tables["table-rows"]
    assert all(f"{row[-1].split()[0]} is " in row[-1] for row in shown)


def test_scores_without_features(alerting: Job) -> None:
    alerting.settings["score"]["columns"] = "key"
    assert alerting.run("score", "--full").code == 0
    page = read_page(report(alerting))
    assert {row[0].split()[0] for row in page.tables["table-data"]} == {"order_id", "day"}
    assert len(page.tables["table-rows"]) == 50
    assert alerting.run("monitor").code in (0, 5)


def test_a_table_that_is_not_scored(job: Job) -> None:
    job.settings["score"] = {"table": str(job.source), "mode": "in_place"}
    outcome = job.run("report")
    assert outcome.code == 3
    assert "sandtimer score" in outcome.error["remedy"]


def test_data_quality_against_training(alerting: Job, orders: pa.Table) -> None:
    night = orders.filter(pc.equal(orders["day"], pa.scalar("2024-01-03").cast(pa.date32())))
    price = night["price"].to_numpy().copy()
    price[:50], price[50], price[51] = np.nan, np.inf, 1e6
    broken = night.set_column(night.column_names.index("price"), "price", pa.array(price))
    shop = pa.array(["mars" if i < 5 else name for i, name in enumerate(night["shop"].to_pylist())])
    broken = broken.set_column(night.column_names.index("shop"), "shop", shop)
    write_deltalake(str(alerting.source), broken, mode="overwrite", predicate="day = '2024-01-03'")
    assert alerting.run("score").code == 0
    page = read_page(report(alerting, "--since", "2024-01-03"))
    lines = {row[0].split()[0]: row for row in page.tables["table-data"]}
    assert lines["price"][1:3] == ["25 %", "0 %"]
    assert lines["price"][4] == "1"
    assert lines["price"][-1] == "more NULLs than in training, 1 infinite"
    assert lines["shop"][3] == "5"
    assert lines["shop"][-1] == "new categories: mars 5"
    assert lines["quantity"][-1] == ""
    assert lines["quantity"][6] == "1 to 9"
    assert lines["day"][0] == "day not modelled"


def test_one_break_is_one_line(alerting: Job, orders: pa.Table) -> None:
    night = orders.slice(0, 200)
    lost = pc.if_else(pc.equal(night["shop"], "rome"), pa.scalar(None, pa.float64()), night["total"])
    night = night.set_column(night.column_names.index("total"), "total", lost)
    night = night.set_column(1, "day", pa.array(["2024-01-04"] * 200).cast(pa.date32()))
    night = night.set_column(0, "order_id", pa.array(range(1_000, 1_200)))
    write_deltalake(str(alerting.source), night, mode="append")
    assert alerting.run("score", "--logical-time", "2024-05-04T06:00:00Z").code == 0
    outcome = report(alerting)
    line = read_page(outcome).tables["table-incidents"][0]
    assert outcome.last["level"] == "alarm"
    assert line[:2] == ["total", "NULL"]
    assert line[2] in ("shop = 'rome'", "currency = 'EUR'")
    assert line[5:] == ["2024-01-04", "2024-01-04", "open"]
    assert '<h2 id="verdict">total NULL for' in read_page(outcome).html
    # Once monitor follows it, it has an id, the same as in its table.
    assert alerting.run("monitor").code == 5
    followed = read_page(report(alerting)).tables["table-incidents"]
    ids = DeltaTable(f"{alerting.target}_incidents").to_pyarrow_table()["id"].to_pylist()
    assert {row[-1].split()[1] for row in followed} <= set(ids)
    assert followed[0][0] == "total"
    # Nights before it know nothing of it.
    before = read_page(report(alerting, "--until", "2024-01-03")).tables.get("table-incidents", [])
    assert all(row[0] != "total" for row in before)


def test_missing_plots_are_a_sentence(alerting: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = alerting.run("report")
    assert outcome.code == 2
    assert "sandtimer[report]" in outcome.error["remedy"]


def test_executors_need_numpy_and_pyarrow_alone(root: Path) -> None:
    code = "import sys, jobs.tables.summaries\n"
    code += "print([m for m in ('pydantic', 'deltalake', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bin_of_scores_does_not_lose_rows_at_its_ends(job: Job) -> None:
    scores = job.read()["anomaly_score"].to_numpy()
    assert read_page(report(job)).tables["table-rows"][-1][0] == f"{np.sort(scores)[-50]:.2f}"


def test_the_table_is_left_as_it_was(job: Job) -> None:
    version = DeltaTable(str(job.target)).version()
    report(job)
    assert DeltaTable(str(job.target)).version() == version
