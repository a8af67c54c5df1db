"""Safetensors without a dependency on the reading side: Spark executors have numpy, and need nothing more.

The format (huggingface/safetensors, format description): 8 bytes little-endian header length, a JSON header
{name: {dtype, shape, data_offsets}}, then the raw little-endian data without gaps. Writing uses the library itself.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "U8": np.dtype("u1")}


def write_tensors(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Serialise arrays of floats and bytes; equal input gives equal bytes."""
    import safetensors.numpy

    return bytes(safetensors.numpy.save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}))


def read_tensors(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Parse what `write_tensors` wrote, as read-only views on `data`.

    Raises:
        ValueError: the bytes are no safetensors file, or one with gaps, overlaps or other dtypes than F32, F64 and U8.
    """
    if len(data) < 8:
        raise ValueError(f"{len(data)} bytes are too few for a safetensors file")
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise ValueError("safetensors header is longer than the file")
    header = json.loads(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    tensors: dict[str, npt.NDArray[Any]] = {}
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1].get("data_offsets", [-1])[0]):
        if name == "__metadata__":
            continue
        dtype, shape, (start, stop) = _DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        if start != position or stop - start != dtype.itemsize * math.prod(shape) or stop > len(body):
            raise ValueError(f"tensor '{name}' does not fill bytes {start} to {stop}")
        tensors[name] = np.frombuffer(body[start:stop], dtype).reshape(shape)
        position = stop
    if position != len(body):
        raise ValueError(f"{len(body) - position} bytes after the last tensor")
    return tensors
