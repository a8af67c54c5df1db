"""Route `dataframe` lets no reader see what was not counted: what is wrong is found before the commit, and a write in
place is one transaction with what it read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable

import vae_model as vm
from jobs.common.errors import ConflictError
from jobs.engines import build_engine
from jobs.engines.base import Lineage
from jobs.engines.spark.dataframe import FrameRun
from jobs.engines.spark.tables import SparkTables
from jobs.scoring.plan import make_plan
from jobs.scoring.score import describe_run
from tests.jobs.job import Job, fingerprint
from tests.jobs.scoring.test_increment import OPTIONS, append, carry_out, check, new_rows, nothing, run, update
from tests.jobs.scoring.test_modes import FEED, in_mode

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@pytest.fixture
def frame_job(scored_once: Path, tmp_path: Path, spark: SparkSession) -> Job:
    """A scored table whose job takes route `dataframe`."""
    shutil.copytree(scored_once, tmp_path / "job")
    job = Job(tmp_path / "job", "spark")
    job.settings["score"]["route"] = "dataframe"
    return job


def miscount(table: Path, version: int) -> None:
    """Let the log say of each file of a commit that it has one row more."""
    path = table / "_delta_log" / f"{version:020d}.json"
    actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for add in (action["add"] for action in actions if "add" in action):
        stats = json.loads(add["stats"])
        add["stats"] = json.dumps(stats | {"numRecords": stats["numRecords"] + 1})
    path.write_text("\n".join(map(json.dumps, actions)), encoding="utf-8")


@pytest.mark.parametrize("action", ["first", "full", "append", "in_place"])
def test_a_log_that_counts_wrongly(action: str, frame_job: Job) -> None:
    if action == "append":
        append(frame_job, new_rows(frame_job, 600))
    if action == "in_place":
        in_mode(frame_job, "in_place")
    if action == "first":
        shutil.rmtree(frame_job.target)
    miscount(frame_job.source, 1 if action == "append" else 0)
    before = fingerprint(frame_job.target)
    outcome = frame_job.run("score", "--full") if action == "full" else frame_job.run("score")
    if action == "append":
        # Added files are counted by reading them; nothing rests on the log.
        assert (outcome.code, outcome.last["rows"], frame_job.read().num_rows) == (0, 30, 630)
        return
    assert outcome.code == 3 and "603 rows" in outcome.error["expected"], outcome.stderr
    assert "600 rows" in outcome.error["found"]
    assert fingerprint(frame_job.target) == before, "no commit that a reader could see"


@pytest.mark.parametrize("action", ["full", "append", "merge"])
def test_a_function_that_loses_rows_fails_the_write(action: str, frame_job: Job) -> None:
    """What the count before a write rests on: Spark takes no batch with another number of rows."""
    if action == "merge":
        DeltaTable(str(frame_job.source)).alter.set_table_properties(FEED)
        in_mode(frame_job, "merge")
        assert frame_job.run("score").code == 0
        update(frame_job, "order_id < 5", {"price": "price + 1"})
    if action == "append":
        append(frame_job, new_rows(frame_job, 600))
    config, bundle = frame_job.config(), vm.load(frame_job.bundle)
    plan = make_plan(config, build_engine(config), bundle, full=action == "full")
    assert plan.action == ("replace" if action == "full" else action)
    before = fingerprint(frame_job.target)
    with pytest.raises(Exception, match="(?i)result (vector|length)|length"):
        _Losing(SparkTables(_session()), plan).score(bundle, OPTIONS, describe_run(config, plan, bundle, OPTIONS))
    assert fingerprint(frame_job.target) == before


class _Losing(FrameRun):
    """A run whose rows pass through a function that returns one row less than it gets."""

    def _rows(self) -> DataFrame:
        from pyspark.sql import functions as F
        from pyspark.sql.functions import arrow_udf

        @arrow_udf("double")  # type: ignore[untyped-decorator, call-overload]
        def lose(values: pa.Array) -> pa.Array:
            return values.slice(1)

        return super()._rows().withColumn("price", lose(F.col("price")))


def _session() -> SparkSession:
    from pyspark.sql import SparkSession

    return SparkSession.active()


@pytest.mark.parametrize("again", [False, True])
def test_a_writer_that_comes_while_a_run_in_place_writes(again: bool, frame_job: Job) -> None:
    """Its rows come when the run has checked and planned everything: none is lost, all are scored in the end."""
    in_mode(frame_job, "in_place")
    if again:
        run(frame_job)
        append(frame_job, new_rows(frame_job, 600))
    config, bundle = frame_job.config(), vm.load(frame_job.bundle)
    plan = make_plan(config, build_engine(config), bundle)
    late = new_rows(frame_job, 700)

    class Late(FrameRun):
        def _write(self, scored: DataFrame, lineage: Lineage) -> None:
            append(frame_job, late)
            super()._write(scored, lineage)

    Late(SparkTables(_session()), plan).score(bundle, OPTIONS, describe_run(config, plan, bundle, OPTIONS))
    assert frame_job.read().num_rows == 600 + 30 + 30 * again
    assert frame_job.run("score").code == 0
    check(frame_job)
    nothing(frame_job)


def test_a_writer_that_came_before_a_run_in_place_writes(frame_job: Job) -> None:
    in_mode(frame_job, "in_place")
    config = frame_job.config()
    plan = make_plan(config, build_engine(config), vm.load(frame_job.bundle))
    append(frame_job, new_rows(frame_job, 600))
    before = fingerprint(frame_job.source)
    with pytest.raises(ConflictError, match="changed since the plan"):
        carry_out(frame_job, plan)
    assert fingerprint(frame_job.source) == before
    run(frame_job)
