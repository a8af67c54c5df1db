"""`extract`: a sampled Parquet extract of the source table to train on. The sample is chosen and ordered by a hash of
the key, so that every engine and every run write the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.common.errors import ConfigError
from jobs.common.sampling import Sample, hash_rows, hashable_columns
from jobs.engines.base import Engine, TableState
from jobs.labels.verdicts import read_verdicts
from jobs.predicates.predicate import combine, parse_where, resolve_column
from jobs.scoring.plan import check_can_write
from jobs.tables.refs import source_ref
from vae_model import DataError

MANIFEST = "_extract.json"
PART_ROWS = 500_000
_FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What an extract holds; lies beside its Parquet files as JSON.

    Attributes:
        source: the table's name, its id and its version.
        where: rows to choose from; None: all.
        rows: in the extract.
        total_rows: to choose from.
        partition_columns: of the source table.
        digest: of the Parquet files' bytes.
        bad_rows: sampled rows that were left out because somebody judged them anomalies.
    """

    source: str
    source_id: str
    source_version: int
    where: str | None
    rows: int
    total_rows: int
    seed: int
    key: tuple[str, ...]
    partition_columns: tuple[str, ...]
    digest: str
    format: int = _FORMAT
    bad_rows: int = 0


def extract(config: Config, engine: Engine, reporter: Reporter) -> Manifest:
    """The command: write the extract anew.

    Raises:
        ConfigError: the extract's folder holds something else.
        DataError: no source table, or no row to choose from.
    """
    folder = config.extract.path
    _check_folder(folder)
    source = engine.describe(source_ref(config))
    check_can_write(config, engine, source)
    conditions = {"source.where": config.source.where, "extract.where": config.extract.where}
    where = combine(*(parse_where(sql, option) for option, sql in conditions.items() if sql))
    if where:
        where.to_pyarrow(source.schema)
    total = engine.count(source, where)
    if total == 0:
        raise DataError(
            f"rows to train on in {source.ref.name} version {source.version}",
            f"none{f' where {where}' if where else ', an empty table'}",
            "correct source.where and extract.where, or fill the table",
        )
    key = tuple(resolve_column(name, source.schema.names, source.ref.name) for name in config.source.key)
    sample = Sample(key or hashable_columns(source.schema), config.extract.rows, total, config.extract.seed)
    reporter.say("extracting", f"choosing about {min(config.extract.rows, total):,} of {total:,} rows", rows=total)
    rows = sort_sample(engine.sample(source, source.schema.names, where, sample), sample)
    rows, bad = _leave_out_bad(rows, config, engine, source, reporter)
    if rows.num_rows == 0:
        raise DataError(f"at least one of {total:,} rows in the extract", "none", "raise extract.rows")
    manifest = _write(folder, rows, source, str(where) if where else None, sample, key, bad)
    reporter.say(
        "done",
        f"extracted {manifest.rows:,} of {total:,} rows of {source.ref.name} version {source.version} to {folder}",
        **asdict(manifest) | {"path": str(folder)},
    )
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """What the extract in a folder holds.

    Raises:
        DataError: there is no extract, or not one of this format.
    """
    remedy = "run `sandtimer extract` with this config"
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = content.get("format")
        if found != _FORMAT:
            raise DataError(f"an extract of format {_FORMAT} in {folder}", f"format {found}", remedy)
        return Manifest(**content | {name: tuple(content[name]) for name in ("key", "partition_columns")})
    except FileNotFoundError as error:
        raise DataError(f"an extract in {folder}", "none there", remedy) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"an extract in {folder}", f"{MANIFEST} that does not read: {error}", remedy) from error


def sort_sample(rows: pa.Table, sample: Sample) -> pa.Table:
    """In the order of the key's hash, then of everything's: the same order on every engine, and a shuffled one."""
    rows = rows.combine_chunks()
    first = hash_rows([rows.column(name) for name in sample.columns], sample.seed)
    second = hash_rows([rows.column(name) for name in hashable_columns(rows.schema)], sample.seed)
    return rows.take(pa.array(np.lexsort((second, first))))


def _leave_out_bad(
    rows: pa.Table, config: Config, engine: Engine, source: TableState, reporter: Reporter
) -> tuple[pa.Table, int]:
    """The rows without known anomalies, which would teach the model that they are normal; and how many those were."""
    verdicts = read_verdicts(config, engine, source) if config.source.key or config.source.partition else None
    if verdicts is None:
        return rows, 0
    kept = verdicts.without_bad(rows)
    bad = rows.num_rows - kept.num_rows
    message = f"{bad:,} sampled rows are left out: verdict anomaly in {verdicts.shape.ref.name}"
    reporter.say("left out", message, rows=bad)
    return kept, bad


def _write(
    folder: Path,
    rows: pa.Table,
    source: TableState,
    where: str | None,
    sample: Sample,
    key: tuple[str, ...],
    bad_rows: int,
) -> Manifest:
    with _replacing(folder) as draft:
        digest = hashlib.sha256()
        for number, start in enumerate(range(0, rows.num_rows, PART_ROWS)):
            part = draft / f"part-{number:05}.parquet"
            pq.write_table(rows.slice(start, PART_ROWS), part, compression="zstd")
            digest.update(part.read_bytes())
        manifest = Manifest(
            source=source.ref.name,
            source_id=source.table_id,
            source_version=source.version,
            where=where,
            rows=rows.num_rows,
            total_rows=sample.total,
            seed=sample.seed,
            key=key,
            partition_columns=source.partition_columns,
            digest=digest.hexdigest(),
            bad_rows=bad_rows,
        )
        (draft / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    return manifest


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A draft folder beside `folder` that takes its place when the block ends well, and vanishes when it does not."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield draft
            draft.chmod(0o755)
            if folder.exists():
                old = draft.with_name(f"{draft.name}-old")
                folder.rename(old)
                draft.rename(folder)
                shutil.rmtree(old, ignore_errors=True)
            else:
                draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError(f"a folder to write at {folder} (extract.path)", str(error), "correct the path") from error


def _check_folder(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST).exists())):
        raise ConfigError(
            f"an extract or nothing at {folder} (extract.path)",
            "something else, which would be overwritten",
            "name a folder of its own",
        )
