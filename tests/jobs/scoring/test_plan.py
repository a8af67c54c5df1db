"""The plan: its numbers are right, and making it changes nothing."""

from __future__ import annotations

import shutil
from typing import Any

from deltalake import DeltaTable

from tests.jobs.job import Job, all_files

NIGHT = "day = '2024-01-02'"


def plan(job: Job, *arguments: str) -> dict[str, Any]:
    """The plan's table, after a check that it changed nothing."""
    job.write_config()
    before = all_files(job.folder)
    outcome = job.run("plan", *arguments)
    assert outcome.code == 0, outcome.stderr
    assert all_files(job.folder) == before
    assert "nothing was changed" in outcome.last["message"]
    return {event["what"]: event["value"] for event in outcome.events if event["event"] == "plan"}


def test_the_first_run(any_job: Job) -> None:
    shutil.rmtree(any_job.target)
    found = plan(any_job)
    assert found["rows to score"] == 600
    assert found["target rows to replace"] == 0
    assert found["target"].endswith("(not there yet)")
    assert found["where"] == "all rows"
    assert found["engine"] == any_job.engine
    assert not any_job.target.exists()


def test_one_night_again(any_job: Job) -> None:
    found = plan(any_job, "--where", NIGHT)
    assert (found["rows to score"], found["target rows to replace"]) == (200, 200)
    assert found["target"].endswith("(version 0)")
    if any_job.engine == "local":
        assert (found["source files to read"], found["source files to skip"]) == (1, 2)
        assert (found["target files to replace"], found["target files to keep"]) == (1, 2)


def test_the_standing_condition_narrows_what_is_read_alone(any_job: Job) -> None:
    any_job.settings["source"]["where"] = "shop = 'oslo'"
    shops = DeltaTable(str(any_job.source)).to_pyarrow_table(columns=["shop"])["shop"].to_pylist()
    found = plan(any_job)
    assert found["rows to score"] == shops.count("oslo")
    assert found["target rows to replace"] == 600


def test_rows_across_partitions(any_job: Job) -> None:
    prices = DeltaTable(str(any_job.source)).to_pyarrow_table(columns=["price"])["price"].to_pylist()
    wanted = sum(price > 30 for price in prices)
    found = plan(any_job, "--where", "price > 30")
    assert (found["rows to score"], found["target rows to replace"]) == (wanted, wanted)


def test_nothing_to_do(any_job: Job) -> None:
    any_job.write_config()
    outcome = any_job.run("plan", "--where", "day = '1999-01-01'")
    assert outcome.code == 0
    assert outcome.last["message"] == (
        f"nothing to do: {any_job.source}: version 0 has no rows where day = '1999-01-01'; nothing was changed"
    )
    assert outcome.last["rows"] == 0


def test_the_local_engine_has_no_route_dataframe(job: Job) -> None:
    outcome = job.run("plan", "--set", "score.route=dataframe")
    assert outcome.code == 2
    assert "score.route" in outcome.error["expected"] and "--engine spark" in outcome.error["remedy"]


def test_spark_takes_files_where_it_can(job: Job, spark: object) -> None:
    job.settings["score"]["engine"] = "spark"
    assert plan(job, "--full")["route"].startswith("files: executors read and write")
    job.settings["score"]["route"] = "dataframe"
    assert plan(job, "--full")["route"].startswith("dataframe: as asked")


def test_a_run_that_route_files_cannot_do(job: Job, spark: Any) -> None:
    job.settings["score"]["engine"] = "spark"
    spark.sql(f"ALTER TABLE delta.`{job.target}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = true)")
    route = plan(job, "--full")["route"]
    assert route.startswith("dataframe: ") and "deletionVectors" in route
    outcome = job.run("plan", "--full", "--set", "score.route=files")
    assert outcome.code == 2 and "deletionVectors" in outcome.error["found"]


def test_key_columns_alone(job: Job) -> None:
    job.settings["score"]["columns"] = "key"
    outcome = job.run("plan", "--where", "shop = 'oslo'")
    assert outcome.code == 2
    assert "score.columns" in outcome.error["found"]
    outcome = job.run("plan", "--where", NIGHT)
    assert outcome.code == 0, "the columns that are left out are NULL in that night's rows"
