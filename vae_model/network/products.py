"""Matrix products whose columns come out the same, bit for bit, wherever they stand and however many threads numpy has.

OpenBLAS promises neither. Its kernels for Haswell and Zen sum the first and last eight columns of a panel of 320 in
another order than those between; and on two threads it cuts panels elsewhere. So panels are cut here, with a margin of
eight columns that is thrown away (`spread`, then `gather`), and multiplied on one thread: whoever scores in parallel
does it batch by batch.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from vae_model.features.scales import Floats

try:
    from threadpoolctl import ThreadpoolController
except ModuleNotFoundError:
    # Executors need no such package: Spark starts Python with OMP_NUM_THREADS = spark.task.cpus, which is 1.
    ThreadpoolController = None

MARGIN: Final = 8
PANEL: Final = 320
KEPT: Final = PANEL - 2 * MARGIN
NumberT = TypeVar("NumberT", bound=np.generic)


class _OneBlasThread:
    """Within it numpy's BLAS uses one thread; the last of several threads that leave it restores what was there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._controller: Any = None
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1 and ThreadpoolController is not None:
                self._controller = self._controller or ThreadpoolController()
                self._limiter = self._controller.limit(limits=1, user_api="blas")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._limiter is not None:
                self._limiter.restore_original_limits()
                self._limiter = None


one_blas_thread = _OneBlasThread()


def spread(values: npt.NDArray[NumberT]) -> npt.NDArray[NumberT]:
    """Columns [I, B] set into panels with their margins, which are zeros: [I, whole panels]."""
    count = -(-values.shape[1] // KEPT)
    tiles = np.zeros((len(values), count * PANEL), values.dtype)
    for start in range(0, values.shape[1], KEPT):
        part = values[:, start : start + KEPT]
        first = start // KEPT * PANEL + MARGIN
        tiles[:, first : first + part.shape[1]] = part
    return tiles


def gather(tiles: npt.NDArray[NumberT], rows: int) -> npt.NDArray[NumberT]:
    """Inverse of `spread`: [..., whole panels] without the margins, [..., B]."""
    outer, count = tiles.shape[:-1], tiles.shape[-1] // PANEL
    kept = tiles.reshape(*outer, count, PANEL)[..., MARGIN:-MARGIN]
    return kept.reshape(*outer, count * KEPT)[..., :rows]


def multiply(weight: Floats, x: Floats, bias: Floats | None = None) -> Floats:
    """Weight [O, I] times x [I, whole panels], plus bias [O, 1]: [O, whole panels]. Within `one_blas_thread` each
    column of it that is in no margin depends on the same column of x alone."""
    product = np.empty((len(weight), x.shape[1]), np.float32)
    np.matmul(weight, _cut_panels(x), out=_cut_panels(product))
    if bias is not None:
        product += bias
    return product


def _cut_panels(x: Floats) -> Floats:
    """[I, whole panels] -> [panels, I, PANEL], in the same memory."""
    return x.reshape(len(x), x.shape[1] // PANEL, PANEL).transpose(1, 0, 2)
