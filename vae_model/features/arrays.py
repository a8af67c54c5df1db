"""numpy to Arrow and back, in the same memory where that can be. pyarrow's own functions would import pandas, to see
whether they got something of its kind: a second of every new worker's time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt


def to_arrow(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers or booleans of any shape as one Arrow array without NULLs."""
    flat = np.ascontiguousarray(values).reshape(-1)
    data = np.packbits(flat, bitorder="little") if flat.dtype == np.bool_ else flat
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), flat.size, [None, pa.py_buffer(data)])


def to_arrow_text(words: Sequence[str]) -> pa.StringArray:
    """Texts as an Arrow array without NULLs."""
    encoded = [word.encode() for word in words]
    offsets = np.fromiter(itertools.accumulate(map(len, encoded), initial=0), np.int32, len(encoded) + 1)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def count_bytes(batch: pa.RecordBatch) -> int:
    """Bytes of a batch's values; of all its buffers where pyarrow (before 24) cannot tell those of string views."""
    try:
        return int(batch.nbytes)
    except (TypeError, pa.ArrowException):
        return int(batch.get_total_buffer_size())


def fill_null(values: pa.Array, number: float) -> pa.Array:
    """Numbers with `number` where they are NULL."""
    filler = np.array([number], values.type.to_pandas_dtype())
    return pc.fill_null(values, to_arrow(filler)[0]) if values.null_count else values


def to_numpy(values: pa.Array) -> npt.NDArray[Any]:
    """Numbers or booleans without NULLs, [n]; read-only where they share memory."""
    data, count = values.buffers()[1], len(values)
    if pt.is_boolean(values.type):
        bits = np.frombuffer(data or b"", np.uint8)
        return np.unpackbits(bits, bitorder="little")[values.offset : values.offset + count].astype(np.bool_)
    dtype = np.dtype(values.type.to_pandas_dtype())
    return np.frombuffer(data or b"", dtype, count, values.offset * dtype.itemsize)


def to_text(values: pa.Array) -> pa.Array:
    """Category values as strings; NULL stays NULL."""
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values if pt.is_string(values.type) else values.cast(pa.string())


def rank_values(values: pa.Array) -> list[tuple[Any, int]]:
    """Values without NULL and how often each occurs, the most frequent first, of equals the smallest."""
    counted = pc.value_counts(values)
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
