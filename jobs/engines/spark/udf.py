"""Sandtimer as a Spark column function: `score_udf` for DataFrames, `register` for SQL.

    scored = df.select("*", score_udf(bundle)(*bundle.feature_names).alias("a"))
    register(spark, bundle, "vae_score")    # SELECT vae_score(struct(*)).anomaly_score FROM t

The bundle's bytes are broadcast in a classic session; under Spark Connect, which has no broadcast, they travel in the
closure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.common.errors import SetupError
from jobs.engines.spark.archive import ARCHIVE_NAME, read_archive, read_modules, write_archive
from jobs.engines.spark.worker import RemoteScorer, ScorerSpec
from vae_model.schema import SCORE_COLUMNS, SCORE_SCHEMA
from vae_model.scoring.scorer import ScoringOptions

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import Column, SparkSession
    from pyspark.sql.types import StructType

    from jobs.common.sampling import Sample
    from vae_model.bundle.bundle import Bundle
    from vae_model.scoring.scorer import Explain


def score_udf(
    bundle: Bundle,
    *,
    alert_budget: float = 0.001,
    explain: Explain = "alerts",
    scored_at: datetime | None = None,
    samples: int | None = None,
    columns: Sequence[str] = SCORE_COLUMNS,
    spark: SparkSession | None = None,
) -> Callable[..., Column]:
    """A column function that returns a struct of the score columns.

    It takes the feature columns in the order of `bundle.feature_names`, or one struct that holds them by name. Spark
    itself refuses a batch whose result has another number of rows.

    Args:
        bundle: the trained model.
        alert_budget: see `vae_model.ScoringOptions`, as for the next three.
        explain: which rows get `top_columns`.
        scored_at: the logical time; now when None.
        samples: latent draws to use; as calibrated when None.
        columns: the score columns that the struct has; fewer of them travel faster.
        spark: the session to broadcast in; the active one when None.
    """
    session = spark or _active_session()
    options = ScoringOptions(alert_budget, explain, samples, scored_at or datetime.now(UTC))
    spec = ScorerSpec(bundle.model_id, options)
    udf = _score_function(bundle, spec, session, columns)
    if not is_connect(session):
        return udf
    # A Connect client sends text types with a collation, which Delta would write into the table's schema and deltalake
    # cannot read; a type in words becomes a plain one on the server.
    return lambda *features: udf(*features).cast(score_type(columns).simpleString())


def register(spark: SparkSession, bundle: Bundle, name: str, *, alert_budget: float = 0.001) -> None:
    """Make `SELECT name(struct(*)).anomaly_score FROM t` work in this session's SQL. Reasons come for anomalies."""
    spec = ScorerSpec(bundle.model_id, ScoringOptions(alert_budget))
    spark.udf.register(name, _score_function(bundle, spec, spark))


def sample_udf(sample: Sample, spark: SparkSession) -> Callable[..., Column]:
    """A column function that says of a struct with the sample's columns whether its row is in the sample."""
    from pyspark.sql.functions import arrow_udf  # type: ignore[attr-defined]

    ship_packages(spark)

    def choose(struct: pa.Array) -> pa.Array:
        return pa.array(sample.keeps(sample.hash(pa.RecordBatch.from_struct_array(struct))))

    udf: Callable[..., Column] = arrow_udf(choose, "boolean")
    return udf


def score_type(columns: Sequence[str] = SCORE_COLUMNS) -> StructType:
    """Score columns as a Spark struct."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(pa.schema([SCORE_SCHEMA.field(name) for name in columns]))


def is_connect(spark: SparkSession) -> bool:
    """Whether the session is a Spark Connect client, which has neither broadcast nor sparkContext."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def ship_packages(spark: SparkSession) -> None:
    """Send `vae_model` and `jobs` to the executors, once a session; a local master shares our Python, and
    `spark-submit --py-files` may have brought them already.

    Raises:
        SetupError: what it brought are other sources than those that run here.
    """
    if is_connect(spark):
        if not getattr(spark, "_sandtimer_shipped", False):
            spark.addArtifacts(_write_archive(), pyfile=True)
            spark._sandtimer_shipped = True  # type: ignore[attr-defined]
        return
    context = spark.sparkContext
    if str(context.master).startswith("local") or getattr(context, "_sandtimer_shipped", False):
        return
    submitted = _find_submitted(context)
    if submitted is None:
        context.addPyFile(_write_archive())
    else:
        _check_submitted(submitted)
    context._sandtimer_shipped = True  # type: ignore[attr-defined]


def _write_archive() -> str:
    return str(write_archive(Path(tempfile.mkdtemp(prefix="sandtimer-")) / ARCHIVE_NAME))


def _find_submitted(context: SparkContext) -> Path | None:
    """The archive of `make dist` among what `--py-files` named."""
    paths = map(Path, context.getConf().get("spark.submit.pyFiles", "").split(","))
    return next((path for path in paths if path.name == ARCHIVE_NAME), None)


def _check_submitted(path: Path) -> None:
    # Executors that run other code than the driver would score by other rules, and nobody would see it.
    if path.is_file() and read_archive(path) != read_modules():
        raise SetupError(
            f"--py-files {path} with the sources that run here",
            "an archive of other sources",
            "run `make dist` again, or leave it out: the packages are sent by themselves",
        )


def send_scorer(bundle: Bundle, spec: ScorerSpec, spark: SparkSession) -> RemoteScorer:
    """A scorer for this session's workers, which get our packages as well."""
    ship_packages(spark)
    return RemoteScorer(spec, carry(spark, bundle.to_bytes()))


def _score_function(
    bundle: Bundle, spec: ScorerSpec, spark: SparkSession, columns: Sequence[str] = SCORE_COLUMNS
) -> Callable[..., Column]:
    from pyspark.sql.functions import arrow_udf  # type: ignore[attr-defined]

    remote = replace(send_scorer(bundle, spec, spark), columns=tuple(columns))

    def score(*arrays: pa.Array) -> pa.Array:
        return remote.score_arrays(arrays)

    udf: Callable[..., Column] = arrow_udf(score, score_type(columns))
    return udf


def carry(spark: SparkSession, data: bytes) -> Callable[[], bytes]:
    """A function that returns the bytes on any worker: by broadcast, or with the closure under Spark Connect."""
    if is_connect(spark):
        return lambda: data
    broadcast = spark.sparkContext.broadcast(data)
    return lambda: broadcast.value


def _active_session() -> SparkSession:
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    return session or SparkSession.builder.getOrCreate()
