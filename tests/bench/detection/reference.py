"""What of a column the others tell at all: a forest that predicts it, so as to ask only for what can be told. Without
scikit-learn (`pip install 'sandtimer[bench]'`) everything is asked for."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TREES, ROWS = 20, 20_000
LIKE = 0.01


class Reference:
    """Extremely randomised trees (Geurts et al. 2006) on the same training rows, a forest a column."""

    def __init__(self, train: pa.Table) -> None:
        self.train = train.slice(0, ROWS)
        self._levels = {name: _levels_of(self.train[name]) for name in train.column_names}
        self._forest = cache(self._fit)

    def can_tell(self, column: str, rows: pa.Table, is_number: bool) -> npt.NDArray[np.bool_]:
        """[n] whether the forest knows what the rows hold in a column: of numbers, to 1 % of a standard deviation."""
        if find_spec("sklearn") is None:
            return np.ones(rows.num_rows, np.bool_)
        model = self._forest(column, is_number)
        others = [name for name in rows.column_names if name != column]
        found = model.predict(self._to_matrix(rows.select(others)))
        truth = self._codes(column, rows[column])
        if not is_number:
            return np.asarray(found == truth)
        known = self._codes(column, self.train[column])
        return np.asarray(np.abs(found - truth) <= LIKE * np.nanstd(known))

    def _fit(self, column: str, is_number: bool):  # type: ignore[no-untyped-def]
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        target = self._codes(column, self.train[column])
        known = ~np.isnan(target)
        others = [name for name in self.train.column_names if name != column]
        forest = (ExtraTreesRegressor if is_number else ExtraTreesClassifier)(TREES, random_state=0)
        return forest.fit(self._to_matrix(self.train.select(others))[known], target[known])

    def _to_matrix(self, table: pa.Table) -> npt.NDArray[np.float64]:
        columns = [self._codes(name, table[name]) for name in table.column_names]
        return np.nan_to_num(np.stack(columns, axis=1), nan=-1e9, posinf=1e9, neginf=-1e9).clip(-1e30, 1e30)

    def _codes(self, name: str, values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
        levels = self._levels[name]
        if levels is not None:
            values = pc.index_in(values.cast(pa.string()), value_set=levels)
        elif pa.types.is_temporal(values.type):
            wide = pa.int32() if values.type.bit_width == 32 else pa.int64()
            values = values.cast(wide)
        return np.asarray(values.cast(pa.float64()).to_numpy(), np.float64)


def _levels_of(values: pa.ChunkedArray) -> pa.Array | None:
    """The levels of what is no number and no time."""
    plain = pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_temporal(values.type)
    return None if plain else pc.unique(values.cast(pa.string())).drop_null()
