"""Incidents of made-up alerts: effects, segments, dates, and how they live on from night to night."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from jobs.monitoring.alert_context import AlertContext, build_alert_context, segment_columns
from jobs.monitoring.fault_patterns import Evidence, describe_effect, group_by_effect
from jobs.monitoring.incidents import Incident, find_incidents, follow_incidents
from jobs.monitoring.swaps import find_swapped_rows
from jobs.tables.nights import NightName
from vae_model.scoring.evidence import USUAL

NIGHTS = [f"2024-02-{day:02}" for day in range(1, 15)]
A_NIGHT = 200
WINDOW, CLOSE_AFTER = 5, 2


@pytest.fixture(scope="module")
def bundle(orders_bundle) -> vm.Bundle:
    return vm.load(orders_bundle)


def evidence_of(kind: str, observed: list[object], expected: list[object], levels: set[str] | None = None) -> Evidence:
    words = [np.array([str(value) for value in values], np.object_) for values in (observed, expected)]
    known = frozenset(levels) if levels is not None else None
    return Evidence("it", kind, np.arange(len(observed)), words[0], words[1], known)


@pytest.mark.parametrize(
    ("kind", "observed", "expected", "effect"),
    [
        ("number", [160, 321, 805, 1290], [100, 200, 500, 800], "x1.6"),
        ("number", [6000, 12100, 30000], [100, 200, 500], "x60"),
        ("number", [10, 20, 50], [1000, 2010, 4980], "x0.01"),
        ("number", [-99, -201, -500], [100, 200, 500], "with the wrong sign"),
        ("number", [301, 290, 330, 316], [1, -10, 30, 10], "+300"),
        ("number", [0, 0, 0], [700, 900, 1300], "always 0"),
        ("number", [999, 999, 999], [3, 80, 410], "always 999"),
        ("number", ["NULL"] * 3, [3, 80, 410], "NULL"),
        ("number", [1, 50, 3], ["NULL"] * 3, "present where NULL is expected"),
        ("number", [1, 50, 3], [7, 9, 4], "unusual"),
        ("clock", [2330, 30, 1215], [1830, 1932, 710], "+5 h"),
        ("clock", [45, 130], [15, 100], "+30 min"),
        ("time", ["2013-06-01 15:00:00"] * 2, ["hour 10:02, weekday Sat", "hour 09:58"], "+5 h"),
    ],
)
def test_effects_of_numbers_in_words(kind, observed, expected, effect):
    assert describe_effect(evidence_of(kind, observed, expected)) == effect


@pytest.mark.parametrize(
    ("observed", "expected", "effect"),
    [
        (["Q", "Q", "Q"], ["a", "b", "a"], "= 'Q' (never seen)"),
        (["b", "b", "b"], ["a", "a", "c"], "= 'b' instead of 'a'"),
        (["Q", "R", "S"], ["a", "a", "c"], "with values never seen, of a form like A"),
        (["q", "r", "s"], ["a", "a", "c"], "with values never seen"),
        (["b", "c", "a"], ["a", "a", "a"], "with other values instead of 'a'"),
        (["NULL", "NULL", "a"], ["a", "a", "c"], "NULL instead of 'a'"),
        (["NULL", "NULL", "a"], ["a", "b", "c"], "NULL"),
        (["c", "c", "c"], [USUAL] * 3, "= 'c'"),
    ],
)
def test_effects_of_categories_in_words(observed, expected, effect):
    assert describe_effect(evidence_of("category", observed, expected, {"a", "b", "c"})) == effect


@pytest.mark.parametrize(
    ("observed", "effect"),
    [
        (["15/0042", "16/1", "17/39"], "of a form like 9/9"),
        (["n/a"] * 3, "always n/a"),
        (["15/0042", "none", ""], "unusual"),
    ],
)
def test_effects_of_texts_in_words(observed, effect):
    assert describe_effect(evidence_of("text", observed, ["a form like 9999-999999"] * len(observed))) == effect


def test_one_ratio_among_other_alerts_is_a_group():
    rng = np.random.default_rng(0)
    expected = np.concatenate([np.full(20, 100.0), rng.uniform(50, 500, 6)])
    observed = np.concatenate([rng.uniform(50, 1_000, 20), expected[20:] * 1.6])
    groups = group_by_effect(evidence_of("number", observed.tolist(), expected.tolist()), 3)
    assert any(set(range(20, 26)) <= set(group.rows.tolist()) and len(group.rows) < 12 for group in groups)


def names(nights: Iterable[str]) -> list[NightName]:
    return [NightName.of(night) for night in nights]


def make_scene(
    bundle: vm.Bundle, hits: dict[tuple[str, str], int], stray: int = 0, factor: float = 100.0, score: float = 3.2
) -> AlertContext:
    """Nights of orders; `hits` (night, shop) -> alerts that blame `total`, and single alerts of other columns."""
    rng = np.random.default_rng(2)
    nights = [night for night in NIGHTS for _ in range(A_NIGHT)]
    shops = rng.choice(["oslo", "rome", "lima"], len(nights))
    money = ["NOK", "EUR", "PEN"]
    rows = pa.table({"shop": shops, "currency": rng.choice(money, len(nights)), "day": nights})
    alerts, when = [], []
    for (night, shop), count in hits.items():
        for price in rng.uniform(10, 90, count).round(1).tolist():
            reason = {"column": "total", "share": 0.8, "observed": f"{factor * price:.4g}", "expected": f"{price:.4g}"}
            alerts.append({"shop": shop, "currency": str(rng.choice(money)), "top_columns": [reason]})
            when.append(night)
    for _ in range(stray):
        column = str(rng.choice(["price", "quantity"]))
        observed, expected = (f"{value:.4g}" for value in rng.uniform(1, 90, 2))
        reason = {"column": column, "share": 0.7, "observed": observed, "expected": expected}
        shop, currency = str(rng.choice(["oslo", "rome", "lima"])), str(rng.choice(money))
        alerts.append({"shop": shop, "currency": currency, "top_columns": [reason]})
        when.append(str(rng.choice(NIGHTS)))
    schema = pa.schema(
        [("shop", pa.string()), ("currency", pa.string()), ("top_columns", vm.SCORE_SCHEMA.field("top_columns").type)]
    )
    table = pa.Table.from_pylist(alerts, schema).append_column("anomaly_score", pa.array([score] * len(alerts)))
    return build_alert_context(bundle, table, rows, (when, nights), 0.001)


def follow(context: AlertContext, nights: list[str], known: list[Incident] | None = None) -> list[Incident]:
    return follow_incidents(known or [], context, names(nights), WINDOW, CLOSE_AFTER, "table")


def test_a_break_of_one_shop_is_one_line(bundle):
    (found,) = find_incidents(make_scene(bundle, {(NIGHTS[4], "rome"): 20, (NIGHTS[5], "rome"): 22}, stray=4))
    assert (found.column, found.segment, found.effect) == ("total", "shop = 'rome'", "x100")
    assert (str(found.first_seen), str(found.last_seen), found.rows) == (NIGHTS[4], NIGHTS[5], 42)
    assert found.share == pytest.approx(42 / found.segment_rows) and 100 < found.segment_rows < 160
    assert found.description.startswith("total x100 for shop = 'rome', 3")
    assert found.description.endswith(" % of rows, since 2024-02-05")


def test_a_break_of_all_rows_has_no_segment(bundle):
    hits = {(NIGHTS[4], shop): 10 for shop in ("rome", "oslo", "lima")}
    (found,) = find_incidents(make_scene(bundle, hits))
    assert (found.segment, found.rows) == ("", 30) and found.description.startswith("total x100, 15 % of rows")


def test_scattered_singles_are_no_incident(bundle):
    assert find_incidents(make_scene(bundle, {}, stray=6)) == []
    assert follow(make_scene(bundle, {(NIGHTS[3], "rome"): 1}, stray=3), NIGHTS) == []


def test_breaks_of_two_shops_are_two(bundle):
    both = make_scene(bundle, {(NIGHTS[4], "rome"): 9, (NIGHTS[8], "lima"): 9})
    assert len(follow(both, NIGHTS)) == 2


def test_nights_one_by_one_and_all_at_once_give_the_same(bundle):
    context = make_scene(bundle, {(night, "rome"): 3 for night in NIGHTS[5:8]}, stray=5)
    at_once = follow(context, NIGHTS)
    one_by_one: list[Incident] = []
    for night in NIGHTS:
        one_by_one = follow(context, [night], one_by_one)
    assert one_by_one == at_once
    (incident,) = at_once
    assert [incident.first_seen, incident.last_seen, incident.closed] == names([NIGHTS[5], NIGHTS[7], NIGHTS[9]])
    assert (incident.status, incident.rows) == ("closed", 9)
    assert follow(context, NIGHTS, at_once) == at_once


def test_it_keeps_its_id_while_it_grows(bundle):
    context = make_scene(bundle, {(NIGHTS[5], "rome"): 4, (NIGHTS[6], "rome"): 30, (NIGHTS[7], "rome"): 40})
    ids, rows, known = set(), [], list[Incident]()
    for night in NIGHTS[5:9]:
        known = follow(context, [night], known)
        ids |= {incident.id for incident in known}
        rows.append(known[0].rows)
    assert len(ids) == 1 and rows == [4, 34, 74, 74]
    assert known[0].status == "open" and known[0].quiet_nights == 1


def test_a_break_that_comes_back_is_another_incident(bundle):
    context = make_scene(bundle, {(NIGHTS[1], "rome"): 8, (NIGHTS[9], "rome"): 8})
    first, second = follow(context, NIGHTS)
    assert [first.closed, second.first_seen] == names([NIGHTS[3], NIGHTS[9]])
    assert first.id != second.id


def test_many_alert_rows_that_stand_for_more(bundle):
    context = make_scene(bundle, {(NIGHTS[4], "rome"): 50})
    (found,) = find_incidents(replace(context, alert_weight=1_000.0, row_weight=2_000.0))
    assert (found.rows, found.segment_rows) == (50_000, 2_000 * find_incidents(context)[0].segment_rows)


def test_segments_are_named_by_categories_and_carried_text(bundle):
    schema = pa.schema(
        [("shop", pa.string()), ("price", pa.float64()), ("batch", pa.string()), ("model_id", pa.string())]
    )
    assert segment_columns(bundle, schema) == ["shop", "batch"]


def test_conditions_are_sql():
    from jobs.monitoring.segments import to_sql
    from jobs.predicates.predicate import parse_where

    assert to_sql((("shop", "O'Hara"), ("odd name", None))) == "shop = 'O\\'Hara' AND `odd name` IS NULL"
    assert parse_where(to_sql((("shop", "O'Hara"), ("odd name", None)))).columns == ("shop", "odd name")


def test_rows_whose_reasons_expect_each_others_values_are_swapped():
    start, end = np.array(["1730", "1800", "930", "600"], object), np.array(["900", "1015", "700", "1400"], object)
    values = {"start": start, "end": end}
    # The first and the third are swapped; the second blames one column alone, the fourth expects something else.
    one = Evidence("start", "clock", np.array([0, 2, 3]), start[[0, 2, 3]], np.array(["900", "700", "500"], object))
    other = Evidence("end", "clock", np.array([0, 1, 2]), end[[0, 1, 2]], np.array(["1730", "1800", "930"], object))
    swapped = find_swapped_rows(one, other, values)
    assert swapped.rows.tolist() == [0, 2]
    assert (swapped.column, swapped.observed.tolist(), swapped.expected.tolist()) == (
        "start", ["1730", "930"], ["900", "700"],
    )  # fmt: skip


def test_three_alerts_are_an_incident_where_they_are_far_rarer_than_the_budget_asks(bundle):
    hits = {(night, "rome"): 1 for night in NIGHTS[4:7]}
    weak, strong = make_scene(bundle, hits, score=3.1), make_scene(bundle, hits, score=6.0)
    assert find_incidents(replace(weak, budget=0.01)) == []
    (found,) = find_incidents(replace(strong, budget=0.01))
    assert (found.column, found.effect, found.rows) == ("total", "x100", 3)
