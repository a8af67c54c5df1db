"""Partition columns of every type, with NULL and values that a folder's name must escape, written and read by both."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

import vae_model as vm
from tests.engines.workbench import AT, ENGINES, WRITERS, Workbench, assert_same_cells, assert_same_scores

ODD_TEXTS = (
    *("plain", "with space", " lead", "trail ", "a/b", "50%", "%2F", "a:b", "k=v", "it's", 'say "x"', "a\\b"),
    *("x?y#z", "[a]{b}", "*", "^", "null", "+", "a&b", "tab\tx", "~", ".", ".."),
)
BOTH_NULL = (None, "")
TYPED = (
    ("p_i8", pa.int8(), [-128, 0, 127]),
    ("p_i64", pa.int64(), [-(2**63), 0, 2**63 - 1]),
    ("p_flag", pa.bool_(), [True, False, True]),
    ("p_day", pa.date32(), [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)]),
    (
        "p_at",
        pa.timestamp("us", tz="UTC"),
        [datetime(1900, 1, 1, tzinfo=UTC), datetime(2024, 5, 1, 12, 30, 1, 5, UTC), datetime(2024, 1, 1, tzinfo=UTC)],
    ),
    (
        "p_local",
        pa.timestamp("us"),
        [datetime.fromisoformat(text) for text in ("1900-01-01", "2024-05-01T12:30:01.12", "2024-01-01")],
    ),
    ("p_money", pa.decimal128(10, 2), [Decimal("99999999.99"), Decimal("0.00"), Decimal("1.50")]),
    ("p_f64", pa.float64(), [1e15, -0.5, 0.25]),
    ("p_f32", pa.float32(), [0.1, 2.5, -3e5]),
)  # fmt: skip


def add_rows(columns: dict[str, pa.Array], copies: int) -> pa.Table:
    """Each combination of partition values `copies` times, in turns, with two features."""
    n = len(next(iter(columns.values()))) * copies
    x = np.random.default_rng(5).normal(size=n)
    repeated = {name: pa.concat_arrays([values] * copies) for name, values in columns.items()}
    return pa.table({"id": pa.array(range(n), pa.int64()), **repeated, "x": x, "y": x * 2})


def make_texts() -> pa.Table:
    return add_rows({"p": pa.array([*ODD_TEXTS, *BOTH_NULL])}, 4)


def make_typed() -> pa.Table:
    """Without negative decimals and long floats, which deltalake's own writer garbles in the names of folders."""
    columns: dict[str, pa.Array] = {}
    for name, dtype, values in TYPED:
        columns[name] = pa.array([*values, None], dtype)
    return add_rows(columns, 12)


def with_null_for_empty(rows: pa.Table) -> pa.Table:
    """What a Delta table can hold: an empty text as partition value is NULL."""
    values = [value or None for value in rows["p"].to_pylist()]
    return rows.set_column(rows.column_names.index("p"), "p", pa.array(values))


@pytest.fixture(scope="module", params=ENGINES)
def texts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Workbench:
    """Partitioned by odd texts; the source was written by one library or the other."""
    bench = Workbench(tmp_path_factory.mktemp("texts"), partition="p")
    write_source(request.param, bench.folder / "source", make_texts(), ["p"], spark)
    bench.fit(make_texts(), ["p"])
    for writer in WRITERS:
        bench.score(writer, writer)
    return bench


@pytest.fixture(scope="module", params=ENGINES)
def typed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Workbench:
    """Partitioned by a column of every type at once."""
    bench = Workbench(tmp_path_factory.mktemp("typed"))
    names = [name for name, _, _ in TYPED]
    write_source(request.param, bench.folder / "source", make_typed(), names, spark)
    bench.fit(make_typed(), names)
    for writer in WRITERS:
        bench.score(writer, writer)
    return bench


def write_source(writer: str, path: Path, rows: pa.Table, partition: list[str], spark: Any) -> None:
    if writer == "local":
        write_deltalake(path, rows, partition_by=partition)
    else:
        frame = spark.createDataFrame(rows)
        # From Arrow every timestamp would come with a zone.
        naive = {field.name for field in rows.schema if field.type == pa.timestamp("us")}
        frame = frame.withColumns({name: frame[name].cast("timestamp_ntz") for name in naive})
        frame.write.format("delta").partitionBy(*partition).save(str(path))


@pytest.mark.parametrize("reader", ENGINES)
@pytest.mark.parametrize("writer", WRITERS)
def test_partition_texts_survive(texts, writer, reader):
    found = texts.read(reader, writer)
    rows = with_null_for_empty(make_texts())
    assert_same_cells(found, rows)
    assert_same_scores(found, vm.score(rows, texts.bundle, explain="all", scored_at=AT))


@pytest.mark.parametrize("reader", ENGINES)
@pytest.mark.parametrize("writer", WRITERS)
def test_partition_values_of_every_type_survive(typed, writer, reader):
    found = typed.read(reader, writer)
    assert_same_cells(found, make_typed())
    assert_same_scores(found, vm.score(make_typed(), typed.bundle, explain="all", scored_at=AT))


@pytest.mark.parametrize("writer", WRITERS)
def test_one_odd_partition_again_by_the_other_engine(texts, writer):
    other = ENGINES[ENGINES[0] == writer]
    replace_scope(texts, other, writer, r"p IN ('a/b', '50%', '%2F', 'it\'s', 'k=v', 'a\\b', ' lead')", 28)
    assert_same_cells(texts.read(other, writer), with_null_for_empty(make_texts()))


TYPED_WHERES = (
    *("p_i8 = -128", "p_i64 > 9e18", "NOT p_flag", "p_day < '1000-01-01'", "p_at = '2024-05-01 12:30:01.000005'"),
    *("p_local = '2024-05-01 12:30:01.12'", "p_money = 1.5", "p_f64 > 1e14", "p_f32 IS NULL"),
)


def test_both_engines_plan_the_same_typed_partitions(typed):
    for where in TYPED_WHERES:
        plans = [typed.plan(*engines, where).work for engines in zip(ENGINES, reversed(ENGINES), strict=True)]
        assert {(work.rows, work.replaced_rows) for work in plans} == {(12, 12)}, where


@pytest.mark.parametrize("writer", WRITERS)
def test_typed_partitions_again_by_the_other_engine(typed, writer):
    other = ENGINES[ENGINES[0] == writer]
    replace_scope(typed, other, writer, " OR ".join(TYPED_WHERES), 48)
    replace_scope(typed, other, writer, "p_at = '2024-05-01 12:30:01.000005' AND p_f64 = -0.5", 12)
    assert_same_cells(typed.read(writer, writer), make_typed())


def replace_scope(bench: Workbench, engine: str, target: str, where: str, rows: int) -> None:
    """Score a scope again; no file of another partition goes, each in scope does."""
    before = bench.files(target)
    assert bench.score(engine, target, where) == rows
    gone = before - bench.files(target)
    assert gone
    planned = bench.plan("local", target, where).work
    assert planned.files_kept == len(before & bench.files(target))


WORDS = ("åß漢🛫", "é", "plain", None)


@pytest.mark.parametrize("writer", WRITERS)
def test_partitions_beyond_ascii(tmp_path, spark, writer):
    """Spark logs such paths as they are, deltalake escaped: it could not remove Spark's files, and must not try."""
    rows = add_rows({"p": pa.array(WORDS)}, 5)
    bench = Workbench(tmp_path, partition="p")
    write_source("spark", bench.folder / "source", rows, ["p"], spark)
    bench.fit(rows, ["p"])
    bench.score(writer, "scored")
    assert_same_cells(bench.read("local", "scored"), rows)
    assert bench.score("local", "scored", "p = 'plain'") == 5
    if writer == "dataframe":
        for where in ("p = 'é'", None):
            with pytest.raises(vm.DataError, match=r"--engine spark"):
                bench.score("local", "scored", where)
    else:
        assert bench.score("local", "scored", "p = 'é'") == 5
    for engine in ENGINES:
        assert bench.score(engine, "scored", "p IS NULL") == 5
    assert bench.score("spark", "scored", "p IN ('é', 'åß漢🛫')") == 10
    for reader in ENGINES:
        assert_same_cells(bench.read(reader, "scored"), rows)
