"""docs/sql.md on real flights: every query as the page shows it has one answer on Spark SQL, DuckDB and deltalake; and
the SQL function of a bundle."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.onboarding.flights import load_flights, write_delta
from tests.conftest import ROOT
from tests.documents import read_blocks, run_block
from tests.jobs.job import invoke

PAGE = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
ENGINES = ("spark", "duckdb", "deltalake")
BLOCK = re.compile(r"<!-- (sql|python): ([\w, ]+) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUESTIONS = re.findall(r"^## (\d+\. .+)$", PAGE, re.MULTILINE)
LAST_DAY, INCIDENT, LATE_ROWS = date(2013, 1, 31), date(2013, 1, 5), 40
KEY = ("time_hour", "carrier", "flight")


def find_block(section: str, language: str, engine: str) -> str:
    """The one block of a section of the page that is for an engine."""
    (code,) = [code for kind, names, code in BLOCK.findall(section) if kind == language and engine in names.split(", ")]
    return str(code)


def find_section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` makes, of January alone, with a planted incident: on the fifth, United's distances are metres.
    Scored by two models in turn; then rows came that no run has seen, and one was deleted."""
    folder = tmp_path_factory.mktemp("sql")
    flights = load_flights()
    week = break_distances(flights.filter(pc.less_equal(flights["flight_date"], LAST_DAY)))
    write_delta(str(folder / "flights"), week)
    names = {
        "source.table": "flights",
        "extract.path": "extract",
        "bundle.path": "bundle",
        "score.table": "flights_scored",
    }
    places = [f"--set={key}={folder / name}" for key, name in names.items()]
    small = ["--set=extract.rows=12000", "--set=model.members=1", "--set=train.epochs=8"]
    small += [f"--set=extract.where=\"flight_date <> '{INCIDENT}'\"", "--set=score.alert_budget=0.01"]
    steps = [["extract"], ["train"], ["score", "--full"], ["train", "--set=train.seed=1"], ["score", "--full"]]
    for command, *arguments in steps:
        outcome = invoke(command, "--config", str(ROOT / "conf" / "flights.yaml"), *places, *small, *arguments)
        assert outcome.code == 0, outcome.stderr
    late = flights.filter(pc.greater(flights["flight_date"], LAST_DAY)).slice(0, LATE_ROWS)
    write_deltalake(folder / "flights", late, mode="append")
    DeltaTable(folder / "flights").delete("flight_date = '2013-01-01' AND carrier = 'UA' AND flight = 1545")
    return folder


def break_distances(flights: pa.Table) -> pa.Table:
    broken = pc.and_(pc.equal(flights["flight_date"], INCIDENT), pc.equal(flights["carrier"], "UA"))
    metres = pc.cast(pc.round(pc.multiply(flights["distance"], 1609.344)), flights["distance"].type)
    at = flights.column_names.index("distance")
    return flights.set_column(at, "distance", pc.if_else(broken, metres, flights["distance"]))


@pytest.fixture(scope="session")
def ask(demo: Path, spark: Any) -> Iterator[Callable[[str, str], list[dict[str, Any]]]]:
    """The answer of an engine, set up as the page says, to a query of the page."""
    preface = PAGE.split("\n## ")[0]

    def place(code: str) -> str:
        return code.replace("data/demo", str(demo))

    for statement in place(find_block(preface, "sql", "spark")).split(";")[:-1]:
        spark.sql(statement)
    duckdb, deltalake = {}, {}
    exec(find_block(preface, "python", "duckdb"), duckdb)
    duckdb["engine"].execute(place(find_block(preface, "sql", "duckdb")))
    exec(place(find_block(preface, "python", "deltalake")), deltalake)
    answers = {
        "spark": lambda query: spark.sql(query).toArrow(),
        "duckdb": lambda query: duckdb["engine"].execute(query).to_arrow_table(),
        "deltalake": lambda query: pa.table(deltalake["engine"].execute(query).read_all()),
    }
    yield lambda engine, query: answers[engine](query).to_pylist()
    for view in ("scored", "scored_before", "flights"):
        spark.catalog.dropTempView(view)


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [list(row) for row in found] == [list(row) for row in expected]
    for one, other in zip(found, expected, strict=True):
        for name, value in other.items():
            same = math.isclose(one[name], value, rel_tol=1e-6, abs_tol=1e-9) if isinstance(value, float) else None
            assert same or one[name] == value, (name, one, other)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_engine_gives_the_same_answer(question: str, ask: Callable[..., list[dict[str, Any]]]) -> None:
    answers = {engine: ask(engine, find_block(find_section(question), "sql", engine)) for engine in ENGINES}
    assert answers["spark"]
    assert_same(answers["duckdb"], answers["spark"])
    assert_same(answers["deltalake"], answers["spark"])


def test_the_page_asks_ten_questions() -> None:
    assert [question.partition(".")[0] for question in QUESTIONS] == [str(number) for number in range(1, 11)]


@pytest.fixture
def answer(ask: Callable[..., list[dict[str, Any]]]) -> Callable[[int], list[dict[str, Any]]]:
    return lambda number: ask("duckdb", find_block(find_section(QUESTIONS[number - 1]), "sql", "duckdb"))


def test_the_answers_tell_the_incident(answer) -> None:
    """Not only the same on each engine, but right: the planted day, carrier and column come out on top."""
    worst = answer(1)[0]
    assert (worst["flight_date"], worst["carrier"], worst["because"]) == (INCIDENT, "UA", "distance")
    assert max(answer(2), key=lambda row: row["worst"])["carrier"] == "UA"
    assert max(answer(3), key=lambda row: row["p99"])["flight_date"] == INCIDENT
    # Among columns that many alerts name: one that leads a single alert may well explain all of it.
    often = [row for row in answer(6) if row["alerts"] >= 10]
    assert max(often, key=lambda row: row["mean_share"])["because"] == "distance"
    assert answer(7)[0]["flight_date"] == INCIDENT
    incident = {row["flight_date"]: row["alerts"] for row in answer(9)}
    assert incident.pop(INCIDENT) > 10 * max(incident.values(), default=1)


def test_the_answers_agree_with_the_tables(answer, demo: Path) -> None:
    scored = DeltaTable(demo / "flights_scored").to_pyarrow_table()
    assert sum(row["flights"] for row in answer(2)) == scored.num_rows
    assert sum(row["alerts"] for row in answer(2)) == pc.sum(scored["is_anomaly"]).as_py()
    median = pc.quantile(scored.filter(pc.equal(scored["flight_date"], LAST_DAY))["anomaly_score"], 0.5)[0].as_py()
    assert answer(3)[-1]["median"] == pytest.approx(median)
    assert all(row["score_before"] != row["score_now"] for row in answer(4))
    neighbours = answer(8)
    assert neighbours[0]["distance"] == 0.0
    assert neighbours[0]["anomaly_score"] == pc.max(scored["anomaly_score"]).as_py()
    assert [(row["flight_date"], row["unscored"], row["gone"]) for row in answer(10)] == [
        (date(2013, 1, 1), 0, 1),
        (date(2013, 10, 1), LATE_ROWS, 0),
    ]


def test_the_readmes_block(root: Path, orders: pa.Table, orders_bundle: Path, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "data" / "orders_scored", vm.score(orders, vm.load(orders_bundle)), partition_by=["day"])
    (block,) = read_blocks(root / "README.md", "sql")
    assert "2024-01-03" in run_block(block, tmp_path)


@pytest.fixture(scope="session")
def function(demo: Path, spark: Any) -> Iterator[vm.Bundle]:
    """`vae_score`, registered as the page says."""
    exec(find_block(PAGE, "python", "vae_score").replace("data/demo", str(demo)), {"spark": spark})
    yield vm.load(demo / "bundle")
    spark.sql("DROP TEMPORARY FUNCTION vae_score")


def test_the_function_scores_as_the_job_does(ask, function: vm.Bundle, demo: Path) -> None:
    worst = ask("spark", find_block(PAGE, "sql", "vae_score"))
    scored = DeltaTable(demo / "flights_scored").to_pyarrow_table(filters=[("flight_date", "=", date(2013, 1, 1))])
    scores = {(row["carrier"], row["flight"]): row["anomaly_score"] for row in scored.to_pylist()}
    assert len(worst) == 10
    for row in worst:
        assert row["score"] == pytest.approx(scores[row["carrier"], row["flight"]], rel=1e-6)


def test_the_function_takes_nulls_unseen_values_and_other_columns(ask, function: vm.Bundle) -> None:
    absent = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in (("dest", "STRING"), ("air_time", "BIGINT")))
    rest = "* EXCEPT (dest, air_time)"
    (row,) = ask(
        "spark",
        f"SELECT avg(vae_score(struct({rest}, {absent}, 1 AS other)).anomaly_score) AS absent,"
        f" avg(vae_score(struct({rest}, 'XXX' AS dest, air_time)).anomaly_score) AS unseen,"
        " avg(vae_score(struct(*)).anomaly_score) AS usual, count(vae_score(struct(*)).model_id) AS rows FROM flights",
    )
    assert row["rows"] > 27_000
    assert row["usual"] < min(row["absent"], row["unseen"])
    assert max(row["absent"], row["unseen"]) < math.inf


def test_the_function_works_in_a_view_and_in_a_condition(ask, function: vm.Bundle, spark: Any) -> None:
    spark.sql("CREATE TEMPORARY VIEW judged AS SELECT *, vae_score(struct(*)) AS a FROM flights")
    (row,) = ask(
        "spark", "SELECT count(*) AS alerts, min(a.anomaly_score) AS least FROM judged WHERE a.anomaly_score > 2"
    )
    spark.catalog.dropTempView("judged")
    assert row["alerts"] > 0
    assert row["least"] > 2


def test_the_function_takes_single_columns(ask, function: vm.Bundle) -> None:
    names = ", ".join(function.feature_names)
    (row,) = ask(
        "spark",
        f"SELECT max(abs(vae_score({names}).anomaly_score - vae_score(struct(*)).anomaly_score)) AS d FROM flights",
    )
    assert row["d"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("struct(* EXCEPT (dest))", "'dest' (string) is missing"),
        ("struct(* EXCEPT (distance), 'far' AS distance)", "'distance' was integer, is string"),
        ("dest", "pass struct(*), or month, day,"),
    ],
)
def test_the_function_names_what_does_not_fit(ask, function: vm.Bundle, arguments: str, said: str) -> None:
    with pytest.raises(Exception, match=r"DataError") as caught:
        ask("spark", f"SELECT max(vae_score({arguments}).anomaly_score) FROM flights")
    assert said in str(caught.value)
