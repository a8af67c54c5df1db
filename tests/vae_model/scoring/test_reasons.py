"""Reasons: the right kind, and true: what their sentences say of the training rows is counted there again."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import vae_model as vm
from vae_model.features.words import to_words
from vae_model.scoring.wording import describe_row
from vae_model.training.planting import plant_faults

ROWS = 6_000
CURRENCIES = {"oslo": "NOK", "rome": "EUR", "bern": "CHF", "york": "GBP"}


def make_orders(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """A shop decides the currency, quantity and price the total; codes have a form; a date, and a column often NULL."""
    rng = np.random.default_rng(seed)
    shop = rng.choice(list(CURRENCIES), rows)
    quantity, price = rng.integers(1, 9, rows), rng.choice([4.5, 9.0, 12.25, 20.0, 38.0], rows)
    codes = [
        f"{a}-{b:06d}" for a, b in zip(rng.integers(2010, 2020, rows), rng.integers(0, 999_999, rows), strict=True)
    ]
    days = [date(2024, 1, 1) + timedelta(int(d)) for d in rng.integers(0, 360, rows)]
    return pa.table(
        {
            "shop": pa.array(shop),
            "currency": pa.array([CURRENCIES[s] for s in shop]),
            "quantity": pa.array(quantity, pa.int32()),
            "price": pa.array(price),
            "total": pa.array(quantity * price),
            "code": pa.array(codes),
            "ordered": pa.array(days, pa.date32()),
            "shipped": pa.array([d + timedelta(2) for d in days], pa.date32()),
            "note": pa.array([None if x < 0.95 else "gift" for x in rng.random(rows)]),
        }
    )


@pytest.fixture(scope="module")
def orders() -> pa.Table:
    return make_orders()


@pytest.fixture(scope="module")
def model(orders: pa.Table) -> vm.Bundle:
    return vm.fit(orders, seed=1)


def break_row(orders: pa.Table, number: int = 0, **changes: Any) -> pa.Table:
    row = orders.slice(number, 1).to_pylist()[0] | changes
    return pa.Table.from_pylist([row], schema=orders.schema)


def first_reason(row: pa.Table, model: vm.Bundle) -> vm.Reason:
    return vm.find_reasons(row, model)[0][0]


def test_a_value_that_does_not_go_with_another_says_so_with_counts(orders: pa.Table, model: vm.Bundle) -> None:
    row = break_row(orders.filter(pc.equal(orders["shop"], "rome")), currency="NOK")
    told = {reason.column: reason for reason in vm.find_reasons(row, model)[0]}
    of = pc.sum(pc.equal(orders["shop"], "rome")).as_py()
    reason = told["currency"]
    assert (reason.kind, reason.against) == ("pair", (("shop", "'rome'"),))
    assert (reason.seen, reason.of, reason.usual) == (0, of, of)
    assert vm.describe_reason(reason) == (
        f"currency is 'NOK'; of {of:,} training rows with shop = 'rome', none has that, {of:,} have 'EUR'"
    )


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"currency": "QQQ"}, "never seen", "currency is 'QQQ', which none of 6,000 training rows has"),
        ({"currency": "eur"}, "never seen", "which none of 6,000 training rows has nor one of its form (aaa)"),
        ({"shop": None}, "NULL", "shop is NULL, as in none of 6,000 training rows; '"),
        ({"price": 38_000.0}, "beyond", "price is 38000; 6,000 training rows have 4.5 to 38"),
        ({"code": "ZOIS-OISOQA"}, "form", "of a form (AAAA-AAAAAA) that none of 6,000 training rows has; a form like"),
        (
            {"ordered": date(2031, 1, 1)},
            "beyond",
            "ordered is 2031-01-01; 6,000 training rows have 2024-01-01 to 2024-12-25",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_stands_against_the_training_rows(
    orders: pa.Table, model: vm.Bundle, changes: dict[str, Any], kind: str, sentence: str
) -> None:
    reason = first_reason(break_row(orders, **changes), model)
    assert (reason.column, reason.kind) == (*changes, kind)
    assert sentence in vm.describe_reason(reason)


def test_a_number_stands_against_the_columns_that_decide_it(orders: pa.Table, model: vm.Bundle) -> None:
    number = next(i for i, r in enumerate(orders.to_pylist()) if (r["quantity"], r["price"]) == (2, 20.0))
    reason = first_reason(break_row(orders, number, total=180.0), model)
    assert reason.column in ("total", "quantity")
    assert {name for name, _ in reason.against} & {"quantity", "price", "total"}


def test_a_moment_is_expected_as_a_moment(orders: pa.Table, model: vm.Bundle) -> None:
    row = break_row(orders, 3, shipped=date(2023, 3, 1))
    reason = first_reason(row, model)
    assert reason.column == "shipped"
    assert abs(date.fromisoformat(reason.expected) - orders["shipped"][3].as_py()) < timedelta(45)


def test_what_is_expected_clears_the_row(orders: pa.Table, model: vm.Bundle) -> None:
    changes: list[dict[str, Any]] = [
        {"currency": "QQQ"}, {"currency": "NOK", "shop": "rome"}, {"price": 38_000.0}, {"quantity": -3},
        {"total": 1e6}, {"shop": None}, {"quantity": None},
    ]  # fmt: skip
    broken = pa.concat_tables([break_row(orders, i, **change) for i, change in enumerate(changes)])
    scored = vm.score(broken, model)
    assert all(scored["is_anomaly"].to_pylist())
    for number, reasons in enumerate(scored["top_columns"].to_pylist()):
        name, expected = reasons[0]["column"], reasons[0]["expected"]
        value = pa.array([None if expected == "NULL" else expected]).cast(orders.schema.field(name).type)[0].as_py()
        again = vm.score(break_row(broken, number, **{name: value}), model)
        assert again["is_anomaly"].to_pylist() == [False], reasons


def test_no_reason_expects_what_is_there_and_counts_are_true(orders: pa.Table, model: vm.Bundle) -> None:
    kinds = {column.name: column.kind for column in model.features}
    planted = [fault.table for fault in plant_faults(make_orders(1_500, seed=8), kinds, 30)]
    found = vm.find_reasons(pa.concat_tables([make_orders(1_500, seed=8), *planted]), model)
    assert all(1 <= len(reasons) <= 3 for reasons in found)
    told = [reason for reasons in found for reason in reasons]
    assert all(reason.observed != reason.expected for reason in told)
    assert {"pair", "range", "given", "never seen", "NULL", "beyond", "form"} <= {r.kind for r in told}
    for reason in told:
        if reason.kind in ("pair", "range"):
            name, value = reason.against[0]
            beside = orders.filter(pc.equal(as_words(orders[name]), pa.scalar(None if value == "NULL" else value)))
            assert reason.of == beside.num_rows
            assert reason.usual == count_usual(reason, beside)
        if reason.kind == "seldom":
            assert reason.seen == pc.sum(pc.equal(as_words(orders[reason.column]), quote(reason))).as_py()


def as_words(values: pa.ChunkedArray) -> pa.Array:
    """As reasons name what they stand against."""
    return pa.array([f"'{v}'" if isinstance(v, str) else to_words(v) for v in values.to_pylist()])


def quote(reason: vm.Reason) -> str:
    return f"'{reason.observed}'" if reason.is_text else reason.observed


def count_usual(reason: vm.Reason, beside: pa.Table) -> int:
    if reason.kind == "range":
        values = np.asarray(beside[reason.column].drop_null().to_numpy(), np.float64)
        return int(((values >= float(reason.low)) & (values <= float(reason.high))).sum())
    expected = f"'{reason.expected}'" if reason.is_text else reason.expected
    return pc.sum(pc.equal(as_words(beside[reason.column]), expected)).as_py() or 0


def test_batches_and_order_change_no_word(orders: pa.Table, model: vm.Bundle) -> None:
    rows = pa.concat_tables([make_orders(300, seed=4), break_row(orders, currency="QQQ"), break_row(orders, total=9e9)])
    whole = vm.score(rows, model, explain="all").select(["top_columns", "why"])
    ones = pa.concat_tables([vm.score(rows.slice(i, 1), model, explain="all") for i in range(rows.num_rows)])
    assert ones.select(["top_columns", "why"]).to_pylist() == whole.to_pylist()


def test_why_has_one_sentence_for_each_reason(orders: pa.Table, model: vm.Bundle) -> None:
    scored = vm.score(make_orders(200, seed=5), model, alert_budget=0.1)
    for row in scored.to_pylist():
        assert (row["why"] is None) == (row["top_columns"] is None) == (not row["is_anomaly"])
        if row["why"]:
            assert len(row["why"]) == len(row["top_columns"])
            for sentence, reason in zip(row["why"], row["top_columns"], strict=True):
                assert re.match(rf"{reason['column']} is '?{re.escape(reason['observed'])}'?[,;: ]", sentence)


def test_rows_that_were_scored_before_have_words_too() -> None:
    reasons = [{"column": "price", "observed": "7", "expected": "9", "share": 1.0}]
    assert describe_row({"top_columns": reasons}) == ["price is 7, expected 9"]
    assert describe_row({"top_columns": reasons, "why": None}) == ["price is 7, expected 9"]
    assert describe_row({"top_columns": None, "why": None}) == []
    assert describe_row({"top_columns": reasons, "why": ["price is 7; 9 is expected"]}) == ["price is 7; 9 is expected"]
