"""The numpy forward pass agrees with torch on random weights, for every kind of column and both model kinds."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import vae_model as vm
from vae_model.features.columns import plan_columns
from vae_model.features.encoding import choose_rows, fit_encoder
from vae_model.network.autoencoder import Network
from vae_model.network.forward import Forward, sum_columns
from vae_model.network.products import KEPT
from vae_model.network.shape import Shape
from vae_model.scoring.scorer import build_forward, score_rows
from vae_model.training.loop import export_weights, take_batch
from vae_model.training.rows import RowStore


def randomise(network):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            noise = torch.randn(value.shape, generator=generator) * 0.3
            value.copy_(noise.abs() + 0.5 if name.endswith("var") else noise)


@pytest.mark.parametrize(
    ("kind", "norm", "peers"), [("vae", True, 0), ("vae", False, 3), ("autoencoder", True, 0), ("vae", True, 4)]
)
def test_numpy_equals_torch(table, kind, norm, peers):
    plan = plan_columns(table.schema, table, vm.ColumnOptions(ignore=("id",), max_categories=64))
    encoder = fit_encoder(plan.features, table, 64, table.num_rows)
    layout = encoder.layout
    shape = Shape(kind, (24, 12), 5, 3, tuple(4 for _ in layout.levels), norm, -4.0, 3.0, "surplus", peers=peers)
    network = Network(layout, shape, seed=0)
    randomise(network)
    network.eval()
    encoded = encoder.encode(table.to_batches()[0])
    draws = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    zeros = np.zeros(layout.columns, np.float32)
    forward = Forward(layout, shape, export_weights(network), draws, zeros)
    (block,) = forward.split(encoded)
    scores = forward.score(block)

    store = RowStore(layout)
    store.append(encoded)
    batch = take_batch(store, torch.arange(store.rows).expand(3, -1), torch.device("cpu"))
    with torch.no_grad():
        mu, logvar = network.encode(batch)
        sigma = torch.exp(0.5 * logvar) if shape.is_variational else torch.zeros_like(mu)
        outputs = [network.decode(mu + sigma * torch.from_numpy(d)) for d in draws]
        terms = torch.stack([network.column_terms(o, batch) for o in outputs]).mean(dim=0)
        squares = torch.stack([network.column_differences(o, batch) for o in outputs]).mean(dim=(0, 1))
        if network.conditionals is not None:
            conditional_terms = network.column_terms(network.conditionals(network.embed(batch)), batch)
    n = encoded.rows
    close = {"rtol": 1e-5, "atol": 1e-4}
    np.testing.assert_allclose(scores.terms[:, :n].T, terms.mean(dim=0).numpy(), **close)
    np.testing.assert_allclose(scores.squares[:, :n].T, squares.numpy(), **close)
    if peers:
        np.testing.assert_allclose(
            scores.conditional_terms[..., :n].transpose(0, 2, 1), conditional_terms.numpy(), **close
        )
    np.testing.assert_allclose(scores.mu[:, :n].reshape(3, 5, n).transpose(0, 2, 1), mu.numpy(), **close)
    np.testing.assert_allclose(scores.sigma[:, :n].reshape(3, 5, n).transpose(0, 2, 1), sigma.numpy(), **close)


@pytest.mark.parametrize("threads", [1, 2])
def test_scores_do_not_depend_on_the_threads_of_numpy(table, bundle, threads):
    with threadpool_limits(1, user_api="blas"):
        expected = vm.score(table, bundle)
    with threadpool_limits(threads, user_api="blas"):
        found = vm.score(table, bundle)
        there = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    assert threads in there, "the caller's own setting is back"
    for name in ("anomaly_score", "reconstruction_nll", "latent_mu"):
        assert found[name].equals(expected[name]), name


def test_the_size_of_blocks_changes_no_bit(table, bundle):
    encoded = bundle.encoder.encode(table.to_batches()[0])
    forward = build_forward(bundle)
    expected = score_rows(bundle, forward, encoded)
    forward.block_rows = KEPT
    found = score_rows(bundle, forward, encoded)
    for name in ("terms", "log10_p", "error", "nll", "mu", "sigma"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_terms_alone_are_those_of_the_scores(table, bundle):
    forward = build_forward(bundle, samples=4)
    block = forward.split(bundle.encoder.encode(table.to_batches()[0]))[0]
    np.testing.assert_array_equal(forward.terms(block), forward.score(block).terms)


@pytest.mark.parametrize("rows", [1, 2, 3, 304, 1_000])
def test_a_sum_of_columns_does_not_depend_on_how_many_rows_there_are(rows):
    # Numbers of such different sizes that every order of summing gives another result.
    values = np.exp(np.random.default_rng(0).normal(0, 15, (200, rows))).astype(np.float32)
    expected = [sum(map(float, column)) for column in values.T]
    np.testing.assert_array_equal(sum_columns(values), expected)


@pytest.mark.parametrize(
    ("numbers", "whole"), [([2, 3, 4], True), ([7], True), ([], False), ([0, 1, 1, 3], False), ([0, 2], False)]
)
def test_rows_are_a_slice_only_where_they_follow_each_other(numbers, whole):
    index = choose_rows(numbers)
    assert isinstance(index, slice) == whole
    np.testing.assert_array_equal(np.arange(10)[index], numbers)
