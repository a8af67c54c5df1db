"""Checks that a machine can run Sandtimer and, with a config, that a job can run: one finding per line, each problem
with its remedy. Nothing is changed, and no check needs a network."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

import vae_model as vm
from jobs.config import Config, SparkConfig
from jobs.delta.datafile import first_line
from jobs.delta.storage import TableRef
from jobs.jars import INSTALL_SPARK, cached_jars, find_jars, installed_version, spark_line
from jobs.java import ensure_java_home
from jobs.models import load_model
from jobs.spark_session import delta_packages, jars_folder

MIN_PYTHON = (3, 11)
WORKER_TIMEOUT_S = 60
# The Spark line that each Delta line is built for, as far as Sandtimer was tested.
DELTA_OF_SPARK = {"4.2": "4.4"}


@dataclass(frozen=True)
class Check:
    """One finding: `remedy` says what to do and is empty when `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def run_checks(config: Config | None) -> list[Check]:
    """All checks of this machine, and of the job that `config` describes if there is one.

    Spark's checks run where pyspark is installed or the config asks for the Spark engine.
    """
    checks = [_check_python(), *map(_check_library, ("numpy", "pyarrow", "deltalake")), _check_torch()]
    wants_spark = config is not None and config.score.engine == "spark"
    if installed_version("pyspark") or wants_spark:
        checks += _check_spark(config.spark if config else SparkConfig())
    else:
        checks.append(Check("pyspark", True, "not installed; only `--engine spark` needs it"))
    if config is not None:
        checks += [_check_source(config), _check_target(config), _check_extract(config), _check_bundle(config)]
    return checks


def _check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= MIN_PYTHON
    return Check("python", ok, f"{version} at {sys.executable}", "" if ok else "use Python 3.11 or newer")


def _check_library(name: str) -> Check:
    version = installed_version(name)
    return Check(name, version is not None, version or "not installed", "" if version else f"run `pip install {name}`")


def _check_torch() -> Check:
    # Read from its metadata: importing torch takes seconds.
    version = installed_version("torch")
    return Check("torch", True, version or "not installed; only training needs it: `pip install 'sandtimer[train]'`")


def _check_spark(spark: SparkConfig) -> list[Check]:
    return [
        _check_spark_versions(),
        _check_pandas(),
        _attempt("java", lambda: f"JAVA_HOME {ensure_java_home()}"),
        _check_worker_python(spark),
        _attempt("delta jars", lambda: _describe_jars(spark)),
    ]


def _check_spark_versions() -> Check:
    spark, delta = installed_version("pyspark"), installed_version("delta-spark")
    if spark is None or delta is None:
        detail = f"pyspark {spark or 'not installed'}, delta-spark {delta or 'not installed'}"
        return Check("pyspark and delta-spark", False, detail, INSTALL_SPARK)
    wanted = DELTA_OF_SPARK.get(spark_line(spark))
    ok = wanted == spark_line(delta)
    remedy = "" if ok else "these were not tested together; run `pip install pyspark==4.2.0 delta-spark==4.4.0`"
    return Check("pyspark and delta-spark", ok, f"pyspark {spark}, delta-spark {delta}", remedy)


def _check_pandas() -> Check:
    version = installed_version("pandas")
    ok = version is not None and int(version.split(".")[0]) < 3
    return Check("pandas", ok, version or "not installed", "" if ok else "run `pip install 'pandas>=2.2,<3'`")


def _check_worker_python(spark: SparkConfig) -> Check:
    chosen = spark.conf.get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON")
    if not chosen or str(chosen) == sys.executable:
        return Check("worker python", True, f"{sys.executable}, as the driver")
    if not (spark.master or "local").startswith("local"):
        return Check("worker python", True, f"{chosen} on the cluster; not tried from here")
    return _try_worker_python(str(chosen))


def _try_worker_python(executable: str) -> Check:
    wanted = f"{sys.version_info[0]}.{sys.version_info[1]}"
    command = [executable, "-c", "import sys, numpy, pyarrow; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WORKER_TIMEOUT_S, check=True)
        found = f"Python {done.stdout.strip()}"
    except subprocess.CalledProcessError as error:
        found = error.stderr.strip().rpartition("\n")[2]
    except (OSError, subprocess.SubprocessError) as error:
        found = str(error)
    ok = found == f"Python {wanted}"
    remedy = "" if ok else f"unset PYSPARK_PYTHON, or name a Python {wanted} that has numpy and pyarrow"
    return Check("worker python", ok, f"{executable}: {found}", remedy)


def _describe_jars(spark: SparkConfig) -> str:
    folder = jars_folder(spark)
    if folder:
        return f"{len(find_jars(folder))} jars in {folder}"
    packages = delta_packages(spark)
    cached = cached_jars(packages)
    state = f"fetched already, in {cached[0].parent}" if cached else "not fetched yet; the first Spark run fetches them"
    return f"{', '.join(packages)}: {state}"


def _check_source(config: Config) -> Check:
    source = config.source
    if _is_catalog_name(source.table):
        return Check("source table", True, f"{source.table} is a catalog name; Spark finds it when a job runs")
    try:
        ref = TableRef(source.table, source.storage_options)
        table = DeltaTable(source.table, storage_options=dict(ref.storage_options) or None)
        columns = [field.name for field in table.schema().fields]
    except (DeltaError, OSError, ValueError) as error:
        remedy = "correct source.table, or the access to it"
        return Check("source table", False, f"{source.table}: {first_line(error)}", remedy)
    detail = f"{source.table}, version {table.version()}, {len(columns)} columns"
    named = [*source.key, *([source.partition] if source.partition else [])]
    missing = [name for name in named if name not in columns]
    if missing:
        remedy = "correct source.key and source.partition"
        return Check("source table", False, f"{detail}, without {', '.join(missing)}", remedy)
    return Check("source table", True, detail)


def _check_target(config: Config) -> Check:
    target = config.score.table
    if _is_catalog_name(target) or "://" in target.removeprefix("file://"):
        return Check("scored table", True, f"{target} is not on this machine; writing to it was not tried")
    path = _local_path(target)
    place = next(folder for folder in (path, *path.parents) if folder.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Check("scored table", True, f"{target} {'exists' if place == path else 'will be created'}")
    problem = "not writable" if place.is_dir() else "a file, not a folder"
    return Check("scored table", False, f"{place} is {problem}", "correct score.table or the folder's permissions")


def _check_extract(config: Config) -> Check:
    path = config.extract.path
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else []
    if not files:
        return Check("extract", False, f"no Parquet files in {path}", "run `sandtimer extract` with this config")
    return _attempt(
        "extract",
        lambda: f"{sum(pq.ParquetFile(file).metadata.num_rows for file in files):,} rows in {path}",
        "run `sandtimer extract` with this config again",
    )


def _check_bundle(config: Config) -> Check:
    path = config.bundle.path
    if not path.exists() and not config.bundle.is_registered:
        return Check("bundle", False, f"nothing at {path}", "run `sandtimer train` with this config")
    return _attempt("bundle", lambda: f"model {load_model(config).model_id} in {path}")


def _attempt(name: str, describe: Callable[[], str], remedy: str = "") -> Check:
    try:
        return Check(name, True, describe())
    except vm.SandtimerError as error:
        return Check(name, False, f"expected {error.expected}; found {error.found}", error.remedy)
    except (OSError, ValueError) as error:
        return Check(name, False, _first_line(error), remedy or "correct what the detail names")


def _is_catalog_name(table: str) -> bool:
    return "/" not in table and 1 <= table.count(".") <= 2 and not Path(table).exists()


def _local_path(table: str) -> Path:
    return Path(unquote(urlparse(table).path) if table.startswith("file://") else table).absolute()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
