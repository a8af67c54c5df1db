"""Moments and numbers that arrive as text: read, modelled as what they are, and judged by their characters all the
same."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from vae_model.features.columns import plan_columns
from vae_model.features.parse import parse_moments, parse_numbers


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2014-01-01 01:15", at(2014, 1, 1, 1, 15)),
        ("2014-01-01T01:15:07.250Z", at(2014, 1, 1, 1, 15, 7)),
        ("1995/06/13 04:00:00+02", at(1995, 6, 13, 2)),
        ("2016-02-29", at(2016, 2, 29)),
        ("1969-12-31", -86_400.0),
        ("11:38:36", 11 * 3_600 + 38 * 60 + 36.0),
        ("7:10 a.m.", 7 * 3_600 + 600.0),
        ("12:05 AM", 300.0),
        ("12:05 pm", 43_500.0),
        ("13:31:27.000", 13 * 3_600 + 31 * 60 + 27.0),
        ("29.2.2016", at(2016, 2, 29)),
        ("03.04.2015 07:30", at(2015, 4, 3, 7, 30)),
        ("2014.05.06", at(2014, 5, 6)),
        ("13.13.2015", math.nan),
        *((text, math.nan) for text in ("", "soon", "2015-13-01", "99:99", "03/04/2015", "2015", "11:38 uhr")),
        (None, math.nan),
    ],
)
def test_moments(text: str | None, seconds: float) -> None:
    assert parse_moments(pa.array(["00:00", text], pa.string()))[1] == pytest.approx(seconds, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "number"),
    [("12.0 oz", 12.0), ("$1,234.50", 1_234.5), ("7 %", 7.0), (".5", 0.5), ("-3.5", -3.5), ("1,23", math.nan),
     ("about 5", math.nan), (None, math.nan)],
)  # fmt: skip
def test_numbers(text: str | None, number: float) -> None:
    assert parse_numbers(pa.array([text], pa.string()))[0] == pytest.approx(number, nan_ok=True)


def make_deliveries(rows: int, seed: int) -> pa.Table:
    """Parcels that leave in the morning; the weight says the price; all of it as text."""
    rng = np.random.default_rng(seed)
    day = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=int(d)) for d in rng.integers(0, 90, rows)]
    morning = rng.integers(7, [11, 59], (rows, 2))
    weight = rng.gamma(4.0, 2.0, rows).round(1)
    return pa.table(
        {
            "left": [f"{d:%Y-%m-%d} {h:02}:{m:02}" for d, (h, m) in zip(day, morning, strict=True)],
            "opens": [f"{h:02}:{m:02}:00" for h, m in rng.integers([8, 0], [12, 60], (rows, 2))],
            "weight": [f"{w} kg" for w in weight],
            "price": [f"${w * 3 + 2:,.2f}" for w in weight],
            "zip": [f"{z:05}" for z in rng.integers(0, 99_999, rows)],
        }
    )


@pytest.fixture(scope="module")
def deliveries() -> vm.Bundle:
    return vm.fit(make_deliveries(6_000, 0))


def test_strings_are_what_they_read_as_and_codes_stay_texts() -> None:
    table = make_deliveries(2_000, 1)
    plan = plan_columns(table.schema, table, vm.ColumnOptions())
    assert {c.name: c.kind for c in plan.features} == {
        "left": "time", "opens": "time", "weight": "number", "price": "number", "zip": "text",
    }  # fmt: skip
    asked = vm.ColumnOptions(kinds={"left": "text", "weight": "category"})
    kinds = {c.name: c.kind for c in plan_columns(table.schema, table, asked).features}
    assert (kinds["left"], kinds["weight"]) == ("text", "category")


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("left", lambda v: v[:11] + "23:15"),
        ("left", lambda v: "2031" + v[4:]),
        ("left", lambda v: v.replace("-", ".").replace(" ", "T")),
        ("opens", lambda v: "03" + v[2:]),
        ("opens", lambda v: v[:5] + " AM"),
        ("weight", lambda v: f"{float(v[:-3]) * 1_000:.1f} kg"),
        ("weight", lambda v: v.replace("kg", "lb")),
        ("price", lambda v: f"${float(v[1:].replace(',', '')) * 1.6:,.2f}"),
        ("price", lambda v: "n/a"),
    ],
)
def test_wrong_values_and_wrong_forms_are_found_and_named(deliveries: vm.Bundle, column: str, wrong) -> None:
    rows = make_deliveries(300, 2)
    values = [wrong(value) for value in rows[column].to_pylist()]
    scored = vm.score(rows.set_column(rows.column_names.index(column), column, pa.array(values)), deliveries)
    assert np.mean(scored["is_anomaly"].to_pylist()) > 0.8
    first = [reasons[0]["column"] for reasons in scored["top_columns"].to_pylist() if reasons]
    # Of price and weight, which say the same, either may be the wrong one.
    blamed = {"price", "weight"} if column in ("price", "weight") else {column}
    assert np.mean([name in blamed for name in first]) > 0.8


def test_clean_rows_and_odd_ones_are_scored(deliveries: vm.Bundle) -> None:
    scored = vm.score(make_deliveries(20_000, 3), deliveries, explain="none")
    assert np.mean(scored["is_anomaly"].to_pylist()) < 0.004
    odd = pa.table(
        {name: pa.array([None, "", "x" * 500, "0", "\uff19"], pa.string()) for name in deliveries.feature_names}
    )
    again = vm.Bundle.from_bytes(deliveries.to_bytes())
    assert np.isfinite(vm.score(odd, again, explain="all")["anomaly_score"].to_numpy()).all()
    assert vm.reconstruct(make_deliveries(50, 4), again).num_rows == 50
    assert vm.explain(make_deliveries(5, 4), again).num_rows == 25
    assert vm.generate(7, again).num_rows == 7
