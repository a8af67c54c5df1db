"""Conditions: both engines keep the same rows, and a crafted one can do nothing but filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.errors import ConfigError, DataError
from jobs.predicate import Predicate, combine, equals, parse_where, resolve_column
from tests.jobs.predicates import CASES, TABLE

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession


def keep(predicate: Predicate, table: pa.Table = TABLE) -> list[int]:
    """Ids of the rows that the local engine keeps."""
    return table.filter(predicate.to_pyarrow(table.schema)).column("id").to_pylist()


@pytest.fixture(scope="module")
def frame(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    path: Path = tmp_path_factory.mktemp("predicates") / "table"
    write_deltalake(str(path), TABLE)
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    return spark.read.format("delta").load(str(path)).cache()


@pytest.mark.parametrize("sql", CASES)
def test_the_local_engine_keeps_the_rows(sql: str) -> None:
    assert keep(parse_where(sql)) == CASES[sql]


def test_spark_keeps_the_same_rows(frame: DataFrame) -> None:
    found = {sql: [r["id"] for r in frame.where(parse_where(sql).sql()).orderBy("id").collect()] for sql in CASES}
    assert found == CASES


@pytest.mark.parametrize("sql", CASES)
def test_what_it_prints_parses_to_the_same_rows(sql: str) -> None:
    predicate = parse_where(sql)
    assert keep(parse_where(predicate.sql())) == keep(parse_where(str(predicate))) == CASES[sql]


@pytest.mark.parametrize("sql", CASES)
def test_the_rows_left_out_are_all_the_others(sql: str) -> None:
    predicate = parse_where(sql)
    assert sorted(keep(predicate) + keep(predicate.is_not_true())) == [0, 1, 2, 3, 4]


def test_spark_leaves_out_the_same_rows(frame: DataFrame) -> None:
    for sql in list(CASES)[::7]:
        rest = frame.where(parse_where(sql).is_not_true().sql()).orderBy("id").collect()
        assert [row["id"] for row in rest] == sorted({0, 1, 2, 3, 4} - set(CASES[sql])), sql


@pytest.mark.parametrize(
    "sql",
    [
        "",
        " ",
        ";",
        "i = 1; DROP TABLE t",
        "i = 1; i = 2",
        "i = 1 -- and the rest",
        "i = 1 /* hidden */",
        "i IN (SELECT i FROM t)",
        "EXISTS (SELECT 1)",
        "i = (SELECT max(i) FROM t)",
        "i = 1 UNION SELECT 1",
        "java_method('java.lang.Runtime', 'getRuntime') = s",
        "reflect('java.lang.System', 'exit', 0) = s",
        "rand() < 0.5 AND i = 1",
        "current_user() = s",
        "s RLIKE '(a+)+$'",
        "array_contains(s, 'a')",
        "t.i = 1",
        "i.x = 1",
        "s = '${env:HOME}'",
        "`${spark.app.name}` = 1",
        "s = 'a' 'b'",
        "i = 1 OR",
        "(i = 1",
        "s = 'open",
        "SELECT 1",
        "DROP TABLE t",
        "1 = 1",
        "TRUE",
        "*",
        "i AS j",
        "CASE WHEN i = 1 THEN true END",
        "i = ?",
        "i = :name",
        "count(i) > 1",
        "sum(i) OVER () > 1",
        "(" * 3000 + "i = 1" + ")" * 3000,
        "i = 1" + " " * 100_000,
    ],
)
def test_what_is_more_than_a_condition_is_refused(sql: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_where(sql)
    assert raised.value.expected.startswith("--where: one condition")
    assert raised.value.found and raised.value.remedy
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("i = 'five'", "five"),
        ("d = '2013-13-01'", "2013-13-01"),
        ("d = 'yesterday'", "yesterday"),
        ("ts = 'noon'", "noon"),
        ("b = 'maybe'", "maybe"),
        ("s = 1", "string"),
        ("d = 20130601", "date32"),
        ("i", "int32"),
        ("s AND b", "string"),
        ("i LIKE '1%'", "LIKE"),
        ("s + 1 = 2", "string"),
        ("length(i) = 1", "int32"),
        ("year(s) = 2013", "string"),
        ("CAST(s AS INT) = 1", "CAST"),
        ("i = 99999999999999999999", "99999999999999999999"),
    ],
)
def test_types_that_do_not_fit_are_named(sql: str, found: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_where(sql).to_pyarrow(TABLE.schema)
    assert found in str(raised.value)


def test_an_unknown_column_has_a_nearest_one() -> None:
    with pytest.raises(DataError, match="no such column; the nearest is 'dec'"):
        parse_where("deci = 1").to_pyarrow(TABLE.schema)


def test_columns_that_differ_in_case_alone_must_be_written_exactly() -> None:
    assert resolve_column("a", ["a", "A"], "t") == "a"
    assert resolve_column("B", ["b", "c"], "t") == "b"
    with pytest.raises(DataError, match="no such column"):
        resolve_column("xY", ["xy", "XY"], "t")


def test_and_keeps_the_meaning_of_or() -> None:
    both = combine(parse_where("i = 5 OR i = 0"), None, parse_where("b"))
    assert both is not None
    assert keep(both) == [2]
    assert keep(parse_where(both.sql())) == [2]
    assert combine(None, None) is None


@pytest.mark.parametrize("value", ["it's", "a_b%", "'; DROP TABLE t; --", '"', "\\", "\\'", "", "Straße", "a\nb", "`"])
def test_a_value_is_only_ever_a_value(value: str, spark: SparkSession) -> None:
    table = pa.table({"id": [0, 1], "s": [value, f"not {value}"]})
    predicate = equals("s", value)
    assert keep(predicate, table) == [0]
    frame = spark.createDataFrame([(0, value), (1, f"not {value}")], "id long, s string")
    assert [row["id"] for row in frame.where(predicate.sql()).collect()] == [0]
    with pytest.raises(ConfigError):
        equals("s", "${env:HOME}")


def test_only_conjuncts_on_partitions_prune() -> None:
    restricted = parse_where("d = '2013-06-01' AND i = 5 AND (year(d) = 2013 OR d IS NULL)").restricted_to(["d"])
    assert restricted is not None
    assert restricted.columns == ("d",) and "i" not in restricted.sql().split("`")
    assert parse_where("d = '2013-06-01' OR i = 5").restricted_to(["d"]) is None
    assert parse_where("D = '2013-06-01'").partition_only(["d"])
    assert not parse_where("d = '2013-06-01' AND i = 5").partition_only(["d"])


def test_thousands_of_values_are_no_problem() -> None:
    wanted = ", ".join(map(str, range(5, 3_000)))
    assert keep(parse_where(f"i IN ({wanted})")) == [2]
