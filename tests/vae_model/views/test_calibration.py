import numpy as np
import pytest
from scipy import stats

from vae_model.views.calibration import calibrate


@pytest.mark.parametrize("law", [stats.norm(), stats.expon(), stats.t(4), stats.gamma(3)])
def test_p_values_are_honest_far_into_the_tail(law):
    calibration = calibrate(law.rvs(50_000, random_state=np.random.default_rng(1)))
    for p in (0.5, 0.1, 0.01, 0.001):
        found = 10 ** calibration.log10_p(np.array([law.isf(p)]))[0]
        assert p / 1.5 < found < p * 1.5


def test_monotone_finite_and_at_most_one():
    calibration = calibrate(np.random.default_rng(0).normal(size=2_000))
    log10_p = calibration.log10_p(np.linspace(-10, 1e6, 5_000))
    assert np.isfinite(log10_p).all()
    assert (np.diff(log10_p) <= 0).all()
    assert log10_p[0] <= 0 and log10_p[-1] < -5


@pytest.mark.parametrize("statistic", [[1.0], [2.0, 2.0, 2.0], [1.0, 2.0], np.zeros(1_000), [0.0] * 99 + [1e9]])
def test_few_or_tied_rows(statistic):
    log10_p = calibrate(np.asarray(statistic)).log10_p(np.array([-1e9, 0.0, 1.5, 1e9]))
    assert np.isfinite(log10_p).all()
    assert (np.diff(log10_p) <= 1e-12).all()
