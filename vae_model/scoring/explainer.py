"""Why a row is unusual: each column's share of the surprise, what was observed, and what the model expected instead.

A column is judged by leaving it out: its surprise is how much less unusual the row gets, in nats, when the column is
hidden from the encoder and its own term replaced by that of a usual row. A wrong value spoils the reconstruction of the
columns that depend on it, so the terms alone would blame them too. Where there is a second view, the column is also
repaired: how much less unusual the row is to its peers once the column holds what they expect. The expected value is
the value given all the others: the peers', or what the decoder says while the column is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.bundle import Bundle
from vae_model.features.arrays import to_arrow, to_arrow_text
from vae_model.features.encoding import Encoded
from vae_model.features.scales import Codes, Doubles, Floats
from vae_model.network.forward import Forward, mean_of_members, sum_columns
from vae_model.network.likelihood import Outputs
from vae_model.schema import REASON

TOP = 3
MIN_SHARE = 0.05
MAX_TEXT = 200
# Expected where the value is what the model would guess, too: rare by itself or beside the others.
USUAL = "something more usual"
BY_TERMS = 0.05
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
            return _to_shares(np.concatenate([self._relief(block) for block in self.forward.split(encoded)], axis=1))
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

    def _relief(self, block: Encoded) -> Floats:
        """[K, n] how much less unusual each row is once a column holds what is expected: the fall of the statistic and,
        where several columns are to blame so that none helps alone, a little of that of the network's terms."""
        columns, n = len(self.baseline), block.rows
        repaired = block.take(np.tile(np.arange(n), columns))
        shared = ask_peers(self.forward, block) if self.bundle.shape.peers else None
        for k in range(columns):
            repair_column(self.bundle, repaired.take(slice(k * n, (k + 1) * n)), self._expect(block, k, shared), k)
        before, nats_before = self._judge(block)
        after, nats_after = self._judge(repaired)
        relief = np.maximum(before - after.reshape(columns, n), 0.0)
        nats = np.maximum(nats_before - nats_after.reshape(columns, n), 0.0)
        return np.asarray(relief + BY_TERMS * before * _to_shares(nats), np.float32)

    def _expect(self, block: Encoded, k: int, shared: list[Outputs] | None) -> list[Outputs]:
        """What is expected in column k: by its peers, or without a second view by the decoder that does not see it."""
        if shared is not None:
            return shared
        rows = np.arange(block.rows)
        return decode_rows(self.bundle, self.forward, hide_columns(self.bundle, block, rows, np.full(len(rows), k)))

    def _judge(self, encoded: Encoded) -> tuple[Doubles, Doubles]:
        """Statistic and nats of all terms of each row, [n] each."""
        statistics, nats = [], []
        for block in self.forward.split(encoded):
            ranked = mean_of_members(self.forward.score(block).ranked)
            nats.append(sum_columns(ranked))
            statistics.append(self.bundle.views.statistic(ranked, block) if self.bundle.views else nats[-1])
        return np.concatenate(statistics), np.concatenate(nats)

    def _score(self, encoded: Encoded) -> Floats:
        return np.concatenate([self.forward.terms(block) for block in self.forward.split(encoded)], axis=1)

    def _gain_of_repairs(self, encoded: Encoded) -> Floats:
        """[K, n] nats by which the second view's terms fall, in sum, once a column holds what its peers expect."""
        columns, gains = len(self.baseline), []
        for rows in self.forward.split(encoded):
            expected = ask_peers(self.forward, rows)
            # All columns' copies in one pass: alerts are few, and a few rows cost as much as a panel.
            repaired = rows.take(np.tile(np.arange(rows.rows), columns))
            for k in range(columns):
                repair_column(self.bundle, repaired.take(slice(k * rows.rows, (k + 1) * rows.rows)), expected, k)
            after = self._peer_nll(repaired).reshape(columns, rows.rows)
            gains.append(np.maximum(self._peer_nll(rows) - after, 0.0))
        return np.concatenate(gains, axis=1).astype(np.float32)

    def _peer_nll(self, encoded: Encoded) -> Doubles:
        terms = [sum_columns(self.forward.peer_terms(block).mean(axis=0)) for block in self.forward.split(encoded)]
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
            outputs = ask_peers(self.forward, block) if second else decode_rows(self.bundle, self.forward, block)
            for k in np.unique(columns[cells]):
                mine = np.flatnonzero(columns[cells] == k)
                values = decode_column(self.bundle, [take_outputs(o, mine) for o in outputs], int(k))
                values = self._name_by_pair(block, mine, int(k), values)
                for position, value in zip(mine, values, strict=True):
                    words[start + position] = to_words(value)
        return words

    def _name_by_pair(self, block: Encoded, rows: Indices, k: int, values: list[object]) -> list[object]:
        """Expected values, those of a column of many levels by the pairs that were counted."""
        codes = expect_by_pair(self.bundle, block.take(rows), k)
        counts = self.bundle.encoder.counts[k] if self.bundle.encoder.counts else None
        if codes is None or counts is None:
            return values
        known = len(counts.levels)
        return [counts.levels[code] if code < known else value for code, value in zip(codes, values, strict=True)]


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


def take_outputs(outputs: Outputs, rows: Indices) -> Outputs:
    """The output distributions of some rows."""
    return outputs.map(lambda values: values[:, rows])


def hide_columns(bundle: Bundle, encoded: Encoded, rows: Indices, columns: Indices) -> Encoded:
    """Copies of rows, each with one column hidden as in denoising training: no value, and no sign of absence."""
    layout = bundle.encoder.layout
    hidden = encoded.take(rows)
    owners = np.asarray((*layout.continuous, *layout.booleans))
    hidden.x[owners[:, None] == columns] = 0.0
    for c, k in enumerate(layout.categories):
        hidden.codes[c, columns == k] = layout.levels[c]
    hidden.absent[columns, np.arange(len(columns))] = False
    return hidden


def decode_rows(bundle: Bundle, forward: Forward, block: Encoded) -> list[Outputs]:
    """Each member's output distribution at the posterior mean of a block's rows."""
    return [forward.decode(m, forward.encode(m, block)[0]) for m in range(bundle.shape.members)]


def ask_peers(forward: Forward, block: Encoded) -> list[Outputs]:
    """Each member's second view of a block's rows."""
    return [forward.ask_peers(m, block) for m in range(forward.shape.members)]


def repair_column(bundle: Bundle, rows: Encoded, expected: Sequence[Outputs], k: int) -> None:
    """Put into column k of some rows, in place, what their peers expect there, the mean of the members."""
    layout = bundle.encoder.layout
    rows.absent[k] = False
    if k in layout.categories:
        c = layout.categories.index(k)
        rows.codes[c] = np.argmax(np.mean([o.logits[c] for o in expected], axis=0), axis=0)
    elif k in layout.booleans:
        b = layout.booleans.index(k)
        rows.x[len(layout.continuous) + b] = np.sign(np.mean([o.booleans[b] for o in expected], axis=0))
    else:
        parts = np.flatnonzero(np.asarray(layout.continuous) == k)
        rows.x[parts] = np.mean([o.mean[parts] for o in expected], axis=0)
    _repair_value(bundle, rows, k)
    if k in layout.texts:
        rows.texts[layout.texts.index(k)] = 0.0
    if k in layout.nullable:
        lost = np.flatnonzero(np.mean([o.nulls[layout.nullable.index(k)] for o in expected], axis=0) > 0)
        hidden = hide_columns(bundle, rows, lost, np.full(len(lost), k))
        rows.x[:, lost], rows.codes[:, lost], rows.absent[k, lost] = hidden.x, hidden.codes, True
        counts = bundle.encoder.counts[k] if bundle.encoder.counts else None
        if counts is not None:
            rows.values[layout.counted.index(k), lost] = len(counts.levels) + 1


def _repair_value(bundle: Bundle, rows: Encoded, k: int) -> None:
    """Set the value code of column k, in place, to that of the level nearest to what the inputs say."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    if k not in layout.counted:
        return
    counts, row = bundle.encoder.counts[k], layout.counted.index(k)
    if counts is None:
        return
    by_pair = expect_by_pair(bundle, rows, k)
    if by_pair is not None:
        rows.values[row] = by_pair
        return
    rows.values[row] = encoder.nearest_values(counts, inputs_of(bundle, rows, k))


def inputs_of(bundle: Bundle, rows: Encoded, k: int) -> Codes | Floats:
    """The network's inputs of column k: [n] codes of a category, else [parts, n]."""
    layout = bundle.encoder.layout
    if k in layout.categories:
        codes: Codes = rows.codes[layout.categories.index(k)]
        return codes
    if k in layout.booleans:
        return rows.x[[len(layout.continuous) + layout.booleans.index(k)]]
    return rows.x[np.flatnonzero(np.asarray(layout.continuous) == k)]


def expect_by_pair(bundle: Bundle, rows: Encoded, k: int) -> Codes | None:
    """The value codes that go with the value that tells most about column k, where the network does not know all of its
    levels; None where it does or nothing tells."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    counts = bundle.encoder.counts[k] if k in layout.counted else None
    if counts is None or bundle.views is None or encoder.knows_all(counts):
        return None
    target = layout.counted.index(k)
    pair = next((pair for pair in bundle.views.counted.pairs if pair.target == target), None)
    return None if pair is None else pair.expect(rows.values[pair.condition])


def decode_column(bundle: Bundle, outputs: Sequence[Outputs], k: int) -> list[object]:
    """The most likely value of column k for each row; None where NULL is likelier."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    values: list[object]
    if k in layout.categories:
        c = layout.categories.index(k)
        logits = np.mean([o.logits[c] for o in outputs], axis=0)
        values = list(encoder.decode(np.argmax(logits, axis=0)))
    elif k in layout.booleans:
        values = list(encoder.decode(np.mean([o.booleans[[layout.booleans.index(k)]] for o in outputs], axis=0)))
    else:
        parts = np.flatnonzero(np.asarray(layout.continuous) == k)
        values = list(encoder.decode(np.mean([o.mean[parts] for o in outputs], axis=0)))
    if k in layout.nullable:
        i = layout.nullable.index(k)
        likely_null = np.mean([o.nulls[i] for o in outputs], axis=0) > 0
        values = [None if null else v for v, null in zip(values, likely_null, strict=True)]
    return values


def to_words(value: object) -> str:
    """A value as a short text that is the same on every engine."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number_in_words(value)
    if isinstance(value, datetime):
        value = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        shown = ", ".join(to_words(v) for v in value[:8])
        return f"[{shown}{', ...' if len(value) > 8 else ''}]"
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _number_in_words(value: float) -> str:
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.4g}"
