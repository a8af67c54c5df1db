"""Tails of terms: calibrated where rows are, honest beyond them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto

from vae_model.features.tails import Tails, estimate_pareto, fit_tails


def apply(tails: Tails, values: list[float]) -> np.ndarray:
    return tails.apply(np.array([values], np.float32))[0]


@pytest.mark.parametrize("share", [0.05, 0.01, 0.001])
def test_the_share_of_new_rows_beyond_t_is_what_t_says(share: float) -> None:
    rng = np.random.default_rng(0)
    laws = [rng.exponential, rng.normal, lambda size: rng.standard_t(3, size)]
    tails = fit_tails(np.stack([law(size=30_000) for law in laws]).astype(np.float32))
    found = tails.apply(np.stack([law(size=200_000) for law in laws]).astype(np.float32))
    shares = (found > -np.log10(share)).mean(axis=1)
    assert np.all((shares > share / 1.6) & (shares < share * 1.6)), shares


def test_values_that_tie_with_the_largest_are_no_news_but_one_beyond_them_is() -> None:
    terms = np.zeros((1, 2_000), np.float32)
    terms[0, :900] = 1.0
    found = apply(fit_tails(terms), [0.0, 1.0, 1.1, 2.0])
    assert found[1] < 0.5
    assert np.log10(2_000) < found[2] < found[3]


def test_a_constant_term_keeps_the_order_and_stays_finite() -> None:
    found = apply(fit_tails(np.full((1, 50), 3.0, np.float32)), [3.0, 3.1, 1e6, 1e9])
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(1)
    tails = fit_tails(rng.normal(size=(3, 5_000)).astype(np.float32))
    rows = rng.normal(size=(3, 700)).astype(np.float32) * 3
    whole = tails.apply(rows.copy())
    one_by_one = np.concatenate([tails.apply(rows[:, [i]].copy()) for i in range(rows.shape[1])], axis=1)
    assert np.array_equal(whole, one_by_one)


@pytest.mark.parametrize("shape", [0.0, 0.2, 0.5])
def test_pareto_estimate(shape: float) -> None:
    excess = genpareto.rvs(shape, scale=2.0, size=4_000, random_state=3)
    found, scale = estimate_pareto(excess)
    assert found == pytest.approx(shape, abs=0.06)
    assert scale == pytest.approx(2.0, rel=0.1)


def test_it_survives_being_stored() -> None:
    tails = fit_tails(np.random.default_rng(2).normal(size=(2, 300)).astype(np.float32))
    again = Tails.from_tensors(tails.to_tensors("x"), "x")
    rows = np.linspace(-3, 9, 40, dtype=np.float32).reshape(2, 20)
    assert np.array_equal(tails.apply(rows.copy()), again.apply(rows.copy()))


def test_terms_may_lie_anywhere_in_memory() -> None:
    terms = np.random.default_rng(0).exponential(size=(500, 3)).astype(np.float32)
    tails = fit_tails(np.ascontiguousarray(terms.T))
    expected = tails.apply(np.ascontiguousarray(terms.T))
    np.testing.assert_array_equal(tails.apply(terms.copy().T), expected)


def test_largest_looks_beyond_the_first_knots_alone_up_and_down() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2_000)).astype(np.float32)
    tails = fit_tails(np.concatenate([x, -x]))
    odd = np.array([[0.1, 9.0, 0.0], [0.0, 0.0, -9.0], [0.0, 0.0, 0.0]], np.float32)
    every = tails.apply(np.concatenate([odd, -odd])).max(axis=0)
    np.testing.assert_array_equal(tails.largest(odd)[1:], every[1:])
    assert tails.largest(odd)[0] == 0.0
    assert (every[1:] > 3.0).all()
