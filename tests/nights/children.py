"""Processes that a simulation starts in order to kill them."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import yaml

from jobs.common.config import Config
from jobs.common.errors import exit_code
from jobs.engines import build_engine
from jobs.scoring.score import score
from tests.nights.course import Quiet

# Children that have imported everything and done nothing: a run starts at once, and can be killed at any moment.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["jobs.engines.local", "tests.nights.children"])


def run_child(config_file: str, ready: Any) -> None:
    """A local run in a child process, with the command line's exit code."""
    config = Config.model_validate(yaml.safe_load(Path(config_file).read_text(encoding="utf-8")))
    engine = build_engine(config)
    ready.set()
    try:
        score(config, engine, Quiet())
    except Exception as error:  # noqa: BLE001  what the command line would end with
        sys.exit(exit_code(error))


def spark_settings() -> dict[str, str | int]:
    """As in the tests: the tables are small, and a JVM that is killed soon had better compile fast."""
    from jobs.engines.spark.session import local_settings

    java = "spark.driver.extraJavaOptions"
    return {
        "spark.sql.shuffle.partitions": 1,
        "spark.databricks.delta.snapshotPartitions": 1,
        java: f"-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m {local_settings('local')[java]}",
    }
