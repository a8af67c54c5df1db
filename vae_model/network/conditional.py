"""The conditional model in torch: every column's distribution given the row's other columns, all columns in one pass.

A decoder that has seen a wrong value may copy it; the conditional model has not seen it. Each column has a few hidden
units and a skip connection of its own, whose weights from that column are zero, so that one masked product serves all
columns.
Source: Heckerman et al. 2000, 'Dependency networks', section 2 (one conditional distribution a column, fitted apart).
Shapes: M members, B rows, D inputs, K columns, U units of a column, O outputs in the order of `network.head_widths`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_model.features.encoding import Layout
from vae_model.network.layers import MemberLinear
from vae_model.network.likelihood import unbound_log_sigma
from vae_model.network.shape import LEAK, Shape

RIDGE = 1e-6
MAX_REGRESSED = 2_048


class ConditionalModel(nn.Module):
    """Inputs [M, B, D] -> outputs [M, B, O] that depend, for each column, on the inputs of the others alone."""

    visible: Tensor
    owned: Tensor

    def __init__(self, layout: Layout, shape: Shape, generator: torch.Generator) -> None:
        super().__init__()
        units, members = shape.peers, shape.members
        of_units = torch.arange(layout.columns).repeat_interleave(units)
        of_inputs, of_outputs = own_inputs(layout, shape), own_outputs(layout)
        self.layout, self.shape, self.of_inputs = layout, shape, of_inputs
        self.hidden, self.dense = len(of_units), len(of_outputs) - sum(layout.levels)
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
        first, straight = torch.split(both, [self.hidden, both.shape[2] - self.hidden], dim=2)
        h = F.leaky_relu(first, LEAK)
        of_columns = torch.split(h, self.shape.peers, dim=2)  # split once: the gradient of a slice fills a whole tensor
        logits = [of_columns[k] @ table for k, table in zip(self.layout.categories, self.logits, strict=True)]
        return straight + torch.cat([h @ head, *logits], dim=2)

    @torch.no_grad()
    def start_from_regression(self, x: Tensor, absent: Tensor) -> None:
        """Begin with the least-squares regression of each number on the other columns, in closed form: relations that
        are linear need not be found step by step. Embedded categories are left out: they mean nothing yet.

        With P the inverse covariance of all inputs, the regression of some of them (o) on the rest (r) has the weights
        -P_ro P_oo^-1 and the residual covariance P_oo^-1 (Lauritzen 1996, 'Graphical Models', section 5.1.3).

        Args:
            x: numbers and booleans of some training rows, [n, inputs].
            absent: their absences, [n, K].
        """
        known = torch.cat([x, absent], dim=1).double().cpu()
        count = known.shape[1]
        if count > MAX_REGRESSED:
            return
        mean = known.mean(dim=0)
        covariance = torch.cov(known.T).reshape(count, count) + RIDGE * torch.eye(count, dtype=torch.float64)
        precision = torch.linalg.inv(covariance)
        owners = self.of_inputs[:count]
        parts = len(self.layout.continuous)
        weight, bias = self.first.weight[..., self.hidden :], self.first.bias[..., self.hidden :]
        for k in sorted(set(self.layout.continuous)):
            mine, others = torch.nonzero(owners[: x.shape[1]] == k)[:, 0], torch.nonzero(owners != k)[:, 0]
            residual = torch.linalg.inv(precision[mine][:, mine])
            slope = -precision[others][:, mine] @ residual
            spread = np.log(residual.diagonal().sqrt().clamp(min=1e-3).numpy())
            weight[:, others[:, None], mine] = slope.to(weight)
            weight[:, :, parts + mine] = 0.0
            bias[..., mine] = (mean[mine] - mean[others] @ slope).to(weight)
            bias[..., parts + mine] = torch.from_numpy(unbound_log_sigma(spread, self.shape)).to(weight)


def own_inputs(layout: Layout, shape: Shape) -> Tensor:
    """[D] column of each input: numbers and booleans, absences, embedded categories."""
    embedded = [k for k, width in zip(layout.categories, shape.embeddings, strict=True) for _ in range(width)]
    return torch.tensor([*layout.continuous, *layout.booleans, *range(layout.columns), *embedded])


def own_outputs(layout: Layout) -> Tensor:
    """[O] column of each output."""
    logits = [k for k, n in zip(layout.categories, layout.levels, strict=True) for _ in range(n)]
    return torch.tensor([*layout.continuous, *layout.continuous, *layout.booleans, *layout.nullable, *logits])
