"""The scored rows that `monitor` looks at: those of the last run, or of a condition; and their drift."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import vae_model as vm
from jobs.common.config import Config
from jobs.engines.base import Engine, LogEntry, TableState
from jobs.monitoring.drift import (
    Drift,
    compare_alerts,
    compare_features,
    compare_latents,
    compare_scores,
    score_clusters,
)
from jobs.monitoring.incident_table import choose_rows
from jobs.monitoring.profiles import count_features, watched_of
from jobs.predicates.conditions import equals, is_true
from jobs.predicates.predicate import Predicate, combine, parse_where
from jobs.tables.nights import find_night_column
from jobs.tables.refs import target_ref
from vae_model.features.nested import expand_table, source_columns


@dataclass(frozen=True)
class Run:
    """The scored rows to look at.

    Attributes:
        run_id: of the scoring run; of a part of the table, a digest of what it is.
        condition: of its rows in the scored table.
        asked: the condition as given; None for the last run.
        earlier: the runs before it, newest first.
        source_version: that its rows are of; None of a condition, and where the log does not say.
    """

    run_id: str
    target: TableState
    condition: Predicate
    model_id: str
    scored_at: datetime
    asked: str | None
    earlier: Sequence[LogEntry] = ()
    source_version: int | None = None

    def is_trained_on(self, bundle: vm.Bundle) -> bool:
        """Whether the rows are of a version of the source that training has seen."""
        trained = bundle.lineage.get("source_version")
        return trained is not None and self.source_version is not None and self.source_version <= trained


def find_run(config: Config, engine: Engine, where: str | None) -> Run:
    """The last scoring run; or, as if it were one, the rows of a condition.

    Raises:
        DataError: no scored table, or no run in its log.
        ConfigError: a condition that does not fit the table.
    """
    target = engine.describe(target_ref(config))
    entries = engine.history(target)
    last = _last_run(entries, target)
    lineage = last.lineage or {}
    model_id, scored_at = str(lineage["model_id"]), datetime.fromisoformat(str(lineage["scored_at"]))
    scored = equals("model_id", model_id)
    if where is None:
        scope = parse_where(str(lineage["where"]), "the last run's where") if lineage.get("where") else None
        moment = equals("scored_at", scored_at)
        condition, run_id = combine(scope, moment, scored), str(lineage["run_id"])
    else:
        asked = parse_where(where)
        asked.check_columns(target.schema, target.ref.name)
        condition = combine(asked, scored)
        content = f"{target.table_id}\n{last.version}\n{asked.sql()}\n{model_id}"
        run_id = hashlib.sha256(content.encode()).hexdigest()[:32]
    assert condition is not None  # noqa: S101  a combination of some is one
    condition.to_pyarrow(target.schema)
    earlier = [entry for entry in entries if entry.lineage and entry.version < last.version]
    version = lineage.get("source_version") if where is None else None
    return Run(run_id, target, condition, model_id, scored_at, where, earlier, version)


def read_sample(config: Config, engine: Engine, run: Run, bundle: vm.Bundle, rows: int) -> pa.Table:
    """The columns that are compared, of at most about `monitor.rows` rows of the run."""
    schema = run.target.schema
    watched = [column.profile.name for column in watched_of(bundle)]
    wanted = source_columns([*bundle.feature_names, *watched], schema)
    night = find_night_column(config, run.target)
    wanted += [night, "anomaly_score", "latent_mu", "latent_sigma", "scored_at"]
    wanted = list(dict.fromkeys(wanted))
    sample = choose_rows(config, run.target, config.monitor.rows, rows)
    return expand_table(engine.sample(run.target, wanted, run.condition, sample))


def compare(config: Config, engine: Engine, run: Run, bundle: vm.Bundle, sample: pa.Table, rows: int) -> list[Drift]:
    """The drift of every feature column that the table has, of the scores, the alert rate and the latent layer."""
    limits = config.monitor
    counted = count_features(bundle, sample.combine_chunks().to_batches())
    alerts = engine.count(run.target, combine(run.condition, is_true("is_anomaly")))
    drifts = compare_features(bundle, counted, limits)
    drifts.append(compare_scores(sample.column("anomaly_score").to_numpy(), limits, score_clusters(bundle)))
    drifts.append(compare_alerts(alerts, rows, config.score.alert_budget, limits))
    latents = compare_latents(bundle, _to_matrix(sample, "latent_mu"), _to_matrix(sample, "latent_sigma"), limits)
    return [*drifts, latents] if latents else drifts


def _last_run(entries: Sequence[LogEntry], target: TableState) -> LogEntry:
    for entry in entries:
        if entry.lineage and entry.lineage.get("model_id") and entry.lineage.get("scored_at"):
            return entry
    raise vm.DataError(
        f"a scoring run in the log of {target.ref.name}",
        "none on record",
        "run `sandtimer score` with this config first",
    )


def describe_run(run: Run) -> str:
    """Which rows they are, in words."""
    return f"where {run.asked}" if run.asked else f"of the run at {run.scored_at.isoformat(timespec='seconds')}"


def _to_matrix(sample: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """[n, units] of a column of lists that are all as long."""
    values = sample.column(name).combine_chunks()
    flat = np.asarray(values.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    return flat.reshape(len(values), -1) if len(values) else np.zeros((0, 0))
