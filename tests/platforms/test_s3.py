"""Both engines on a store that speaks S3: README's commands, races, and a store that refuses or does not answer. The
credentials come from the environment alone, and nothing says them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.common.config import Config
from jobs.common.errors import ConflictError
from jobs.engines.base import ScoreResult
from jobs.engines.local import LocalEngine
from jobs.scoring.plan import make_plan
from tests.documents import read_blocks
from tests.engines.workbench import AT, ENGINES
from tests.platforms.conftest import CONFIG, HTTP, KEYS, SECRET
from tests.platforms.servers import BASH, COMMAND_S, HOST, find_port, run, user_environment
from tests.platforms.tables import check_scores
from vae_model import ScoringOptions

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")
# A store that refuses or does not answer is said within that.
PATIENCE_S = 240


@pytest.fixture(scope="module")
def lake(clone: Path, store: dict[str, str], orders: pa.Table) -> Path:
    """A clone whose config names the table of orders in the store."""
    write_deltalake("s3://lake/orders", orders, partition_by=["day"], storage_options=store | HTTP)
    config = CONFIG.format(source="s3://lake/orders", target="s3://lake/orders_scored")
    (clone / "data" / "orders.yaml").write_text(config, encoding="utf-8")
    return clone


def score(target: str, *more: str, engine: str = "local") -> list[str]:
    job = ["--config", "data/orders.yaml", "--set", f"score.table=s3://lake/{target}", *more]
    return ["sandtimer", "score", "--engine", engine, *job]


def open_table(name: str, store: dict[str, str]) -> DeltaTable:
    return DeltaTable(f"s3://lake/{name}", storage_options=store | HTTP)


def test_readme_runs_on_both_engines(lake, store, root, orders, orders_bundle):
    [block] = read_blocks(root / "README.md", "object store")
    said = run([*BASH, block.code], lake, **store)
    assert "on the local engine" in said and "on the spark engine, route files" in said
    table = open_table("orders_scored", store)
    assert table.version() == 1
    check_scores(table, orders, orders_bundle)
    history = run(["sandtimer", "history", "--config", "data/orders.yaml"], lake, **store)
    log = "".join(str(entry) for entry in table.history())
    kept = "".join(path.read_text(errors="replace") for path in (lake / "data" / "orders_bundle").iterdir())
    for place in (said, history, log, kept):
        assert SECRET not in place and KEYS["AWS_ACCESS_KEY_ID"] not in place


def test_under_spark_submit_the_jars_for_it_come_by_themselves(lake, store, orders, orders_bundle):
    submit = ["spark-submit", "--master", "local[2]", "--conf", "spark.ui.enabled=false", "jobs/score.py"]
    said = run([*submit, *score("by_spark", "--set", "score.route=dataframe", engine="spark")[2:]], lake, **store)
    assert "on the spark engine, route dataframe" in said and SECRET not in said
    check_scores(open_table("by_spark", store), orders, orders_bundle)


def test_storage_options_win_over_the_environment(lake, store, orders, orders_bundle):
    options = [f"--set=source.storage_options.{key}={value}" for key, value in store.items()]
    elsewhere = store | {"AWS_ENDPOINT_URL": f"http://{HOST}:{find_port()}", "AWS_ACCESS_KEY_ID": "another"}
    run(score("by_options", *options), lake, **elsewhere)
    check_scores(open_table("by_options", store), orders, orders_bundle)


def plan_runs(bundle: Path, target: str, days: Sequence[str]) -> list[Callable[[], ScoreResult]]:
    """Runs over days that are planned now and carried out when they are called."""
    sections = yaml.safe_load(CONFIG.format(source="s3://lake/orders", target=f"s3://lake/{target}"))
    config = Config.model_validate(sections | {"bundle": {"path": str(bundle)}})
    engine, loaded = LocalEngine(), vm.load(bundle)
    options = ScoringOptions(config.score.alert_budget, "all", None, AT)
    plans = [make_plan(config, engine, loaded, f"day = '{day}'") for day in days]
    return [
        partial(engine.score, plan, loaded, options, {"app": "sandtimer", "run_id": str(number)}, lambda steps: None)
        for number, plan in enumerate(plans)
    ]


def test_of_two_runs_over_one_day_one_wins(lake, store, orders, orders_bundle, monkeypatch):
    run(score("raced"), lake, **store)
    for key, value in store.items():
        monkeypatch.setenv(key, value)
    first, second = plan_runs(orders_bundle, "raced", [DAYS[0], DAYS[0]])
    second()
    with pytest.raises(ConflictError, match="changed the rows that this run replaces"):
        first()
    one, other = plan_runs(orders_bundle, "raced", DAYS[1:])
    other(), one()
    table = open_table("raced", store)
    assert table.version() == 3
    check_scores(table, orders, orders_bundle)


def test_runs_at_once_leave_every_row_once(lake, store, orders, orders_bundle):
    run(score("at_once"), lake, **store)
    environment = user_environment(lake, **store)
    where = [f"day = '{day}'" for day in (DAYS[0], DAYS[0], DAYS[1])]
    commands = [score("at_once", "--where", condition) for condition in where]
    commands.append(score("at_once", "--where", f"day = '{DAYS[2]}'", engine="spark"))
    jobs = [subprocess.Popen(command, cwd=lake, env=environment) for command in commands]
    codes = [job.wait(COMMAND_S) for job in jobs]
    assert set(codes[:2]) <= {0, 4} and 0 in codes[:2]
    assert codes[2:] == [0, 0]
    check_scores(open_table("at_once", store), orders, orders_bundle)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bucket_that_is_not_there_is_said(lake, store, engine):
    said = fail(lake, engine, "--set=source.table=s3://no-such-lake/orders", **store)
    assert "s3://no-such-lake/orders" in said and "NoSuchBucket" in said


@pytest.mark.parametrize("engine", ENGINES)
def test_a_store_that_does_not_answer_is_said_soon(lake, store, engine):
    said = fail(lake, engine, **store | {"AWS_ENDPOINT_URL": f"http://{HOST}:{find_port()}"})
    assert "s3://lake/orders" in said and "refused" in said


@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_credentials_are_said_without_them(lake, store, engine):
    set_unchecked_requests(store, 0)
    try:
        said = fail(lake, engine, **store)
    finally:
        set_unchecked_requests(store, sys.maxsize)
    assert "s3://lake/orders" in said and re.search("InvalidAccessKeyId|Status Code: 403", said)


def fail(lake: Path, engine: str, *more: str, **environment: str) -> str:
    """The sentence that a run ends with, which is soon."""
    began = time.monotonic()
    said = run(score("never", *more, engine=engine), lake, code=3, **environment)
    assert time.monotonic() - began < PATIENCE_S
    assert SECRET not in said and "Traceback" not in said
    return str(json.loads(said.splitlines()[-1])["message"])


def set_unchecked_requests(store: dict[str, str], number: int) -> None:
    """So many requests pass with any credentials; after them the server knows those alone that it gave out, and that is
    none."""
    url = store["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth"
    request = urllib.request.Request(url, str(number).encode(), {"Content-Type": "text/plain"}, method="POST")
    urllib.request.urlopen(request, timeout=COMMAND_S).close()
