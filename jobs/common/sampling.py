"""Sampling by a hash of the key: whether a row is in the sample depends on its key and the seed alone, so every engine,
every run and every order of the rows picks the same ones. Vectorised: no Python loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

Hashes: TypeAlias = npt.NDArray[np.uint64]

_SPACE = 2**64
_BASE = 0x100000001B3
_GOLDEN = 0x9E3779B97F4A7C15
_NULL = 0xD6E8FEB86659FD93


@dataclass(frozen=True)
class Sample:
    """Which rows to keep: those whose hash lies below `rows / total` of its range, about `rows` of them.

    Attributes:
        columns: whose values are hashed.
        rows: wanted.
        total: rows to choose from.
        seed: another seed, another sample.
    """

    columns: tuple[str, ...]
    rows: int
    total: int
    seed: int

    @property
    def threshold(self) -> int:
        """Hashes below it are kept; 2**64 keeps all."""
        return _SPACE if self.rows >= self.total else self.rows * _SPACE // self.total

    def hash(self, batch: pa.RecordBatch) -> Hashes:
        """One hash for each row."""
        return hash_rows([batch.column(name) for name in self.columns], self.seed)

    def keeps(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the hashed rows are in the sample."""
        if self.threshold == _SPACE:
            return np.ones(len(hashes), dtype=bool)
        kept: npt.NDArray[np.bool_] = hashes < np.uint64(self.threshold)
        return kept


def hashable_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The columns that can be hashed: everything that is not nested."""
    return tuple(field.name for field in schema if not pt.is_nested(field.type))


def hash_rows(columns: Sequence[pa.Array], seed: int) -> Hashes:
    """A 64-bit hash of each row over the columns in their order; the same for int32 and int64, for float and double."""
    hashes = np.full(len(columns[0]), (seed * _GOLDEN + 1) % _SPACE, dtype=np.uint64)
    for column in columns:
        hashes = _mix(hashes * np.uint64(_BASE) + _mix(_to_words(column)))
    return hashes


def _to_words(column: pa.Array) -> Hashes:
    """One 64-bit word for each value."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    words = np.full(len(column), _NULL, dtype=np.uint64)
    valid = np.asarray(column.is_valid())
    if valid.any():
        words[valid] = _words_of(column.drop_null() if column.null_count else column)
    return words


def _words_of(column: pa.Array) -> Hashes:
    dtype = column.type
    if pt.is_boolean(dtype) or pt.is_integer(dtype):
        return _view(column.cast(pa.int64()))
    if pt.is_floating(dtype):
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0  # -0.0 becomes 0.0
        values[np.isnan(values)] = np.nan
        words: Hashes = values.view(np.uint64)
        return words
    if pt.is_date(dtype):
        return _view(column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()))
    if pt.is_timestamp(dtype):
        return _view(column.cast(pa.timestamp("us", tz=dtype.tz)).cast(pa.int64()))
    if pt.is_decimal(dtype):
        return _hash_bytes(pc.cast(column, pa.string()).cast(pa.large_binary()))
    return _hash_bytes(column.cast(pa.large_binary()))


def _view(column: pa.Array) -> Hashes:
    words: Hashes = column.to_numpy(zero_copy_only=False).view(np.uint64)
    return words


def _hash_bytes(column: pa.Array) -> Hashes:
    """Polynomial hash of each value's bytes, modulo 2**64, plus its length."""
    _, offsets_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets)
    hashes = lengths.astype(np.uint64)
    filled = lengths > 0
    if data_buffer is None or not filled.any():
        return hashes
    data = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64)
    starts = offsets[:-1] - offsets[0]
    powers = np.full(int(lengths.max()), _BASE, dtype=np.uint64)
    np.multiply.accumulate(powers, out=powers)
    positions = np.arange(len(data)) - np.repeat(starts, lengths)
    terms = (data + np.uint64(1)) * powers[positions]
    hashes[filled] += np.add.reduceat(terms, starts[filled])
    return hashes


def _mix(words: Hashes) -> Hashes:
    """The finaliser of splitmix64: every bit of the input moves every bit of the output."""
    words = words ^ (words >> np.uint64(30))
    words = words * np.uint64(0xBF58476D1CE4E5B9)
    words = words ^ (words >> np.uint64(27))
    words = words * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = words ^ (words >> np.uint64(31))
    return mixed
