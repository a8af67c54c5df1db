"""The row's statistic: every view heard, on anybody's table, and the same bits however rows come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from tests.vae_model.network.test_conditional import make_related
from vae_model.features.encoding import fit_encoder
from vae_model.features.tails import combine_columns
from vae_model.views import pair_counts
from vae_model.views.nearness import choose_prototypes
from vae_model.views.pair_counts import PairCounts, count_pairs


def make_sales(rows: int, seed: int) -> pa.Table:
    """total = quantity x price; the shop decides the currency; no NULL, nothing negative."""
    rng = np.random.default_rng(seed)
    quantity, price = rng.integers(1, 20, rows), rng.lognormal(3.0, 0.6, rows).round(2)
    shop = rng.integers(0, 4, rows)
    return pa.table(
        {
            "quantity": quantity,
            "price": price,
            "total": (quantity * price).round(2),
            "shop": pa.array(np.array(["oslo", "rome", "lima", "bonn"])[shop]),
            "currency": pa.array(np.array(["NOK", "EUR", "PEN", "EUR"])[shop]),
            "sold": pa.array(np.datetime64("2024-01-01") + rng.integers(0, 300, rows)).cast(pa.date32()),
        }
    )


@pytest.fixture(scope="module")
def sales() -> vm.Bundle:
    return vm.fit(make_sales(5_000, 1))


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("shop", "oxford"), ("currency", "XXX"), ("quantity", None), ("price", None), ("total", None), ("shop", None),
        ("sold", None), ("price", 1e9), ("total", -50.0), ("quantity", -999), ("quantity", 4_000), ("sold", 2_000),
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_alert_and_named_first(sales: vm.Bundle, column: str, wrong: object) -> None:
    rows = make_sales(60, 7)
    dtype = rows.schema.field(column).type
    values = pa.array([wrong] * 60, pa.int32()).cast(dtype) if column == "sold" else pa.array([wrong] * 60, dtype)
    scored = vm.score(rows.set_column(rows.schema.get_field_index(column), column, values), sales)
    assert np.mean(scored["is_anomaly"].to_pylist()) >= 0.95
    first = [reasons[0]["column"] for reasons in scored["top_columns"].to_pylist() if reasons]
    assert np.mean([name == column for name in first]) >= 0.95


def test_a_currency_of_another_shop_is_an_alert(sales: vm.Bundle) -> None:
    rows = make_sales(200, 8)
    wrong = ["NOK" if currency != "NOK" else "EUR" for currency in rows["currency"].to_pylist()]
    scored = vm.score(rows.set_column(4, "currency", pa.array(wrong)), sales)
    assert np.mean(scored["is_anomaly"].to_pylist()) >= 0.95


def test_clean_rows_stay_within_the_budget(sales: vm.Bundle) -> None:
    scored = vm.score(make_sales(20_000, 9), sales, explain="none")
    assert np.mean(scored["is_anomaly"].to_pylist()) < 0.003


def test_scores_beyond_training_are_sober_and_in_order(sales: vm.Bundle) -> None:
    rows = make_sales(1, 10).take(pa.array([0] * 6))
    prices = pa.array([1e4, 1e5, 1e6, 1e9, 1e12, 1e300])
    scores = vm.score(rows.set_column(1, "price", prices), sales)["anomaly_score"].to_numpy()
    assert (np.diff(scores) >= 0).all()
    assert np.isfinite(scores).all()
    assert scores.max() < 15


def test_a_table_of_constants_is_scored_soberly() -> None:
    table = pa.table({"a": [1.0] * 300, "b": ["x"] * 300, "c": pa.array([None] * 300, pa.float64())})
    bundle = vm.fit(table.drop_columns(["c"]), epochs=2)
    found = vm.score(pa.table({"a": [1.0, 2.0, 1e9], "b": ["x", "x", "y"]}), bundle)["anomaly_score"].to_numpy()
    assert found[0] < 1.0 < found[1] < found[2] < 15


def test_the_best_condition_is_chosen_and_unseen_pairs_are_rarest(monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_sales(4_000, 3)
    encoder = fit_encoder(vm.fit(table, epochs=1).features, table, 256, table.num_rows)
    encoded = encoder.encode(table.combine_chunks().to_batches()[0])
    names = [encoder.columns[k].name for k in encoder.layout.counted]
    sizes = [counts.size for counts in encoder.counts if counts is not None]
    pairs = {names[p.target]: p for p in count_pairs(encoded.values, sizes, range(len(sizes)))}
    assert names[pairs["currency"].condition] == "shop"
    pair = pairs["currency"]
    seen = np.zeros(pair.shape, np.bool_)
    seen.reshape(-1)[pair.cells] = True
    t = measure_all(pair)
    assert t[seen].max() < 1.0
    known = seen.any(axis=1)
    assert t[known][:, :3][~seen[known][:, :3]].min() > 3.0
    monkeypatch.setattr(pair_counts, "MAX_CELLS", 0)
    assert np.array_equal(measure_all(replace(pair)), t)


def measure_all(pair: PairCounts) -> np.ndarray:
    """T of each pair of codes, [condition, target]."""
    values = np.zeros((1 + max(pair.target, pair.condition), pair.shape[0] * pair.shape[1]), np.int32)
    values[pair.condition], values[pair.target] = divmod(np.arange(values.shape[1]), pair.shape[1])
    out = np.empty(values.shape[1], np.float32)
    pair.measure(values, False, out)
    return out.reshape(pair.shape)


def test_nearness_is_zero_for_a_prototype_and_grows() -> None:
    table = make_related(500, 4)
    bundle = vm.fit(table, epochs=1)
    encoded = bundle.encoder.encode(table.combine_chunks().to_batches()[0])
    prototypes = choose_prototypes(bundle.encoder.layout, encoded, 500, 0)
    assert prototypes is not None
    assert prototypes.distances(encoded).max() < 1e-2
    far = bundle.encoder.encode(make_related(50, 5).set_column(0, "a", pa.array([9.0] * 50)).to_batches()[0])
    assert prototypes.distances(far).min() > 1.0


def test_combined_columns_of_one_row_are_those_of_many() -> None:
    terms = np.random.default_rng(0).random((7, 400)).astype(np.float32)
    whole = combine_columns(np.maximum(terms, 0.0))
    assert np.array_equal(whole, np.concatenate([combine_columns(np.maximum(terms[:, [i]], 0.0)) for i in range(400)]))


def test_a_stored_bundle_scores_the_same_bits(sales: vm.Bundle) -> None:
    again = vm.Bundle.from_bytes(sales.to_bytes())
    assert again.model_id == sales.model_id
    rows = make_sales(500, 11)
    one, two = (vm.score(rows, bundle, explain="all").drop_columns(["scored_at"]) for bundle in (sales, again))
    assert one.equals(two)
