"""The sand timer in torch: a cone encoder, the fork into mu and sigma, the merge, a mirrored decoder, a head per kind.

Sources: Kingma & Welling 2013 (the VAE and its reparametrisation, eq. 10); Ioffe & Szegedy 2015 (batch normalisation).
A skip connection past each cone carries linear relations (He et al. 2016, eq. 2, has the projection shortcut).
Beside it `ConditionalModel` says what each column should be given the row's other columns, in
the same words as the decoder.
Several members train at once: every weight carries a leading member axis and each layer is one batched product.
Shapes: M members, B rows, D continuous and boolean inputs, P continuous parts, C categories, K columns, L latent units.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_model.features.encoding import Layout
from vae_model.network.conditional import ConditionalModel
from vae_model.network.layers import MemberLinear
from vae_model.network.shape import HALF_LOG_2PI, LEAK, LOGVAR_MAX, LOGVAR_MIN, Shape

NORM_EPS = 1e-3


@dataclass
class Batch:
    """Inputs of one step: x [M, B, D] float32, codes [M, B, C] int64, absent [M, B, K] bool."""

    x: Tensor
    codes: Tensor
    absent: Tensor

    def repeated(self, times: int) -> Batch:
        """The same rows for so many times as many members."""
        return Batch(self.x.repeat(times, 1, 1), self.codes.repeat(times, 1, 1), self.absent.repeat(times, 1, 1))


def build_shortcut(members: int, inputs: int, outputs: int, generator: torch.Generator, gain: float) -> nn.Parameter:
    """Weights [M, in, out] of a skip connection past a cone: its units need not learn linear relations."""
    return nn.Parameter(torch.randn(members, inputs, outputs, generator=generator) * math.sqrt(gain / max(1, inputs)))


class MemberNorm(nn.Module):
    """Batch normalisation over the rows of each member's batch; running statistics when not training."""

    mean: Tensor
    var: Tensor

    def __init__(self, members: int, width: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.shift = nn.Parameter(torch.zeros(members, 1, width))
        self.register_buffer("mean", torch.zeros(members, 1, width))
        self.register_buffer("var", torch.ones(members, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            var, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
                self.var.lerp_(var, self.momentum)
        else:
            mean, var = self.mean, self.var
        return (x - mean) * torch.rsqrt(var + NORM_EPS) * self.scale + self.shift


class Cone(nn.Module):
    """Linear -> norm (or none) -> leaky ReLU: x [M, B, widths[0]] -> [M, B, widths[-1]]."""

    def __init__(self, members: int, widths: tuple[int, ...], norm: bool, generator: torch.Generator) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.linears = [MemberLinear(members, i, o, generator, gain=2.0) for i, o in pairs]
        self.norms = [MemberNorm(members, o) for _, o in pairs] if norm else []
        self.modules_in_order = nn.ModuleList([*self.linears, *self.norms])

    def forward(self, h: Tensor) -> Tensor:
        for i, linear in enumerate(self.linears):
            h = linear(h)
            h = F.leaky_relu(self.norms[i](h) if self.norms else h, LEAK)
        return h

    def folded(self) -> list[tuple[Tensor, Tensor]]:
        """Weight [M, in, out] and bias [M, 1, out] of each layer, its norm folded in, in float64."""
        if not self.norms:
            return [(linear.weight, linear.bias) for linear in self.linears]
        layers = []
        for linear, norm in zip(self.linears, self.norms, strict=True):
            factor = norm.scale.double() * torch.rsqrt(norm.var.double() + NORM_EPS)
            bias = (linear.bias.double() - norm.mean.double()) * factor + norm.shift.double()
            layers.append((linear.weight.double() * factor, bias))
        return layers


class Network(nn.Module):
    """Encoder and decoder of all members, and the conditional model of large tables."""

    values_of_columns: Tensor
    absences_of_columns: Tensor
    inputs_owner: Tensor
    categories_owner: Tensor
    nullable_owner: Tensor
    absent_codes: Tensor

    def __init__(self, layout: Layout, shape: Shape, seed: int) -> None:
        super().__init__()
        self.layout, self.shape = layout, shape
        generator = torch.Generator().manual_seed(seed)
        members, latent = shape.members, shape.latent
        self.embeddings = nn.ParameterList(
            nn.Parameter(torch.randn(members, levels + 1, width, generator=generator) * 0.3)
            for levels, width in zip(layout.levels, shape.embeddings, strict=True)
        )
        inputs = layout.inputs + layout.columns + sum(shape.embeddings)
        self.conditionals = ConditionalModel(layout, shape, generator) if shape.peers else None
        self.encoder = Cone(members, (inputs, *shape.layers), shape.norm, generator)
        self.mu = MemberLinear(members, shape.layers[-1], latent, generator, gain=1.0)
        self.logvar = (
            MemberLinear(members, shape.layers[-1], latent, generator, gain=0.01) if shape.is_variational else None
        )
        self.decoder = Cone(members, (latent, *reversed(shape.layers)), shape.norm, generator)
        outputs = sum(head_widths(layout))
        self.head = MemberLinear(members, shape.layers[0], outputs, generator, gain=0.3)
        self.shortcut_in = build_shortcut(members, inputs, latent, generator, gain=1.0) if shape.shortcut else None
        self.shortcut_out = build_shortcut(members, latent, outputs, generator, gain=0.3) if shape.shortcut else None
        p = len(layout.continuous)
        with torch.no_grad():
            for weight in (self.head.weight, self.shortcut_out):
                if weight is not None:
                    weight[..., p : 2 * p] *= 0.3
            if self.logvar is not None:
                self.logvar.bias.fill_(-1.0)
        self._remember_owners()

    def _remember_owners(self) -> None:
        """Which column each part, boolean and category belongs to: numbers, and [things, K] matrices of 0 and 1."""
        layout = self.layout
        for name, owners in (
            ("values", (*layout.continuous, *layout.booleans, *layout.categories)),
            ("absences", layout.nullable),
        ):
            matrix = F.one_hot(torch.tensor(owners, dtype=torch.long), layout.columns).float()
            self.register_buffer(f"{name}_of_columns", matrix, persistent=False)
        for name, numbers in (
            ("inputs_owner", (*layout.continuous, *layout.booleans)),
            ("categories_owner", layout.categories),
            ("nullable_owner", layout.nullable),
            ("absent_codes", layout.levels),
        ):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.long), persistent=False)

    def embed(self, batch: Batch) -> Tensor:
        """Inputs [M, B, D]: numbers and booleans, absences, embedded categories."""
        embedded = []
        for c, table in enumerate(self.embeddings):
            members, levels, _ = table.shape
            first = torch.arange(0, members * levels, levels, device=table.device)[:, None]
            embedded.append(F.embedding(batch.codes[..., c] + first, table.flatten(0, 1)))
        return torch.cat([batch.x, batch.absent.to(batch.x.dtype), *embedded], dim=2)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Posterior mu and logvar, each [M, B, L]; an autoencoder has no logvar: zeros."""
        inputs = self.embed(batch)
        h = self.encoder(inputs)
        mu = self.mu(h) if self.shortcut_in is None else self.mu(h).baddbmm(inputs, self.shortcut_in)
        if self.logvar is None:
            return mu, torch.zeros_like(mu)
        return mu, self.logvar(h).clamp(LOGVAR_MIN, LOGVAR_MAX)

    def decode(self, z: Tensor) -> Tensor:
        """Outputs [M, B, O] of a latent point [M, B, L], in the order of `head_widths`."""
        outputs: Tensor = self.head(self.decoder(z))
        return outputs if self.shortcut_out is None else outputs.baddbmm(z, self.shortcut_out)

    def column_terms(self, outputs: Tensor, target: Batch) -> Tensor:
        """Negative log-likelihood of each column: [M, B, K]."""
        layout, n = self.layout, len(self.layout.continuous)
        mean, raw, booleans, nulls, logits = split_outputs(self, outputs)
        values = []
        if n:
            log_sigma = bound_log_sigma(raw, self.shape)
            error = (target.x[..., :n] - mean) * torch.exp(-log_sigma)
            values.append(0.5 * error * error + log_sigma + HALF_LOG_2PI)
        if layout.booleans:
            values.append(F.softplus(-target.x[..., n:] * booleans))
        values += [category_nll(logits[c], target.codes[..., c])[..., None] for c in range(len(layout.categories))]
        terms = torch.cat(values, dim=2) @ self.values_of_columns
        terms = terms.masked_fill(target.absent, 0.0)
        if layout.nullable:
            sign = 1.0 - 2.0 * target.absent[..., self.nullable_owner].to(outputs.dtype)
            terms = terms + F.softplus(sign * nulls) @ self.absences_of_columns
        return terms

    def column_differences(self, outputs: Tensor, target: Batch) -> Tensor:
        """Squared difference of input and reconstruction per column, [M, B, K]: the classic autoencoder's loss."""
        layout = self.layout
        mean, _, booleans, nulls, logits = split_outputs(self, outputs)
        squares = torch.zeros(target.absent.shape, device=outputs.device)
        n = len(layout.continuous)
        if n:
            owner = torch.tensor(layout.continuous, device=outputs.device)
            squares = squares.index_add(2, owner, (target.x[..., :n] - mean) ** 2)
        if layout.booleans:
            owner = torch.tensor(layout.booleans, device=outputs.device)
            squares = squares.index_add(2, owner, torch.sigmoid(-target.x[..., n:] * booleans) ** 2)
        for c, owner_column in enumerate(layout.categories):
            nll = category_nll(logits[c], target.codes[..., c])
            owner = torch.tensor([owner_column], device=outputs.device)
            squares = squares.index_add(2, owner, ((1.0 - torch.exp(-nll)) ** 2)[..., None])
        squares = squares.masked_fill(target.absent, 0.0)
        if layout.nullable:
            owner = torch.tensor(layout.nullable, device=outputs.device)
            sign = 1.0 - 2.0 * target.absent[..., owner].to(outputs.dtype)
            squares = squares.index_add(2, owner, torch.sigmoid(sign * nulls) ** 2)
        return squares


def bound_log_sigma(raw: Tensor, shape: Shape) -> Tensor:
    """Log sigma within the shape's bounds, by a sigmoid of slope 1 in the middle: its gradient never stops."""
    low, width = shape.log_sigma_min, shape.log_sigma_max - shape.log_sigma_min
    return low + width * torch.sigmoid((raw - low - 0.5 * width) * (4.0 / width))


def head_widths(layout: Layout) -> tuple[int, ...]:
    """Outputs of the decoder: means, log sigmas, booleans, absences, category logits."""
    p = len(layout.continuous)
    return (p, p, len(layout.booleans), len(layout.nullable), sum(layout.levels))


def split_outputs(network: Network, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """mean, log_sigma, booleans, absences, and one tensor of logits per category."""
    mean, log_sigma, booleans, nulls, logits = torch.split(outputs, list(head_widths(network.layout)), dim=2)
    return mean, log_sigma, booleans, nulls, torch.split(logits, list(network.layout.levels), dim=2)


def category_nll(logits: Tensor, codes: Tensor) -> Tensor:
    """[M, B] from logits [M, B, levels]; codes beyond the outcomes (no value) are masked by the caller."""
    known = codes.clamp(max=logits.shape[2] - 1)
    return F.cross_entropy(logits.flatten(0, 1), known.flatten(), reduction="none").view(known.shape)


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)) per latent unit, [M, B, L] (Kingma & Welling 2013, appendix B)."""
    return 0.5 * (mu * mu + logvar.exp() - 1.0 - logvar)
