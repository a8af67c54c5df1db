"""The self-test: faults by kind of column, and what became of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from tests.vae_model.views.test_views import make_sales
from vae_model.bundle.self_test import SelfTest
from vae_model.training.planting import plant_faults
from vae_model.training.self_test import run_self_test


@pytest.fixture(scope="module")
def tested() -> SelfTest:
    found = vm.fit(make_sales(3_000, 1)).self_test
    assert found is not None
    return found


def test_each_column_gets_the_faults_of_its_kind(tested: SelfTest) -> None:
    faults = {name: {d.fault for d in tested.detections if d.column == name} for name in ("price", "shop", "sold")}
    assert {"x 1000", "wrong sign", "zero", "-999", "NULL", "of another row"} <= faults["price"]
    assert {"never seen", "NULL", "of another row", "of another column"} <= faults["shop"]
    assert {"a year late", "a year early", "day and month", "NULL"} <= faults["sold"]


def test_what_cannot_be_is_found_and_named(tested: SelfTest) -> None:
    by_fault = {d.fault: d for d in tested.by_fault()}
    for fault in ("x 1000", "-999", "NULL", "never seen"):
        assert by_fault[fault].alerts >= 0.95, fault
        assert by_fault[fault].first is not None and by_fault[fault].first >= 0.9, fault


def test_a_column_of_noise_is_said_to_be_deaf_to_what_nobody_can_tell() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.normal(size=2_000), "flag": pa.array(rng.random(2_000) < 0.5), "b": rng.random(2_000)})
    bundle = vm.fit(table, epochs=2)
    found = bundle.self_test
    assert found is not None
    of_flag = [d for d in found.detections if (d.column, d.fault) == ("flag", "flipped")]
    assert of_flag[0].alerts < 0.05
    assert SelfTest.from_json(found.to_json()) == found
    silent = SelfTest(10, 0.0, tuple(of_flag))
    assert silent.deaf_columns() == ["flag"]


def test_planted_values_differ_and_nothing_else_changes() -> None:
    table = make_sales(500, 2)
    kinds = {"quantity": "number", "price": "number", "total": "number", "shop": "category", "sold": "time"}
    planted = list(plant_faults(table, kinds, 30, seed=1))
    assert {fault.column for fault in planted} == set(kinds)
    for fault in planted:
        right = table.take(pa.array(fault.rows))
        for name in table.column_names:
            same = [a == b for a, b in zip(right[name].to_pylist(), fault.table[name].to_pylist(), strict=True)]
            assert not any(same) if name == fault.column else all(same), (fault.fault, name)
    again = list(plant_faults(table, kinds, 30, seed=1))
    assert all(a.table.equals(b.table) for a, b in zip(planted, again, strict=True))


def test_no_held_out_rows_are_no_error() -> None:
    bundle = vm.fit(make_sales(300, 3), epochs=1)
    assert run_self_test(bundle, make_sales(300, 3).slice(0, 0)).detections == ()


@pytest.mark.parametrize("dtype", [pa.duration("us"), pa.decimal128(21, 2), pa.float32(), pa.uint8()])
def test_numbers_of_every_type_get_faults(dtype: pa.DataType) -> None:
    table = pa.table({"x": pa.array([number if number % 7 else None for number in range(60)], pa.int64()).cast(dtype)})
    planted = {fault.fault: fault.table["x"] for fault in plant_faults(table, {"x": "number"}, 10)}
    assert {"zero", "NULL", "of another row"} <= planted.keys()
    assert all(values.type == dtype for values in planted.values())
