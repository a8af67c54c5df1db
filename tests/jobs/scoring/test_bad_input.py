"""Bad input on both engines: the right exit code, a sentence that helps, and a target that is as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.jobs.job import Job, fingerprint, invoke

USAGE, DATA = 2, 3


@dataclass(frozen=True)
class Bad:
    """What is wrong, how a run ends, and what the message must mention."""

    spoil: Callable[[Job], object]
    code: int
    mentions: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    command: str = "score"


def rewrite(job: Job, change: Callable[[pa.Table], pa.Table]) -> None:
    rows = change(DeltaTable(str(job.source)).to_pyarrow_table())
    write_deltalake(str(job.source), rows, mode="overwrite", schema_mode="overwrite", partition_by=["day"])


def retype(name: str, dtype: pa.DataType) -> Callable[[Job], None]:
    def change(rows: pa.Table) -> pa.Table:
        column = rows[name].cast(dtype) if dtype == pa.string() else pc.utf8_length(rows[name]).cast(dtype)
        return rows.set_column(rows.column_names.index(name), name, column)

    return lambda job: rewrite(job, change)


def setting(key: str, value: object) -> Callable[[Job], None]:
    def change(job: Job) -> None:
        section, _, name = key.partition(".")
        job.settings[section][name] = value

    return change


def not_a_table(job: Job) -> None:
    shutil.rmtree(job.source / "_delta_log")


def foreign_target(job: Job) -> None:
    shutil.rmtree(job.target)
    write_deltalake(str(job.target), pa.table({"day": ["a"], "precious": [1]}), partition_by=["day"])


def other_partitions(job: Job) -> None:
    rows = job.read()
    shutil.rmtree(job.target)
    write_deltalake(str(job.target), rows, partition_by=["shop"])


def corrupt_source_file(job: Job) -> None:
    path = job.source_file
    data = bytearray(path.read_bytes())
    data[4 : len(data) - 4] = bytes(len(data) - 8)
    path.write_bytes(data)


def newer_bundle(job: Job) -> None:
    path = job.bundle / "bundle.json"
    text = path.read_text(encoding="utf-8")
    assert '"format_version": 2' in text
    path.write_text(text.replace('"format_version": 2', '"format_version": 3'), encoding="utf-8")


def nothing(job: Job) -> None:
    pass


def where(sql: str, code: int, *mentions: str) -> Bad:
    return Bad(nothing, code, mentions, ("--where", sql))


CASES: dict[str, Bad] = {
    "column missing": Bad(
        lambda job: rewrite(job, lambda rows: rows.drop_columns(["price"])), DATA, ("'price'", "missing", "retrain")
    ),
    "number became text": Bad(retype("quantity", pa.string()), DATA, ("'quantity'", "string", "retrain")),
    "text became number": Bad(retype("shop", pa.int32()), DATA, ("'shop'", "int32", "retrain")),
    "key missing": Bad(setting("source.key", ["order_nr"]), DATA, ("'order_nr'", "order_id")),
    "partition missing": Bad(setting("source.partition", "night"), DATA, ("'night'", "source.partition")),
    "unknown key": Bad(setting("score.alert_budgt", 0.1), USAGE, ("score.alert_budgt", "score.alert_budget?")),
    "unknown section": Bad(lambda job: job.settings.update(scoer={}), USAGE, ("unknown key scoer", "score?")),
    "wrong value": Bad(setting("score.alert_budget", 2), USAGE, ("score.alert_budget", "less than 1")),
    "section missing": Bad(lambda job: job.settings.pop("bundle"), USAGE, ("key bundle", "missing")),
    "no rows": Bad(setting("source.where", "price < 0"), DATA, ("price < 0", "source.where"), command="extract"),
    "no rows to train": Bad(
        setting("extract.where", "day = '1999-01-01'"), DATA, ("none where", "extract.where"), command="extract"
    ),
    "no bundle": Bad(lambda job: shutil.rmtree(job.bundle), DATA, ("nothing there", "sandtimer train")),
    "newer bundle": Bad(newer_bundle, DATA, ("format 3", "newer Sandtimer")),
    "no source": Bad(lambda job: shutil.rmtree(job.source), DATA, ("a Delta table at", "none there")),
    "no table": Bad(not_a_table, DATA, ("a Delta table at", "none there")),
    "empty folder": Bad(setting("source.table", "/dev/null/no"), DATA, ("a Delta table at",)),
    "foreign target": Bad(foreign_target, DATA, ("a scored table or nothing", "overwrite", "another score.table")),
    "target is source": Bad(
        lambda job: setting("score.table", f"{job.source}/../source/")(job), USAGE, ("another table", "for both")
    ),
    "other partitions": Bad(other_partitions, DATA, ("(day)", "(shop)")),
    "corrupt file": Bad(corrupt_source_file, DATA, ("",), ("--full",)),
    "deleted file": Bad(lambda job: job.source_file.unlink(), DATA, ("",), ("--full",)),
    "where: unknown column": where("dya = '2024-01-01'", DATA, "'dya'", "'day'"),
    "where: no condition": where("day = ", USAGE, "does not parse"),
    "where: subquery": where("order_id IN (SELECT 1)", USAGE, "no list of values"),
    "where: function": where("reflect('java.lang.System', 'exit', 0) = 'x'", USAGE, "one condition"),
    "where: two statements": where("day = '2024-01-01'; DROP TABLE x", USAGE, "without semicolons"),
    "where: bad date": where("day = '2024-02-30'", USAGE, "2024-02-30"),
    "where: wrong type": where("price = 'cheap'", USAGE, "'cheap'"),
    "source.where: function": Bad(setting("source.where", "rand() < 1"), USAGE, ("source.where", "RAND")),
    "bad override": Bad(nothing, USAGE, ("--set section.key=value",), ("--set", "score.alert_budget")),
    "bad time": Bad(nothing, USAGE, ("--logical-time", "tomorrow"), ("--logical-time", "tomorrow")),
    "explain: no such row": Bad(nothing, DATA, ("none", "correct the key"), ("--key", "order_id=-1"), "explain"),
    "explain: many rows": Bad(nothing, DATA, ("200 rows", "--key"), ("--key", "day=2024-01-01"), "explain"),
    "explain: no value": Bad(nothing, USAGE, ("--key order_id",), ("--key", "order_id"), "explain"),
    "explain: bad value": Bad(nothing, USAGE, ("'seven'",), ("--key", "order_id=seven"), "explain"),
}


def check(job: Job, bad: Bad) -> None:
    before = fingerprint(job.target)
    outcome = job.run(bad.command, *bad.arguments)
    assert outcome.code == bad.code, outcome.stderr
    assert "Traceback" not in outcome.stderr + outcome.stdout
    error = outcome.error
    assert error["event"] == "error"
    assert all(error[part] for part in ("expected", "found", "remedy"))
    assert error["message"] == f"expected {error['expected']}; found {error['found']}; {error['remedy']}"
    assert [text for text in bad.mentions if text not in error["message"]] == [], error["message"]
    assert all(event["event"] != "done" for event in outcome.events)
    assert fingerprint(job.target) == before


@pytest.mark.parametrize("name", CASES)
def test_a_scored_table_stays_as_it_was(name: str, any_job: Job) -> None:
    CASES[name].spoil(any_job)
    check(any_job, CASES[name])


# What is found out only when the target's turn has come or later; everything else is the same with a target.
LATE = ("corrupt file", "deleted file", "column missing", "where: unknown column", "no bundle")


@pytest.mark.parametrize("name", LATE)
def test_no_table_appears(name: str, any_job: Job) -> None:
    shutil.rmtree(any_job.target)
    CASES[name].spoil(any_job)
    check(any_job, CASES[name])
    assert fingerprint(any_job.target) == {}
    assert [path for path in any_job.target.rglob("*") if path.is_file() and any_job.engine == "local"] == []


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors"])
@pytest.mark.parametrize("position", [0.0, 0.001, 0.2, 0.5, 0.9, 1.0])
def test_a_changed_byte_of_the_bundle_is_refused(name: str, position: float, job: Job) -> None:
    path = job.bundle / name
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    check(job, Bad(nothing, DATA, ("bundle", "restore the bundle")))


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors"])
def test_half_a_bundle_is_refused(name: str, job: Job) -> None:
    path = job.bundle / name
    path.write_bytes(path.read_bytes()[:-100])
    check(job, Bad(nothing, DATA, ("restore the bundle",)))
    path.unlink()
    check(job, Bad(nothing, DATA, (name, "nothing there", "sandtimer train")))


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        (None, ("no such file", "conf/template.yaml")),
        (b"source: [", ("valid YAML", "line")),
        (b"- a\n- b\n", ("sections", "a list")),
        (b"just text", ("sections", "a text")),
        (b"", ("sections", "an empty file")),
        (b"source: \xff\xfe", ("readable YAML", "UnicodeDecodeError")),
        (b"source: 2024-99-99", ("valid YAML",)),
        (b"!!python/object/apply:os.system ['true']", ("valid YAML",)),
        (b"{" * 5000, ("valid YAML",)),
    ],
)
def test_a_config_that_is_none(content: bytes | None, mentions: tuple[str, ...], job: Job) -> None:
    before = fingerprint(job.target)
    if content is not None:
        job.config_file.write_bytes(content)
    else:
        job.config_file.unlink(missing_ok=True)
    outcome = invoke("score", "--config", str(job.config_file))
    assert outcome.code == USAGE
    assert [text for text in mentions if text not in outcome.error["message"]] == [], outcome.error["message"]
    assert "Traceback" not in outcome.stderr
    assert fingerprint(job.target) == before


def test_training_needs_an_extract(job: Job) -> None:
    check(job, Bad(nothing, DATA, ("an extract in", "none there", "sandtimer extract"), command="train"))


def test_an_extract_never_replaces_other_files(any_job: Job) -> None:
    (any_job.folder / "extract").mkdir()
    (any_job.folder / "extract" / "thesis.txt").write_text("years of work", encoding="utf-8")
    check(any_job, Bad(nothing, USAGE, ("extract.path", "overwritten"), command="extract"))
    assert (any_job.folder / "extract" / "thesis.txt").read_text(encoding="utf-8") == "years of work"
