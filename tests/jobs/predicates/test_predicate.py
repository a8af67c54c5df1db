"""Conditions: both engines keep the same rows, and a crafted one can do nothing but filter."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.common.errors import ConfigError, DataError
from jobs.predicates.conditions import equals, is_any_of
from jobs.predicates.predicate import Predicate, combine, parse_where, resolve_column
from jobs.predicates.values import read_value, write_value
from tests.jobs.predicates.cases import CASES, TABLE

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
        "`${env:HOME}` = 1",
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
        ("i = 'five'", "a whole number such as 42"),
        ("f = 'five'", "a number such as 1.5"),
        ("dec = 'five'", "10 digits, 2 of them after the point"),
        ("i IN (1, 'five')", "a whole number such as 42"),
        ("ts BETWEEN '2013-06-01' AND 'noon'", "a time such as '2013-06-01 05:00:00'"),
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


AWKWARD = [
    "it's", "a_b%", "'; DROP TABLE t; --", '"', "\\", "\\'", "", "Straße", "a\nb", "`", "${HOME}",
    "${env:HOME} $${x}$", "NULL", "12", "2013-06-01",
]  # fmt: skip


@pytest.mark.parametrize("value", AWKWARD)
def test_a_value_is_only_ever_a_value(value: str, spark: SparkSession) -> None:
    table = pa.table({"id": [0, 1], "s": [value, f"not {value}"]})
    predicate = equals("s", value)
    assert keep(predicate, table) == [0]
    frame = spark.createDataFrame([(0, value), (1, f"not {value}")], "id long, s string")
    assert [row["id"] for row in frame.where(predicate.sql()).collect()] == [0]


def test_only_conjuncts_on_partitions_prune() -> None:
    restricted = parse_where("d = '2013-06-01' AND i = 5 AND (year(d) = 2013 OR d IS NULL)").restricted_to(["d"])
    assert restricted is not None
    assert restricted.columns == ("d",) and "i" not in restricted.sql().split("`")
    assert parse_where("d = '2013-06-01' OR i = 5").restricted_to(["d"]) is None
    assert parse_where("D = '2013-06-01'").partition_only(["d"])
    assert not parse_where("d = '2013-06-01' AND i = 5").partition_only(["d"])


def test_thousands_of_values_are_no_problem(spark: SparkSession) -> None:
    numbers = ", ".join(map(str, range(5, 14_000)))
    texts = ", ".join(f"'t{number}'" for number in range(9_000)) + ", 'it\\'s'"
    days = ", ".join(f"'{date(1990, 1, 1) + timedelta(days=number)}'" for number in range(7_000)) + ", '2013-06-01'"
    cases = {f"i IN ({numbers})": [2], f"s IN ({texts})": [3], f"f IN ({numbers}, 0.1)": [1], f"d IN ({days})": [0]}
    cases |= {f"i NOT IN ({numbers})": [0, 1, 3], f"s NOT IN ({texts}, NULL)": []}
    frame = spark.createDataFrame(TABLE)
    for sql, ids in cases.items():
        assert keep(parse_where(sql)) == ids, sql[:20]
        assert [row["id"] for row in frame.where(parse_where(sql).sql()).orderBy("id").collect()] == ids, sql[:20]


def test_thousands_of_rows_are_no_deep_tree(spark: SparkSession) -> None:
    """Arrow makes one chain of ANDs or ORs and walks it by recursion, which ended in a segmentation fault."""
    table = pa.table({"id": [0, 1, 2], "a": [1, 1, None], "b": ["x", "y", None], "c": [5, 6, 7]})
    distinct = [(number, f"b{number}", number) for number in range(12_000)]
    cases = {
        "single": (is_any_of(["a"], [(number,) for number in range(20_000)]), [0, 1]),
        "pairs": (is_any_of(["a", "b"], [(n % 7, f"b{n}") for n in range(12_000)] + [(1, "x"), (None, None)]), [0, 2]),
        "all distinct": (is_any_of(["a", "b", "c"], [*distinct, (1, "y", 6), (None, None, 7)]), [1, 2]),
    }
    frame = spark.createDataFrame(
        [tuple(row.values()) for row in table.to_pylist()], "id long, a long, b string, c long"
    )
    for name, (condition, ids) in cases.items():
        assert keep(condition, table) == ids, name
        if name != "all distinct":
            found = [row["id"] for row in frame.where(condition.sql()).orderBy("id").collect()]
            assert found == ids, name
    for sign, joined in (("OR", [1]), ("AND", [])):
        long = parse_where(f" {sign} ".join(f"i = {number}" for number in [0, *range(100, 1_000)]))
        assert keep(long) == joined


@pytest.mark.parametrize(
    "sql",
    [
        " OR ".join(f"i = {number}" for number in range(3_000)),
        " AND ".join(f"i <> {number}" for number in range(3_000)),
        "(" + " OR ".join(f"(i = {number} AND f > {number})" for number in range(2_000)) + ")",
        "NOT " * 2_000 + "i = 1",
        "i" + " + 1" * 3_000 + " = 1",
        "lower(" * 1_500 + "s" + ")" * 1_500 + " = 'a'",
    ],
)
def test_what_is_nested_too_deeply_is_said(sql: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_where(sql).to_pyarrow(TABLE.schema)
    assert raised.value.found and raised.value.remedy and len(str(raised.value)) < 1_000


ODD = ["a b", "a`b", "a.b", "order", "select", "x=1", "${HOME}", "Ünï", "1st", "a,b;c", "null", "timestamp"]


@pytest.mark.parametrize("name", ODD)
def test_what_is_printed_reads_back(name: str) -> None:
    values = ["it's", "${HOME}", "NULL", None, "a\\b", "true"]
    table = pa.table({"id": list(range(len(values))), name: values})
    for row, value in enumerate(values):
        condition = equals(name, value)
        assert keep(condition, table) == [row]
        if "${" not in name:
            assert keep(parse_where(str(condition)), table) == [row]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0.1, pa.float64()), (1e300, pa.float64()), (float("nan"), pa.float64()), (-0.0, pa.float64()),
        (2**63 - 1, pa.int64()), (-5, pa.int8()), (True, pa.bool_()), (" a ", pa.string()), ("", pa.string()),
        (Decimal("-0.10"), pa.decimal128(10, 2)), (Decimal("1E+3"), pa.decimal128(10, 0)), (date(1, 1, 1), pa.date32()),
        (datetime(1, 1, 1, microsecond=1), pa.timestamp("us")),  # noqa: DTZ001
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), pa.timestamp("us", tz="UTC")),
    ],
)  # fmt: skip
def test_values_as_text_are_the_same_values_again(value: object, dtype: pa.DataType) -> None:
    again = read_value(write_value(value), dtype, "a test")
    assert again.type == dtype and repr(again.as_py()) == repr(pa.scalar(value, dtype).as_py())
    table = pa.table({"id": [0, 1], "x": pa.array([value, None], dtype)})
    assert keep(equals("x", value), table) == [0] and keep(equals("x", None), table) == [1]
