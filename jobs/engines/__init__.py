"""Engines supply batches to the scorer and write what it attaches; one conformance suite holds them together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.common.config import Config
    from jobs.common.engine_names import EngineName
    from jobs.engines.base import Engine


def build_engine(config: Config, name: EngineName | None = None) -> Engine:
    """The engine of a job; Spark starts with it.

    Args:
        config: the job.
        name: instead of the config's `score.engine`; without one, a job that spark-submit started runs on Spark.

    Raises:
        SetupError: Spark, Java or Delta is missing.
    """
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if (name or ("spark" if submitted else config.score.engine)) == "local":
        from jobs.engines.local import LocalEngine

        return LocalEngine()
    from jobs.common.s3 import is_s3
    from jobs.engines.spark.engine import SparkEngine
    from jobs.engines.spark.session import build_session

    on_s3 = any(map(is_s3, (config.source.table, config.score.table)))
    return SparkEngine(build_session(config.spark, "sandtimer", config.source.storage_options, on_s3))
