"""The ways to score a table that are compared: ours, a copy that scores nothing, and what others do on Spark.

The others score with a network of the same sizes and return one double for each row; Sandtimer returns all its columns.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.config import Config, SparkConfig
from jobs.common.console import build_reporter
from jobs.engines import build_engine
from jobs.engines.spark.jars import delta_package, find_jars, resolve_packages
from jobs.engines.spark.java import ensure_java_home
from jobs.engines.spark.session import (
    DELTA_CATALOG,
    DELTA_EXTENSION,
    EXTENSIONS,
    SESSION_CATALOG,
    build_session,
    jars_folder,
)
from jobs.scoring.score import score
from tests.bench.scoring.data import Case
from tests.bench.scoring.measure import Cost, measure
from vae_model import SCORE_SCHEMA, load

WIDTHS = (128, 64, 16, 64, 128)
LATENT = 16


def run_sandtimer(case: Case, target: Path, executors: int = 0, **settings: str) -> Cost:
    """Our command; with executors, each of one core, on a cluster of theirs."""
    made = {
        "source": {"table": case.source, "key": ["id"] if case.name != "flights" else []},
        "extract": {"path": str(case.folder / "extract")},
        "bundle": {"path": str(case.bundle)},
        "score": {"table": str(target), **settings},
    }
    config = Config.model_validate(made)
    if config.score.engine == "spark":
        start_spark(case, executors)
    engine = build_engine(config)
    with measure() as cost:
        score(config, engine, build_reporter("json"), full=True)
    return cost


def run_spark(
    case: Case, target: Path, add: Callable[[Any, list[str]], Any], start: Callable[[Case], Any] | None = None
) -> Cost:
    """Read with Spark, add columns, write Delta; in the session that Sandtimer starts unless told otherwise."""
    frame = (start or start_spark)(case)
    with measure() as cost:
        add(frame, load(case.bundle).feature_names).write.format("delta").save(str(target))
    return cost


def start_spark(case: Case, executors: int = 0) -> Any:
    """The table in a session that has read it once: starting Spark is not what is compared."""
    # Spark's own writer needs more than its default of 1 GB for 240 columns.
    conf: dict[str, str | int | float | bool] = {"spark.driver.memory": "4g"}
    if executors:
        conf |= {"spark.executor.memory": "2g", "spark.scheduler.minRegisteredResourcesRatio": 1.0}
    master = f"local-cluster[{executors},1,2048]" if executors else None
    config = SparkConfig(master=master, conf=conf)
    return read_once(build_session(config, "bench", {}), case)


def start_plain_spark(case: Case) -> Any:
    """The same in a session with Delta's own settings and Spark's defaults, as one would start it by hand."""
    from pyspark.sql import SparkSession

    os.environ["JAVA_HOME"] = str(ensure_java_home())
    folder = jars_folder(SparkConfig())
    jars = find_jars(folder) if folder else resolve_packages([delta_package()])
    settings = {"spark.jars": ",".join(map(str, jars)), EXTENSIONS: DELTA_EXTENSION, SESSION_CATALOG: DELTA_CATALOG}
    builder = SparkSession.builder.master("local[*]").config(map={**settings, "spark.driver.memory": "4g"})
    return read_once(builder.getOrCreate(), case)


def read_once(session: Any, case: Case) -> Any:
    """The table, of which the session has read some rows."""
    frame = session.read.format("delta").load(case.source)
    frame.limit(10).count()
    return frame


def read_away(case: Case, _: Path) -> Cost:
    frame = start_spark(case)
    with measure() as cost:
        frame.write.format("noop").mode("overwrite").save()
    return cost


def add_constants(frame: Any, _: list[str]) -> Any:
    """The score columns, every value the same."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    values = {
        "is_anomaly": F.lit(False),
        "top_columns": F.lit(None),
        "model_id": F.lit("0" * 64),
        "scored_at": F.current_timestamp(),
        "latent_mu": F.array(*[F.lit(0.25)] * LATENT),
        "latent_sigma": F.array(*[F.lit(0.5)] * LATENT),
    }
    fields = from_arrow_schema(SCORE_SCHEMA).fields
    return frame.select("*", *(values.get(f.name, F.lit(0.5)).cast(f.dataType).alias(f.name) for f in fields))


def make_network(inputs: int) -> Any:
    """An autoencoder of the same sizes as Sandtimer's, untrained: its cost is what counts here."""
    from torch import nn

    sizes = (inputs, *WIDTHS, inputs)
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.LeakyReLU())]
    return nn.Sequential(*layers[:-1]).eval()


def reconstruct(network: Any, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import torch

    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        return np.asarray(torch.sqrt(((network(x) - x) ** 2).mean(dim=1)).double())


def add_pandas_udf(frame: Any, features: list[str]) -> Any:
    """As most tutorials have it: the model travels in the closure, pandas in and out."""
    from pyspark.sql.functions import pandas_udf, struct

    network = make_network(len(features))

    def decide(rows: Any) -> Any:
        import pandas as pd

        return pd.Series(reconstruct(network, rows.fillna(0.0).to_numpy()))

    decide.__annotations__ = _pandas_types()
    return frame.withColumn("anomaly_score", pandas_udf(decide, "double")(struct(*features)))


def add_predict_batch(frame: Any, features: list[str]) -> Any:
    """Spark's own helper for models."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.functions import array
    from pyspark.sql.types import DoubleType

    width = len(features)

    def make_predict() -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
        network = make_network(width)
        return lambda values: reconstruct(network, values)

    udf = predict_batch_udf(make_predict, return_type=DoubleType(), batch_size=10_000, input_tensor_shapes=[[width]])
    return frame.withColumn("anomaly_score", udf(array(*features)))


def add_mlflow(frame: Any, features: list[str]) -> Any:
    """MLflow's column function of a logged model."""
    import mlflow
    from pyspark.sql.functions import struct

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.network = make_network(len(features))

        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return reconstruct(self.network, model_input.fillna(0.0).to_numpy())

    path = Path(tempfile.mkdtemp()) / "model"
    mlflow.pyfunc.save_model(path, python_model=Model(), pip_requirements=[])
    udf = mlflow.pyfunc.spark_udf(frame.sparkSession, str(path), result_type="double", env_manager="local")
    return frame.withColumn("anomaly_score", udf(struct(*features)))


def add_isolation_forest(frame: Any, features: list[str]) -> Any:
    """PyOD's isolation forest, the usual first detector."""
    from pyod.models.iforest import IForest
    from pyspark.sql.functions import pandas_udf, struct

    sample = frame.select(*features).limit(20_000).toPandas().fillna(0.0)
    forest = IForest(random_state=0, n_jobs=1).fit(sample.to_numpy())

    def decide(rows: Any) -> Any:
        import pandas as pd

        return pd.Series(forest.decision_function(rows.fillna(0.0).to_numpy()))

    decide.__annotations__ = _pandas_types()
    return frame.withColumn("anomaly_score", pandas_udf(decide, "double")(struct(*features)))


def _pandas_types() -> dict[str, Any]:
    import pandas as pd

    return {"rows": pd.DataFrame, "return": pd.Series}


def copy_with_pyarrow(case: Case, target: Path) -> Cost:
    """Each file read and written by pyarrow on two threads, with constants beside it."""
    target.mkdir(parents=True)

    def copy(path: Path) -> None:
        with pq.ParquetWriter(target / path.name, _copied_schema(path), use_dictionary=False) as writer:
            for rows in pq.ParquetFile(path).iter_batches(131_072, use_threads=False):
                writer.write_table(pa.table([*rows.columns, *_constants(rows.num_rows)], schema=_copied_schema(path)))

    with measure() as cost, ThreadPoolExecutor(2) as pool:
        list(pool.map(copy, sorted(Path(case.source).glob("*.parquet"))))
    return cost


def _copied_schema(path: Path) -> pa.Schema:
    return pa.schema([*pq.read_schema(path), *SCORE_SCHEMA])


def _constants(rows: int) -> Iterator[pa.Array]:
    values: dict[pa.DataType, Any] = {pa.float64(): 0.5, pa.bool_(): False, pa.string(): "0" * 64}
    values |= {pa.list_(pa.float32()): [0.25] * LATENT}
    for field in SCORE_SCHEMA:
        yield pa.repeat(pa.scalar(values.get(field.type), field.type), rows)


WAYS: dict[str, Callable[[Case, Path], Cost]] = {
    "Spark reads and throws away": read_away,
    "Spark copies, constants added": lambda case, target: run_spark(case, target, add_constants),
    "Spark copies, in a session without our settings": lambda case, target: run_spark(
        case, target, add_constants, start_plain_spark
    ),
    "pyarrow copies, constants added": copy_with_pyarrow,
    "Sandtimer, local engine": run_sandtimer,
    "Sandtimer on Spark, route files": lambda case, target: run_sandtimer(case, target, engine="spark", route="files"),
    "Sandtimer on Spark, route dataframe": lambda case, target: run_sandtimer(
        case, target, engine="spark", route="dataframe"
    ),
    "pandas_udf with torch": lambda case, target: run_spark(case, target, add_pandas_udf),
    "predict_batch_udf with torch": lambda case, target: run_spark(case, target, add_predict_batch),
    "mlflow spark_udf with torch": lambda case, target: run_spark(case, target, add_mlflow),
    "PyOD isolation forest in a pandas_udf": lambda case, target: run_spark(case, target, add_isolation_forest),
}
PEERS = tuple(WAYS)[-4:]
EXECUTORS = (1, 2)
ROUTES = ("files", "dataframe")


def name_growth(route: str, executors: int) -> str:
    """The way of one route on so many executors."""
    return f"Sandtimer on Spark, route {route}, executors: {executors}"


GROWTH: dict[str, Callable[[Case, Path], Cost]] = {
    name_growth(route, executors): partial(run_sandtimer, engine="spark", route=route, executors=executors)
    for route in ROUTES
    for executors in EXECUTORS
}


def run_way(name: str, case: Case) -> Cost:
    """Run one way into a new folder, which is removed afterwards."""
    target = case.folder / "target"
    shutil.rmtree(target, ignore_errors=True)
    try:
        return (WAYS | GROWTH)[name](case, target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
