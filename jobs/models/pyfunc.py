"""The code of a model in an MLflow registry ("models from code"): MLflow runs this file, nothing is unpickled. It loads
the bundle among the model's artifacts and answers a frame of feature columns with a frame of score columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlflow
import pandas as pd
import pyarrow as pa

import vae_model as vm
from vae_model.features.columns import Column
from vae_model.features.families import type_family
from vae_model.schema import SCORE_SCHEMA

BUNDLE = "bundle"
# What pandas lost of a column's type, by the family that the model was trained on: the integers of a column with NULLs
# come as floats, dates as timestamps, a column of NULLs alone as objects.
ARROW_TYPES: Mapping[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "floating": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "time of day": pa.time64("us"),
    "duration": pa.duration("us"),
    "list of numbers": pa.list_(pa.float64()),
}


class ScoringModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Scores frames by the bundle in its artifacts. NaN in a frame is NULL: pandas has no other."""

    def load_context(self, context: Any) -> None:
        self.bundle = vm.load(context.artifacts[BUNDLE])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        there = [column for column in self.bundle.features if column.name in model_input]
        columns = {column.name: _to_arrow(model_input[column.name], column) for column in there}
        scored = vm.score(pa.table(columns), self.bundle).select(SCORE_SCHEMA.names)
        frame: pd.DataFrame = scored.to_pandas().set_index(model_input.index)
        return frame


def _to_arrow(values: pd.Series[Any], column: Column) -> pa.Array:
    array = pa.Array.from_pandas(values)
    if array.null_count == len(array):
        return pa.nulls(len(array), ARROW_TYPES[column.family])
    return array if type_family(array.type) == column.family else array.cast(ARROW_TYPES[column.family])


mlflow.models.set_model(ScoringModel())
