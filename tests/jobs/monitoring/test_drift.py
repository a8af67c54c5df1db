"""Statistics against scipy's, and alarms that are raised for what is broken and for nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

import vae_model as vm
from jobs.common.config import Monitor
from jobs.common.statistics import (
    chi_square_test,
    kolmogorov_smirnov_test,
    log_poisson_tail,
    poisson_tail,
    proportion_test,
)
from jobs.monitoring.drift import compare_alerts, compare_features, compare_latents, compare_scores
from jobs.monitoring.profiles import count_features
from vae_model.bundle.profile import population_stability

LIMITS = Monitor()


@pytest.fixture(scope="module")
def bundle(orders_bundle):
    return vm.load(orders_bundle)


def drift_of(bundle, table):
    counted = count_features(bundle, table.combine_chunks().to_batches())
    return {drift.column: drift for drift in compare_features(bundle, counted, LIMITS)}


def alarms_of(bundle, table):
    return {name: drift.alarms for name, drift in drift_of(bundle, table).items() if drift.alarms}


def changed(table, name, values):
    at = table.schema.get_field_index(name)
    return table.set_column(at, name, pa.array(values, table.schema.field(name).type))


def test_two_samples_of_one_distribution_give_uniform_p_values():
    rng = np.random.default_rng(0)
    edges = np.quantile(rng.normal(size=5_000), np.linspace(0.05, 0.95, 19))
    train = np.bincount(np.searchsorted(edges, rng.normal(size=5_000)), minlength=20)
    p = [
        test(train, np.bincount(np.searchsorted(edges, rng.normal(size=400)), minlength=20))[1]
        for test in (kolmogorov_smirnov_test, chi_square_test)
        for _ in range(300)
    ]
    for values in (p[:300], p[300:]):
        assert np.mean(np.array(values) < 0.05) < 0.1
        assert np.mean(np.array(values) < 0.5) > 0.3


def test_chi_square_is_scipys():
    table = np.array([[50, 30, 20, 5], [20, 40, 10, 9]])
    statistic, p = chi_square_test(table[0], table[1])
    expected = scipy.stats.chi2_contingency(table, correction=False)
    assert statistic == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, rel=0.15)


def test_kolmogorov_smirnov_is_scipys_where_bins_hold_one_value_each():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 30, 900), rng.integers(2, 30, 700)
    statistic, p = kolmogorov_smirnov_test(np.bincount(a, minlength=30), np.bincount(b, minlength=30))
    expected = scipy.stats.ks_2samp(a, b, method="asymp")
    assert statistic == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, rel=0.5)


@pytest.mark.parametrize(("count", "mean"), [(0, 1.0), (3, 0.03), (5, 5.0), (3, 40.0), (400, 2.0)])
def test_poisson_tail_is_scipys(count, mean):
    assert poisson_tail(count, mean) == pytest.approx(scipy.stats.poisson.sf(count - 1, mean), rel=1e-6, abs=1e-300)
    assert log_poisson_tail(100_000, 3.0) < -100_000


def test_population_stability_of_the_same_is_zero_and_ignores_the_number_of_rows():
    assert population_stability([10, 20, 30], [100, 200, 300]) == pytest.approx(0.0, abs=1e-12)
    assert population_stability([10, 20, 0], [0, 20, 10]) == pytest.approx(
        population_stability([10_000, 20_000, 0], [0, 20_000, 10_000])
    )
    assert population_stability([1, 2], [0, 0]) == 0.0


def test_the_training_rows_themselves_raise_no_alarm(bundle, orders):
    found = drift_of(bundle, orders)
    assert set(found) == set(bundle.feature_names)
    assert all(drift.psi == pytest.approx(0.0, abs=1e-9) and not drift.alarms for drift in found.values())
    assert all(drift.p_value > 0.95 for drift in found.values())


def test_a_handful_of_rows_raises_no_alarm(bundle, orders):
    assert not alarms_of(bundle, orders.slice(0, 5))


def test_a_unit_is_an_alarm_of_its_column_alone(bundle, orders):
    alarms = alarms_of(bundle, changed(orders, "price", orders["price"].to_numpy() * 100))
    assert set(alarms) == {"price"}
    assert "expected values distributed as in training, found PSI" in alarms["price"][0]
    assert "0.0% expected" in alarms["price"][0]


def test_values_that_are_lost_are_an_alarm(bundle, orders):
    half = [None if i % 2 else value for i, value in enumerate(orders["quantity"].to_pylist())]
    assert alarms_of(bundle, changed(orders, "quantity", half)) == {
        "quantity": ("quantity: expected 0.0% NULL as in training, found 50.0%",)
    }


def test_unseen_categories_are_an_alarm(bundle, orders):
    shops = ["paris" if i % 10 == 0 else value for i, value in enumerate(orders["shop"].to_pylist())]
    found = drift_of(bundle, changed(orders, "shop", shops))["shop"]
    assert (found.unseen_share, found.expected_unseen_share) == (pytest.approx(0.1), 0.0)
    assert found.alarms[-1] == "shop: expected 0.0% of values that training did not see, found 10.0%"


def test_an_ignored_column_is_measured_and_raises_no_alarm(bundle, orders):
    counted = count_features(bundle, changed(orders, "price", orders["price"].to_numpy() * 100).to_batches())
    found = {d.column: d for d in compare_features(bundle, counted, Monitor(ignore=("price",)))}
    assert found["price"].psi > 1 and not found["price"].alarms


def test_what_nights_usually_do_raises_no_alarm(bundle, orders):
    from dataclasses import replace

    columns = tuple(replace(c, usual_psi=9.0) if c.name == "price" else c for c in bundle.profile.columns)
    seasonal = replace(bundle, profile=replace(bundle.profile, columns=columns))
    assert not alarms_of(seasonal, changed(orders, "price", orders["price"].to_numpy() * 100))


def test_scores_are_compared_with_calibration():
    usual = -np.log10(np.random.default_rng(0).uniform(size=2_000))
    quiet, loud = compare_scores(usual, LIMITS), compare_scores(usual + 1.0, LIMITS)
    assert not quiet.alarms and quiet.value == pytest.approx(0.1, abs=0.02)
    assert quiet.quantiles == pytest.approx((0.3, 1.0, 2.0, 3.0), abs=0.6)
    assert len(loud.alarms) == 1 and loud.alarms[0].startswith(
        "anomaly_score: expected 10% of rows above 1, as of normal rows, found 100%, more than 50% (median 1.30, of"
    )
    assert compare_scores(np.zeros(0), LIMITS).alarms == ()


def test_the_alert_rate_is_compared_with_the_budget():
    assert not compare_alerts(4, 1_000, 0.001, LIMITS).alarms
    assert not compare_alerts(400, 100_000, 0.001, LIMITS).alarms
    (alarm,) = compare_alerts(700, 100_000, 0.001, LIMITS).alarms
    assert alarm.startswith(
        "is_anomaly: expected about 0.100% of rows (the alert budget), found 0.700%: 700 of 100,000"
    )


def test_a_collapsed_latent_layer_is_an_alarm(bundle, orders):
    latents = vm.encode(orders, bundle)
    mu, sigma = (np.array(latents[name].to_pylist(), np.float64) for name in ("latent_mu", "latent_sigma"))
    quiet = compare_latents(bundle, mu, sigma, LIMITS)
    assert quiet is not None and not quiet.alarms and quiet.value == quiet.expected
    still = compare_latents(bundle, np.zeros_like(mu), np.ones_like(sigma), LIMITS)
    assert still is not None and still.value == 0 and "latent units in use as in training, found 0" in still.alarms[0]


def test_shares_are_compared_by_their_number_of_rows():
    assert proportion_test(5, 10, 50, 100) == pytest.approx(1.0)
    assert proportion_test(500, 1_000, 5, 1_000) < 1e-10


def test_a_bundle_without_training_statistics_says_to_retrain(root):
    old = vm.load(root / "tests" / "data" / "bundle_format_1")
    assert old.profile is None
    with pytest.raises(vm.DataError, match="retrain to get training statistics"):
        count_features(old, [pa.RecordBatch.from_pylist([{"x": 1.0}])])


def make_tickets(rows: int, seed: int) -> pa.Table:
    """Tickets with a text, a clock time as text, and a code that names them."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "code": [f"{2_000 + seed}-{n:06}" for n in rng.integers(0, 10**6, rows)],
            "plate": [f"{chr(65 + a)}{chr(65 + b)} {n:04}" for a, b, n in rng.integers(0, [26, 26, 10**4], (rows, 3))],
            "time": [f"{h:02}:{m:02}" for h, m in rng.integers(0, [24, 60], (rows, 2))],
            "street": [f"st{''.join(chr(97 + c) for c in cs)}" for cs in rng.integers(0, 9, (rows, 3))],
            "fine": rng.gamma(3.0, 10.0, rows).round(1),
        }
    )


@pytest.fixture(scope="module")
def tickets():
    return vm.fit(make_tickets(4_000, 0), vm.ColumnOptions(ignore=("code",)), epochs=1, members=1)


def test_ordinary_texts_raise_no_alarm(tickets):
    assert "code" in drift_of(tickets, make_tickets(2_000, 1))
    assert not alarms_of(tickets, make_tickets(2_000, 1))


@pytest.mark.parametrize(
    ("column", "wrong", "words"),
    [
        (
            "plate",
            lambda v: f"{v[3:]}-{v[:2]}",
            "plate: expected texts of a form like AA 9999, found 5.0% of other forms; a form like 9999-AA in 5.0%",
        ),
        ("time", lambda v: f"{v} h", "time: expected texts that read as a time, found 5.0% that do not; 9:9 a in 5.0%"),
        ("street", lambda v: v.upper(), ", found 5.0% of the form A"),
    ],
)
def test_a_form_that_changes_in_one_row_of_twenty_is_told_before_and_after(tickets, column, wrong, words):
    rows = make_tickets(2_000, 2)
    values = [wrong(v) if i % 20 == 0 else v for i, v in enumerate(rows[column].to_pylist())]
    alarms = alarms_of(tickets, changed(rows, column, values))
    assert set(alarms) == {column}
    assert words in " ".join(alarms[column])


def test_a_column_that_is_no_feature_is_watched_for_its_form(tickets):
    again = vm.Bundle.from_bytes(tickets.to_bytes())
    assert "code" not in again.feature_names
    rows = make_tickets(2_000, 3)
    alarms = alarms_of(again, changed(rows, "code", [f"x/{v[2:4]}/{v[5:]}" for v in rows["code"].to_pylist()]))
    assert set(alarms) == {"code"}
    assert "expected texts of a form like 9-9, found 100.0% of other forms; a form like a/9/9 in 100.0%" in " ".join(
        alarms["code"]
    )
