"""How a column's values are counted for its profile: by bins of about equal share, or by its frequent levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.features.arrays import rank_values
from vae_model.features.forms import Grain, find_forms, to_bytes
from vae_model.features.scales import Doubles

BINS = 20
MAX_LEVELS = 40
MAX_NEW_FORMS = 20
Tally = npt.NDArray[np.int64]


class Bins(NamedTuple):
    """Upper ends of all bins but the last, ascending, for what can be ordered, or the most frequent levels."""

    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class BinCounts:
    """Rows counted by a column's bins; the counts of batches add up to those of all rows.

    Attributes:
        counts: known values in each bin: one more than edges, or than levels (the rest).
        nulls: rows without a value.
        unseen: rows with a category, or a form, that the model does not tell apart.
        new_forms: rows of the most frequent forms among these.
    """

    counts: Tally
    nulls: int
    unseen: int = 0
    new_forms: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def rows(self) -> int:
        return int(self.counts.sum()) + self.nulls

    def __add__(self, other: BinCounts) -> BinCounts:
        forms = dict(self.new_forms)
        for form, rows in other.new_forms.items():
            forms[form] = forms.get(form, 0) + rows
        most = dict(sorted(forms.items(), key=lambda item: (-item[1], item[0]))[:MAX_NEW_FORMS])
        return BinCounts(self.counts + other.counts, self.nulls + other.nulls, self.unseen + other.unseen, most)


def choose_edges(x: Doubles) -> tuple[float, ...]:
    """Quantiles of the finite numbers, and both ends: values beyond what was seen get bins of their own."""
    x = x[np.isfinite(x)]
    if not x.size:
        return ()
    inner = np.quantile(x, np.linspace(0.0, 1.0, BINS + 1)[1:], method="inverted_cdf")
    return tuple(map(float, np.unique([np.nextafter(x.min(), -np.inf), *inner])))


def count_forms(text: pa.Array, grain: Grain) -> dict[str, int]:
    """The most frequent forms of some texts."""
    if not len(text):
        return {}
    return {form.decode(): rows for form, rows in rank_values(find_forms(*to_bytes(text), grain))[:MAX_NEW_FORMS]}


def tally(codes: npt.NDArray[Any], bins: int) -> Tally:
    """How often each of the codes 0 to bins - 1 occurs, [bins] int64."""
    return np.bincount(codes, minlength=bins).astype(np.int64)
