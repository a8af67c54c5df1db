"""What all parts of the torch network are made of: one linear layer for all members at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MemberLinear(nn.Module):
    """y = x W + b for each member: x [M, B, in] -> [M, B, out]; weights start with variance gain / in."""

    def __init__(self, members: int, inputs: int, outputs: int, generator: torch.Generator, gain: float) -> None:
        super().__init__()
        spread = math.sqrt(gain / max(1, inputs))
        self.weight = nn.Parameter(torch.randn(members, inputs, outputs, generator=generator) * spread)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)
