"""`monitor`: compares what a run scored with what the model was trained on, column by column; follows incidents over
the nights; keeps both in Delta tables beside the scored one; and ends with exit code 5 past the limits.

Rows are sampled by a hash of their key, so that memory is bounded and every engine and every rerun sees the same ones;
rows and alerts are counted exactly. A rerun of the same scored version replaces its own rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

import vae_model as vm
from jobs.checks.finding import Finding
from jobs.checks.look import Look, look, remember
from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.common.errors import AlarmError
from jobs.engines.base import Engine
from jobs.models.store import find_model
from jobs.monitoring.check_incidents import follow_checks
from jobs.monitoring.drift import DRIFT_SCHEMA, Drift
from jobs.monitoring.incident_table import read_incidents, update_incidents
from jobs.monitoring.incidents import Incident
from jobs.monitoring.run import Run, compare, describe_run, find_run, read_sample
from jobs.monitoring.settling import read_before, settle
from jobs.monitoring.telling import list_items, report_drift, report_look
from jobs.notifying.channels import is_told
from jobs.notifying.outbox import tell
from jobs.predicates.conditions import equals
from jobs.tables.refs import incidents_ref, monitor_ref
from vae_model.features.nested import expand_schema


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
    report_drift(reporter, drifts, incidents)
    report_look(reporter, looked, ids)
    alarms = [finding.sentence for finding in looked.alarms]
    alarms += [alarm for drift in drifts for alarm in drift.alarms]
    if not looked.is_repeated:
        alarms += [f"new incident {incident.id}: {incident.description}" for incident in incidents]
    if is_told(config.notify):
        tell(config, engine, reporter, list_items(config, engine, run, looked, drifts))
    # Last: where one is killed before, the next one finds and tells the same.
    remember(config, engine, looked)
    _finish(config, reporter, run, rows, alarms, version)
    return [*checked, *drifts]


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
    which = f"of {run.target.ref.name} {describe_run(run)}"
    if not rows and not alarms:
        reporter.say("done", f"nothing to do: no row {which}", alarms=0, rows=0)
        return
    compared = f"compared rows {which} with training" if rows else f"no row {which}"
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
            alarms,
        )


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
