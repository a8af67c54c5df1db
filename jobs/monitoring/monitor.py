"""`monitor`: compares what a run scored with what the model was trained on, column by column; follows incidents over
the nights; keeps both in Delta tables beside the scored one; and ends with exit code 5 past the limits.

Rows are sampled by a hash of their key, so that memory is bounded and every engine and every rerun sees the same ones;
rows and alerts are counted exactly. A rerun of the same scored version replaces its own rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import vae_model as vm
from jobs.checks.finding import Finding
from jobs.checks.look import Look, look
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.errors import AlarmError
from jobs.engines.base import Engine, LogEntry, TableState
from jobs.models.store import find_model
from jobs.monitoring.drift import DRIFT_SCHEMA, Drift, compare_alerts, compare_features, compare_latents, compare_scores
from jobs.monitoring.incident_table import choose_rows, follow_checks, list_known, read_incidents, update_incidents
from jobs.monitoring.incidents import Incident
from jobs.monitoring.profiles import count_features, watched_of
from jobs.monitoring.settling import read_before, settle
from jobs.notifying.message import Item
from jobs.notifying.outbox import read_told, tell
from jobs.predicates.conditions import equals, is_true
from jobs.predicates.predicate import Predicate, combine, parse_where
from jobs.tables.nights import find_night_column
from jobs.tables.refs import incidents_ref, monitor_ref, target_ref
from vae_model.features.nested import expand_schema, expand_table, source_columns


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


def monitor(
    config: Config, engine: Engine, reporter: Reporter, where: str | None = None, now: datetime | None = None
) -> list[Drift]:
    """The command.

    Args:
        config: the job.
        engine: to read and write with.
        reporter: hears of the drift of every column, of open incidents and of alarms.
        where: look at these rows of the scored table; None: at those that the last run scored, and at the source's
            nights as wholes.
        now: the moment of the look, by which a load is late.

    Returns:
        One entry for each column.

    Raises:
        AlarmError: something is past the limits; everything was written before.
        DataError: there is no scored table, no run in its log, or the model has no training statistics.
    """
    run = find_run(config, engine, where)
    bundle = _find_bundle(config, run)
    looked = look(config, engine, bundle, now or datetime.now(UTC)) if where is None else Look(())
    rows = engine.count(run.target, run.condition)
    drifts: list[Drift] = []
    incidents: list[Incident] = []
    if rows:
        drifts, incidents = _follow_run(config, engine, reporter, run, bundle, rows)
    drifts = _without_told(drifts, looked, run)
    checked, ids = _to_drifts(looked), follow_checks(config, engine, run.target, looked)
    version = None
    if drifts or checked:
        table = _to_table([*drifts, *checked], run, rows)
        version = engine.upsert(monitor_ref(config), table, ("run_id", "column"))
    _report(reporter, drifts, incidents)
    _report_look(reporter, looked, ids)
    alarms = [finding.sentence for finding in looked.alarms]
    alarms += [alarm for drift in drifts for alarm in drift.alarms]
    if not looked.is_repeated:
        alarms += [f"new incident {i.id}: {i.description}" for i in incidents if i.status == "open"]
    tell(config, engine, reporter, _list_items(config, engine, run, looked, drifts))
    _finish(config, reporter, run, rows, alarms, version)
    return [*checked, *drifts]


def _list_items(config: Config, engine: Engine, run: Run, looked: Look, drifts: Sequence[Drift]) -> list[Item]:
    """All that is so now, with the names by which it is told once."""
    table = run.target.table_id
    items = [Item.of("alarm", f.sentence, table, f.column, f.subject, f.since or looked.last) for f in looked.alarms]
    items += [Item.of("alarm", alarm, table, run.run_id, alarm) for drift in drifts for alarm in drift.alarms]
    known = [one for one in list_known(config, engine) or () if not one.is_of_table]
    opened = {one.id: Item.of("incident", f"{one.description} (incident {one.id})", table, one.id) for one in known}
    told = read_told(config, engine)
    items += [opened[one.id] for one in known if one.status == "open"]
    over = [one for one in known if one.status == "closed" and opened[one.id].id in told]
    return items + [Item.of("closed", f"{one.description} (incident {one.id})", table, one.id) for one in over]


def _without_told(drifts: Sequence[Drift], looked: Look, run: Run) -> list[Drift]:
    """Without what a missing segment says already, and without alarms that were told on an earlier day."""
    lacking = {finding.subject.split(" = ")[0] for finding in looked.alarms if finding.check == "segment"}
    kept = [replace(one, alarms=(), kinds=()) if one.column in lacking else one for one in drifts]
    if not looked.is_repeated:
        return kept
    return [
        replace(one, alarms=(), still_so=(*one.still_so, *one.alarms), since=one.since or run.scored_at)
        if one.alarms
        else one
        for one in kept
    ]


def _follow_run(
    config: Config, engine: Engine, reporter: Reporter, run: Run, bundle: vm.Bundle, rows: int
) -> tuple[list[Drift], list[Incident]]:
    """The drift of the run's rows, and the incidents that were opened in its nights."""
    sample = read_sample(config, engine, run, bundle, rows)
    missing = [name for name in bundle.feature_names if name not in expand_schema(run.target.schema).names]
    if missing:
        message = (
            f"not in {run.target.ref.name}, so not compared: {', '.join(missing)}; score.columns: all carries them"
        )
        reporter.say("not compared", message, columns=missing)
    drifts = compare(config, engine, run, bundle, sample, rows)
    if run.asked is None:
        drifts = settle(drifts, read_before(config, engine, run.earlier, run.model_id))
    incidents = [one for one in _follow(config, engine, run, bundle, sample) if one.status == "open"]
    return drifts, incidents


def _finish(
    config: Config, reporter: Reporter, run: Run, rows: int, alarms: Sequence[str], version: int | None
) -> None:
    compared = f"compared rows of {run.target.ref.name} {_describe(run)} with training"
    if not rows and not alarms:
        reporter.say("done", f"nothing to do: no row of {run.target.ref.name} {_describe(run)}", alarms=0, rows=0)
        return
    compared = compared if rows else f"no row of {run.target.ref.name} {_describe(run)}"
    see = f"; see {monitor_ref(config).name} version {version} and {incidents_ref(config).name}" if version else ""
    reporter.say(
        "done",
        f"{len(alarms) or 'no'} alarm{'' if len(alarms) == 1 else 's'}: {compared}{see}",
        alarms=len(alarms),
        rows=rows,
        run_id=run.run_id,
        model_id=run.model_id,
        table=monitor_ref(config).name,
    )
    if alarms:
        raise AlarmError(
            "nothing past its limits",
            f"{len(alarms)} alarm{'' if len(alarms) == 1 else 's'}, as told above",
            f"look into the source and into {monitor_ref(config).name}; where a change is there to stay, retrain",
        )


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
    drifts.append(compare_scores(sample.column("anomaly_score").to_numpy(), limits))
    drifts.append(compare_alerts(alerts, rows, config.score.alert_budget, limits))
    latents = compare_latents(bundle, _to_matrix(sample, "latent_mu"), _to_matrix(sample, "latent_sigma"), limits)
    return [*drifts, latents] if latents else drifts


def _follow(config: Config, engine: Engine, run: Run, bundle: vm.Bundle, sample: pa.Table) -> list[Incident]:
    """Update the table of incidents, once for each run; those that were opened in the run's nights."""
    place = monitor_ref(config)
    is_done = equals("run_id", run.run_id)
    if engine.exists(place) and engine.count(engine.describe(place), is_done):
        return read_incidents(config, engine, run.target, sample)
    return update_incidents(config, engine, run.target, bundle, sample, run.is_trained_on(bundle))


def _find_bundle(config: Config, run: Run) -> vm.Bundle:
    found = find_model(config, run.model_id)
    if found is None:
        raise vm.DataError(
            f"model {run.model_id[:12]}, which scored {run.target.ref.name}, at {config.bundle.path} or beside it",
            "none with that digest",
            "run `sandtimer score` with the model that is there, or restore the other one",
        )
    return found


def _last_run(entries: Sequence[LogEntry], target: TableState) -> LogEntry:
    for entry in entries:
        if entry.lineage and entry.lineage.get("model_id") and entry.lineage.get("scored_at"):
            return entry
    raise vm.DataError(
        f"a scoring run in the log of {target.ref.name}",
        "none on record",
        "run `sandtimer score` with this config first",
    )


def _describe(run: Run) -> str:
    return f"where {run.asked}" if run.asked else f"of the run at {run.scored_at.isoformat(timespec='seconds')}"


def _to_matrix(sample: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """[n, units] of a column of lists that are all as long."""
    values = sample.column(name).combine_chunks()
    flat = np.asarray(values.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    return flat.reshape(len(values), -1) if len(values) else np.zeros((0, 0))


def _to_table(drifts: Sequence[Drift], run: Run, rows: int) -> pa.Table:
    shared: dict[str, Any] = {
        "run_id": run.run_id,
        "scored_version": run.target.version,
        "scored_at": run.scored_at,
        "where": run.asked,
        "model_id": run.model_id,
        "run_rows": rows,
    }
    rows_of = [
        {**shared, **asdict(drift), "kinds": [{"kind": k, "size": s} for k, s in drift.kinds]} for drift in drifts
    ]
    return pa.Table.from_pylist(rows_of, DRIFT_SCHEMA)


def _to_drifts(looked: Look) -> list[Drift]:
    """A row for each check that found something new."""
    rows: dict[str, list[Finding]] = {}
    for finding in looked.alarms:
        rows.setdefault(finding.column, []).append(finding)
    return [
        Drift(column, sum(one.rows for one in found), alarms=tuple(one.sentence for one in found))
        for column, found in rows.items()
    ]


def _report_look(reporter: Reporter, looked: Look, ids: Mapping[Finding, str]) -> None:
    if not looked.is_news:
        at = f"{looked.looked_at:%Y-%m-%d %H:%M}" if looked.looked_at else ""
        usual = f"; {looked.usual}" if looked.usual else ""
        message = f"nothing new in the source since the last look at {at}; the last night is {looked.last}{usual}"
        reporter.say("nothing new", message, last=looked.last)
    for finding in looked.notes:
        reporter.say("note", finding.sentence)
    for finding in looked.settled:
        reporter.say("still so", f"still so since {finding.since or finding.night}: {finding.sentence}")
    for finding in looked.alarms:
        reporter.say("alarm", finding.sentence, id=ids.get(finding), check=finding.check)


def _report(reporter: Reporter, drifts: Sequence[Drift], incidents: Sequence[Incident]) -> None:
    past = [drift for drift in drifts if drift.kinds]
    if past:
        reporter.table("drift", "Past their limits since training", [_show(drift) for drift in past])
    within = [drift.column for drift in drifts if not drift.kinds]
    if within:
        others = "the other " if past else "all "
        message = f"{others}{len(within)} columns and scores that were compared are within their limits"
        reporter.say("within limits", message, columns=within)
    for drift in drifts:
        for sentence in drift.still_so:
            reporter.say("still so", f"still so since {drift.since:%Y-%m-%d %H:%M}: {sentence}")
    for incident in incidents:
        reporter.say("incident", f"incident {incident.id}: {incident.description}", **_fields(incident))
    for alarm in (alarm for drift in drifts for alarm in drift.alarms):
        reporter.say("alarm", alarm)


def _show(drift: Drift) -> dict[str, Field]:
    return {
        "column": drift.column,
        "psi": drift.psi,
        "NULL": drift.null_share,
        "trained": drift.expected_null_share,
        "value": drift.value,
        "expected": drift.expected,
        "alarms": len(drift.alarms),
    }


def _fields(incident: Incident) -> dict[str, Any]:
    return {"id": incident.id, "column": incident.column, "segment": incident.segment, "rows": incident.rows}
