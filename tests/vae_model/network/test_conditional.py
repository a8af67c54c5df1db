"""The conditional model: what each column should be, given the row's other columns and never the column itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

import vae_model as vm
from vae_model.features.columns import plan_columns
from vae_model.features.encoding import fit_encoder
from vae_model.network.conditional import ConditionalModel
from vae_model.network.shape import MAX_CONDITIONAL_COLUMNS, choose_shape
from vae_model.scoring.repair import hide_columns
from vae_model.scoring.scorer import build_forward

ROWS = 20_000


def make_related(rows: int, seed: int) -> pa.Table:
    """total = a + b exactly; the shop decides the currency; level follows a."""
    rng = np.random.default_rng(seed)
    a, b, shop = rng.normal(size=rows), rng.normal(size=rows), rng.integers(0, 6, rows)
    return pa.table(
        {
            "a": a,
            "b": b,
            "total": a + b,
            "shop": pa.array(np.array(["oslo", "rome", "lima", "bonn", "bari", "kiel"])[shop]),
            "currency": pa.array(np.array(["NOK", "EUR", "PEN", "EUR", "EUR", "EUR"])[shop]),
            "big": pa.array(a > 0, mask=rng.random(rows) < 0.1),
        }
    )


@pytest.fixture(scope="module")
def large() -> vm.Bundle:
    return vm.fit(make_related(ROWS, 0), epochs=3)


def test_tables_of_any_length_have_it_but_no_autoencoder_and_no_very_wide_table(large: vm.Bundle) -> None:
    layout = large.encoder.layout
    assert large.shape.peers > 0
    assert choose_shape(layout, vm.ModelOptions()).peers == large.shape.peers
    assert choose_shape(layout, vm.ModelOptions(kind="autoencoder")).peers == 0
    assert choose_shape(replace(layout, columns=MAX_CONDITIONAL_COLUMNS + 1), vm.ModelOptions()).peers == 0


def test_a_column_does_not_see_itself(large: vm.Bundle) -> None:
    forward = build_forward(large)
    encoded = large.encoder.encode(make_related(200, 1).combine_chunks().to_batches()[0])
    seen = forward.predict_conditionals(0, encoded)
    for k in range(len(large.features)):
        hidden = forward.predict_conditionals(
            0, hide_columns(large, encoded, np.arange(encoded.rows), np.full(encoded.rows, k))
        )
        for c, owner in enumerate(large.encoder.layout.categories):
            assert (owner == k) == np.allclose(seen.logits[c], hidden.logits[c], atol=1e-5), (k, owner)
        for part, owner in enumerate(large.encoder.layout.continuous):
            assert owner != k or np.allclose(seen.mean[part], hidden.mean[part], atol=1e-5), (k, owner)


def test_values_that_do_not_belong_together_are_found_explained_and_put_right(large: vm.Bundle) -> None:
    rows = make_related(300, 2)
    usual = vm.score(rows, large, explain="none")["anomaly_score"].to_numpy()
    wrong = pa.array(["EUR" if c != "EUR" else "PEN" for c in rows["currency"].to_pylist()])
    broken = rows.set_column(rows.schema.get_field_index("currency"), "currency", wrong)
    scored = vm.score(broken, large, explain="all")
    assert np.median(scored["anomaly_score"].to_numpy()) > np.quantile(usual, 0.95)
    shifted = rows.set_column(2, "total", pa.array(rows["total"].to_numpy() + 1.0))
    scored = vm.score(shifted, large, explain="all")
    assert np.median(scored["anomaly_score"].to_numpy()) > np.quantile(usual, 0.95)
    everything = vm.explain(shifted.slice(0, 50), large).to_pylist()
    expected = {row["row"]: float(row["expected"]) for row in everything if row["column"] == "total"}
    right = rows["total"].to_numpy()[:50]
    assert np.median(np.abs(np.array([expected[i] for i in range(50)]) - right)) < 0.1


def test_it_starts_from_the_regression_in_closed_form() -> None:
    table = make_related(2_000, 3).select(["a", "b", "total"])
    plan = plan_columns(table.schema, table, vm.ColumnOptions())
    encoder = fit_encoder(plan.features, table, 64, table.num_rows)
    encoded = encoder.encode(table.combine_chunks().to_batches()[0])
    peers = ConditionalModel(encoder.layout, choose_shape(encoder.layout, vm.ModelOptions()), torch.Generator())
    x, absent = torch.from_numpy(encoded.x.T.copy()), torch.from_numpy(encoded.absent.T.copy())
    with torch.no_grad():
        peers.head.zero_()
    peers.start_from_regression(x, absent)
    with torch.no_grad():
        mean = peers(torch.cat([x, absent.float()], dim=1)[None])[0, :, :3]
    np.testing.assert_allclose(mean.numpy(), x.numpy(), atol=0.02)
