"""How likely a row's values are under the network's output distributions, in numpy: negative log-likelihood and squared
difference of each column.

Arrays are [features, rows]: K columns, P continuous parts, B rows of a block.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_model.features.encoding import Encoded, Layout, choose_rows
from vae_model.features.scales import Doubles, Floats
from vae_model.network.shape import HALF_LOG_2PI, Shape


@dataclass
class Outputs:
    """The output distribution of a block: mean and log_sigma [P, B], logits of booleans, absences, categories."""

    mean: Floats
    log_sigma: Floats
    booleans: Floats
    nulls: Floats
    logits: list[Floats]

    def map(self, change: Callable[[Floats], Floats]) -> Outputs:
        """The same with every array changed, such as some of its rows taken."""
        return Outputs(
            change(self.mean),
            change(self.log_sigma),
            change(self.booleans),
            change(self.nulls),
            [change(logits) for logits in self.logits],
        )


class Likelihood:
    """Reads the network's raw outputs, and judges rows by them.

    Args:
        absent_nll: [K] nats for an absent value in a column that training never saw without one.
    """

    def __init__(self, layout: Layout, shape: Shape, absent_nll: Floats) -> None:
        self._layout, self._absent_nll = layout, absent_nll
        self._low = np.float32(shape.log_sigma_min)
        self._width = np.float32(shape.log_sigma_max - shape.log_sigma_min)
        self._with_numbers = choose_rows(layout.continuous_columns)
        self._never_absent = np.setdiff1d(np.arange(layout.columns), layout.nullable)

    def split(self, out: Floats) -> Outputs:
        """The parts of the network's raw outputs [O, B]."""
        layout = self._layout
        p, b, n = len(layout.continuous), len(layout.booleans), len(layout.nullable)
        mean, rest = out[:p], out[p:]
        log_sigma, rest = self._bound(rest[:p]), rest[p:]
        logits = [rest[b + n + i : b + n + j] for i, j in itertools.pairwise(layout.level_starts)]
        return Outputs(mean, log_sigma, rest[:b], rest[b : b + n], logits)

    def judge(self, outputs: Outputs, block: Encoded, nll: Floats, square: Floats | None = None) -> None:
        """Write each column's negative log-likelihood and (unless None) squared difference, [K, B]."""
        layout = self._layout
        self._judge_numbers(outputs, block, nll, square)
        for i, k in enumerate(layout.booleans):
            nll[k] = _softplus(-block.x[len(layout.continuous) + i] * outputs.booleans[i])
        for c, k in enumerate(layout.categories):
            nll[k] = _category_nll(outputs.logits[c], block.codes[c])
        if square is not None:
            for k in (*layout.booleans, *layout.categories):
                square[k] = _miss(nll[k])
        self._judge_absence(outputs, block, nll, square)

    def _judge_numbers(self, outputs: Outputs, block: Encoded, nll: Floats, square: Floats | None) -> None:
        if not len(outputs.mean):
            return
        error = block.x[: len(outputs.mean)] - outputs.mean
        if square is not None:
            square[self._with_numbers] = self._per_column(error * error)
        spare = np.negative(outputs.log_sigma)
        np.exp(spare, out=spare)
        error *= spare
        error *= error
        error *= 0.5
        np.add(outputs.log_sigma, HALF_LOG_2PI, out=spare)
        error += spare
        nll[self._with_numbers] = self._per_column(error)

    def _judge_absence(self, outputs: Outputs, block: Encoded, nll: Floats, square: Floats | None) -> None:
        """Where there is no value, that is judged in its stead; where there may be none, that there is one as well."""
        absent = block.absent
        some_absent = bool(absent.any())
        if some_absent:
            nll[absent] = 0.0
            if square is not None:
                square[absent] = 0.0
        for i, k in enumerate(self._layout.nullable):
            sign = np.where(absent[k], np.float32(-1.0), np.float32(1.0))
            absence = _softplus(sign * outputs.nulls[i])
            nll[k] += absence
            if square is not None:
                square[k] += _miss(absence)
        if some_absent:
            never = self._never_absent
            nll[never] += np.where(absent[never], self._absent_nll[never, None], np.float32(0.0))
            if square is not None:
                square[never] += absent[never]

    def _per_column(self, parts: Floats) -> Floats:
        """Sum the continuous parts of each column: [P, B] -> [columns that have some, B]."""
        starts = self._layout.starts
        return parts if len(starts) == len(parts) else np.add.reduceat(parts, starts, axis=0)

    def _bound(self, raw: Floats) -> Floats:
        rest: Floats = self._low + self._width / 2 - raw
        rest *= np.float32(4.0) / self._width
        with np.errstate(over="ignore"):  # infinity ends at the lower bound
            np.exp(rest, out=rest)
        rest += np.float32(1.0)
        bounded: Floats = np.divide(self._width, rest, out=rest)
        bounded += self._low
        return bounded


def unbound_log_sigma(log_sigma: Doubles, shape: Shape) -> Doubles:
    """The raw output that the network bounds to `log_sigma`; values at the bounds or beyond come close to them."""
    low, width = shape.log_sigma_min, shape.log_sigma_max - shape.log_sigma_min
    share = np.clip((log_sigma - low) / width, 1e-3, 1.0 - 1e-3)
    raw: Doubles = low + width / 2 + width / 4 * np.log(share / (1.0 - share))
    return raw


def _miss(nll: Floats) -> Floats:
    """Squared difference of a certain outcome and its probability."""
    return np.square(np.float32(1.0) - np.exp(-nll))


def _softplus(x: Floats) -> Floats:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _category_nll(logits: Floats, codes: npt.NDArray[np.int32]) -> Floats:
    peak = logits.max(axis=0)
    total = np.exp(logits - peak).sum(axis=0)
    picked = logits[np.minimum(codes, len(logits) - 1), np.arange(logits.shape[1])]
    nll: Floats = np.log(total) + peak - picked
    return nll
