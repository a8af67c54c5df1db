"""Hundreds of malformed inputs: each ends in exit code 2 or 3 with a sentence, without a traceback, and with the scored
table as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.jobs.job import Job, Outcome, fingerprint, invoke

USAGE, DATA = 2, 3
FUZZ = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def shared(scored_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One job for all cases: none may change its tables."""
    folder = tmp_path_factory.mktemp("malformed") / "job"
    shutil.copytree(scored_once, folder)
    return Job(folder)


def check_refused(job: Job, outcome: Outcome, before: dict[str, str], codes: tuple[int, ...] = (USAGE, DATA)) -> None:
    assert outcome.code in codes, outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert outcome.stderr.strip(), "no message"
    if outcome.stderr.lstrip().startswith("{"):
        assert all(outcome.error[part] for part in ("expected", "found", "remedy")), outcome.stderr
    assert fingerprint(job.target) == before


def run_tree(job: Job, tree: object) -> None:
    before = fingerprint(job.target)
    job.config_file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    check_refused(job, invoke("score", "--config", str(job.config_file), "--full"), before)


# A value that fits no key of that kind.
WRONG: dict[str, tuple[Any, ...]] = {
    "source": (None, 1, "x", [], [1], True, {"table": None}, {"table": []}, {"tables": "x"}),
    "source.table": (None, 1, 1.5, True, [], {}, "", "/nonexistent/x", "\0", "a\0b", "s3a", "."),
    "source.key": ("order_id", 1, {"a": 1}, [1], [None], [["order_id"]], ["nope"], [""]),
    "source.partition": (1, [], {}, True, "nope"),
    "source.where": (1, [], "(", "day", "1", "nope = 1", "price = ", "price + 1", "''"),
    "source.storage_options": (1, "x", [], {"a": []}, {"a": None}),
    "extract.path": (None, 1, [], {}, "\0"),
    "extract.rows": (0, -1, "x", None, 1.5, [], 1e400),
    "extract.seed": ("x", None, 1.5),
    "columns.include": ("price", 1, [1], {}),
    "columns.kinds": ("x", {"price": "colour"}, {"price": 1}, []),
    "columns.max_categories": (0, 1, 65_537, "x", None),
    "model.kind": ("gan", 1, None),
    "model.layers": ("deep", [0], [-1], ["x"], 0),
    "model.latent": (0, -1, "x"),
    "train.epochs": (-1, "x", 1.5),
    "train.holdout": (-1, 2, "x"),
    "train.device": (1, None),
    "bundle": (None, "x", {}, {"paths": "x"}),
    "bundle.path": (None, 1, [], "/nonexistent/bundle", "/dev/null", "\0"),
    "score": (None, "x", {}, {"table": 1}),
    "score.table": (None, 1, [], {}, True, "\0"),
    "score.mode": ("upsert", 1, None, [], "REPLACE"),
    "score.columns": ("none", ["order_id"], None),
    "score.samples": (0, -1, "x", 1.5),
    "score.alert_budget": (0, 1, -1, 2, "x", None, [], float("nan"), float("inf")),
    "score.explain": ("some", True, None),
    "score.engine": ("duck", None, 1),
    "score.route": ("fast", None, "dataframe"),
    "spark": ("x", 1, [], {"jars": 1}),
    "spark.master": (1, []),
    "spark.conf": ("x", [], {"a": []}),
}
SETTINGS = [(key, value) for key, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("key", "value"), SETTINGS, ids=[f"{key}={value!r}"[:60] for key, value in SETTINGS])
def test_a_wrong_setting(key: str, value: object, shared: Job) -> None:
    tree = json.loads(json.dumps(Job(shared.folder).settings))
    section, _, name = key.partition(".")
    if name:
        tree.setdefault(section, {})[name] = value
    else:
        tree[section] = value
    run_tree(shared, tree)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(tree=JUNK)
def test_any_yaml(tree: object, shared: Job) -> None:
    run_tree(shared, tree)


@FUZZ
@given(name=st.text(min_size=1, max_size=12), section=st.sampled_from(["", "source", "score", "train", "columns"]))
def test_an_unknown_key(name: str, section: str, shared: Job) -> None:
    tree = json.loads(json.dumps(Job(shared.folder).settings))
    (tree.setdefault(section, {}) if section else tree)[f"{name}?"] = 1
    run_tree(shared, tree)


@FUZZ
@given(content=st.binary(max_size=40))
def test_any_bytes_as_config(content: bytes, shared: Job) -> None:
    before = fingerprint(shared.target)
    shared.config_file.write_bytes(content)
    check_refused(shared, invoke("score", "--config", str(shared.config_file)), before)


CONDITIONS = (
    "", " ", "(", ")", "'", '"', "`", "--", "/*", ";", "day", "1", "TRUE AND", "day =", "= 1", "day == == 1", "NOT",
    "day = '2024-13-01'", "day = 'x'", "day > 1.5", "price = 'x'", "price LIKE 5", "shop > 1", "shop + 1 = 2",
    "nope = 1", "order_id = nope", "order_id IN ()", "order_id IN (1, 'x')", "order_id BETWEEN 1", "price / 'x' = 1",
    "order_id = (SELECT 1)", "EXISTS (SELECT 1)", "order_id IN (SELECT order_id FROM t)", "rand() < 1", "now() = day",
    "java_method('a', 'b') = 1", "1 = 1; DROP TABLE t", "1 = 1 UNION SELECT 1", "order_id = 1 -- x\n; x", "CASE WHEN",
    "order_id = 1 ORDER BY 1", "order_id = 1 LIMIT 1", "SELECT 1", "DELETE FROM t", "a.b.c = 1", "source.order_id = 1",
    "order_id = ?", "order_id = :x", "order_id = @x", "order_id = ${x}", "order_id = \0", "order_id ~ 'x'",
    "sum(price) > 1", "count(*) = 1", "row_number() OVER () = 1", "lower(price, 1) = 1", "CAST(price AS nope) = 1",
    "price = INTERVAL 1 DAY", "DATE 'x' = day", "year('x') = 1", "price IS 5", "shop LIKE '%' ESCAPE", "x -> x = 1",
    "day = '2024-01-01' AND", "OR day = '2024-01-01'", "(" * 300 + "1 = 1", "order_id = 99999999999999999999999999x",
    "\ud800 = 1", "ORDER_ID = 1 ORDER", "*", "order_id = *", "t.* = 1",
)  # fmt: skip


@pytest.mark.parametrize("sql", CONDITIONS)
def test_a_condition_that_is_none(sql: str, shared: Job) -> None:
    before = fingerprint(shared.target)
    outcome = shared.run("score", "--where", sql)
    check_refused(shared, outcome, before)


@FUZZ
@given(sql=st.text(alphabet="()'\"`;,.=<>+-*/% \n\0ax1", min_size=1, max_size=20))
def test_any_text_as_condition(sql: str, shared: Job) -> None:
    """Nearly none is a condition; those that are may only filter, and `plan` changes nothing anyway."""
    before = fingerprint(shared.target)
    outcome = shared.run("plan", "--where", sql)
    check_refused(shared, outcome, before, (0, USAGE, DATA)) if outcome.code else None


KEYS = ("", "=", "=1", "order_id", "order_id=", "order_id=x", "order_id=1.5", "order_id=-1", "nope=1", "day=x",
        "day=2024-02-30", "order_id==1", "price=x", "order_id=1;DROP", "order_id=1 OR 1=1",
        "order_id=99999999999999999999", "day=2024-01-01", "\0=1", "order_id=\0", "`=1", "order_id='1'")  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_names_no_row(key: str, shared: Job) -> None:
    before = fingerprint(shared.target)
    check_refused(shared, shared.run("explain", "--key", key), before)


OVERRIDES = ("", "=", "=1", "score", "score=", "score=1", "score.", "score.=1", ".table=x", "score.nope=1", "nope.a=1",
             "score.alert_budget=", "score.alert_budget=x", "score.alert_budget=[", "score.alert_budget={a: 1",
             "score.table.deeper=1", "score..table=x", "source.key=order_id", "score.mode=UPSERT", "train.epochs=x",
             "score.samples=0", "score.engine=!!python/object:os.system", "score.table=${NOT_SET_ANYWHERE}",
             "source.where=(", "score.table=null", "score.samples=.inf", "model.layers=[0]", "a=b=c",
             "\0=1")  # fmt: skip


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_that_is_none(override: str, shared: Job) -> None:
    before = fingerprint(shared.target)
    check_refused(shared, shared.run("score", "--full", "--set", override), before)


@FUZZ
@given(data=st.data())
def test_any_damage_to_the_bundle(data: st.DataObject, shared: Job) -> None:
    before = fingerprint(shared.target)
    path = shared.bundle / data.draw(st.sampled_from(["bundle.json", "model.safetensors"]))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "replace"]))
    junk = data.draw(st.binary(min_size=1, max_size=20))
    broken = {
        "flip": content[:at] + bytes([content[at] ^ junk[0] or 255 - content[at]]) + content[at + 1 :],
        "cut": content[:at],
        "insert": content[:at] + junk + content[at:],
        "replace": junk,
    }[kind]
    if broken == content:
        return
    try:
        path.write_bytes(broken)
        check_refused(shared, shared.run("score", "--full"), before)
    finally:
        path.write_bytes(content)


BUNDLE_JSON = ("null", "[]", "{}", "1", '"x"', "{", "[" * 2_000, '{"format_version": 1}', '{"format_version": "x"}',
               '{"format_version": 1, "columns": []}', "NaN", '{"format_version": 1e999}', "\ufeff{}")  # fmt: skip


@pytest.mark.parametrize("text", BUNDLE_JSON, ids=lambda text: text[:20])
def test_a_bundle_of_other_json(text: str, shared: Job) -> None:
    before, path = fingerprint(shared.target), shared.bundle / "bundle.json"
    content = path.read_bytes()
    try:
        path.write_text(text, encoding="utf-8")
        check_refused(shared, shared.run("score", "--full"), before)
    finally:
        path.write_bytes(content)


FEATURE_TYPES: dict[str, pa.DataType] = {
    "quantity": pa.string(), "price": pa.date32(), "total": pa.bool_(), "shop": pa.float64(), "currency": pa.binary(),
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURE_TYPES)
@pytest.mark.parametrize("change", ["missing", "retyped", "list", "struct", "like a score"])
def test_a_table_that_does_not_fit(name: str, change: str, job: Job) -> None:
    rows = DeltaTable(str(job.source)).to_pyarrow_table()
    at, count = rows.column_names.index(name), rows.num_rows
    columns: dict[str, pa.Array] = {
        "retyped": pa.nulls(count, FEATURE_TYPES[name]),
        "list": pa.nulls(count, pa.list_(pa.struct([("x", pa.int32())]))),
        "struct": pa.nulls(count, pa.struct([("x", pa.int32())])),
    }
    if change in columns:
        rows = rows.set_column(at, name, columns[change])
    else:
        rows = rows.drop_columns([name]) if change == "missing" else rows.append_column("Model_ID", rows[name])
    write_deltalake(str(job.source), rows, mode="overwrite", schema_mode="overwrite")
    before = fingerprint(job.target)
    check_refused(job, job.run("score"), before, (DATA,))
    check_refused(job, job.run("score", "--full"), before, (DATA,))
