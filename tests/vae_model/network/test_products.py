"""Matrix products in panels: margins come and go without a trace, and a column's bits do not depend on its place."""

from __future__ import annotations

import numpy as np
import pytest

from vae_model.network.products import KEPT, MARGIN, PANEL, gather, multiply, one_blas_thread, spread


@pytest.mark.parametrize("rows", [0, 1, KEPT - 1, KEPT, KEPT + 1, 4 * KEPT])
def test_gather_undoes_spread(rows: int) -> None:
    values = np.random.default_rng(rows).normal(size=(3, rows)).astype(np.float32)
    tiles = spread(values)
    assert tiles.shape == (3, -(-rows // KEPT) * PANEL)
    np.testing.assert_array_equal(gather(tiles, rows), values)
    margins = tiles.reshape(3, -1, PANEL)[..., [*range(MARGIN), *range(PANEL - MARGIN, PANEL)]]
    assert not margins.any()


def test_gather_takes_any_number_of_outer_axes_and_no_columns_at_all() -> None:
    values = np.random.default_rng(0).normal(size=(2 * 3, KEPT + 5)).astype(np.float32)
    stacked = spread(values).reshape(2, 3, -1)
    np.testing.assert_array_equal(gather(stacked, KEPT + 5), values.reshape(2, 3, -1))
    assert gather(np.zeros((2, 0, PANEL), np.float32), 7).shape == (2, 0, 7)


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 3), (9, 7), (64, 32), (130, 65)])
def test_a_column_has_the_same_bits_wherever_it_stands(outputs: int, inputs: int) -> None:
    rng = np.random.default_rng(outputs)
    weight, bias = (rng.normal(size=(outputs, n)).astype(np.float32) for n in (inputs, 1))
    column = rng.normal(size=inputs).astype(np.float32)
    x = rng.normal(size=(inputs, 3 * KEPT)).astype(np.float32)
    found = set()
    for place in (0, 1, 7, 8, 100, KEPT - 1, KEPT, 2 * KEPT + 3, 3 * KEPT - 1):
        x[:, place] = column
        with one_blas_thread:
            product = gather(multiply(weight, spread(x), bias), x.shape[1])
        np.testing.assert_allclose(product, weight @ x + bias, rtol=1e-4, atol=1e-4)
        found.add(product[:, place].tobytes())
    assert len(found) == 1
