"""Rows by their key."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def has_keys(batch: pa.RecordBatch | pa.Table, touched: pa.Table) -> npt.NDArray[np.bool_]:
    """[n] whether a row's key is among those touched; a NULL in a key never is."""
    found = np.zeros(batch.num_rows, np.bool_)
    numbered = pa.table({**{name: batch.column(name) for name in touched.column_names}, "\0row": range(batch.num_rows)})
    matches = numbered.join(touched, keys=touched.column_names, join_type="left semi", use_threads=False)
    found[matches["\0row"].to_numpy()] = True
    return found
