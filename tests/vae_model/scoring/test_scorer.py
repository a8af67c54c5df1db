"""Every row comes out, scores depend on the row and the bundle alone, and they make sense."""

import math
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm

AT = datetime(2024, 5, 1, tzinfo=UTC)


def one_row(table, **changes):
    row = table.slice(0, 1).to_pylist()[0] | changes
    return pa.Table.from_pylist([row], schema=table.schema)


def score(table, bundle, **options):
    return vm.score(table, bundle, scored_at=AT, **options)


def test_columns_of_the_contract(bundle, table):
    scored = score(table, bundle)
    assert scored.num_rows == table.num_rows
    assert scored.select(table.schema.names).equals(table)
    types = {name: str(scored.schema.field(name).type) for name in vm.SCORE_COLUMNS}
    assert types["anomaly_score"] == types["anomaly_p_value"] == types["reconstruction_nll"] == "double"
    assert types["scored_at"] == "timestamp[us, tz=UTC]"
    assert scored["model_id"].unique().to_pylist() == [bundle.model_id]
    p = scored["anomaly_p_value"].to_numpy()
    np.testing.assert_allclose(scored["anomaly_score"].to_numpy(), -np.log10(p), atol=1e-9)
    assert ((p > 0) & (p <= 1)).all()
    assert scored["is_anomaly"].to_pylist() == (p < 0.001).tolist()


def test_column_terms_sum_to_the_nll(bundle, table):
    few = table.slice(0, 5)
    terms = vm.explain(few, bundle).group_by("row").aggregate([("nll", "sum"), ("share", "sum")]).sort_by("row")
    np.testing.assert_allclose(terms["nll_sum"], score(few, bundle)["reconstruction_nll"], rtol=1e-6)
    assert all(abs(s - 1.0) < 1e-5 or s == 0.0 for s in terms["share_sum"].to_pylist())


@pytest.mark.parametrize("rows", [1, 7, 100, 599])
def test_batch_size_does_not_change_a_bit(bundle, table, rows):
    whole = score(table, bundle, explain="all")
    scorer = vm.Scorer(bundle, explain="all", scored_at=AT)
    pieces = pa.Table.from_batches(vm.score_batches(table.to_batches(rows), scorer))
    assert pieces.equals(whole)


def test_order_of_rows_and_columns_does_not_change_a_bit(bundle, table):
    order = np.random.default_rng(0).permutation(table.num_rows)
    shuffled = table.take(pa.array(order)).select(list(reversed(table.schema.names)))
    expected = score(table, bundle).select(vm.SCORE_COLUMNS).take(pa.array(order))
    assert score(shuffled, bundle).select(vm.SCORE_COLUMNS).equals(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": None}, {"x": math.nan}, {"x": math.inf}, {"x": -1e300}, {"y": 0.0}, {"city": None}, {"city": "Atlantis"},
        {"amount": Decimal("99999.99")}, {"day": None}, {"when": datetime(9999, 12, 31, tzinfo=UTC)},
        {"when": datetime(1970, 1, 1, tzinfo=UTC)}, {"vector": None}, {"vector": [1.0]}, {"vector": [math.nan, 1, 1]},
        {"constant": 2500}, {"constant": None},
    ],
    ids=str,
)  # fmt: skip
def test_awkward_values_are_scored_as_more_unusual_and_explained(bundle, table, changes):
    plain, odd = score(one_row(table), bundle), score(one_row(table, **changes), bundle, explain="all")
    assert odd.num_rows == 1
    assert odd["anomaly_score"][0].as_py() > plain["anomaly_score"][0].as_py()
    assert math.isfinite(odd["anomaly_score"][0].as_py())
    assert math.isfinite(odd["reconstruction_error"][0].as_py())
    assert odd["top_columns"][0].as_py()[0]["column"] in changes


def test_values_that_do_not_belong_together(bundle, table):
    row = table.slice(0, 1).to_pylist()[0]
    other = next(c for c in ("Oslo", "Rome", "Lima") if c != row["city"])
    odd = score(one_row(table, city=other), bundle, explain="all")
    reasons = {r["column"]: r for r in odd["top_columns"][0].as_py()}
    assert odd["anomaly_score"][0].as_py() > 2
    assert reasons["city"]["observed"] == other
    assert reasons["city"]["expected"] == row["city"]


def test_explain_choices(bundle, table):
    assert score(table, bundle, explain="none")["top_columns"].null_count == table.num_rows
    assert score(table, bundle, explain="all")["top_columns"].null_count == 0
    alerts = score(table, bundle, alert_budget=0.05)
    explained = [reason is not None for reason in alerts["top_columns"].to_pylist()]
    assert explained == alerts["is_anomaly"].to_pylist()
    assert any(explained)


def test_empty_batch(bundle, table):
    assert score(table.slice(0, 0), bundle).schema == bundle.output_schema(table.schema)
    scorer = vm.Scorer(bundle)
    empty = scorer.score_batch(pa.RecordBatch.from_pylist([], schema=table.schema))
    assert empty.num_rows == 0
    assert empty.schema == scorer.schema


def test_table_with_every_value_missing(bundle, table):
    nothing = pa.table({f.name: pa.nulls(3, f.type) for f in table.schema})
    scored = score(nothing, bundle, explain="all")
    assert scored.num_rows == 3
    assert (scored["anomaly_score"].to_numpy() > 3).all()


def test_missing_feature_is_refused(bundle, table):
    with pytest.raises(vm.DataError, match="'city'"):
        score(table.drop_columns(["city"]), bundle)
    with pytest.raises(vm.DataError, match="latent samples"):
        score(table, bundle, samples=0)


def test_widened_types_score_the_same(bundle, table):
    wide = table.set_column(3, "n", table["n"].cast(pa.int64())).set_column(2, "y", table["y"].cast(pa.float64()))
    expected = score(table, bundle)["anomaly_score"]
    np.testing.assert_allclose(score(wide, bundle)["anomaly_score"], expected, rtol=1e-6)


def test_latents(bundle, table):
    latent = vm.encode(table, bundle)
    width = bundle.shape.members * bundle.shape.latent
    assert {len(v) for v in latent["latent_mu"].to_pylist()} == {width}
    assert min(min(v) for v in latent["latent_sigma"].to_pylist()) > 0


def test_reconstruct_fills_in_what_is_missing(bundle, table):
    back = vm.reconstruct(table, bundle)
    assert back.num_rows == table.num_rows
    assert back.schema.names == bundle.feature_names
    error = np.abs(back["x"].to_numpy() - table["x"].to_numpy())
    assert np.median(error) < 2.0
    assert back["n"].type == pa.int32()


def test_generate_is_seeded_and_plausible(bundle, table):
    new = vm.generate(500, bundle, seed=1)
    assert new.equals(vm.generate(500, bundle, seed=1))
    assert not new.equals(vm.generate(500, bundle, seed=2))
    assert new.num_rows == 500
    assert set(new["city"].to_pylist()) <= {"Oslo", "Rome", "Lima", "another value"}
    assert abs(np.mean(new["x"].to_numpy()) - np.mean(table["x"].to_numpy())) < 3
