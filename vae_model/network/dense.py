"""Layers in numpy: what a member's network sees of rows (numbers, embedded categories, which values are absent), the
layer that reads it, and what follows each layer. Arrays are [features, rows], the rows in panels (`products`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_model.features.encoding import Encoded, Layout
from vae_model.features.scales import Floats
from vae_model.network.products import multiply
from vae_model.network.shape import LEAK


@dataclass(frozen=True)
class Inputs:
    """Rows as a network sees them. D inputs, K columns, B rows.

    Attributes:
        known: numbers, booleans and embedded categories, [D, B].
        absent: 1 where a column has no value, [K, B]; None where all have one.
    """

    known: Floats
    absent: Floats | None


def embed(block: Encoded, tables: Sequence[Floats]) -> Inputs:
    """Inputs of a block; the table of each category is [width, levels + 1]."""
    embedded = [table[:, codes] for table, codes in zip(tables, block.codes, strict=True)]
    known = np.concatenate([block.x, *embedded]) if embedded else block.x
    return Inputs(known, block.absent.astype(np.float32) if block.absent.any() else None)


class Projection:
    """A layer that reads inputs.

    Args:
        weight: [out, numbers + K + embedded], as the network has it.
        bias: [out, 1]; none when None.
    """

    def __init__(self, layout: Layout, weight: Floats, bias: Floats | None = None) -> None:
        absences = slice(layout.inputs, layout.inputs + layout.columns)
        self._known, self._bias = np.delete(weight, absences, axis=1), bias
        self._absences = np.ascontiguousarray(weight[:, absences])

    def __call__(self, inputs: Inputs) -> Floats:
        """[out, B]; what is absent adds nothing where it is not, so that a row does not depend on its neighbours."""
        product = multiply(self._known, inputs.known, self._bias)
        if inputs.absent is not None:
            product += multiply(self._absences, inputs.absent)
        return product


def leak(h: Floats) -> Floats:
    """Leaky ReLU, in place."""
    np.maximum(h, LEAK * h, out=h)
    return h
