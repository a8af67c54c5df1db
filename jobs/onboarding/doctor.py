"""Checks that a machine can run Sandtimer and, with a config, that a job can run: one finding per line, each problem
with its remedy. Nothing is changed, and no check needs a network."""

import os
import subprocess
import sys
from pathlib import Path

from jobs.common.config import Config, SparkConfig
from jobs.common.console import Reporter
from jobs.common.errors import SetupError
from jobs.common.packages import installed_version
from jobs.engines.spark.jars import INSTALL_SPARK, cached_jars, find_jars, spark_line
from jobs.engines.spark.java import ensure_java_home
from jobs.engines.spark.session import delta_packages, jars_folder
from jobs.onboarding.checks import Check, attempt
from jobs.onboarding.table_checks import check_tables

MIN_PYTHON = (3, 11)
WORKER_TIMEOUT_S = 60
# The Spark line that each Delta line is built for, as far as Sandtimer was tested.
DELTA_OF_SPARK = {"4.2": "4.4"}
# Their Maven package cannot be had everywhere.
WITHOUT_JAR = ("4.4.1",)


def doctor(config: Config | None, reporter: Reporter) -> None:
    """The command: print what every check found.

    Raises:
        SetupError: a check did not pass; with the remedy of each.
    """
    checks = run_checks(config)
    shown = [{"check": c.name, "ok": "yes" if c.ok else "NO", "detail": c.detail, "do": c.remedy} for c in checks]
    reporter.table("check", "What was found", shown)
    bad = [check for check in checks if not check.ok]
    if bad:
        raise SetupError(
            "every check to pass", "; ".join(f"{c.name}: {c.detail}" for c in bad), "; ".join(c.remedy for c in bad)
        )
    reporter.say("done", f"all {len(checks)} checks passed")


def run_checks(config: Config | None) -> list[Check]:
    """All checks of this machine, and of the job that `config` describes if there is one.

    Spark's checks run where pyspark is installed or the config asks for the Spark engine.
    """
    checks = [_check_python(), *map(_check_library, ("numpy", "pyarrow")), _check_deltalake(), _check_torch(config)]
    checks += _check_duckdb()
    wants_spark = config is not None and config.score.engine == "spark"
    if installed_version("pyspark") or wants_spark:
        checks += _check_spark(config.spark if config else SparkConfig())
    else:
        checks.append(Check("pyspark", True, "not installed; only `--engine spark` needs it"))
    if config is not None:
        checks += check_tables(config)
    return checks


def _check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= MIN_PYTHON
    return Check("python", ok, f"{version} at {sys.executable}", "" if ok else "use Python 3.11 or newer")


def _check_library(name: str) -> Check:
    version = installed_version(name)
    return Check(name, version is not None, version or "not installed", "" if version else f"run `pip install {name}`")


def _check_deltalake() -> Check:
    version = installed_version("deltalake")
    ok = version is not None and (1, 6, 4) <= _parts(version) < (2,)
    return Check("deltalake", ok, version or "not installed", "" if ok else "run `pip install 'deltalake>=1.6.4,<2'`")


def _check_torch(config: Config | None) -> Check:
    # Read from its metadata: importing torch takes seconds.
    version = installed_version("torch")
    if version:
        return Check("torch", True, version)
    if config is not None and not config.bundle.is_registered and not config.bundle.path.exists():
        return Check("torch", False, "not installed, and there is no model yet", "run `pip install 'sandtimer[train]'`")
    return Check("torch", True, "not installed; only training needs it: `pip install 'sandtimer[train]'`")


def _check_duckdb() -> list[Check]:
    """DuckDB loads only extensions of its own version, and says so in riddles."""
    duckdb, extension = installed_version("duckdb"), installed_version("duckdb-extension-delta")
    if duckdb is None or extension is None:
        return []
    ok = duckdb == extension
    remedy = "" if ok else f"run `pip install duckdb=={extension}`, or the extension of DuckDB's version"
    return [Check("DuckDB's delta_scan", ok, f"duckdb {duckdb}, duckdb-extension-delta {extension}", remedy)]


def _check_spark(spark: SparkConfig) -> list[Check]:
    return [
        _check_spark_versions(),
        _check_client(),
        *_check_spark_home(),
        _check_pandas(),
        attempt("java", lambda: f"JAVA_HOME {ensure_java_home()}"),
        _check_worker_python(spark),
        attempt("delta jars", lambda: _describe_jars(spark)),
    ]


def _check_spark_versions() -> Check:
    spark, delta = installed_version("pyspark"), installed_version("delta-spark")
    if spark is None or delta is None:
        detail = f"pyspark {spark or 'not installed'}, delta-spark {delta or 'not installed'}"
        return Check("pyspark and delta-spark", False, detail, INSTALL_SPARK)
    ok = DELTA_OF_SPARK.get(spark_line(spark)) == spark_line(delta) and delta not in WITHOUT_JAR
    why = "its jar is not published everywhere" if delta in WITHOUT_JAR else "these were not tested together"
    remedy = "" if ok else f"{why}; run `pip install pyspark==4.2.0 delta-spark==4.4.0`"
    return Check("pyspark and delta-spark", ok, f"pyspark {spark}, delta-spark {delta}", remedy)


def _check_client() -> Check:
    """Airflow's Spark provider brings pyspark-client, which lies over pyspark: same modules, no spark-submit."""
    client = installed_version("pyspark-client")
    if client is None:
        return Check("pyspark-client", True, "not here, so nothing lies over pyspark")
    remedy = "run `pip uninstall pyspark-client && pip install --force-reinstall pyspark==4.2.0`; give Airflow a venv"
    return Check("pyspark-client", False, f"{client} lies over pyspark: no spark-submit, no local Spark", remedy)


def _check_spark_home() -> list[Check]:
    home, version = os.environ.get("SPARK_HOME"), installed_version("pyspark")
    if not home or version is None:
        return []
    jars = sorted(jar.name for jar in Path(home, "jars").glob("spark-core_*.jar"))
    ok = any(jar.endswith(f"-{version}.jar") for jar in jars)
    detail = f"SPARK_HOME {home}: {', '.join(jars) or 'no Spark there'}; pyspark {version}"
    return [Check("SPARK_HOME", ok, detail, "" if ok else "unset SPARK_HOME, or name a Spark of pyspark's version")]


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


def _parts(version: str) -> tuple[int, ...]:
    """Major, minor and patch number."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
