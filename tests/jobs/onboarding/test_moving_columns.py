"""What moves with the nights is no feature in the config that `init` writes, either: it names every feature's kind."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa

from jobs.onboarding.infer import infer_columns


def test_columns_that_move_with_the_night_are_left_out_with_the_reason():
    days = [date(2024, 3, 1) + timedelta(number // 20) for number in range(600)]
    sample = pa.table(
        {
            "id": range(600),
            "day": pa.array(days, pa.date32()),
            "loaded": pa.array([day + timedelta(1) for day in days], pa.date32()),
            "written": [f"{day:%d.%m.%Y}" for day in days],
            "shop": ["oslo", "rome", "lima"] * 200,
        }
    )
    found = {column.name: column for column in infer_columns(sample, ("id",), ("day",))}
    assert {name: column.kind for name, column in found.items() if column.kind} == {
        "loaded": "time",
        "shop": "category",
    }
    assert found["written"].reason == "has one value in each day, and the next one's is new: not modelled"
