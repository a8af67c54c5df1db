"""What the product promises on real flights, in a small form: broken rows are found, and probabilities are honest."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from jobs.onboarding.flights import load_flights
from tests.bench.detection.measures import area_under_roc
from tests.bench.faults import CATEGORIES, FAULTS, NUMBERS, break_rows

TRAIN_ROWS, HELD_OUT_ROWS, BROKEN_ROWS = 50_000, 10_000, 500


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    table = load_flights().select([*NUMBERS, *CATEGORIES])
    return table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))


@pytest.fixture(scope="module")
def bundle(flights: pa.Table) -> vm.Bundle:
    return vm.fit(flights.slice(0, TRAIN_ROWS))


def test_p_values_are_honest_on_untouched_flights(flights: pa.Table, bundle: vm.Bundle) -> None:
    p = vm.score(flights.slice(TRAIN_ROWS), bundle, explain="none")["anomaly_p_value"].to_numpy()
    # Held-out rows are among the counted, new ones are not: near one in a hundred that is seen.
    for level in (0.1, 0.01, 0.001):
        assert level / 1.6 < np.mean(p < level) < level * 1.6, level


def test_rows_whose_values_do_not_belong_together_are_found(flights: pa.Table, bundle: vm.Bundle) -> None:
    held_out = flights.slice(TRAIN_ROWS, HELD_OUT_ROWS)
    clean = vm.score(held_out, bundle, explain="none")["anomaly_score"].to_numpy()
    areas = {}
    for fault in FAULTS:
        rows, broken = break_rows(held_out, fault, BROKEN_ROWS)
        scores, labels = clean.copy(), np.zeros(len(clean), np.bool_)
        scores[rows] = vm.score(broken, bundle, explain="none")["anomaly_score"].to_numpy()
        labels[rows] = True
        areas[fault.name] = area_under_roc(labels, scores)
    assert np.mean(list(areas.values())) > 0.975, areas
    assert areas["origin of another flight"] > 0.8
    assert areas["distance in km"] > 0.98
    assert areas["carrier never seen at dest"] > 0.95


def test_the_broken_column_is_the_reason(flights: pa.Table, bundle: vm.Bundle) -> None:
    held_out = flights.slice(TRAIN_ROWS, HELD_OUT_ROWS)
    expected = (("distance in km", "distance"), ("arr_time an hour late", "arr_time"))
    for name, column in (*expected, ("carrier never seen at dest", "carrier")):
        fault = next(fault for fault in FAULTS if fault.name == name)
        _, broken = break_rows(held_out, fault, 200)
        reasons = vm.score(broken, bundle, explain="all")["top_columns"].to_pylist()
        first = [row[0]["column"] for row in reasons]
        among = [column in {reason["column"] for reason in row} for row in reasons]
        assert np.mean(np.array(first) == column) > 0.7, (name, np.unique(first, return_counts=True))
        assert np.mean(among) > 0.8, name
