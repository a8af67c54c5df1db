"""Training rows, packed: one row is one stretch of bytes, in memory while they are few, in a temporary file when many.

Random rows of a file are read with `pread`, not mapped, so that memory stays bounded whatever the extract's size.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import numpy.typing as npt

from vae_model.features.encoding import Encoded, Layout

MEMORY_BYTES = 64 * 2**20

Bytes = npt.NDArray[np.uint8]


@dataclass
class RowStore:
    """Appends encoded rows, then gives any of them back.

    A packed row is x (D float32), codes (C int32), absent (K bytes).
    """

    layout: Layout
    memory_bytes: int = MEMORY_BYTES
    rows: int = 0
    _parts: list[Bytes] = field(default_factory=list)
    _file: IO[bytes] | None = None

    @property
    def row_bytes(self) -> int:
        return 4 * (self.layout.inputs + len(self.layout.categories)) + self.layout.columns

    def append(self, encoded: Encoded) -> None:
        """Add rows; beyond `memory_bytes` all of them move to a temporary file."""
        packed = np.concatenate(
            [np.ascontiguousarray(a.T).view(np.uint8) for a in (encoded.x, encoded.codes, encoded.absent) if len(a)],
            axis=1,
        )
        self.rows += len(packed)
        if self._file is None and self.rows * self.row_bytes > self.memory_bytes:
            self._file = tempfile.TemporaryFile(prefix="sandtimer-rows-")  # noqa: SIM115
            for part in self._parts:
                self._file.write(part.data)
            self._parts.clear()
        if self._file is None:
            self._parts.append(packed)
        else:
            self._file.write(packed.data)

    def take(self, index: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], Bytes]:
        """X [n, D], codes [n, C] and absent [n, K] of the rows with the given numbers."""
        packed = self._gather(index)
        d, c = 4 * self.layout.inputs, 4 * len(self.layout.categories)
        x = np.ascontiguousarray(packed[:, :d]).view(np.float32).reshape(len(index), -1)
        codes = np.ascontiguousarray(packed[:, d : d + c]).view(np.int32).reshape(len(index), -1)
        return x, codes, packed[:, d + c :]

    def _gather(self, index: npt.NDArray[np.int64]) -> Bytes:
        size = self.row_bytes
        if self._file is not None:
            self._file.flush()
            number = self._file.fileno()
            found = np.empty((len(index), size), np.uint8)
            for row, i in zip(found, index.tolist(), strict=True):
                os.preadv(number, [row.data], i * size)
            return found
        if len(self._parts) != 1:
            self._parts = [np.concatenate(self._parts) if self._parts else np.empty((0, size), np.uint8)]
        return self._parts[0][index]

    def close(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._file is not None:
            self._file.close()
