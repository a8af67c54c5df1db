"""Matrix products whose columns come out the same, bit for bit, wherever they stand and however many threads numpy has.

OpenBLAS promises neither. Its kernels for Haswell and Zen sum the first and last eight columns of a panel of 320 in
another order than those between; and on two threads it cuts panels elsewhere. So panels are cut here, with a margin of
eight columns that is thrown away, and multiplied on one thread: whoever scores in parallel does it batch by batch.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Final

import numpy as np

from vae_model.scales import Floats

try:
    from threadpoolctl import ThreadpoolController
except ModuleNotFoundError:
    # Executors need no such package: Spark starts Python with OMP_NUM_THREADS = spark.task.cpus, which is 1.
    ThreadpoolController = None

MARGIN: Final = 8
PANEL: Final = 320
KEPT: Final = PANEL - 2 * MARGIN


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


def multiply(weight: Floats, x: Floats, bias: Floats | float = 0.0) -> Floats:
    """Weight [O, I] times x [I, B], plus bias [O, 1]: [O, B]. Within `one_blas_thread` each column of it depends on
    the same column of x alone."""
    rows = x.shape[1]
    product = np.empty((len(weight), rows), np.float32)
    panel = np.empty((len(weight), PANEL), np.float32)
    for start in range(0, rows, KEPT):
        stop = min(rows, start + KEPT)
        np.matmul(weight, _cut_panel(x, start - MARGIN), out=panel)
        np.add(panel[:, MARGIN : MARGIN + stop - start], bias, out=product[:, start:stop])
    return product


def _cut_panel(x: Floats, first: int) -> Floats:
    """PANEL columns from `first` on, which may lie before x's first; zeros where x has none."""
    rows = x.shape[1]
    if first >= 0 and first + PANEL <= rows:
        return x[:, first : first + PANEL]
    panel = np.zeros((len(x), PANEL), np.float32)
    start, stop = max(first, 0), min(first + PANEL, rows)
    panel[:, start - first : stop - first] = x[:, start:stop]
    return panel
