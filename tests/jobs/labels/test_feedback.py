"""Verdicts: given once however often, alerts that they hush, rows that they keep out of training, and what they say of
the alert budget."""

from __future__ import annotations

import shlex
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder

from jobs.common.config import Config
from jobs.common.statistics import wilson_interval
from jobs.engines.local import LocalEngine
from jobs.labels.precision import suggest_budget
from jobs.labels.verdicts import Verdicts, read_verdicts
from jobs.tables.refs import source_ref
from tests.jobs.job import Job, Outcome, invoke

NIGHT = "2024-01-02"


def feedback(job: Job, *arguments: str) -> Outcome:
    job.write_config()
    return invoke("feedback", arguments[0], "--config", str(job.config_file), *arguments[1:])


def table_of(job: Job) -> Path:
    return job.target.with_name("scored_feedback")


def entries(job: Job) -> list[dict[str, Any]]:
    return list(DeltaTable(str(table_of(job))).to_pyarrow_table().sort_by("recorded_at").to_pylist())


def verdicts(job: Job) -> Verdicts:
    config, engine = Config.model_validate(job.settings), LocalEngine()
    found = read_verdicts(config, engine, engine.describe(source_ref(config)))
    assert found is not None
    return found


@pytest.fixture
def loud(job: Job) -> Job:
    """A job with some sixty alerts."""
    assert job.run("score", "--full", "--set", "score.alert_budget=0.1").code == 0
    return job


def test_the_same_verdict_again_is_no_other(any_job: Job) -> None:
    arguments = ("add", "--key", "order_id=42", "--verdict", "expected", "--until", "2030-01-01", "--note", "known")
    for attempt in range(2):
        outcome = feedback(any_job, *arguments)
        assert outcome.code == 0, outcome.stderr
        assert (outcome.last["written"], outcome.last["version"]) == (1 - attempt, 0)
    assert "nothing to do" in outcome.last["message"]
    outcome = feedback(any_job, "add", "--key", "order_id=42", "--verdict", "anomaly", "--by", "ann")
    assert outcome.last["version"] == 1, outcome.stderr
    assert feedback(any_job, "add", "--key", "order_id=43", "--verdict", "expected").last["version"] == 2
    found = {entry["order_id"]: entry for entry in entries(any_job)}
    assert {key: entry["verdict"] for key, entry in found.items()} == {42: "anomaly", 43: "expected"}
    assert (found[42]["recorded_by"], found[42]["until"], found[42]["note"]) == ("ann", None, None)
    assert feedback(any_job, "list").last["verdicts"] == 2


def test_each_engine_reads_what_the_other_wrote(job: Job, spark: object) -> None:
    for number, engine in enumerate(("local", "spark", "local")):
        outcome = feedback(job, "add", "--key", "order_id=1", "--verdict", "expected", "--note", str(number),
                           "--engine", engine)  # fmt: skip
        assert outcome.code == 0, outcome.stderr
    assert [(entry["order_id"], entry["note"]) for entry in entries(job)] == [(1, "2")]


def test_what_is_expected_is_no_alert_and_keeps_its_score(loud: Job) -> None:
    before = loud.read()
    alerts = before.filter(pc.field("is_anomaly"))
    first, second = alerts["order_id"].to_pylist()[:2]
    for key, until in ((first, "2024-06-01"), (second, "2024-05-01")):
        feedback(loud, "add", "--key", f"order_id={key}", "--verdict", "expected", "--until", until)
    left = verdicts(loud).without_expected(alerts, on=date(2024, 6, 1))
    assert left.num_rows == alerts.num_rows - 1 and first not in left["order_id"].to_pylist()
    assert loud.read().equals(before)


def test_the_documented_sql_finds_the_same_alerts(loud: Job, root: Path) -> None:
    alerts = loud.read().filter(pc.field("is_anomaly"))
    keys = alerts["order_id"].to_pylist()
    feedback(loud, "add", "--key", f"order_id={keys[0]}", "--verdict", "expected")
    feedback(loud, "add", "--key", f"order_id={keys[1]}", "--verdict", "anomaly")
    feedback(loud, "add", "--from", NIGHT, "--to", NIGHT, "--verdict", "expected")
    feedback(loud, "add", "--key", f"order_id={keys[-1]}", "--verdict", "expected", "--until", "2024-01-01")
    text = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    query = next(block for block in text.split("```sql\n")[1:] if "NOT EXISTS" in block).split("```")[0]
    query = query.replace("delta.`data/orders_scored`", "scored").replace(
        "delta.`data/orders_scored_feedback`", "verdicts"
    )
    tables = QueryBuilder().register("scored", DeltaTable(str(loud.target)))
    tables = tables.register("verdicts", DeltaTable(str(table_of(loud))))
    found = pa.table(tables.execute(query).read_all())
    expected = verdicts(loud).without_expected(alerts)
    assert sorted(found["order_id"].to_pylist()) == sorted(expected["order_id"].to_pylist())
    assert 0 < found.num_rows < alerts.num_rows - 1


def test_bad_rows_and_nights_teach_nothing(any_job: Job) -> None:
    feedback(any_job, "add", "--key", "order_id=42", "--verdict", "anomaly")
    feedback(any_job, "add", "--key", "order_id=44", "--verdict", "anomaly", "--until", "2024-01-01")
    feedback(any_job, "add", "--key", "order_id=45", "--verdict", "expected")
    feedback(any_job, "add", "--from", NIGHT, "--to", NIGHT, "--verdict", "anomaly")
    outcome = any_job.run("extract")
    assert outcome.code == 0, outcome.stderr
    assert (outcome.last["rows"], outcome.last["bad_rows"]) == (399, 201)
    rows = pq.read_table(any_job.settings["extract"]["path"])
    assert date(2024, 1, 2) not in rows["day"].to_pylist()
    assert {44, 45} <= set(rows["order_id"].to_pylist()) and 42 not in rows["order_id"].to_pylist()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_of_verdicts(kind: str, job: Job) -> None:
    file = job.folder / f"verdicts.{kind}"
    if kind == "csv":
        file.write_text('order_id,verdict,until,note\n1,expected,2030-01-01,"a, b"\n2,anomaly,,\n2,anomaly,,last\n')
    else:
        pq.write_table(
            pa.table({"order_id": pa.array([1, 2, 2], pa.int32()), "verdict": ["expected", "anomaly", "anomaly"],
                      "until": [date(2030, 1, 1), None, None], "note": ["a, b", None, "last"]}),
            file,
        )  # fmt: skip
    for attempt in range(2):
        outcome = feedback(job, "import", str(file))
        assert outcome.code == 0, outcome.stderr
        assert outcome.last["written"] == (0 if attempt else 2)
    assert DeltaTable(str(table_of(job))).version() == 0
    found = [(e["order_id"], e["verdict"], e["until"], e["note"]) for e in entries(job)]
    assert sorted(found) == [(1, "expected", date(2030, 1, 1), "a, b"), (2, "anomaly", None, "last")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("order_id,verdict\n1,expceted\n", 3),
        ("order_id,verdict\none,expected\n", 2),
        ("oder_id,verdict\n1,expected\n", 3),
        ("order_id,verdict\n,expected\n", 2),
        ("order_id,verdict\n", 3),
        ("order_id\n1\n", 3),
        ("order_id,verdict,until\n1,expected,soon\n", 2),
        ("", 3),
    ],
)
def test_a_file_with_one_bad_verdict_writes_none(text: str, code: int, job: Job) -> None:
    (job.folder / "bad.csv").write_text(text, encoding="utf-8")
    outcome = feedback(job, "import", str(job.folder / "bad.csv"))
    assert outcome.code == code, outcome.stderr
    assert not table_of(job).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--verdict", "expected"],
        ["--verdict", "expected", "--key", "order_id"],
        ["--verdict", "expected", "--key", "order_id=one"],
        ["--verdict", "expected", "--key", "shop=oslo"],
        ["--verdict", "expected", "--from", "soon"],
        ["--verdict", "fine", "--key", "order_id=1"],
        ["--key", "order_id=1"],
    ],
)
def test_what_is_no_verdict(arguments: list[str], job: Job) -> None:
    outcome = feedback(job, "add", *arguments)
    assert outcome.code in (2, 3) and "Traceback" not in outcome.stderr
    assert not table_of(job).exists()


def test_a_verdict_on_a_row_that_is_not_there_is_said(job: Job) -> None:
    assert "no row" not in feedback(job, "add", "--key", "order_id=1", "--verdict", "expected").last["message"]
    assert "no row" in feedback(job, "add", "--key", "order_id=6000", "--verdict", "expected").last["message"]


def test_precision_and_the_budget_that_the_labels_suggest(loud: Job) -> None:
    settings = ("--set", "feedback.precision=0.8", "--set", "score.alert_budget=0.1")
    assert feedback(loud, "summary", *settings).last["precision"] is None
    alerts = loud.read().filter(pc.field("is_anomaly")).sort_by("anomaly_p_value")
    keys, p = alerts["order_id"].to_pylist(), alerts["anomaly_p_value"].to_pylist()
    lines = [f"{key},{'anomaly' if i < 8 else 'expected'}" for i, key in enumerate(keys[:16])]
    (loud.folder / "v.csv").write_text("\n".join(["order_id,verdict", *lines, ""]), encoding="utf-8")
    feedback(loud, "import", str(loud.folder / "v.csv"))
    last = feedback(loud, "summary", *settings).last
    assert last["precision"] == 0.5 and last["interval"] == pytest.approx([0.280, 0.720], abs=1e-3)
    # Ten labels keep 8 of 10; the eleventh does not.
    assert p[9] <= last["suggested_budget"] * 1.05 and last["suggested_budget"] <= p[10] * 1.05
    pending = feedback(loud, "pending", "--limit", "3")
    assert pending.last["pending"] == len(keys) - 16
    flags = shlex.split(pending.events[0]["flags"])
    assert feedback(loud, "add", *flags, "--verdict", "expected").code == 0
    assert feedback(loud, "pending").last["pending"] == len(keys) - 17


def test_the_interval_is_wilsons() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 and 0 of 20, method 3.
    assert wilson_interval(81, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20)[1:] == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_budgets_lie_between_two_rows() -> None:
    labels = [(10.0**-i, i > 5) for i in range(1, 13)]
    assert suggest_budget(labels[:9], 0.5, 0.001) is None
    assert suggest_budget(labels, 1.0, 0.001) == pytest.approx(10**-5.5, rel=0.05)
    assert suggest_budget(labels, 0.5, 0.001) == pytest.approx(0.1)
    assert suggest_budget([(p, False) for p, _ in labels], 0.5, 0.001) is None
    assert suggest_budget([(0.5, True)] * 6 + [(0.5, False)] * 6, 0.9, 0.001) is None
