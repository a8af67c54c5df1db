"""One generated run over the commands, and what must hold in it: exit codes that mean something, plan's promise kept by
score, and as many scored rows as source rows."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import yaml
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from jobs.predicates.values import write_value
from tests.fuzz.tables import OddTable, make_table, more_rows
from tests.jobs.job import Outcome, invoke

MEANT = (0, 2, 3, 4, 5)
QUICK = ("--set", "train.epochs=1", "--set", "model.members=1", "--set", "train.batch_rows=64")
LITERALS = ("1", "-1", "0.5", "'a'", "''", "'2024-01-05'", "NULL", "'it\\'s'", "'${HOME}'", "99999999999999999999",
            "true", "DATE '2024-01-05'", "'nan'", "1e400")  # fmt: skip


@dataclass
class Run:
    """A run in progress: its folder, and what was said so far."""

    seed: int
    folder: Path
    engine: str
    random: Random
    table: OddTable
    said: list[str] = field(default_factory=list)
    codes: dict[str, list[int]] = field(default_factory=dict)

    @property
    def source(self) -> str:
        return str(self.folder / "source")

    @property
    def config(self) -> Path:
        return self.folder / "job.yaml"

    def call(self, *arguments: str) -> Outcome:
        """One command; what it ends with must mean something."""
        outcome = invoke(*arguments)
        said = outcome.stderr.splitlines()[-1][:600] if outcome.stderr.strip() else ""
        self.said.append(f"{shlex.join(arguments)} -> {outcome.code} {said}")
        name = " ".join(arguments[:2]) if arguments[0] == "feedback" else arguments[0]
        self.codes.setdefault(name, []).append(outcome.code)
        self.check(outcome.code in MEANT, f"exit code {outcome.code}")
        self.check("Traceback" not in outcome.stderr, "a traceback")
        return outcome

    def job(self, command: str, *arguments: str) -> Outcome:
        words = command.split()
        return self.call(*words, "--config", str(self.config), *arguments)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            story = "\n  ".join(self.said)
            types = ", ".join(f"{f.name!r}: {f.type}" for f in self.table.rows.schema)
            raise AssertionError(f"run {self.seed} on {self.engine}: {what}\n  table: {types}\n  {story}")


def run_one(seed: int, folder: Path, engine: str = "local") -> dict[str, list[int]]:
    """Generate and run; the exit codes of each command.

    Raises:
        AssertionError: with the run's story.
    """
    random = Random(seed)
    run = Run(seed, folder, engine, random, make_table(random))
    folder.mkdir(parents=True, exist_ok=True)
    with _inside(folder):
        by = [run.table.partition] if run.table.partition else None
        try:
            write_deltalake(run.source, run.table.rows, partition_by=by)
        except Exception as error:  # noqa: BLE001 - deltalake raises it bare
            run.said.append(f"no such table: {error}")  # deltalake itself refuses it
            return run.codes
        _start(run)
        _nightly(run)
        _look(run)
    return run.codes


def _start(run: Run) -> None:
    """init; then the config as it wrote it, or one made here."""
    outcome = run.call("init", run.source, "--output", str(run.config), "--engine", run.engine)
    made: dict[str, Any] = yaml.safe_load(run.config.read_text(encoding="utf-8")) if outcome.code == 0 else {}
    random, table = run.random, run.table
    if not made or random.random() < 0.5:
        made["source"] = {"table": run.source, "key": list(table.key), "partition": table.partition}
        made.pop("columns", None)
    made |= {
        "extract": {"path": str(run.folder / "extract"), "rows": 300},
        "bundle": {"path": str(run.folder / "bundle")},
        "score": {
            "table": str(run.folder / "scored"), "engine": run.engine,
            "alert_budget": random.choice((0.001, 0.1)), "explain": random.choice(("alerts", "all", "none")),
            "mode": random.choice(("replace", "replace", "merge", "append")),
            "columns": random.choice(("all", "all", "key")),
        },
    }  # fmt: skip
    text = yaml.safe_dump(made, allow_unicode=True).replace("${", "${NO_SUCH:-$}{")
    run.config.write_text(text, encoding="utf-8")


def _nightly(run: Run) -> None:
    run.job("extract", "--engine", run.engine)
    trained = run.job("train", *QUICK)
    _plan_and_score(run)
    if trained.code == 0:
        write_deltalake(run.source, more_rows(run.random, run.table), mode="append")
        _plan_and_score(run)
        _plan_and_score(run, "--where", odd_where(run.random, run.table))
        _plan_and_score(run, "--full")


def _plan_and_score(run: Run, *arguments: str) -> None:
    """What plan promises score does: the same exit code, and as many rows."""
    promised, done = run.job("plan", *arguments), run.job("score", *arguments)
    run.check(promised.code == done.code, f"plan ended with {promised.code} and score with {done.code}")
    if done.code == 0:
        run.check(
            promised.last["rows"] == done.last["rows"], f"{promised.last['rows']} planned, {done.last['rows']} done"
        )
        run.check(_count(run.source) == _count(str(run.folder / "scored")) or "--where" in arguments, "rows were lost")


def _count(table: str) -> int:
    opened = DeltaTable(table)
    return int(
        pa.table(QueryBuilder().register("t", opened).execute("SELECT count(*) AS n FROM t").read_all())["n"][0].as_py()
    )


def _look(run: Run) -> None:
    random, table = run.random, run.table
    row = table.rows.slice(random.randrange(table.rows.num_rows), 1).to_pylist()[0]
    run.job("explain", *_name(row, table.key))
    run.job("monitor")
    run.job("monitor", "--where", odd_where(random, table))
    run.job("incidents", "--all")
    page = run.folder / "page.html"
    run.job("report", "--output", str(page))
    run.job("report", "--output", str(page), "--where", odd_where(random, table))
    night = random.choice(("2024-01-03", "7", "a", "", "0001-01-01", "9999-12-31"))
    run.job("report", "--output", str(page), "--since", night, "--until", random.choice((night, "2024-01-09")))
    pending = run.job("feedback pending", "--limit", "3")
    for event in [event for event in pending.events if event["event"] == "alert"] if pending.code == 0 else []:
        flags = shlex.split(str(event["flags"]))
        if flags:
            added = run.job("feedback add", *flags, "--verdict", random.choice(("expected", "anomaly")))
            run.check(added.code == 0 and "no row" not in added.last["message"], "flags that name no row")
            run.check(run.job("explain", *flags).code in (0, 3), "flags that explain cannot read")
    run.job("feedback add", *_name(row, table.key), "--verdict", "expected")
    run.job("feedback list")
    run.job("feedback summary")
    run.job("compare", "--challenger", str(run.folder / "bundle"))
    run.job("history")


def _name(row: dict[str, Any], key: tuple[str, ...]) -> list[str]:
    flags: list[str] = []
    for name in key:
        flags += ["--null", name] if row[name] is None else ["--key", f"{name}={write_value(row[name])}"]
    return flags


def odd_where(random: Random, table: OddTable) -> str:
    """A condition that may fit, or not parse at all."""
    name = random.choice(table.rows.column_names)
    quoted = f"`{name.replace('`', '``')}`" if random.random() < 0.8 else name
    first, second = random.choice(LITERALS), random.choice(LITERALS)
    return random.choice((
        f"{quoted} = {first}", f"{quoted} <> {first}", f"{quoted} >= {first} AND {quoted} < {second}",
        f"{quoted} IS NULL", f"{quoted} IS NOT NULL", f"{quoted} IN ({first}, {second})", f"NOT ({quoted} = {first})",
        f"{quoted} LIKE '%a%'", f"{quoted} BETWEEN {first} AND {second}", f"{quoted} + 1 > {first}",
        f"length({quoted}) > 1", f"year({quoted}) = 2024", f"{quoted} IN ({', '.join(map(str, range(3_000)))})",
        " OR ".join(f"{quoted} = {n}" for n in range(random.choice((3, 2_000)))), f"{quoted}", f"nothing = {first}",
        "1 = 1", "", ";", f"{quoted} = ", f"({quoted} = {first}", f"coalesce({quoted}, {first}) = {second}",
    ))  # fmt: skip


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
