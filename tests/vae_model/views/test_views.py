"""The row's statistic: every view heard, on anybody's table, and the same bits however rows come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from tests.vae_model.network.test_conditional import make_related
from vae_model.features.encoding import Encoded, TableEncoder, fit_encoder
from vae_model.features.tails import combine_columns
from vae_model.views import pair_counts
from vae_model.views.counted import fit_counted
from vae_model.views.nearness import choose_prototypes
from vae_model.views.pair_counts import GivenOthers, count_pairs, mean_steps


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


def count_all(table: pa.Table) -> tuple[TableEncoder, Encoded, dict[str, GivenOthers]]:
    """What others tell of each column of a table, by its name."""
    encoder = fit_encoder(vm.fit(table, epochs=1).features, table, 256, table.num_rows)
    encoded = encoder.encode(table.combine_chunks().to_batches()[0])
    found = count_pairs(encoded.values, encoder.value_sizes, encoder.value_owners)
    counted = len(encoder.layout.counted)
    names = [encoder.names[k] + " (begin)" * (i >= counted) for i, k in enumerate(encoder.value_owners)]
    return encoder, encoded, {names[given.target]: given for given in found}


def test_the_best_condition_is_chosen_and_unseen_pairs_are_rarest(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, _, given = count_all(make_sales(4_000, 3))
    first = given["currency"].pairs[0]
    assert encoder.names[encoder.value_owners[first.condition]] == "shop"
    alone = GivenOthers((first,), given["currency"].rarity)
    seen = np.zeros(first.shape, np.bool_)
    seen.reshape(-1)[first.cells] = True
    t = measure_all(alone)
    known = seen.any(axis=1)
    assert t[seen].max() < 1.0
    assert t[known][:, :3][~seen[known][:, :3]].min() > 3.0
    # A sparse look-up says the same.
    monkeypatch.setattr(pair_counts, "MAX_CELLS", 0)
    assert np.array_equal(measure_all(GivenOthers((replace(first),), alone.rarity)), t)


def measure_all(given: GivenOthers) -> np.ndarray:
    """T of each pair of codes, [condition, target]."""
    (pair,) = given.pairs
    values = np.zeros((1 + max(pair.target, pair.condition), pair.shape[0] * pair.shape[1]), np.int32)
    values[pair.condition], values[pair.target] = divmod(np.arange(values.shape[1]), pair.shape[1])
    out = np.empty(values.shape[1], np.float32)
    given.measure(values, False, out)
    return out.reshape(pair.shape)


def make_places(rows: int, seed: int) -> pa.Table:
    """Cities, seldom twice; their codes begin as their state does, and so does the telephone."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 12, rows)
    place = rng.integers(0, rows // 2, rows)
    return pa.table(
        {
            "state": [f"S{s:02}" for s in state],
            "area": [f"{s * 7 + 100}" for s in state],
            "code": [f"{10 + s}{p:05}" for s, p in zip(state, place, strict=True)],
        }
    )


def test_two_columns_tell_more_than_one_and_beginnings_tell_too() -> None:
    encoder, encoded, given = count_all(make_places(6_000, 1))
    assert {encoder.names[encoder.value_owners[p.condition]] for p in given["state"].pairs} == {"area", "code"}
    assert "code (begin)" in given
    # One of the two is wrong: less unusual than if both are.
    values = np.repeat(encoded.values[:, :1], 2, axis=1)
    other = np.flatnonzero(encoded.values[given["state"].target] != values[given["state"].target, 0])[0]
    rows = [pair.condition for pair in given["state"].pairs]
    values[rows[0]] = encoded.values[rows[0], other]
    values[rows[1], 1] = encoded.values[rows[1], other]
    steps = mean_steps(given["state"].pairs, values, own=False)
    assert 0 < steps[0] < steps[1]


def test_a_code_of_another_state_is_an_alert_and_named() -> None:
    table = make_places(8_000, 2)
    bundle = vm.fit(table)
    rows = make_places(200, 3)
    wrong = [f"{10 + (int(code[:2]) - 10 + 5) % 12}{code[2:]}" for code in rows["code"].to_pylist()]
    scored = vm.score(rows.set_column(2, "code", pa.array(wrong)), bundle)
    assert np.mean(scored["is_anomaly"].to_pylist()) > 0.9
    first = [reasons[0]["column"] for reasons in scored["top_columns"].to_pylist() if reasons]
    assert np.mean([name == "code" for name in first]) > 0.9
    again = vm.Bundle.from_bytes(bundle.to_bytes())
    assert vm.score(rows, again)["anomaly_score"].equals(vm.score(rows, bundle)["anomaly_score"])


def test_what_is_known_is_judged_by_what_goes_with_it() -> None:
    """A shop that is seldom is no news where its currency and its place are as ever."""
    table = make_sales(6_000, 21)
    shop, currency = table["shop"].to_pylist(), table["currency"].to_pylist()
    shop[:6], currency[:6] = ["oslo"] * 6, ["NOK"] * 6
    table = table.set_column(table.column_names.index("shop"), "shop", pa.array(shop))
    table = table.set_column(table.column_names.index("currency"), "currency", pa.array(currency))
    encoder, encoded, given = count_all(table)
    counted = fit_counted(encoder, encoded)
    alone = counted.measure(encoded)["values"]
    assert "shop" in given
    assert alone[:6].max() < 3.0


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
