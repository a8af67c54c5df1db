"""Nights go on after training: what moves with them is no news, half a year later either."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from vae_model.features.times import TimeEncoder

COLUMNS = ("load", "ts", "iso", "written", "ymd", "month", "seq")


def make_night(number: int, rows: int = 100) -> pa.Table:
    rng = np.random.default_rng(number)
    day = date(2024, 3, 1) + timedelta(number)
    start = datetime(day.year, day.month, day.day)  # noqa: DTZ001  as most tables have them
    return pa.table(
        {
            "day": pa.array([day] * rows, pa.date32()),
            "load": pa.array([day + timedelta(1)] * rows, pa.date32()),
            "ts": [start + timedelta(minutes=int(m)) for m in rng.integers(360, 1_200, rows)],
            "iso": [f"{day}"] * rows,
            "written": [f"{day:%d.%m.%Y}"] * rows,
            "ymd": [int(f"{day:%Y%m%d}")] * rows,
            "month": [day.month] * rows,
            "seq": np.arange(number * rows, (number + 1) * rows),
            "shop": rng.choice(["oslo", "rome", "lima"], rows),
            "price": np.round(rng.gamma(4.0, 5.0, rows), 2),
        }
    )


@pytest.fixture(scope="module")
def bundle() -> vm.Bundle:
    rows = pa.concat_tables([make_night(number) for number in range(50)])
    return vm.fit(rows, vm.ColumnOptions(ignore=("day",)), epochs=2, members=1)


def test_what_has_a_value_of_its_own_each_night_is_no_feature_and_that_is_said(bundle):
    assert bundle.feature_names == ["load", "ts", "shop", "price"]
    notes = {note.split(":")[0]: note for note in bundle.notes}
    assert notes["written"] == "written: has one value in each day, and the next one's is new: not modelled"
    assert notes["seq"] == "seq: grows with day, and the next one's is new: not modelled"
    assert {"iso", "ymd", "month"} < {*notes}


@pytest.mark.parametrize("number", [50, 80, 140, 400])
def test_a_night_long_after_training_is_as_ordinary_as_one_of_it(bundle, number):
    scored = vm.score(make_night(number, rows=500), bundle)
    assert np.mean(scored["is_anomaly"].to_numpy()) < 0.01
    assert np.median(scored["anomaly_score"].to_numpy()) < 1.5


def test_a_moment_before_training_and_one_of_another_age_are_odd(bundle):
    night = make_night(60)
    early = night.set_column(1, "load", pa.array([date(2019, 1, 1)] * 100, pa.date32()))
    late = night.set_column(1, "load", pa.array([date(2199, 1, 1)] * 100, pa.date32()))
    for rows in (early, late):
        assert np.mean(vm.score(rows, bundle)["is_anomaly"].to_numpy()) > 0.9


def test_the_encoder_says_so_in_the_bundle(bundle, tmp_path):
    bundle.save(tmp_path)
    again = vm.load(tmp_path)
    assert again.model_id == bundle.model_id
    load = again.encoder.encoders[0]
    assert isinstance(load, TimeEncoder) and load.follows and "year" not in load.periods


def test_kinds_that_were_asked_for_stay():
    rows = pa.concat_tables([make_night(number, 20) for number in range(30)])
    asked = vm.ColumnOptions(ignore=("day",), kinds={"month": "number", "seq": "number"})
    assert {"month", "seq"} < {*vm.fit(rows, asked, epochs=1, members=1).feature_names}


def test_without_a_night_everything_is_as_it_was():
    rows = pa.concat_tables([make_night(number, 20) for number in range(30)]).drop_columns(["day"])
    assert {*COLUMNS} < {*vm.fit(rows, epochs=1, members=1).feature_names}
