"""`check`: scores a batch that is not published yet, without writing anything, and says whether it may be: by the table
checks that the ledger allows, by drift and by the alert rate. Exit code 0 or 5, the verdict as one JSON event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

import vae_model as vm
from jobs.checks.copies import measure_copies
from jobs.checks.counting import count_nights, merge_lines
from jobs.checks.judge import judge_columns, judge_night
from jobs.checks.ledger import Ledger, read_ledger, to_records
from jobs.checks.nights import choose_segments
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.errors import AlarmError, ConfigError
from jobs.common.sampling import Sample, hashable_columns
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, TableState
from jobs.models.store import load_model
from jobs.monitoring.drift import compare_alerts, compare_features, compare_scores, score_clusters
from jobs.monitoring.profiles import count_features
from jobs.predicates.predicate import parse_where
from jobs.tables.nights import names_of
from jobs.tables.refs import ledger_ref, source_ref
from vae_model.features.nested import expand_table
from vae_model.scoring.wording import describe_row

# Rows that are scored, at most: of more a sample by their key says the same.
MAX_ROWS: Final = 1_000_000
SHOWN_ROWS: Final = 5
_SEED: Final = 23
# Of a batch that is in no table.
_NO_VERSION: Final = -1


@dataclass(frozen=True)
class Batch:
    """Rows that are to be published, and where they come from.

    Attributes:
        rows: of the batch; total: as many as it has, which may be more.
        is_whole: whether nights in it are whole nights.
    """

    name: str
    rows: pa.Table
    total: int
    is_whole: bool


def check(
    config: Config,
    engine: Engine,
    reporter: Reporter,
    files: Sequence[Path] = (),
    table: str | None = None,
    where: str | None = None,
) -> None:
    """The command.

    Args:
        config: the job.
        engine: to read with.
        reporter: gets the verdict.
        files: Parquet files, or folders of them.
        table: a staging table instead.
        where: rows of the source table, or of the staging table.

    Raises:
        ConfigError: nothing to check was named, or two things.
        DataError: no such file or table, no row, or columns that the model cannot score.
        AlarmError: the batch should not be published.
    """
    bundle = load_model(config)
    batch = _read(config, engine, files, table, where)
    if not batch.rows.num_rows:
        raise vm.DataError(f"rows in {batch.name}", "none", "name the batch that is to be published")
    ledger = read_ledger(engine, ledger_ref(config))
    alarms = [*_judge_columns(ledger, batch), *_judge_nights(config, ledger, bundle, batch)]
    scored = vm.score(batch.rows, bundle, alert_budget=config.score.alert_budget)
    alerts = scored.filter(scored["is_anomaly"])
    plain = expand_table(batch.rows).combine_chunks()
    counted = count_features(bundle, plain.to_batches())
    drifts = [
        *compare_features(bundle, counted, config.monitor),
        compare_scores(scored["anomaly_score"].to_numpy(), config.monitor, score_clusters(bundle)),
        compare_alerts(alerts.num_rows, scored.num_rows, config.score.alert_budget, config.monitor),
    ]
    alarms += [alarm for drift in drifts for alarm in drift.alarms]
    _report(config, reporter, batch, alerts, alarms)
    if alarms:
        raise AlarmError(
            "a batch like those before",
            f"{len(alarms)} alarm{'' if len(alarms) == 1 else 's'}, as told above",
            "hold it back and look into it; nothing was written",
        )


def _read(config: Config, engine: Engine, files: Sequence[Path], table: str | None, where: str | None) -> Batch:
    if bool(files) + (table is not None) > 1 or not (files or table or where):
        raise ConfigError(
            "one batch: --files, --table or --where", "none of them, or two", "name what is to be published"
        )
    if files:
        try:
            rows = pads.dataset([str(path) for path in _list_files(files)], format="parquet").to_table()
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise vm.DataError("readable Parquet files", reason, "correct --files") from error
        chosen = parse_where(where).to_pyarrow(rows.schema) if where else None
        rows = rows.filter(chosen) if chosen is not None else rows
        return Batch(", ".join(map(str, files)), rows, rows.num_rows, where is None)
    place = TableRef(table, config.source.storage_options) if table else source_ref(config)
    state = engine.describe(place)
    condition = parse_where(where) if where else None
    total = engine.count(state, condition)
    sample = Sample(_key(config, state), MAX_ROWS, total, _SEED)
    return Batch(place.name, engine.sample(state, state.schema.names, condition, sample), total, True)


def _list_files(files: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in files:
        found += sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    return found


def _key(config: Config, state: TableState) -> tuple[str, ...]:
    known = tuple(name for name in config.source.key if name in state.schema.names)
    return known or hashable_columns(state.schema)


def _judge_columns(ledger: Ledger, batch: Batch) -> list[str]:
    if not ledger.columns:
        return []
    now = [(field.name, str(field.type)) for field in batch.rows.schema]
    return [one.sentence for one in judge_columns(ledger.columns, now) if one.is_alarm]


def _judge_nights(config: Config, ledger: Ledger, bundle: vm.Bundle, batch: Batch) -> list[str]:
    """What is not as usual in the batch's nights, by the nights that `monitor` has seen."""
    night = config.source.partition
    if night is None or night not in batch.rows.schema.names or not batch.is_whole:
        return []
    segments = choose_segments(bundle, batch.rows.schema, night)
    key = tuple(name for name in config.source.key if name in batch.rows.schema.names)
    rows = batch.rows.combine_chunks()
    lines = merge_lines(pa.Table.from_batches([count_nights(night, segments, key, iter(rows.to_batches()))]))
    plain = rows.select(list(hashable_columns(rows.schema)))
    nights = np.array([name and name.text for name in names_of(rows.column(night))], np.object_)
    scale = batch.total / max(batch.rows.num_rows, 1)
    sentences = []
    for name, counted in to_records(lines, _NO_VERSION, datetime.now(UTC)).items():
        copies = measure_copies(plain.filter(pa.array(nights == name)), night, key)
        record = replace(counted, rows=round(counted.rows * scale), no_key=round(counted.no_key * scale))
        sentences += [one.sentence for one in judge_night(record, ledger.before(record.name), copies)]
    return sentences


def _report(config: Config, reporter: Reporter, batch: Batch, alerts: pa.Table, alarms: Sequence[str]) -> None:
    for sentence in alarms:
        reporter.say("alarm", sentence)
    strangest = alerts.sort_by([("anomaly_score", "descending")]).slice(0, SHOWN_ROWS)
    shown: list[dict[str, Field]] = []
    for row in strangest.to_pylist():
        named = ", ".join(f"{name} = {row[name]}" for name in config.source.key if name in row)
        shown.append(
            {"row": named, "score": round(row["anomaly_score"], 2), "because": ". ".join(describe_row(row, 1))}
        )
    if shown:
        reporter.table("strangest", "The strangest rows", shown)
    expected = batch.rows.num_rows * config.score.alert_budget
    verdict = "hold it back" if alarms else "publish"
    fields: dict[str, Field] = {"verdict": verdict, "rows": batch.total, "scored": batch.rows.num_rows}
    fields |= {"alerts": alerts.num_rows, "expected_alerts": round(expected, 3), "alarms": list(alarms)}
    message = f"{verdict}: {batch.total:,} rows of {batch.name}, {alerts.num_rows:,} alerts, {expected:,.1f} expected"
    reporter.say("done", message, **fields)
