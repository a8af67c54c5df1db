"""The network in numpy, for scoring: blocks of rows in, negative log-likelihood per column out.

Arrays are [features, rows]. Within the network rows lie in whole panels (`products`), so that a row's result does not
depend on the batch that it came in: not by one bit.
K columns, P continuous parts, L latent units, M members, B rows of a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_model.features.encoding import Encoded, Layout
from vae_model.features.scales import Doubles, Floats
from vae_model.network.conditional_forward import ConditionalForward
from vae_model.network.dense import Inputs, Projection, embed, leak
from vae_model.network.likelihood import Likelihood, Outputs
from vae_model.network.products import KEPT, PANEL, gather, multiply, one_blas_thread, spread
from vae_model.network.shape import LOGVAR_MAX, LOGVAR_MIN, Shape

# Of the widest layer's outputs: they stay in the cache, and what malloc has to give stays small.
BLOCK_BYTES = 5 * 2**19
MAX_PANELS = 8

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass
class BlockScores:
    """What one block gives, averaged over draws.

    Attributes:
        ranked: [M, K, B] negative log-likelihoods in nats; with a conditional model [M, 2 * K, B]: its own follow.
        member_squares: [M, K, B] squared differences of input and reconstruction.
        mu: [M * L, B] posterior means.
        sigma: [M * L, B] posterior standard deviations.
    """

    ranked: Floats
    member_squares: Floats
    mu: Floats
    sigma: Floats

    @property
    def member_terms(self) -> Floats:
        """The first view's, [M, K, B]."""
        return self.ranked[:, : self.member_squares.shape[1]]

    @property
    def conditional_terms(self) -> Floats:
        """The conditional model's, each column given the others: [M, K, B], or [M, 0, B]."""
        return self.ranked[:, self.member_squares.shape[1] :]

    @property
    def terms(self) -> Floats:
        """Mean of the members, [K, B]."""
        return mean_of_members(self.member_terms)

    @property
    def squares(self) -> Floats:
        """Mean of the members, [K, B]."""
        return mean_of_members(self.member_squares)


class Forward:
    """Encoder, decoder and likelihood of all members in numpy; `block_rows` is how many rows at once suit it best.

    Args:
        weights: tensors as `training.export_weights` makes them.
        draws: [S, L] fixed standard normal draws, shared by all rows and members.
        absent_nll: see `Likelihood`.
    """

    def __init__(self, layout: Layout, shape: Shape, weights: Weights, draws: Floats, absent_nll: Floats) -> None:
        self.layout, self.shape, self.weights, self.draws = layout, shape, weights, draws
        self._likelihood = Likelihood(layout, shape, absent_nll)
        members, categories = range(shape.members), range(len(shape.embeddings))
        self._embeddings = [[weights[f"embedding.{c}"][m] for c in categories] for m in members]
        self._first = [
            Projection(layout, weights["encoder.0.weight"][m], weights["encoder.0.bias"][m]) for m in members
        ]
        self._shortcut = [Projection(layout, weights["shortcut_in"][m]) for m in members if shape.shortcut]
        self._conditionals = [ConditionalForward(layout, shape, weights, m) for m in members if shape.peers]
        widths = [*shape.layers, weights["head.bias"].shape[1], *(view.width for view in self._conditionals)]
        self.block_rows = min(MAX_PANELS, max(1, BLOCK_BYTES // (4 * PANEL * max(widths)))) * KEPT

    def split(self, encoded: Encoded) -> list[Encoded]:
        """Blocks of `block_rows` rows, the last one shorter."""
        starts = range(0, encoded.rows, self.block_rows)
        return [encoded.take(slice(start, start + self.block_rows)) for start in starts]

    def score(self, block: Encoded) -> BlockScores:
        """Score a block of rows."""
        members, columns, rows, block = self.shape.members, self.layout.columns, block.rows, _spread(block)
        ranked = np.empty((members, columns * (2 if self._conditionals else 1), block.rows), np.float32)
        squares = np.empty((members, columns, block.rows), np.float32)
        latents = []
        with one_blas_thread:
            for m in range(members):
                inputs = embed(block, self._embeddings[m])
                latents.append(self._judge(m, inputs, block, ranked[m, :columns], squares[m]))
                if self._conditionals:
                    self._likelihood.judge(self._predict_conditionals(m, inputs), block, ranked[m, columns:])
        mu, sigma = map(np.concatenate, zip(*latents, strict=True))
        return BlockScores(*(gather(panels, rows) for panels in (ranked, squares, mu, sigma)))

    def terms(self, block: Encoded) -> Floats:
        """What `score` gives as its terms [K, B], and nothing else of it."""
        rows, block = block.rows, _spread(block)
        terms = np.empty((self.shape.members, self.layout.columns, block.rows), np.float32)
        with one_blas_thread:
            for m in range(self.shape.members):
                self._judge(m, embed(block, self._embeddings[m]), block, terms[m])
        return gather(mean_of_members(terms), rows)

    def conditional_terms(self, block: Encoded) -> Floats:
        """Negative log-likelihood of each column given the others, [M, K, B]; [M, 0, B] without such a model."""
        rows, block = block.rows, _spread(block)
        terms = np.empty((self.shape.members, self.layout.columns if self._conditionals else 0, block.rows), np.float32)
        with one_blas_thread:
            for m in range(len(self._conditionals)):
                outputs = self._predict_conditionals(m, embed(block, self._embeddings[m]))
                self._likelihood.judge(outputs, block, terms[m])
        return gather(terms, rows)

    def encode(self, member: int, block: Encoded) -> tuple[Floats, Floats]:
        """Posterior mean and logvar of one member, each [L, B]."""
        with one_blas_thread:
            mu, logvar = self._encode(member, embed(_spread(block), self._embeddings[member]))
        return gather(mu, block.rows), gather(logvar, block.rows)

    def decode(self, member: int, z: Floats) -> Outputs:
        """The output distribution at a latent point z [L, B]."""
        with one_blas_thread:
            outputs = self._decode(member, spread(z))
        return outputs.map(lambda panels: gather(panels, z.shape[1]))

    def predict_conditionals(self, member: int, block: Encoded) -> Outputs:
        """The conditional model: the distribution of each column given the row's other columns."""
        with one_blas_thread:
            outputs = self._predict_conditionals(member, embed(_spread(block), self._embeddings[member]))
        return outputs.map(lambda panels: gather(panels, block.rows))

    def _judge(
        self, member: int, inputs: Inputs, block: Encoded, terms: Floats, squares: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Write terms and squares [K, B], averaged over draws; returns the posterior's mu and sigma, each [L, B]."""
        mu, logvar = self._encode(member, inputs)
        sigma = np.exp(0.5 * logvar) if self.shape.is_variational else np.zeros_like(mu)
        wanted = [terms] if squares is None else [terms, squares]
        for i, draw in enumerate(self.draws):
            outputs = self._decode(member, mu + sigma * draw[:, None] if self.shape.is_variational else mu)
            if i == 0:
                self._likelihood.judge(outputs, block, *wanted)
                continue
            found = [np.empty_like(total) for total in wanted]
            self._likelihood.judge(outputs, block, *found)
            for total, more in zip(wanted, found, strict=True):
                np.add(total, more, out=total)
        if len(self.draws) > 1:
            for total in wanted:
                np.multiply(total, np.float32(1.0 / len(self.draws)), out=total)
        return mu, sigma

    def _encode(self, member: int, inputs: Inputs) -> tuple[Floats, Floats]:
        weights = self.weights
        h = self._cone("encoder", member, leak(self._first[member](inputs)), 1)
        mu = multiply(weights["mu.weight"][member], h, weights["mu.bias"][member])
        if self.shape.shortcut:
            mu += self._shortcut[member](inputs)
        if not self.shape.is_variational:
            return mu, np.zeros_like(mu)
        logvar = multiply(weights["logvar.weight"][member], h, weights["logvar.bias"][member])
        return mu, np.clip(logvar, LOGVAR_MIN, LOGVAR_MAX, out=logvar)

    def _decode(self, member: int, z: Floats) -> Outputs:
        weights = self.weights
        h = self._cone("decoder", member, z, 0)
        out = multiply(weights["head.weight"][member], h, weights["head.bias"][member])
        if self.shape.shortcut:
            out += multiply(weights["shortcut_out"][member], z)
        return self._likelihood.split(out)

    def _cone(self, side: str, member: int, h: Floats, first: int) -> Floats:
        for i in range(first, len(self.shape.layers)):
            weight, bias = self.weights[f"{side}.{i}.weight"][member], self.weights[f"{side}.{i}.bias"][member]
            h = leak(multiply(weight, h, bias))
        return h

    def _predict_conditionals(self, member: int, inputs: Inputs) -> Outputs:
        return self._likelihood.split(self._conditionals[member].ask(inputs))


def _spread(block: Encoded) -> Encoded:
    return Encoded(spread(block.x), spread(block.codes), spread(block.absent), block.values, block.texts)


def mean_of_members(values: Floats) -> Floats:
    """[M, ...] -> [...]; of a single member the same memory."""
    first: Floats = values[0]
    if len(values) == 1:
        return first
    total = first.copy()
    for member in values[1:]:
        total += member
    total *= np.float32(1.0 / len(values))
    return total


def sum_columns(values: Floats) -> Doubles:
    """Sum of [K, n] over columns, [n] float64, always in the same order."""
    if values.shape[1] == 1:
        # numpy adds row to row, but would sum a single column in pairs.
        return sum_columns(np.repeat(values, 2, axis=1))[:1]
    total: Doubles = np.add.reduce(values, axis=0, dtype=np.float64)
    return total
