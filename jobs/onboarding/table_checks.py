"""The doctor's look at a job's own places: source and scored table, their store, the extract and the model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow.parquet as pq

import vae_model as vm
from jobs.common.config import Config
from jobs.common.s3 import is_s3
from jobs.delta.changes import parse_lineage
from jobs.delta.commit import check_removable, check_writable
from jobs.delta.snapshot import open_snapshot, open_table
from jobs.delta.storage import TableRef
from jobs.delta.version import Snapshot
from jobs.engines.local import LocalEngine
from jobs.models.store import load_model
from jobs.onboarding.checks import Check, attempt
from jobs.scoring.plan import check_can_write, make_plan
from jobs.tables.refs import source_ref, target_ref

# Runs that are looked at for the engine that made them.
RECENT_RUNS = 20
# Less than this is no place to write to, however small the table.
MIN_FREE_BYTES = 200 * 2**20


def check_tables(config: Config) -> list[Check]:
    """All checks of a job's places."""
    checks = [_check_store(config)] if any(map(is_s3, (config.source.table, config.score.table))) else []
    source, found = _check_source(config)
    target = _check_target(config)
    checks += [source, target, *_check_writing(config), *_check_disk(config, found)]
    checks += [_check_extract(config), _check_bundle(config)]
    # Who has no model yet is told above; Spark's plans need Spark.
    can_plan = source.ok and checks[-1].ok and config.score.engine == "local"
    return [*checks, attempt("plan", lambda: _describe_plan(config))] if can_plan else [*checks, *_check_names(config)]


def _describe_plan(config: Config) -> str:
    made = make_plan(config, LocalEngine(), load_model(config))
    return f"score would {made.action}, {made.work.rows:,} rows: {made.why}"


def _check_names(config: Config) -> list[Check]:
    """Whether the scored table could be written, where there is no model to plan with."""
    if config.score.engine != "local":
        return []

    def describe() -> str:
        engine = LocalEngine()
        check_can_write(config, engine, engine.describe(source_ref(config)))
        return "the scored table can have them"

    return [attempt("column names", describe)]


def _check_source(config: Config) -> tuple[Check, Snapshot | None]:
    source, ref = config.source, source_ref(config)
    if ref.in_catalog:
        return Check("source table", True, f"{source.table} is a catalog name; Spark finds it when a job runs"), None
    snapshot = None
    try:
        if config.score.engine == "spark":
            columns = [field.name for field in open_table(ref).schema().fields]
            version = open_table(ref).version()
        else:
            snapshot = open_snapshot(ref)
            columns, version = snapshot.schema.names, snapshot.version
    except vm.SandtimerError as error:
        detail = f"{source.table}: expected {error.expected}; found {error.found}"
        return Check("source table", False, detail, error.remedy), None
    detail = f"{source.table}, version {version}, {len(columns)} columns"
    known = {name.lower() for name in columns}
    named = (*source.key, *([source.partition] if source.partition else []))
    missing = [name for name in named if name.lower() not in known]
    if missing:
        remedy = "correct source.key and source.partition"
        return Check("source table", False, f"{detail}, without {', '.join(missing)}", remedy), snapshot
    return Check("source table", True, detail), snapshot


def _check_target(config: Config) -> Check:
    target = config.score.table
    if not _is_local(target_ref(config)):
        return Check("scored table", True, f"{target} is not on this machine; writing to it was not tried")
    path = _local_path(target)
    place = _nearest(path)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Check("scored table", True, f"{target} {'exists' if place == path else 'will be created'}")
    problem = "not writable" if place.is_dir() else "a file, not a folder"
    return Check("scored table", False, f"{place} is {problem}", "correct score.table or the folder's permissions")


def _check_writing(config: Config) -> list[Check]:
    """Of a scored table that is there: features that the job's engine cannot write, and runs by two engines on S3."""
    ref = target_ref(config)
    if ref.in_catalog:
        return []
    try:
        table = open_table(ref)
    except vm.SandtimerError:
        return []  # not there yet, or not a table: a run makes it, or says so
    checks = []
    if config.score.engine == "local":

        def describe() -> str:
            snapshot = open_snapshot(ref)
            check_writable(snapshot)
            check_removable(snapshot, snapshot.files)
            return f"version {snapshot.version}, which the local engine can write"

        checks.append(attempt("features of the scored table", describe))
    if is_s3(ref.name):
        lineages = [parse_lineage(entry.get("userMetadata")) for entry in table.history(RECENT_RUNS)]
        engines = sorted({str(lineage["engine"]) for lineage in lineages if lineage and "engine" in lineage})
        both = len(engines) > 1 or (engines and engines[0] != config.score.engine)
        detail = f"{ref.name} was written by {' and '.join(engines) or 'no run yet'}; this job runs on"
        detail += f" {config.score.engine}"
        remedy = "let one engine write a table on S3: Spark's log store knows only its own driver's commits"
        checks.append(Check("one writer on S3", not both, detail, remedy if both else ""))
    return checks


def _check_disk(config: Config, source: Snapshot | None) -> list[Check]:
    """Room for a run over everything: about as many bytes as the source has, and the old files stay until a vacuum."""
    ref = target_ref(config)
    if not _is_local(ref):
        return []
    free = shutil.disk_usage(_nearest(_local_path(ref.name))).free
    wanted = max(MIN_FREE_BYTES, source.files.size_bytes if source else 0)
    detail = f"{_in_megabytes(free)} free at {ref.name}; scoring everything takes about {_in_megabytes(wanted)}"
    remedy = "free space, vacuum the scored table, or score a part with --where"
    return [Check("disk", free >= wanted, detail, "" if free >= wanted else remedy)]


def _check_store(config: Config) -> Check:
    """What access to S3 needs, in source.storage_options or in the environment; values are never shown."""
    options = {name.lower(): value for name, value in os.environ.items() if name.startswith("AWS_")}
    options |= {name.lower(): value for name, value in config.source.storage_options.items()}
    missing = _find_missing(options)
    where = "export it, or set it in source.storage_options (as ${VARIABLE})"
    if missing:
        return Check("S3 access", False, f"without {'; '.join(missing)}", where)
    return Check("S3 access", True, "region and credentials are set; the store itself was not asked")


def _find_missing(options: Mapping[str, str]) -> list[str]:
    def has(*names: str) -> bool:
        return any(options.get(name) for name in names)

    missing = [] if has("aws_region", "aws_default_region", "region") else ["AWS_REGION"]
    keys = ("aws_access_key_id", "access_key_id"), ("aws_secret_access_key", "secret_access_key")
    role = has("aws_profile", "aws_web_identity_token_file", "aws_container_credentials_relative_uri",
               "aws_container_credentials_full_uri", "aws_skip_signature", "skip_signature")  # fmt: skip
    if not role and not all(has(*names) for names in keys):
        missing.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role")
    return missing


def _check_extract(config: Config) -> Check:
    path = config.extract.path
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else []
    if not files:
        return Check("extract", False, f"no Parquet files in {path}", "run `sandtimer extract` with this config")
    return attempt(
        "extract",
        lambda: f"{sum(pq.ParquetFile(file).metadata.num_rows for file in files):,} rows in {path}",
        "run `sandtimer extract` with this config again",
    )


def _check_bundle(config: Config) -> Check:
    path = config.bundle.path
    if not path.exists() and not config.bundle.is_registered:
        return Check("bundle", False, f"nothing at {path}", "run `sandtimer train` with this config")
    return attempt("bundle", lambda: f"model {load_model(config).model_id} in {path}")


def _is_local(ref: TableRef) -> bool:
    return not ref.in_catalog and "://" not in ref.name.removeprefix("file://")


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _local_path(table: str) -> Path:
    return Path(unquote(urlparse(table).path) if table.startswith("file://") else table).absolute()


def _in_megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MB"
