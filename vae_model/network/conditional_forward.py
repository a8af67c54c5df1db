"""The conditional model in numpy, for scoring: how each column is distributed given the row's others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vae_model.features.encoding import Layout, Rows, choose_rows
from vae_model.features.scales import Floats
from vae_model.network.dense import Inputs, Projection, leak
from vae_model.network.products import multiply
from vae_model.network.shape import Shape


class ConditionalForward:
    """One member's conditional model.

    Args:
        weights: tensors as `training.export_weights` makes them.
    """

    def __init__(self, layout: Layout, shape: Shape, weights: Mapping[str, Floats], member: int) -> None:
        self._layout, self._units = layout, shape.peers
        bias = weights["peers.first.bias"][member]
        self.width = len(bias)
        self._first = Projection(layout, weights["peers.first.weight"][member], bias)
        self._logits = [weights[f"peers.logits.{c}"][member] for c in range(len(layout.categories))]
        self._head = list(self._cut_head(weights["peers.head"][member]))

    def ask(self, inputs: Inputs) -> Floats:
        """Raw outputs [O, B]."""
        layout, units = self._layout, self._units
        hidden, out = np.split(self._first(inputs), [layout.columns * units])
        of_columns = leak(hidden).reshape(layout.columns, units, -1)
        for rows, columns, weight in self._head:
            out[rows] += np.einsum("ou,oub->ob", weight, of_columns[columns])
        dense = len(out) - sum(layout.levels)
        for c, k in enumerate(layout.categories):
            start, stop = (dense + level for level in layout.level_starts[c : c + 2])
            out[start:stop] += multiply(self._logits[c], of_columns[k])
        return out

    def _cut_head(self, head: Floats) -> Iterator[tuple[slice, Rows, Floats]]:
        """Rows of the dense outputs, their columns [o], and their weights [o, U] from these columns' units: all others
        are zero."""
        layout, start = self._layout, 0
        by_column = head.reshape(len(head), layout.columns, self._units)
        for columns in (layout.continuous, layout.continuous, layout.booleans, layout.nullable):
            rows, owners = slice(start, start + len(columns)), np.asarray(columns, np.intp)
            yield rows, choose_rows(owners), by_column[np.arange(start, rows.stop), owners]
            start = rows.stop
