"""The second view in torch: every column's distribution given the row's other columns, all columns in one pass.

A decoder that has seen a wrong value may copy it; a column's peers have not seen it. Each column has a few hidden units
and a linear way of its own, whose weights from that column are zero, so that one masked product serves all columns.
Source: Heckerman et al. 2000, 'Dependency networks', section 2 (one conditional distribution a column, fitted apart).
Shapes: M members, B rows, D inputs, K columns, U units of a column, O outputs in the order of `network.head_widths`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_model.encoding import Layout
from vae_model.layers import LEAK, MemberLinear
from vae_model.rules import Shape


class Peers(nn.Module):
    """Inputs [M, B, D] -> outputs [M, B, O] that depend, for each column, on the inputs of the others alone."""

    visible: Tensor
    owned: Tensor

    def __init__(self, layout: Layout, shape: Shape, generator: torch.Generator) -> None:
        super().__init__()
        units, members = shape.peers, shape.members
        of_units = torch.arange(layout.columns).repeat_interleave(units)
        of_inputs, of_outputs = own_inputs(layout, shape), own_outputs(layout)
        self.hidden, self.dense = len(of_units), len(of_outputs) - sum(layout.levels)
        self.stretches = [slice(k * units, (k + 1) * units) for k in layout.categories]
        self.first = MemberLinear(members, len(of_inputs), self.hidden + len(of_outputs), generator, gain=2.0)
        self.head = self._start(members, self.hidden, self.dense, units, generator)
        self.logits = nn.ParameterList(self._start(members, units, n, units, generator) for n in layout.levels)
        visible = of_inputs[:, None] != torch.cat([of_units, of_outputs])
        self.register_buffer("visible", visible.float(), persistent=False)
        self.register_buffer("owned", (of_units[:, None] == of_outputs[: self.dense]).float(), persistent=False)
        with torch.no_grad():
            self.first.weight[..., self.hidden :] *= 0.1

    @staticmethod
    def _start(members: int, inputs: int, outputs: int, fan: int, generator: torch.Generator) -> nn.Parameter:
        return nn.Parameter(torch.randn(members, inputs, outputs, generator=generator) * math.sqrt(0.1 / fan))

    def masked(self) -> tuple[Tensor, Tensor]:
        """Weights of the first layer, [M, D, K * U + O], and of the head, [M, K * U, dense outputs], as they count."""
        return self.first.weight * self.visible, self.head * self.owned

    def forward(self, inputs: Tensor) -> Tensor:
        weight, head = self.masked()
        both = torch.baddbmm(self.first.bias, inputs, weight)
        h, straight = F.leaky_relu(both[..., : self.hidden], LEAK), both[..., self.hidden :]
        logits = [h[..., part] @ table for part, table in zip(self.stretches, self.logits, strict=True)]
        return straight + torch.cat([h @ head, *logits], dim=2)


def own_inputs(layout: Layout, shape: Shape) -> Tensor:
    """[D] column of each input: numbers and booleans, absences, embedded categories."""
    embedded = [k for k, width in zip(layout.categories, shape.embeddings, strict=True) for _ in range(width)]
    return torch.tensor([*layout.continuous, *layout.booleans, *range(layout.columns), *embedded])


def own_outputs(layout: Layout) -> Tensor:
    """[O] column of each output."""
    logits = [k for k, n in zip(layout.categories, layout.levels, strict=True) for _ in range(n)]
    return torch.tensor([*layout.continuous, *layout.continuous, *layout.booleans, *layout.nullable, *logits])
