"""Every type and every odd value, on both engines: all rows come out, carried bit for bit, with the same scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

import vae_model as vm
from tests.engines.every_type import LONG_TEXT, ODD_ROWS, ORDINARY, SCHEMA, make_rows
from tests.engines.workbench import AT, ENGINES, WRITERS, Workbench, assert_same_cells, assert_same_scores

NESTED = {"tags.length", "tags.members", "place.x", "place.label", "place.more", "pairs.length", "pairs.keys"}
FEATURES = {*SCHEMA.names} - {"id", "raw", "tags", "place", "pairs"} | NESTED


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return make_rows()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, rows: pa.Table, spark: object) -> Workbench:
    """Trained on the ordinary rows; both engines have scored all of them."""
    bench = Workbench(tmp_path_factory.mktemp("types"))
    write_deltalake(bench.folder / "source", rows)
    bench.fit(rows.slice(0, ORDINARY), nothing="number", constant="number")
    for writer in WRITERS:
        assert bench.score(writer, writer) == rows.num_rows
    return bench


@pytest.fixture(scope="module")
def expected(bench: Workbench, rows: pa.Table) -> pa.Table:
    return vm.score(rows, bench.bundle, explain="all", scored_at=AT)


def test_every_type_that_can_be_a_feature_is_one(bench):
    assert set(bench.bundle.feature_names) == FEATURES


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("reader", ENGINES)
def test_carried_columns_are_equal_to_the_bit(bench, rows, reader, writer):
    found = bench.read(reader, writer)
    assert found.column_names == [*rows.column_names, *vm.SCORE_COLUMNS]
    assert_same_cells(found, rows)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("reader", ENGINES)
def test_scores_are_those_of_the_python_api(bench, expected, reader, writer):
    assert_same_scores(bench.read(reader, writer), expected)


def test_extremes_are_more_unusual_than_any_ordinary_row(bench):
    nll = bench.read("local", "local")["reconstruction_nll"].to_numpy()
    extremes = [ORDINARY + i for i, row in enumerate(ODD_ROWS) if row.keys() & {"i8", "f64", "wide", "day"}]
    assert np.median(nll[extremes]) > nll[:ORDINARY].max()


@pytest.mark.parametrize("engine", WRITERS)
def test_each_engine_reads_a_source_that_spark_wrote(bench, spark, rows, expected, engine):
    folder = bench.folder / "by_spark"
    if not (folder / "source").exists():
        spark.read.format("delta").load(str(bench.folder / "source")).repartition(3).write.format("delta").save(
            str(folder / "source")
        )
        bench.bundle.save(folder / "bundle")
    other = Workbench(folder)
    assert other.score(engine, engine) == rows.num_rows
    found = other.read(engine, engine)
    assert_same_cells(found, rows)
    assert_same_scores(found, expected)


@pytest.mark.parametrize("first", WRITERS)
def test_each_engine_overwrites_what_the_other_wrote(bench, rows, expected, first):
    target, second = f"over_{first}", ENGINES[ENGINES[0] == first]
    bench.score(first, target)
    bench.score(second, target)
    assert_same_cells(bench.read(first, target), rows)
    for engine, where in ((first, SEVERAL), (second, SEVERAL), (first, "flag")):
        assert bench.score(engine, target, where) > 0
    found = bench.read(second, target)
    assert_same_cells(found, rows)
    assert_same_scores(found, expected)


SEVERAL = "text = 'never seen' OR i8 IS NULL OR day >= '9999-01-01' OR f64 > 1e300 OR i64 < 0"
WHERES = (
    *("at < '1000-01-01'", "at >= '9999-12-31 23:59:59'", "local < '1583-01-01'", "money = 99999999.99"),
    *(
        "f64 = 'NaN'",
        "NOT f64 < 1e300",
        "f32 < -1e38",
        "text = ''",
        "day BETWEEN '1582-01-01' AND '1583-01-01'",
        "wide < 0",
        "i64 > 1e18",
    ),
    *("NOT flag", "vector IS NULL", "nothing IS NOT NULL", "text LIKE 'never%'", "i8 IN (127, -128)"),
)


def test_both_engines_plan_the_same_rows(bench):
    for where in WHERES:
        plans = [bench.plan(*engines, where).work for engines in zip(ENGINES, reversed(ENGINES), strict=True)]
        assert {(work.rows, work.replaced_rows) for work in plans} == {(plans[0].rows, plans[0].rows)}, where
        assert plans[0].rows > 0, where


def test_a_very_long_text_is_carried_and_shortened_in_the_reasons(bench, rows):
    scored = bench.read("local", "spark")
    at = scored["text"].to_pylist().index(LONG_TEXT)
    observed = [reason["observed"] for reason in scored["top_columns"][at].as_py() if reason["column"] == "text"]
    assert observed and all(len(text) <= 200 for text in observed)
