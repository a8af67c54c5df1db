"""The network in numpy, for scoring: blocks of rows in, negative log-likelihood per column out.

Arrays are [features, rows]. Within the network rows lie in whole panels (`products`), so that a row's result does not
depend on the batch that it came in: not by one bit.
K columns, P continuous parts, L latent units, M members, B rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_model.encoding import Encoded, Layout
from vae_model.likelihood import Likelihood, Outputs
from vae_model.products import KEPT, gather, multiply, one_blas_thread, spread
from vae_model.rules import Shape
from vae_model.scales import Doubles, Floats

BLOCK_ROWS = 4 * KEPT
LEAK = np.float32(0.1)
LOGVAR_MIN, LOGVAR_MAX = -9.0, 3.0

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass
class BlockScores:
    """What one block gives, averaged over draws.

    Attributes:
        member_terms: [M, K, B] negative log-likelihoods in nats.
        member_squares: [M, K, B] squared differences of input and reconstruction.
        peer_terms: [M, K, B] negative log-likelihoods of the second view: each column given the others; or [M, 0, B].
        mu: [M * L, B] posterior means.
        sigma: [M * L, B] posterior standard deviations.
    """

    member_terms: Floats
    member_squares: Floats
    peer_terms: Floats
    mu: Floats
    sigma: Floats

    @property
    def terms(self) -> Floats:
        """Mean of the members, [K, B]."""
        return _mean_of_members(self.member_terms)

    @property
    def squares(self) -> Floats:
        """Mean of the members, [K, B]."""
        return _mean_of_members(self.member_squares)


class Forward:
    """Encoder, decoder and likelihood of all members in numpy.

    Args:
        weights: tensors as `training.export_weights` makes them.
        draws: [S, L] fixed standard normal draws, shared by all rows and members.
        absent_nll: see `Likelihood`.
    """

    def __init__(self, layout: Layout, shape: Shape, weights: Weights, draws: Floats, absent_nll: Floats) -> None:
        self.layout, self.shape, self.weights, self.draws = layout, shape, weights, draws
        self._likelihood = Likelihood(layout, shape, absent_nll)
        self._peers = [PeerView(layout, shape, weights, m) for m in range(shape.members if shape.peers else 0)]

    def score(self, block: Encoded) -> BlockScores:
        """Score a block of rows."""
        shape, rows, block = self.shape, block.rows, _spread(block)
        terms = np.zeros((shape.members, self.layout.columns, block.rows), np.float32)
        squares = np.zeros_like(terms)
        mus, sigmas = [], []
        with one_blas_thread:
            for m in range(shape.members):
                mu, logvar = self._encode(m, block)
                sigma = np.exp(0.5 * logvar) if shape.forks else np.zeros_like(mu)
                for draw in self.draws:
                    outputs = self._decode(m, mu + sigma * draw[:, None] if shape.forks else mu)
                    self._likelihood.add_terms(outputs, block, terms[m], squares[m])
                mus.append(mu)
                sigmas.append(sigma)
            peer_terms = self._peer_terms(block)
        if len(self.draws) > 1:
            terms *= np.float32(1.0 / len(self.draws))
            squares *= np.float32(1.0 / len(self.draws))
        found = (terms, squares, peer_terms, np.concatenate(mus), np.concatenate(sigmas))
        return BlockScores(*(gather(panels, rows) for panels in found))

    def peer_terms(self, block: Encoded) -> Floats:
        """Negative log-likelihood of each column given the row's others, [M, K, B]; [M, 0, B] without a second view."""
        with one_blas_thread:
            return gather(self._peer_terms(_spread(block)), block.rows)

    def encode(self, member: int, block: Encoded) -> tuple[Floats, Floats]:
        """Posterior mean and logvar of one member, each [L, B]."""
        with one_blas_thread:
            mu, logvar = self._encode(member, _spread(block))
        return gather(mu, block.rows), gather(logvar, block.rows)

    def decode(self, member: int, z: Floats) -> Outputs:
        """The output distribution at a latent point z [L, B]."""
        with one_blas_thread:
            outputs = self._decode(member, spread(z))
        return outputs.map(lambda panels: gather(panels, z.shape[1]))

    def ask_peers(self, member: int, block: Encoded) -> Outputs:
        """The second view: the distribution of each column given the row's other columns."""
        with one_blas_thread:
            outputs = self._ask_peers(member, _spread(block))
        return outputs.map(lambda panels: gather(panels, block.rows))

    def _encode(self, member: int, block: Encoded) -> tuple[Floats, Floats]:
        weights = self.weights
        h = self._project("encoder.0.weight", member, block, weights["encoder.0.bias"][member])
        h = self._cone("encoder", member, _leak(h), 1)
        mu = multiply(weights["mu.weight"][member], h, weights["mu.bias"][member])
        if self.shape.shortcut:
            mu += self._project("shortcut_in", member, block)
        if not self.shape.forks:
            return mu, np.zeros_like(mu)
        logvar = multiply(weights["logvar.weight"][member], h, weights["logvar.bias"][member])
        return mu, np.clip(logvar, LOGVAR_MIN, LOGVAR_MAX, out=logvar)

    def _project(self, name: str, member: int, block: Encoded, bias: Floats | None = None) -> Floats:
        """A weight [out, in] times a block's numbers, absence flags and embedded categories, plus bias; [out, B]."""
        weight = self.weights[name][member]
        d, k = self.layout.inputs, self.layout.columns
        product = multiply(weight[:, :d], block.x, bias)
        if block.absent.any():
            product += multiply(weight[:, d : d + k], block.absent.astype(np.float32))
        start = d + k
        for c, width in enumerate(self.shape.embeddings):
            table = self.weights[f"embedding.{c}"][member]  # [e, levels + 1]
            product += (weight[:, start : start + width] @ table)[:, block.codes[c]]
            start += width
        return product

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
            h = _leak(multiply(weight, h, bias))
        return h

    def _ask_peers(self, member: int, block: Encoded) -> Outputs:
        return self._likelihood.split(self._peers[member].ask(block))

    def _peer_terms(self, block: Encoded) -> Floats:
        terms = np.zeros((self.shape.members, self.layout.columns if self._peers else 0, block.rows), np.float32)
        for m in range(len(self._peers)):
            self._likelihood.add_terms(self._ask_peers(m, block), block, terms[m])
        return terms


class PeerView:
    """One member's second view of rows, see `vae_model.peers`."""

    def __init__(self, layout: Layout, shape: Shape, weights: Weights, member: int) -> None:
        weight = weights["peers.first.weight"][member]
        absences = slice(layout.inputs, layout.inputs + layout.columns)
        self._layout, self._units = layout, shape.peers
        self._known, self._absences = np.delete(weight, absences, axis=1), np.ascontiguousarray(weight[:, absences])
        self._bias = weights["peers.first.bias"][member]
        self._embeddings = [weights[f"embedding.{c}"][member] for c in range(len(shape.embeddings))]
        self._logits = [weights[f"peers.logits.{c}"][member] for c in range(len(layout.categories))]
        self._head = list(self._cut_head(weights["peers.head"][member]))

    def ask(self, block: Encoded) -> Floats:
        """Raw outputs [O, B] of rows that lie in panels."""
        layout, units = self._layout, self._units
        embedded = [table[:, codes] for table, codes in zip(self._embeddings, block.codes, strict=True)]
        inputs = np.concatenate([block.x, *embedded]) if embedded else block.x
        both = multiply(self._known, inputs, self._bias)
        if block.absent.any():
            both += multiply(self._absences, block.absent.astype(np.float32))
        hidden, out = np.split(both, [layout.columns * units])
        of_columns = _leak(hidden).reshape(layout.columns, units, -1)
        for rows, columns, weight in self._head:
            out[rows] += np.einsum("ou,oub->ob", weight, of_columns[columns])
        dense = len(out) - sum(layout.levels)
        for c, k in enumerate(layout.categories):
            start, stop = (dense + level for level in layout.level_starts[c : c + 2])
            out[start:stop] += multiply(self._logits[c], of_columns[k])
        return out

    def _cut_head(self, head: Floats) -> Iterator[tuple[slice, npt.NDArray[np.intp], Floats]]:
        """Rows of the dense outputs, their columns [o], and their weights [o, U] from these columns' units: all others
        are zero."""
        layout, start = self._layout, 0
        by_column = head.reshape(len(head), layout.columns, self._units)
        for columns in (layout.continuous, layout.continuous, layout.booleans, layout.nullable):
            rows, owners = slice(start, start + len(columns)), np.asarray(columns, np.intp)
            yield rows, owners, by_column[np.arange(start, rows.stop), owners]
            start = rows.stop


def _leak(h: Floats) -> Floats:
    """Leaky ReLU, in place."""
    np.maximum(h, LEAK * h, out=h)
    return h


def _spread(block: Encoded) -> Encoded:
    return Encoded(spread(block.x), spread(block.codes), spread(block.absent))


def _mean_of_members(values: Floats) -> Floats:
    total: Floats = values[0].copy()
    for member in values[1:]:
        total += member
    total *= np.float32(1.0 / len(values))
    return total


def sum_columns(values: Floats) -> Doubles:
    """Sum of [K, n] over columns, [n] float64, always in the same order (numpy's own order depends on n)."""
    total = np.zeros(values.shape[1])
    for row in values:
        total += row
    return total


def split_blocks(encoded: Encoded) -> list[Encoded]:
    """Blocks of BLOCK_ROWS rows, the last one shorter."""
    return [encoded.take(slice(start, start + BLOCK_ROWS)) for start in range(0, encoded.rows, BLOCK_ROWS)]
