"""Nights of real flights: a source table that lives (new, late, corrected and deleted rows, compaction, backfills), a
model that changes once, runs that are killed or overlap; and the oracle that the scored table must equal at the end.

`make test-nights` runs sixty nights of each kind; test_nights runs a few.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from deltalake import DeltaTable, WriterProperties, write_deltalake

import vae_model as vm
from jobs.common.config import Config
from jobs.common.errors import exit_code
from jobs.engines import build_engine
from jobs.engines.base import Engine
from jobs.scoring.score import score
from tests.nights.children import CHILDREN, run_child, spark_settings
from tests.nights.course import LATE_SHARE, Course, Quiet, Tally, Verdict
from tests.nights.source import CODE, DAY, KEY
from vae_model import SCORE_COLUMNS

ROOT = Path(__file__).parents[2]
IGNORED = (KEY, CODE, DAY, "flight", "tailnum", "tail", "year")


class Simulation:
    """One course in one folder."""

    def __init__(self, course: Course, folder: Path, flights: pa.Table, say: Callable[[str], None]) -> None:
        self.course, self._say, self._flights = course, say, flights
        self._random = random.Random(course.seed)
        self._late: dict[int, list[pa.Table]] = {}
        self._shapes: list[str] = []
        self._reshaping = {course.nights // 3: "widened", course.nights * 2 // 3: "renamed"}
        self.tally = Tally()
        self._folder = folder
        self.source = folder / "source"
        self.target = self.source if course.mode == "in_place" else folder / "scored"
        self._settings = {
            "source": {"table": str(self.source), "key": [course.key], "partition": DAY},
            "extract": {"path": str(folder / "extract")},
            "bundle": {"path": str(folder / "bundle")},
            "score": {"table": str(self.target), "mode": course.mode, "engine": course.engine, "explain": "none"},
            "spark": {"master": "local[2]", "conf": spark_settings()},
        }
        self._config_file = folder / "job.yaml"
        self._config_file.write_text(yaml.safe_dump(self._settings), encoding="utf-8")
        self.config = Config.model_validate(self._settings)
        self._engine = build_engine(self.config)
        self._bundles: dict[str, vm.Bundle] = {}
        self._typical_s = 1.0

    def run(self) -> Verdict:
        """All nights, then the oracle."""
        self._train(seed=0)
        for night in range(self.course.nights):
            started, self.tally.events = time.monotonic(), []
            self._change_source(night)
            self._score(night)
            what = ", ".join(self.tally.events)
            self._say(f"{self.course.name}: night {night + 1:2}: {what} ({time.monotonic() - started:.1f} s)")
        verdict = self.judge()
        self._say(
            f"{self.course.name}: {self.course.nights} nights, {verdict.rows:,} rows, {self.tally.kills} kills,"
            f" {self.tally.overlaps} overlaps, {verdict.models} models: {verdict.lost} lost,"
            f" {verdict.duplicated} duplicated, {verdict.stale} stale, {verdict.misnamed} columns under a wrong name"
        )
        return verdict

    def judge(self) -> Verdict:
        """Compare the scored table with the source, scored in one go by the models that its rows name."""
        source = DeltaTable(str(self.source)).to_pyarrow_table()
        source = source.drop_columns([name for name in SCORE_COLUMNS if name in source.column_names]).sort_by(KEY)
        scored = DeltaTable(str(self.target)).to_pyarrow_table().sort_by(KEY)
        wanted, found = source[KEY].to_numpy(), scored[KEY].to_numpy()
        lost = len(np.setdiff1d(wanted, found)) + len(np.setdiff1d(found, wanted))
        duplicated = len(found) - len(np.unique(found))
        if lost or duplicated:
            return Verdict(len(found), lost, duplicated, -1, 0)
        misnamed = len({*scored.column_names} ^ {*source.column_names, *SCORE_COLUMNS})
        if misnamed:
            return Verdict(len(found), lost, duplicated, -1, 0, misnamed)
        stale = np.zeros(len(found), np.bool_)
        for name in source.column_names:
            stale |= ~_same(source[name], scored[name])
        models = scored["model_id"].unique().to_pylist()
        for model_id in models:
            mine = np.flatnonzero(pc.equal(scored["model_id"], model_id).to_numpy(zero_copy_only=False))
            if model_id not in self._bundles:
                stale[mine] = True
                continue
            oracle = vm.score(source.take(mine), self._bundles[model_id], explain="none")
            for name in ("anomaly_score", "reconstruction_nll", "reconstruction_error"):
                stale[mine] |= ~np.isclose(oracle[name].to_numpy(), scored[name].take(mine).to_numpy(), 1e-5, 1e-9)
        stale |= pc.is_null(scored["model_id"]).to_numpy(zero_copy_only=False)
        return Verdict(len(found), lost, duplicated, int(stale.sum()), len(models))

    def _train(self, seed: int) -> None:
        rows = self._flights.slice(0, 5_000)
        bundle = vm.fit(rows, vm.ColumnOptions(ignore=IGNORED), seed=seed, epochs=1, members=1)
        bundle.save(self._folder / "bundle")
        self._bundles[bundle.model_id] = bundle

    def _change_source(self, night: int) -> None:
        chance = self._random
        fresh = self._arrivals(night)
        if night == 0:
            feed = {"delta.enableChangeDataFeed": str(self.course.mode == "merge").lower()}
            write_deltalake(str(self.source), self._shape(fresh), partition_by=[DAY], configuration=feed)
        else:
            write_deltalake(str(self.source), self._shape(fresh), mode="append", schema_mode="merge")
        self._did(f"{fresh.num_rows:,} new")
        table = DeltaTable(str(self.source))
        if night % 3 == 1:
            day = self._past_day(night)
            kept, corrected = chance.randrange(7), {"dep_delay": "dep_delay + 7", "carrier": "'UA'"}
            done = table.update(predicate=f"{DAY} = '{day}' AND {KEY} % 7 = {kept}", updates=corrected)
            self._did(f"{done['num_updated_rows']} corrected")
        if night % 4 == 2:
            day = self._past_day(night)
            done = table.delete(f"{DAY} = '{day}' AND {KEY} % 11 = {chance.randrange(11)}")
            self._did(f"{done['num_deleted_rows']} deleted")
        if night % 7 == 5:
            table.optimize.compact(writer_properties=WriterProperties(max_row_group_size=10**9))
            self._did("compacted")
        if self.course.mode != "in_place" and night in self._reshaping:
            self._reshape(self._reshaping[night])
        if night == self.course.nights // 2:
            self._train(seed=1)
            self._did("new model")

    def _reshape(self, what: str) -> None:
        """From now on a column is wider, or has another name: of the rows that are there as well."""
        self._shapes.append(what)
        rows = DeltaTable(str(self.source)).to_pyarrow_table()
        write_deltalake(
            str(self.source), self._shape(rows), mode="overwrite", schema_mode="overwrite", partition_by=[DAY]
        )
        self._did(what)

    def _shape(self, rows: pa.Table) -> pa.Table:
        dtype = pa.int64() if "widened" in self._shapes else pa.int32()
        rows = rows.set_column(rows.column_names.index("year"), "year", rows["year"].cast(dtype))
        new = {"tailnum": "tail"} if "renamed" in self._shapes else {}
        return rows.rename_columns([new.get(name, name) for name in rows.column_names])

    def _arrivals(self, night: int) -> pa.Table:
        """The night's flights without those that come later, and those that are late."""
        days = self._flights[DAY].unique().sort()[night * self.course.days : (night + 1) * self.course.days]
        rows = self._flights.filter(pc.is_in(self._flights[DAY], days))
        draw = np.random.default_rng([self.course.seed, night]).random(rows.num_rows)
        late = rows.filter(pa.array(draw < LATE_SHARE))
        self._late.setdefault(night + self._random.randint(1, 4), []).append(late)
        arrived = self._late.pop(night, [])
        if arrived:
            self._did(f"{sum(table.num_rows for table in arrived)} late")
        return pa.concat_tables([rows.filter(pa.array(draw >= LATE_SHARE)), *arrived])

    def _past_day(self, night: int) -> str:
        days = self._flights[DAY].unique().sort()
        return str(days[self._random.randrange((night + 1) * self.course.days)])

    def _score(self, night: int) -> None:
        if night % 9 == 4:
            self._backfill(night)
        if night and night % self.course.kill_every == 0:
            for _ in range(self.course.kills):
                self._kill()
        if night % 5 == 3:
            self._overlap()
        self._did(f"{self._once():,} scored")
        assert self._once() == 0, "a rerun has nothing to do"

    def _backfill(self, night: int) -> None:
        """A past day again; refused while the other rows still stand under the names or types of before."""
        try:
            self._once(where=f"{DAY} = '{self._past_day(night)}'")
            self._did("backfilled")
        except vm.DataError:
            assert night in self._reshaping
            self._did("backfill refused")

    def _once(self, where: str | None = None, engine: Engine | None = None) -> int:
        started = time.monotonic()
        result = score(self.config, engine or self._engine, Quiet(), where)
        if result:
            self._typical_s = time.monotonic() - started
            self.tally.rows_scored += result.rows
        return result.rows if result else 0

    def _kill(self) -> None:
        """Start a run in a process of its own, and kill it at a random moment."""
        before = DeltaTable(str(self.target)).version()
        self.tally.kill_attempts += 1
        killed = self._kill_spark() if self.course.engine == "spark" else self._kill_local()
        self.tally.kills += killed
        after = DeltaTable(str(self.target)).version()
        self._did(f"{'killed' if killed else 'too late to kill'}{' after the commit' if after > before else ''}")

    def _kill_local(self) -> bool:
        ready = CHILDREN.Event()
        child = CHILDREN.Process(target=run_child, args=(str(self._config_file), ready))
        child.start()
        ready.wait(60)
        time.sleep(self._random.uniform(0, 1.1) * self._typical_s)
        child.kill()
        child.join()
        return child.exitcode == -signal.SIGKILL

    def _kill_spark(self) -> bool:
        """The whole group dies: Python, the JVM and its workers."""
        command = [sys.executable, "-m", "jobs.score", "--config", str(self._config_file)]
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert child.stdout is not None
        line = child.stdout.readline()
        if line and json.loads(line)["event"] == "scoring":
            time.sleep(self._random.uniform(0, 5))
        is_running = child.poll() is None
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return is_running and child.returncode == -signal.SIGKILL

    def _overlap(self) -> None:
        """Two runs at once: both end well, or one of them loses the race."""
        if self.course.engine == "spark":
            codes = self._overlap_spark()
        else:
            ready = CHILDREN.Event()
            both = [CHILDREN.Process(target=run_child, args=(str(self._config_file), ready)) for _ in range(2)]
            for child in both:
                child.start()
            for child in both:
                child.join()
            codes = [child.exitcode for child in both]
        assert set(codes) <= {0, 4} and 0 in codes, codes
        self.tally.overlaps += 1
        self._did("two at once")

    def _overlap_spark(self) -> list[int | None]:
        from pyspark.sql import SparkSession

        from jobs.engines.spark.engine import SparkEngine

        session = SparkSession.active()

        def attempt(engine: SparkEngine) -> int:
            try:
                self._once(engine=engine)
            except Exception as error:  # noqa: BLE001  what the command line would end with
                return exit_code(error)
            return 0

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(attempt, [SparkEngine(session.newSession()) for _ in range(2)]))

    def _did(self, what: str) -> None:
        self.tally.events.append(what)


def simulate(course: Course, flights: pa.Table, say: Callable[[str], None] = print) -> tuple[Verdict, Tally]:
    """One course in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nights") as folder:
        simulation = Simulation(course, Path(folder), flights, say)
        return simulation.run(), simulation.tally


def _same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    right = right.cast(left.type)
    equal = pc.fill_null(pc.equal(left, right), False)
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return np.asarray(pc.or_(equal, both_null).to_numpy(), np.bool_)
