"""The latent map."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.reporting.latent import project


def test_the_map_shows_the_directions_of_most_spread() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(500, 3)) * [1.0, 5.0, 0.1] + [10.0, 20.0, 30.0]
    found = project(points, points[:2])
    assert found.shares[0] == pytest.approx(25 / 26.01, abs=0.02)
    assert abs(np.corrcoef(found.rows[:, 0], points[:, 1])[0, 1]) > 0.99
    assert found.alerts == pytest.approx(found.rows[:2])
    one = project(points[:, :1], np.empty((0, 0)))
    assert one.rows.shape == (500, 2)
