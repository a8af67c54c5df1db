"""The statistics that ranked rows in bundles of format 1, from what the network says of each column. Bundles of today
rank by `views`.

The plain likelihood lets a column that is always surprising (a noisy delay) drown one that never is (a distance that
follows from the route). These rankings put each column on its own scale first, learned from held-out rows.

- 'log_error', for small tables that may be full of anomalies: mean of log1p(squared difference / its median)^3.
- 'surplus': root mean square of how far each column's term exceeds its median, in units of the distance from the
  median to the 90 % quantile. Earlier versions' large tables.
- 'peak', for large tables: log1p of the largest of these, over columns and both views, in units up to the 99 %
  quantile: one value that cannot be is enough, however usual the rest of its row. The logarithm makes the tail one that
  calibration can fit: squared errors have a heavy one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from vae_model.features.scales import Doubles, Floats

Ranking = Literal["log_error", "surplus", "peak", "views"]


def rank_rows(ranking: Ranking, terms: Floats, squares: Floats, center: Doubles, scale: Doubles) -> Doubles:
    """The statistic of each row, [n], from terms and squares [K, n]."""
    if ranking == "peak":
        return _largest(terms, center, scale)
    total: npt.NDArray[np.float64] = np.zeros(terms.shape[1])
    for k in range(len(terms)):
        if ranking == "log_error":
            total += np.log1p(squares[k] / scale[k]) ** 3
        else:
            total += np.maximum((terms[k] - center[k]) / scale[k], 0.0) ** 2
    mean = total / len(terms)
    return mean if ranking == "log_error" else np.sqrt(mean)


def _largest(terms: Floats, center: Doubles, scale: Doubles) -> Doubles:
    surplus = terms - center.astype(np.float32)[:, None]
    surplus *= (1.0 / scale).astype(np.float32)[:, None]
    peak: Doubles = np.log1p(np.maximum(surplus.max(axis=0), 0.0).astype(np.float64))
    return peak
