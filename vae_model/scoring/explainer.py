"""Why a row is unusual: each column's share of the surprise, what was observed, and what the model expected instead.

A column is judged by leaving it out: its surprise is how much less unusual the row gets, in nats, when the column is
hidden from the encoder and its own term replaced by that of a usual row. A wrong value spoils the reconstruction of the
columns that depend on it, so the terms alone would blame them too. Where there is a conditional model, the column is
also repaired: how much less unusual the row is to that model once the column holds what it expects. The expected value
is the value given all the others: the conditional model's, or what the decoder says while the column is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.bundle import Bundle
from vae_model.features.arrays import to_arrow, to_arrow_text
from vae_model.features.encoding import Encoded, concat_encoded
from vae_model.features.scales import Doubles, Floats
from vae_model.features.words import to_words
from vae_model.network.forward import Forward, mean_of_members, sum_columns
from vae_model.network.likelihood import Outputs
from vae_model.schema import REASON
from vae_model.scoring.evidence import USUAL, Cells, EvidenceFinder, Reason, drop_spoilt, tell_swaps
from vae_model.scoring.expectation import Expected, concat_expected, expect_column, list_alternatives
from vae_model.scoring.repair import decode_rows, hide_columns, inputs_of, predict_conditionals, put_expected
from vae_model.scoring.swaps import find_swaps
from vae_model.scoring.wording import describe_reason
from vae_model.views.views import Views

TOP = 3
MIN_SHARE = 0.05
# Beside the first reason a column is none that is less odd by itself than one in twenty.
MIN_EVIDENCE = 1.3
BY_TERMS, BY_EVIDENCE = 0.05, 0.25
# Rows that are scored at once while a column of each is hidden.
HIDDEN_ROWS = 30_000
# A row that is rarer than one in a hundred with the expected value in place gets other values tried.
STUBBORN = -2.0
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Judged:
    """What explaining n rows found.

    Attributes:
        shares: [K, n] of each row's surprise.
        expected: of each column.
        unusual: [K, n] how unusual each column is by itself; infinite where the bundle cannot tell.
        repaired: [n] log10 of the p-value once the column that helps most is repaired; 0 where the bundle cannot tell.
    """

    shares: Floats
    expected: Sequence[Expected]
    unusual: Floats
    repaired: Doubles


class Explainer:
    """Fills `top_columns` and longer explanations for chosen rows."""

    def __init__(self, bundle: Bundle, forward: Forward) -> None:
        self.bundle, self.forward = bundle, forward
        self.baseline = bundle.tensors["column_baseline"]
        self.evidence = EvidenceFinder(bundle, forward)

    def shares(self, encoded: Encoded, terms: Floats) -> Floats:
        """[K, n] shares of each row's surprise, each column of the result summing to 1 (0 where nothing surprises)."""
        return self.judge(encoded, terms).shares

    def judge(self, encoded: Encoded, terms: Floats) -> Judged:
        """The shares of `shares`, what is expected in each column of each row, and how unusual each is by itself."""
        blocks = self.forward.split(encoded) or [encoded]
        expected = [self._expect(block) for block in blocks]
        unusual, repaired = np.full(terms.shape, np.inf, np.float32), np.zeros(encoded.rows)
        if self.bundle.views is not None:
            found = [self._relief(self.bundle.views, *given) for given in zip(blocks, expected, strict=True)]
            surprise, unusual, repaired = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
        else:
            surprise = self._hidden_relief(encoded, terms)
            if self.bundle.shape.peers:
                gains = [self._gain_of_repairs(*given) for given in zip(blocks, expected, strict=True)]
                surprise += np.concatenate(gains, axis=1)
        of_columns = [concat_expected(parts) for parts in zip(*expected, strict=True)]
        return Judged(_to_shares(surprise), of_columns, unusual, repaired)

    def _hidden_relief(self, encoded: Encoded, terms: Floats) -> Floats:
        """[K, n] nats by which a row's terms fall once a column is hidden."""
        surprise = np.empty_like(terms)
        total = sum_columns(terms)
        columns = len(terms)
        step = max(1, HIDDEN_ROWS // columns)
        for start in range(0, encoded.rows, step):
            rows = np.arange(start, min(encoded.rows, start + step))
            hidden = np.repeat(np.arange(columns), len(rows))
            rest = self._score(hide_columns(self.bundle, encoded, np.tile(rows, columns), hidden))
            rest[hidden, np.arange(len(hidden))] = self.baseline[hidden]
            surprise[:, rows] = np.maximum(total[rows] - sum_columns(rest).reshape(columns, len(rows)), 0.0)
        return surprise

    def _repair(self, block: Encoded, expected: Sequence[Expected]) -> Encoded:
        """[K * n] copies of a block's rows, in each n of them one column holding what is expected."""
        n = block.rows
        repaired = block.take(np.tile(np.arange(n), len(expected)))
        for k, of_column in enumerate(expected):
            put_expected(self.bundle, repaired.take(slice(k * n, (k + 1) * n)), k, of_column)
        return repaired

    def _relief(self, views: Views, block: Encoded, expected: Sequence[Expected]) -> tuple[Floats, Floats, Doubles]:
        """[K, n] how much less unusual each row is once a column holds what is expected: the fall of the statistic and,
        where several columns are to blame so that none helps alone, a little of that of the network's terms, and of how
        unusual each column is by itself: the root of the sum of the squares of its t, [K, n], comes second. Third is
        log10 of the p-value of each row with its best column repaired, [n]."""
        columns, n = len(self.baseline), block.rows
        ranked = mean_of_members(self.forward.score(block).ranked)
        nats_before, evidence = sum_columns(ranked), views.evidence(ranked.copy(), block)
        before = views.statistic(ranked, block)
        after, nats_after = self._judge(views, self._repair(block, expected))
        after, nats = after.reshape(columns, n), np.maximum(nats_before - nats_after.reshape(columns, n), 0.0)
        terms = before * (BY_TERMS * _to_shares(nats) + BY_EVIDENCE * _to_shares(evidence**4))
        relief = np.maximum(before - after, 0.0) + terms
        first = np.argmax(relief, axis=0)
        stubborn = np.flatnonzero(self.bundle.calibration.log10_p(after[first, np.arange(n)]) < STUBBORN)
        if len(stubborn):
            after[first[stubborn], stubborn] = self._try_others(
                views, block.take(stubborn), expected, first[stubborn], stubborn, after[first[stubborn], stubborn]
            )
            relief = np.maximum(before - after, 0.0) + terms
        # Where no column alone clears a row, several are to blame: each as far as it is odd by itself, not by what the
        # network makes of the others beside it.
        repaired = self.bundle.calibration.log10_p(after.min(axis=0))
        several = np.flatnonzero(repaired < STUBBORN)
        if len(several):
            own = np.zeros((columns, len(several)), np.float32)
            views.counted.add_evidence(block.take(several), own)
            for k, of_column in enumerate(expected):
                own[k, of_column.is_there(inputs_of(self.bundle, block, k), block.absent[k])[several]] = 0.0
            relief[:, several] += before[several] * _to_shares(own)
        return np.asarray(relief, np.float32), np.sqrt(evidence), repaired

    def _try_others(
        self,
        views: Views,
        block: Encoded,
        expected: Sequence[Expected],
        blamed: Indices,
        rows: Indices,
        after: Doubles,
    ) -> Doubles:
        """The statistic of rows that a column each is blamed for and that stay unusual, with what suits best there.

        Args:
            views: that judge.
            block: these rows.
            expected: of each column; gets what suits better, at `rows`.
            blamed: [n] the column of each row.
            rows: [n] their numbers in `expected`.
            after: [n] their statistic with what is expected so far.
        """
        copies, tried = [], list[tuple[int, Indices, Expected]]()
        for k in map(int, np.unique(blamed)):
            mine = np.flatnonzero(blamed == k)
            some = block.take(mine)
            for other in list_alternatives(self.bundle, some, self._predict_without(some, k), k):
                repaired = block.take(mine)
                put_expected(self.bundle, repaired, k, other)
                copies.append(repaired)
                tried.append((k, mine, other))
        # All at once: a few rows cost as much as a panel.
        found, _ = self._judge(views, concat_encoded(copies))
        best, start = after.copy(), 0
        for k, mine, other in tried:
            statistic = found[start : start + len(mine)]
            better = np.flatnonzero(statistic < best[mine])
            expected[k].replace_rows(rows[mine[better]], other, better)
            best[mine[better]] = statistic[better]
            start += len(mine)
        return best

    def _predict_without(self, block: Encoded, k: int) -> list[Outputs]:
        """Each member's distribution of column k given the others."""
        if self.bundle.shape.peers:
            return predict_conditionals(self.forward, block)
        hidden = hide_columns(self.bundle, block, np.arange(block.rows), np.full(block.rows, k))
        return decode_rows(self.bundle, self.forward, hidden)

    def _expect(self, block: Encoded) -> list[Expected]:
        """What is expected in each column: by the conditional model, or by the decoder that does not see it."""
        columns = range(self.bundle.encoder.layout.columns)
        shared = self._predict_without(block, 0) if self.bundle.shape.peers else None
        return [expect_column(self.bundle, block, shared or self._predict_without(block, k), k) for k in columns]

    def _judge(self, views: Views, encoded: Encoded) -> tuple[Doubles, Doubles]:
        """Statistic and nats of all terms of each row, [n] each."""
        statistics, nats = [], []
        for block in self.forward.split(encoded):
            ranked = mean_of_members(self.forward.score(block).ranked)
            nats.append(sum_columns(ranked))
            statistics.append(views.statistic(ranked, block))
        return np.concatenate(statistics), np.concatenate(nats)

    def _score(self, encoded: Encoded) -> Floats:
        return np.concatenate([self.forward.terms(block) for block in self.forward.split(encoded)], axis=1)

    def _gain_of_repairs(self, block: Encoded, expected: Sequence[Expected]) -> Floats:
        """[K, n] nats by which the conditional model's terms fall, in sum, once a column is repaired."""
        after = self._conditional_nll(self._repair(block, expected)).reshape(len(expected), block.rows)
        return np.maximum(self._conditional_nll(block) - after, 0.0).astype(np.float32)

    def _conditional_nll(self, encoded: Encoded) -> Doubles:
        terms = [
            sum_columns(self.forward.conditional_terms(block).mean(axis=0)) for block in self.forward.split(encoded)
        ]
        return np.concatenate(terms)

    def top_columns(
        self, batch: pa.RecordBatch, encoded: Encoded, terms: Floats, rows: Indices
    ) -> tuple[pa.Array, pa.Array]:
        """`top_columns` and `why` of a batch: NULL except for the rows with the given numbers."""
        n = batch.num_rows
        if not len(rows):
            return pa.nulls(n, pa.list_(REASON)), pa.nulls(n, pa.list_(pa.string()))
        positions, reasons = self.find_reasons(batch.take(to_arrow(rows)), encoded.take(rows), terms[:, rows])
        columns = [[getattr(reason, name) for reason in reasons] for name in ("column", "observed", "expected")]
        share = to_arrow(np.array([reason.share for reason in reasons], np.float32))
        names, observed, expected = map(to_arrow_text, columns)
        flat = pa.StructArray.from_arrays([names, share, observed, expected], fields=list(REASON))
        counts = np.zeros(n, np.int32)
        counts[rows] = np.bincount(positions, minlength=len(rows))
        offsets = to_arrow(np.concatenate(([0], np.cumsum(counts))).astype(np.int32))
        mask = np.ones(n, np.bool_)
        mask[rows] = False
        words = to_arrow_text([describe_reason(reason) for reason in reasons])
        told = pa.ListArray.from_arrays(offsets, words, type=pa.list_(pa.string()), mask=to_arrow(mask))
        return pa.ListArray.from_arrays(offsets, flat, type=pa.list_(REASON), mask=to_arrow(mask)), told

    def find_reasons(self, batch: pa.RecordBatch, encoded: Encoded, terms: Floats) -> tuple[Indices, list[Reason]]:
        """The reasons of every row, its largest share first, and the number of each one's row.

        Args:
            batch: rows.
            encoded: the same.
            terms: [K, n] of these rows.
        """
        judged = self.judge(encoded, terms)
        shares, wanted = judged.shares, judged.expected
        swaps = self._find_swaps(batch, judged)
        for row, pair in swaps.items():
            shares[:, row] = 0.0
            shares[pair, row] = 0.5
        # Some of them will not be told.
        order = np.argsort(-shares, axis=0, kind="stable")[: 2 * TOP]
        keep = np.take_along_axis(shares, order, axis=0) >= MIN_SHARE
        keep &= np.take_along_axis(judged.unusual, order, axis=0) >= MIN_EVIDENCE
        keep[:2, list(swaps)] = True
        keep[0] = True
        # Row by row, the largest share first.
        positions, ranks = np.nonzero(keep.T)
        columns = order[ranks, positions]
        observed = np.array(self._observed(batch, positions, columns), dtype=np.object_)
        expected = np.array(name_expected(self.bundle, wanted, positions, columns), dtype=np.object_)
        told = np.arange(len(positions)) if self.bundle.views is None else _tell(positions, observed, expected)
        told = told[_rank_within(positions[told]) < TOP]
        positions, columns, observed, expected = positions[told], columns[told], observed[told], expected[told]
        if self.bundle.views is not None:
            expected[observed == expected] = USUAL
        share = shares[columns, positions]
        cells = Cells(batch, encoded, wanted, positions, columns, observed.tolist(), expected.tolist(), share.tolist())
        reasons = tell_swaps(self.bundle, cells, self.evidence.find(cells), swaps)
        kept = drop_spoilt(positions, reasons)
        return positions[kept], [reasons[i] for i in kept]

    def _find_swaps(self, batch: pa.RecordBatch, judged: Judged) -> Mapping[int, tuple[int, int]]:
        views = self.bundle.views
        if views is None:
            return {}

        def log10_p(encoded: Encoded) -> Doubles:
            return self.bundle.calibration.log10_p(self._judge(views, encoded)[0])

        return find_swaps(self.bundle, log10_p, batch, judged.unusual, judged.repaired)

    def _observed(self, batch: pa.RecordBatch, rows: Indices, columns: Indices) -> list[str]:
        words: list[str] = [""] * len(rows)
        for k in np.unique(columns):
            mine = np.flatnonzero(columns == k)
            values = batch.column(self.bundle.feature_names[k]).take(to_arrow(rows[mine]))
            for position, value in zip(mine, values, strict=True):
                words[position] = to_words(value.as_py())
        return words


def name_expected(bundle: Bundle, expected: Sequence[Expected], rows: Indices, columns: Indices) -> list[str]:
    """What is expected in some cells, in words.

    Args:
        bundle: the model.
        expected: of each column.
        rows: [cells] row of each cell.
        columns: [cells] column of each cell.
    """
    words: list[str] = [""] * len(rows)
    for k in np.unique(columns):
        mine = np.flatnonzero(columns == k)
        for position, word in zip(mine, expected[k].to_words(bundle, int(k), rows[mine]), strict=True):
            words[position] = word
    return words


def _rank_within(rows: Indices) -> Indices:
    """How many entries of the same row come before each one, of ascending rows."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    return np.asarray(np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows))), np.intp)


def _tell(rows: Indices, observed: npt.NDArray[np.object_], expected: npt.NDArray[np.object_]) -> Indices:
    """Numbers of the reasons to tell: what reads as expected is none, but where nothing else is, the first one stays.

    Args:
        rows: [reasons] row of each, ascending; a row's largest share comes first.
        observed: [reasons] in words.
        expected: [reasons] in words.
    """
    differs = observed != expected
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    alone = firsts[~np.isin(rows[firsts], rows[differs])]
    return np.sort(np.concatenate([np.flatnonzero(differs), alone]))


def _to_shares(surprise: Floats) -> Floats:
    return np.asarray(surprise / np.maximum(sum_columns(surprise), 1e-9), dtype=np.float32)
