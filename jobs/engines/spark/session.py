"""Builds or borrows the SparkSession. A session that exists, a spark-submit or a Spark Connect server has already
decided where and how Spark runs, and keeps its say; otherwise Sandtimer starts Spark itself, with Delta. Each setting
that Sandtimer makes has its reason beside it, and yields to the user's own."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlparse

from jobs.common.config import SparkConfig
from jobs.common.errors import SetupError
from jobs.common.packages import installed_version
from jobs.common.s3 import add_environment, hadoop_options
from jobs.engines.spark.jars import INSTALL_SPARK, S3_PACKAGES, delta_package, find_jars, resolve_packages
from jobs.engines.spark.java import ensure_java_home
from jobs.engines.spark.udf import is_connect

if TYPE_CHECKING:
    from py4j.java_gateway import JVMView
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

DELTA_EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"
DELTA_CATALOG = "org.apache.spark.sql.delta.catalog.DeltaCatalog"
EXTENSIONS = "spark.sql.extensions"
S3A = "org.apache.hadoop.fs.s3a.S3AFileSystem"
SESSION_CATALOG = "spark.sql.catalog.spark_catalog"
TIME_ZONE = "spark.sql.session.timeZone"
# Its Java runs already, and whoever submits a job chooses whether it has a page to look at.
DECIDED_BY_SPARK_SUBMIT = ("spark.driver.extraJavaOptions", "spark.ui.")
CONNECT_PORT = 15002
CONNECT_TIMEOUT_S = 10


def build_session(
    spark: SparkConfig | None, app_name: str, storage_options: Mapping[str, str], on_s3: bool = False
) -> "SparkSession":
    """The session to run a job in: the active one, spark-submit's, Spark Connect's (SPARK_REMOTE), or a new local one.

    Args:
        spark: the config's `spark` section; used only when Sandtimer starts Spark itself.
        app_name: the name that Spark's own pages show, used only then as well.
        storage_options: access to the tables' store, in delta-rs's names; `fs.*` keys go to Hadoop as they are.
        on_s3: a table is on such a store: Spark gets the jars for it, and what the environment says of its access.

    Raises:
        SetupError: Spark, Java or Delta is missing, does not fit the others, or does not start.
    """
    _check_pandas()
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise SetupError(expected="pyspark", found=str(error), remedy=INSTALL_SPARK) from error

    spark = spark or SparkConfig()
    active = SparkSession.getActiveSession()
    if active is not None:
        session = active
    elif os.environ.get("SPARK_REMOTE") or (spark.master or "").startswith("sc://"):
        session = _connect(spark)
    elif "PYSPARK_GATEWAY_PORT" in os.environ:
        session = _join_spark_submit(spark, on_s3)
    else:
        session = _start(spark, app_name, on_s3)
    _check_delta(session)
    # A Connect server has an access of its own, and the environment's secrets are not for it.
    access = add_environment(storage_options) if on_s3 and not is_connect(session) else storage_options
    # Set here, not at the start: that would show secrets in the list of processes.
    for key, value in hadoop_options(access).items():
        session.conf.set(key, value)
    return session


def jars_folder(spark: SparkConfig) -> Path | None:
    """The folder that the user filled with jars: `spark.jars_dir`, else the variable SANDTIMER_JARS."""
    folder = spark.jars_dir or os.environ.get("SANDTIMER_JARS")
    return Path(folder) if folder else None


def delta_packages(spark: SparkConfig) -> list[str]:
    """The Maven packages to start Spark with: the user's, and Delta unless they name it themselves."""
    packages = list(spark.packages or ())
    if not any(package.startswith("io.delta:delta-spark") for package in packages):
        packages.insert(0, delta_package())
    return packages


def local_settings(master: str) -> dict[str, str]:
    """What Sandtimer sets when it starts Spark itself."""
    settings = {
        # A DATE or a timestamp in a predicate must mean the same rows on every machine and engine.
        TIME_ZONE: "UTC",
        # A nightly job has no one to look at the page, and two jobs at once would fight for its port.
        "spark.ui.enabled": "false",
        # Sandtimer draws its own progress.
        "spark.ui.showConsoleProgress": "false",
        # A batch job wants throughput, and no thread that tidies up beside it; Spark asks whether a value is NULL and
        # within its batch before it reads it, so that Arrow need not ask again for each.
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC"
        " -Darrow.enable_unsafe_memory_access=true -Darrow.enable_null_check_for_get=false"
        f" -Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
        # Everything that a command makes lies under data/.
        "spark.sql.warehouse.dir": str(Path("data/spark-warehouse").absolute()),
    }
    if master.startswith("local"):
        # Nothing outside this machine takes part, and its name need not resolve.
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        # The default of 50 and 200 tiny tasks cost seconds per table on one machine.
        settings |= {"spark.databricks.delta.snapshotPartitions": "2", "spark.sql.shuffle.partitions": "8"}
    return settings


def _start(spark: SparkConfig, app_name: str, on_s3: bool) -> "SparkSession":
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    master = spark.master or "local[*]"
    os.environ["JAVA_HOME"] = str(ensure_java_home())
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = local_settings(master) | _texts(spark.conf)
    settings["spark.jars"] = _join(settings.get("spark.jars"), *map(str, _jars(spark, on_s3)))
    settings |= _delta_settings(settings)
    _set_worker_python(settings.get("spark.pyspark.python"))
    builder = SparkSession.builder.master(master).appName(app_name)
    try:
        return builder.config(map=dict(settings)).getOrCreate()
    except PySparkRuntimeError as error:
        raise SetupError(
            expected=f"Spark to start on {master}",
            found=str(error).strip().partition("\n")[0],
            remedy="read Spark's own lines above, then run `sandtimer doctor`",
        ) from error


def _join_spark_submit(spark: SparkConfig, on_s3: bool) -> "SparkSession":
    """spark-submit has started Java and decided on the cluster; what it left open is Delta and the time zone."""
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    _set_worker_python(None)
    SparkContext._ensure_initialized()
    conf = SparkConf()  # holds what spark-submit was told
    _add_jars(conf, spark, on_s3)
    for key, value in local_settings(conf.get("spark.master", "")).items():
        if not key.startswith(DECIDED_BY_SPARK_SUBMIT):
            conf.setIfMissing(key, value)
    for key, value in _delta_settings(dict(conf.getAll())).items():
        conf.set(key, value)
    return SparkSession.builder.config(conf=conf).getOrCreate()


def _add_jars(conf: "SparkConf", spark: SparkConfig, on_s3: bool) -> None:
    """Lets `spark-submit jobs/score.py` work without --packages: the jars join the running Java's class path."""
    from pyspark import SparkContext

    jvm = cast("JVMView", SparkContext._jvm)
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()

    def lacks(name: str) -> bool:
        try:
            jvm.java.lang.Class.forName(name, False, loader)
            return False
        except Exception as missing:
            if "ClassNotFoundException" not in str(missing):
                raise
            return True

    lacks_s3 = on_s3 and lacks(S3A)
    if not (lacks(DELTA_EXTENSION) or lacks_s3):
        return
    jars = _jars(spark, lacks_s3)
    for jar in jars:
        loader.addURL(jvm.java.io.File(str(jar)).toURI().toURL())
    conf.set("spark.jars", _join(conf.get("spark.jars", None), *map(str, jars)))


def _connect(spark: SparkConfig) -> "SparkSession":
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    remote = os.environ.get("SPARK_REMOTE") or spark.master or ""
    address = urlparse(remote)
    try:
        # Spark's own client would try an address where nobody listens for ten minutes.
        socket.create_connection((address.hostname, address.port or CONNECT_PORT), CONNECT_TIMEOUT_S).close()
        session = SparkSession.builder.remote(remote).getOrCreate()
        session.conf.set(TIME_ZONE, "UTC")
    except (OSError, ValueError, PySparkException, ImportError) as error:
        raise SetupError(
            expected=f"a Spark Connect server at sc://{address.netloc}",
            found=str(error).strip().partition("\n")[0],
            remedy="start the server, or correct SPARK_REMOTE or spark.master; `sandtimer doctor` checks the client",
        ) from error
    return session


def _jars(spark: SparkConfig, on_s3: bool) -> list[Path]:
    folder = jars_folder(spark)
    packages = [*delta_packages(spark), *(S3_PACKAGES if on_s3 else ())]
    return find_jars(folder) if folder else resolve_packages(packages)


def _delta_settings(settings: Mapping[str, str]) -> dict[str, str]:
    extensions = settings.get(EXTENSIONS)
    if DELTA_EXTENSION not in (extensions or "").split(","):
        extensions = _join(extensions, DELTA_EXTENSION)
    return {EXTENSIONS: extensions or "", SESSION_CATALOG: settings.get(SESSION_CATALOG, DELTA_CATALOG)}


def _check_pandas() -> None:
    pandas = installed_version("pandas")
    if pandas is None or int(pandas.split(".")[0]) >= 3:
        raise SetupError(
            expected="pandas 2 (older than 3), which this Spark works with",
            found=f"pandas {pandas}" if pandas else "no pandas",
            remedy=INSTALL_SPARK,
        )


def _check_delta(session: "SparkSession") -> None:
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return  # Delta is part of that Spark and needs no extension
    extensions = session.conf.get(EXTENSIONS, "") or ""
    if DELTA_EXTENSION not in extensions.split(","):
        raise SetupError(
            expected=f"a Spark session with Delta ({EXTENSIONS} containing {DELTA_EXTENSION})",
            found=f"a running session with {EXTENSIONS}={extensions!r}",
            remedy=f"start that session or server with `--packages {delta_package()} --conf {EXTENSIONS}="
            f"{DELTA_EXTENSION} --conf {SESSION_CATALOG}={DELTA_CATALOG}`",
        )


def _set_worker_python(chosen: str | None) -> None:
    # Without this the workers run `python3` from PATH, which may lack numpy or be another version.
    if chosen:
        os.environ["PYSPARK_PYTHON"] = chosen
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)


def _join(*parts: str | None) -> str:
    return ",".join(part for part in parts if part)


def _texts(conf: Mapping[str, str | int | float | bool]) -> dict[str, str]:
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in conf.items()}
