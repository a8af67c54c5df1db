"""The network in numpy, for scoring: blocks of rows in, negative log-likelihood per column out.

Arrays are [features, rows]. Rows pass in blocks of whole panels (`products`, the last one padded), so that a row's
result does not depend on the batch that it came in: not by one bit.
K columns, P continuous parts, L latent units, M members, B rows of a block.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from vae_model.encoding import Encoded, Layout
from vae_model.products import KEPT, multiply, one_blas_thread
from vae_model.rules import Shape
from vae_model.scales import Doubles, Floats

BLOCK_ROWS = 6 * KEPT
LEAK = np.float32(0.1)
LOGVAR_MIN, LOGVAR_MAX = -9.0, 3.0
HALF_LOG_2PI = np.float32(0.9189385332046727)

NumberT = TypeVar("NumberT", bound=np.generic)
Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass
class Outputs:
    """The output distribution of a block: mean and log_sigma [P, B], logits of booleans, absences, categories."""

    mean: Floats
    log_sigma: Floats
    booleans: Floats
    nulls: Floats
    logits: list[Floats]


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
    """

    def __init__(self, layout: Layout, shape: Shape, weights: Weights, draws: Floats, absent_nll: Floats) -> None:
        self.layout, self.shape, self.weights = layout, shape, weights
        self.draws, self.absent_nll = draws, absent_nll
        self._constant = np.setdiff1d(np.arange(layout.columns), layout.nullable)

    def score(self, block: Encoded) -> BlockScores:
        """Score a block of rows."""
        layout, shape, rows = self.layout, self.shape, block.rows
        terms = np.zeros((shape.members, layout.columns, rows), np.float32)
        squares = np.zeros_like(terms)
        mus, sigmas = [], []
        for m in range(shape.members):
            mu, logvar = self.encode(m, block)
            sigma = np.exp(0.5 * logvar) if shape.forks else np.zeros_like(mu)
            for draw in self.draws:
                outputs = self.decode(m, mu + sigma * draw[:, None] if shape.forks else mu)
                self.add_terms(outputs, block, terms[m], squares[m])
            mus.append(mu)
            sigmas.append(sigma)
        if len(self.draws) > 1:
            terms *= np.float32(1.0 / len(self.draws))
            squares *= np.float32(1.0 / len(self.draws))
        return BlockScores(terms, squares, self.peer_terms(block), np.concatenate(mus), np.concatenate(sigmas))

    def peer_terms(self, block: Encoded) -> Floats:
        """Negative log-likelihood of each column given the row's others, [M, K, B]; [M, 0, B] without a second view."""
        shape, seen = self.shape, self.layout.columns if self.shape.peers else 0
        terms = np.zeros((shape.members, seen, block.rows), np.float32)
        for m in range(shape.members if seen else 0):
            self.add_terms(self.ask_peers(m, block), block, terms[m], None)
        return terms

    def encode(self, member: int, block: Encoded) -> tuple[Floats, Floats]:
        """Posterior mean and logvar of one member, each [L, B]."""
        with one_blas_thread:
            return self._encode(member, block)

    def decode(self, member: int, z: Floats) -> Outputs:
        """The output distribution at a latent point z [L, B]."""
        with one_blas_thread:
            return self._decode(member, z)

    def ask_peers(self, member: int, block: Encoded) -> Outputs:
        """The second view: the distribution of each column given the row's other columns."""
        with one_blas_thread:
            return self._ask_peers(member, block)

    def _encode(self, member: int, block: Encoded) -> tuple[Floats, Floats]:
        weights = self.weights
        h = self._project("encoder.0.weight", member, block, weights["encoder.0.bias"][member])
        h = self._cone("encoder", member, np.maximum(h, LEAK * h, out=h), 1)
        mu = multiply(weights["mu.weight"][member], h, weights["mu.bias"][member])
        if self.shape.shortcut:
            mu += self._project("shortcut_in", member, block)
        if not self.shape.forks:
            return mu, np.zeros_like(mu)
        logvar = multiply(weights["logvar.weight"][member], h, weights["logvar.bias"][member])
        return mu, np.clip(logvar, LOGVAR_MIN, LOGVAR_MAX, out=logvar)

    def _project(self, name: str, member: int, block: Encoded, bias: Floats | float = 0.0) -> Floats:
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
        return self._split(out)

    def _ask_peers(self, member: int, block: Encoded) -> Outputs:
        layout, weights, units = self.layout, self.weights, self.shape.peers
        weight, head = weights["peers.first.weight"][member], weights["peers.head"][member]
        first, stop = layout.inputs, layout.inputs + layout.columns
        embedded = [weights[f"embedding.{c}"][member][:, codes] for c, codes in enumerate(block.codes)]
        both = multiply(
            np.delete(weight, slice(first, stop), axis=1),
            np.concatenate([block.x, *embedded]),
            weights["peers.first.bias"][member],
        )
        if block.absent.any():
            both += multiply(np.ascontiguousarray(weight[:, first:stop]), block.absent.astype(np.float32))
        h, out = both[: layout.columns * units], both[layout.columns * units :]
        np.maximum(h, LEAK * h, out=h)
        out[: len(head)] += multiply(head, h)
        for c, k in enumerate(layout.categories):
            start, stop = (len(head) + level for level in layout.level_starts[c : c + 2])
            out[start:stop] += multiply(weights[f"peers.logits.{c}"][member], h[k * units : (k + 1) * units])
        return self._split(out)

    def _split(self, out: Floats) -> Outputs:
        layout = self.layout
        p, b, n = len(layout.continuous), len(layout.booleans), len(layout.nullable)
        mean, rest = out[:p], out[p:]
        log_sigma, rest = self._bound(rest[:p]), rest[p:]
        starts = layout.level_starts
        logits = [rest[b + n + i : b + n + j] for i, j in itertools.pairwise(starts)]
        return Outputs(mean, log_sigma, rest[:b], rest[b : b + n], logits)

    def _cone(self, side: str, member: int, h: Floats, first: int) -> Floats:
        for i in range(first, len(self.shape.layers)):
            h = multiply(self.weights[f"{side}.{i}.weight"][member], h, self.weights[f"{side}.{i}.bias"][member])
            np.maximum(h, LEAK * h, out=h)
        return h

    def _per_column(self, parts: Floats) -> Floats:
        """Sum the continuous parts of each column: [P, B] -> [columns that have some, B]."""
        starts = self.layout.starts
        return parts if len(starts) == len(parts) else np.add.reduceat(parts, starts, axis=0)

    def _bound(self, raw: Floats) -> Floats:
        low, width = (
            np.float32(self.shape.log_sigma_min),
            np.float32(self.shape.log_sigma_max - self.shape.log_sigma_min),
        )
        bounded: Floats = low + width / (np.float32(1.0) + np.exp((low + width / 2 - raw) * (4 / width)))
        return bounded

    def add_terms(self, outputs: Outputs, block: Encoded, terms: Floats, squares: Floats | None) -> None:
        """Add each column's negative log-likelihood and (unless None) squared difference under `outputs` to [K, B]."""
        layout = self.layout
        p = len(layout.continuous)
        nll = np.zeros_like(terms)
        square = np.zeros_like(terms)
        if p:
            error = block.x[:p] - outputs.mean
            square[layout.continuous_columns] = self._per_column(error * error)
            error *= np.exp(-outputs.log_sigma)
            error *= error
            error *= 0.5
            error += outputs.log_sigma + HALF_LOG_2PI
            nll[layout.continuous_columns] = self._per_column(error)
        for i, k in enumerate(layout.booleans):
            nll[k] = _softplus(-block.x[p + i] * outputs.booleans[i])
            square[k] = (1.0 - np.exp(-nll[k])) ** 2
        for c, k in enumerate(layout.categories):
            nll[k] = _category_nll(outputs.logits[c], block.codes[c])
            square[k] = (1.0 - np.exp(-nll[k])) ** 2
        some_absent = bool(block.absent.any())
        if some_absent:
            nll[block.absent] = 0.0
            square[block.absent] = 0.0
        for i, k in enumerate(layout.nullable):
            sign = np.where(block.absent[k], np.float32(-1.0), np.float32(1.0))
            absence = _softplus(sign * outputs.nulls[i])
            nll[k] += absence
            square[k] += (1.0 - np.exp(-absence)) ** 2
        if some_absent:
            never = self._constant
            nll[never] += np.where(block.absent[never], self.absent_nll[never, None], np.float32(0.0))
            square[never] += block.absent[never]
        terms += nll
        if squares is not None:
            squares += square


def unbound_log_sigma(log_sigma: Doubles, shape: Shape) -> Doubles:
    """The raw output that the network bounds to `log_sigma`; values at the bounds or beyond come close to them."""
    low, width = shape.log_sigma_min, shape.log_sigma_max - shape.log_sigma_min
    share = np.clip((log_sigma - low) / width, 1e-3, 1.0 - 1e-3)
    raw: Doubles = low + width / 2 + width / 4 * np.log(share / (1.0 - share))
    return raw


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


def _softplus(x: Floats) -> Floats:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _category_nll(logits: Floats, codes: npt.NDArray[np.int32]) -> Floats:
    peak = logits.max(axis=0)
    total = np.exp(logits - peak).sum(axis=0)
    picked = logits[np.minimum(codes, len(logits) - 1), np.arange(logits.shape[1])]
    nll: Floats = np.log(total) + peak - picked
    return nll


def split_blocks(encoded: Encoded) -> list[Encoded]:
    """Blocks of BLOCK_ROWS rows; the last one is padded with zero rows to whole panels."""
    blocks = [encoded.take(slice(s, s + BLOCK_ROWS)) for s in range(0, encoded.rows, BLOCK_ROWS)]
    if blocks and blocks[-1].rows % KEPT:
        last, more = blocks[-1], KEPT - blocks[-1].rows % KEPT
        blocks[-1] = Encoded(_pad(last.x, more), _pad(last.codes, more), _pad(last.absent, more))
    return blocks


def _pad(values: npt.NDArray[NumberT], columns: int) -> npt.NDArray[NumberT]:
    padded = np.zeros((len(values), values.shape[1] + columns), values.dtype)
    padded[:, : values.shape[1]] = values
    return padded


def take_outputs(outputs: Outputs, rows: npt.NDArray[np.intp]) -> Outputs:
    """The output distributions of some rows."""
    return Outputs(
        outputs.mean[:, rows],
        outputs.log_sigma[:, rows],
        outputs.booleans[:, rows],
        outputs.nulls[:, rows],
        [logits[:, rows] for logits in outputs.logits],
    )
