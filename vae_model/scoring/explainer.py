"""Why a row is unusual: each column's share of the surprise, what was observed, and what the model expected instead.

A column is judged by leaving it out: its surprise is how much less unusual the row gets, in nats, when the column is
hidden from the encoder and its own term replaced by that of a usual row. A wrong value spoils the reconstruction of the
columns that depend on it, so the terms alone would blame them too. Where there is a conditional model, the column is
also repaired: how much less unusual the row is to that model once the column holds what it expects. The expected value
is the value given all the others: the conditional model's, or what the decoder says while the column is hidden.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.bundle import Bundle
from vae_model.features.arrays import to_arrow, to_arrow_text
from vae_model.features.encoding import Encoded
from vae_model.features.scales import Doubles, Floats
from vae_model.features.words import to_words
from vae_model.network.forward import Forward, mean_of_members, sum_columns
from vae_model.network.likelihood import Outputs
from vae_model.schema import REASON
from vae_model.scoring.repair import (
    decode_column,
    decode_rows,
    expect_by_counts,
    hide_columns,
    predict_conditionals,
    repair_column,
    take_outputs,
)
from vae_model.views.views import Views

TOP = 3
MIN_SHARE = 0.05
# Expected where the value is what the model would guess, too: rare by itself or beside the others.
USUAL = "something more usual"
BY_TERMS, BY_EVIDENCE = 0.05, 0.25
# Rows that are scored at once while a column of each is hidden.
HIDDEN_ROWS = 30_000
Indices = npt.NDArray[np.intp]


class Explainer:
    """Fills `top_columns` and longer explanations for chosen rows."""

    def __init__(self, bundle: Bundle, forward: Forward) -> None:
        self.bundle, self.forward = bundle, forward
        self.baseline = bundle.tensors["column_baseline"]

    def shares(self, encoded: Encoded, terms: Floats) -> Floats:
        """[K, n] shares of each row's surprise, each column of the result summing to 1 (0 where nothing surprises)."""
        if self.bundle.views is not None:
            blocks = [self._relief(self.bundle.views, block) for block in self.forward.split(encoded)]
            return _to_shares(np.concatenate(blocks, axis=1))
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
            if self.bundle.shape.peers:
                surprise[:, rows] += self._gain_of_repairs(encoded.take(rows))
        return _to_shares(surprise)

    def _relief(self, views: Views, block: Encoded) -> Floats:
        """[K, n] how much less unusual each row is once a column holds what is expected: the fall of the statistic and,
        where several columns are to blame so that none helps alone, a little of that of the network's terms, and of how
        unusual each column is by itself."""
        columns, n = len(self.baseline), block.rows
        repaired = block.take(np.tile(np.arange(n), columns))
        shared = predict_conditionals(self.forward, block) if self.bundle.shape.peers else None
        for k in range(columns):
            repair_column(self.bundle, repaired.take(slice(k * n, (k + 1) * n)), self._expect(block, k, shared), k)
        ranked = mean_of_members(self.forward.score(block).ranked)
        nats_before, evidence = sum_columns(ranked), views.evidence(ranked.copy(), block)
        before = views.statistic(ranked, block)
        after, nats_after = self._judge(views, repaired)
        relief = np.maximum(before - after.reshape(columns, n), 0.0)
        nats = np.maximum(nats_before - nats_after.reshape(columns, n), 0.0)
        terms = BY_TERMS * _to_shares(nats) + BY_EVIDENCE * _to_shares(evidence**4)
        return np.asarray(relief + before * terms, np.float32)

    def _expect(self, block: Encoded, k: int, shared: list[Outputs] | None) -> list[Outputs]:
        """What is expected in column k: by the conditional model, or by the decoder that does not see it."""
        if shared is not None:
            return shared
        rows = np.arange(block.rows)
        return decode_rows(self.bundle, self.forward, hide_columns(self.bundle, block, rows, np.full(len(rows), k)))

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

    def _gain_of_repairs(self, encoded: Encoded) -> Floats:
        """[K, n] nats by which the conditional model's terms fall, in sum, once a column is repaired."""
        columns, gains = len(self.baseline), []
        for rows in self.forward.split(encoded):
            expected = predict_conditionals(self.forward, rows)
            # All columns' copies in one pass: alerts are few, and a few rows cost as much as a panel.
            repaired = rows.take(np.tile(np.arange(rows.rows), columns))
            for k in range(columns):
                repair_column(self.bundle, repaired.take(slice(k * rows.rows, (k + 1) * rows.rows)), expected, k)
            after = self._conditional_nll(repaired).reshape(columns, rows.rows)
            gains.append(np.maximum(self._conditional_nll(rows) - after, 0.0))
        return np.concatenate(gains, axis=1).astype(np.float32)

    def _conditional_nll(self, encoded: Encoded) -> Doubles:
        terms = [
            sum_columns(self.forward.conditional_terms(block).mean(axis=0)) for block in self.forward.split(encoded)
        ]
        return np.concatenate(terms)

    def top_columns(self, batch: pa.RecordBatch, encoded: Encoded, terms: Floats, rows: Indices) -> pa.Array:
        """`top_columns` of a batch: NULL except for the rows with the given numbers."""
        n = batch.num_rows
        if not len(rows):
            return pa.nulls(n, pa.list_(REASON))
        shares = self.shares(encoded.take(rows), terms[:, rows])  # [K, chosen]
        order = np.argsort(-shares, axis=0, kind="stable")[:TOP]
        keep = np.take_along_axis(shares, order, axis=0) >= MIN_SHARE
        keep[0] = True
        # Row by row, the largest share first.
        positions, ranks = np.nonzero(keep.T)
        columns = order[ranks, positions]
        observed = np.array(self._observed(batch, rows[positions], columns), dtype=np.object_)
        expected = np.array(self.expected_values(encoded, rows[positions], columns), dtype=np.object_)
        if self.bundle.views is not None:
            told = _tell(positions, observed, expected)
            positions, columns, observed, expected = positions[told], columns[told], observed[told], expected[told]
            expected[observed == expected] = USUAL
        names = [self.bundle.feature_names[k] for k in columns]
        share = to_arrow(shares[columns, positions])
        flat = pa.StructArray.from_arrays(
            [to_arrow_text(names), share, to_arrow_text(list(observed)), to_arrow_text(list(expected))],
            fields=list(REASON),
        )
        counts = np.zeros(n, np.int32)
        counts[rows] = np.bincount(positions, minlength=len(rows))
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
        mask = np.ones(n, np.bool_)
        mask[rows] = False
        return pa.ListArray.from_arrays(to_arrow(offsets), flat, type=pa.list_(REASON), mask=to_arrow(mask))

    def _observed(self, batch: pa.RecordBatch, rows: Indices, columns: Indices) -> list[str]:
        words: list[str] = [""] * len(rows)
        for k in np.unique(columns):
            mine = np.flatnonzero(columns == k)
            values = batch.column(self.bundle.feature_names[k]).take(to_arrow(rows[mine]))
            for position, value in zip(mine, values, strict=True):
                words[position] = to_words(value.as_py())
        return words

    def expected_values(self, encoded: Encoded, rows: Indices, columns: Indices) -> list[str]:
        """What the model expects in some cells, given the other columns of each one's row.

        Args:
            encoded: the rows.
            rows: [n] row of each cell.
            columns: [n] column of each cell.
        """
        words: list[str] = [""] * len(rows)
        step = self.forward.block_rows
        for start in range(0, len(rows), step):
            cells = slice(start, start + step)
            block = hide_columns(self.bundle, encoded, rows[cells], columns[cells])
            second = self.bundle.shape.peers > 0
            outputs = (
                predict_conditionals(self.forward, block) if second else decode_rows(self.bundle, self.forward, block)
            )
            for k in np.unique(columns[cells]):
                mine = np.flatnonzero(columns[cells] == k)
                values = decode_column(self.bundle, [take_outputs(o, mine) for o in outputs], int(k))
                values = self._name_by_counts(block, mine, int(k), values)
                for position, value in zip(mine, values, strict=True):
                    words[start + position] = to_words(value)
        return words

    def _name_by_counts(self, block: Encoded, rows: Indices, k: int, values: list[object]) -> list[object]:
        """Expected values, those that counting is surer of as it has them."""
        found = expect_by_counts(self.bundle, block.take(rows), k)
        counts = self.bundle.encoder.counts[k] if self.bundle.encoder.counts else None
        if found is None or counts is None:
            return values
        known, (codes, chosen) = len(counts.levels), found
        dtype = self.bundle.features[k].family
        named = [_as_family(counts.levels[code], dtype) if code < known else None for code in np.minimum(codes, known)]
        return [name if use else value for name, use, value in zip(named, chosen, values, strict=True)]


def _as_family(level: object, family: str) -> object:
    """A counted level as a value of its column's type: levels are numbers or texts."""
    return bool(level) if family == "boolean" and isinstance(level, float) else level


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
