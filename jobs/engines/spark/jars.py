"""Brings the jars that Spark needs for Delta: from a folder that the user filled (no network), or by package name,
once, into a cache. Resolving them before the session starts keeps the resolver's hundred lines off the terminal, gives
a failed download a sentence instead of a dead JVM, and makes every later start work offline."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jobs.common.errors import SetupError
from jobs.common.packages import installed_version
from jobs.common.paths import cache_dir
from jobs.engines.spark.java import ensure_java_home

SCALA_LINE = "2.13"
INSTALL_SPARK = "run `pip install 'sandtimer[spark]'`, or use `--engine local`"
RESOLVE_TIMEOUT_S = 600
DELTA_JAR = re.compile(rf"delta-spark_(?:(?P<spark>\d+\.\d+)_)?{re.escape(SCALA_LINE)}-(?P<delta>\d[\w.]*)\.jar$")
# Delta's dependencies that Spark carries itself, in versions that it was built with: 13 MB to fetch instead of 90.
CARRIED_BY_SPARK = (
    "com.fasterxml.jackson.core:*",
    "com.github.luben:*",
    "io.airlift:*",
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "org.apache.logging.log4j:*",
    "org.apache.parquet:*",
    "org.locationtech.jts:*",
    "org.roaringbitmap:*",
    "org.slf4j:*",
    "org.xerial.snappy:*",
)
# Hadoop's s3a at the version of Spark's own Hadoop, with the parts of the AWS SDK that it uses: 56 MB. The whole SDK in
# one jar, which it asks for, is 686 MB.
S3_PACKAGES = (
    "org.apache.hadoop:hadoop-aws:3.5.0",
    *(
        f"software.amazon.awssdk:{part}:2.35.4"
        for part in ("s3", "s3-transfer-manager", "sts", "apache-client", "netty-nio-client")
    ),
)
AWS_IN_ONE_JAR = "software.amazon.awssdk:bundle"
# Any class with a harmless main that Spark's own class path holds: spark-submit resolves packages before it runs one.
HARMLESS_MAIN = "org.apache.hadoop.util.VersionInfo"


def delta_package() -> str:
    """The Maven coordinate of the Delta jar that fits the installed pyspark and delta-spark.

    Raises:
        SetupError: one of the two is not installed.
    """
    spark, delta = installed_version("pyspark"), installed_version("delta-spark")
    if spark is None or delta is None:
        missing = "pyspark" if spark is None else "delta-spark"
        raise SetupError(
            expected="pyspark and delta-spark for the Spark engine",
            found=f"{missing} is not installed",
            remedy=INSTALL_SPARK,
        )
    return f"io.delta:delta-spark_{spark_line(spark)}_{SCALA_LINE}:{delta}"


def spark_line(version: str) -> str:
    """The part of a Spark version that a Delta jar is built for: '4.2' of '4.2.0'."""
    return ".".join(version.split(".")[:2])


def find_jars(folder: Path) -> list[Path]:
    """The jars of a folder that the user filled.

    Raises:
        SetupError: no folder, no Delta jar in it, or one that was built for another Spark.
    """
    jars = sorted(folder.glob("*.jar"))
    matches = [match for match in (DELTA_JAR.search(jar.name) for jar in jars) if match]
    wanted = delta_package()
    if not matches:
        raise SetupError(
            expected=f"a folder with the jar of {wanted} and what it depends on",
            found=f"{len(jars)} jars in {folder}, none of them delta-spark",
            remedy="put the jars there, or unset SANDTIMER_JARS and spark.jars_dir to resolve them by package name",
        )
    line = spark_line(installed_version("pyspark") or "")
    strangers = [match.group() for match in matches if match["spark"] not in (None, line)]
    if strangers:
        raise SetupError(
            expected=f"a Delta jar built for Spark {line}, as {wanted} is",
            found=f"{', '.join(strangers)} in {folder}",
            remedy=f"replace it by the jar of {wanted}",
        )
    return jars


def resolve_packages(packages: Sequence[str]) -> list[Path]:
    """The jars of Maven packages and their dependencies: from the cache, else fetched by Spark's own resolver, which
    follows the user's spark-defaults.conf (repositories, proxies, spark.jars.ivySettings).

    Raises:
        SetupError: a package cannot be found or fetched.
    """
    cached = cached_jars(packages)
    if cached is not None:
        return cached
    target = _cache_folder(packages)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="resolving-", dir=target.parent))
    try:
        _run_resolver(packages, draft)
        # Renamed when complete: a folder that exists is a folder that can be trusted.
        (draft / "jars").rename(target)
    except FileExistsError:
        pass  # another job was faster
    except OSError:
        if cached_jars(packages) is None:
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return sorted(target.glob("*.jar"))


def cached_jars(packages: Sequence[str]) -> list[Path] | None:
    """The jars of packages that were resolved before; None when they have to be fetched."""
    return sorted(_cache_folder(packages).glob("*.jar")) or None


def _cache_folder(packages: Sequence[str]) -> Path:
    digest = hashlib.sha256("\n".join(sorted(packages)).encode()).hexdigest()
    return cache_dir() / f"jars-{digest[:12]}"


def _run_resolver(packages: Sequence[str], folder: Path) -> None:
    from pyspark.find_spark_home import _find_spark_home  # late: the module must load without Spark

    spark_home = Path(_find_spark_home())
    command = [
        str(spark_home / "bin" / "spark-submit"),
        *("--master", "local[1]"),
        *("--packages", ",".join(packages)),
        *("--conf", f"spark.jars.ivy={folder}"),
        *("--conf", f"spark.jars.excludes={','.join((*CARRIED_BY_SPARK, AWS_IN_ONE_JAR))}"),
        *("--class", HARMLESS_MAIN, "spark-internal"),
    ]
    # The variables of a spark-submit that we may be running under would tell this one to do something else.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYSPARK_", "SPARK_REMOTE"))}
    environment |= {"JAVA_HOME": str(ensure_java_home()), "SPARK_HOME": str(spark_home)}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=RESOLVE_TIMEOUT_S, check=False
        )
        complete = done.returncode == 0 and any((folder / "jars").glob("*.jar"))
        failure = None if complete else done.stderr or done.stdout
    except (OSError, subprocess.SubprocessError) as error:
        failure = str(error)
    if failure is not None:
        raise SetupError(
            expected=f"the jars of {', '.join(packages)}, or a network to fetch them",
            found=_summarise(failure),
            remedy="connect once, or put the jars into a folder and name it in SANDTIMER_JARS or spark.jars_dir",
        )


def _summarise(output: str) -> str:
    lines = [line.strip() for line in output.splitlines()]
    telling = [
        line for line in lines if "unresolved dependenc" in line.lower() or "server access error" in line.lower()
    ]
    return "; ".join((telling or [line for line in lines if line] or ["a resolver that said nothing"])[:2])
