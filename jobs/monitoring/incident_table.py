"""`incidents`: the table of incidents, one row each with the same id for all of its nights, and how a scored run
updates it: alerts of its nights and of the window before them, and a sample of all rows to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

import pyarrow as pa

import vae_model as vm
from jobs.common.config import Config
from jobs.common.sampling import Sample, hashable_columns
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, TableState
from jobs.labels.verdicts import read_verdicts
from jobs.monitoring.alert_context import AlertContext, build_alert_context, segment_columns
from jobs.monitoring.incidents import Incident, Status, find_incidents, follow_incidents
from jobs.predicates.conditions import is_true
from jobs.predicates.predicate import Predicate, combine
from jobs.tables.nights import NightName, between, find_night_column, look_back, names_of
from jobs.tables.refs import incidents_ref
from vae_model.features.nested import expand_table, source_columns

# Alert rows that are looked at, at most: more say nothing more.
MAX_ALERTS: Final = 20_000
MAX_INCIDENTS: Final = 100_000
# Another seed than the extract's: other rows.
SEED: Final = 11
_NIGHTS = ("first_seen", "last_seen", "opened", "closed")
_CONDITION = pa.struct([("column", pa.string()), ("value", pa.string())])
SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("status", pa.string()),
        ("description", pa.string()),
        ("column", pa.string()),
        ("segment", pa.string()),
        ("effect", pa.string()),
        ("rows", pa.int64()),
        ("segment_rows", pa.int64()),
        ("share", pa.float64()),
        ("first_seen", pa.string()),
        ("last_seen", pa.string()),
        ("opened", pa.string()),
        ("closed", pa.string()),
        ("quiet_nights", pa.int64()),
        ("conditions", pa.list_(_CONDITION)),
    ]
)


def read_incidents(config: Config, engine: Engine, target: TableState, sample: pa.Table) -> list[Incident]:
    """The incidents that were opened in the nights of some scored rows."""
    nights = set(nights_of(config, target, sample))
    place = incidents_ref(config)
    known = read_rows(engine, place, None) if engine.exists(place) else []
    return [incident for incident in known if incident.opened in nights and not incident.is_of_table]


def update_incidents(
    config: Config, engine: Engine, target: TableState, bundle: vm.Bundle, sample: pa.Table, is_baseline: bool = False
) -> list[Incident]:
    """Go through the nights of some scored rows, and write what became of the incidents in one commit.

    Args:
        config: the job.
        engine: to read and write with.
        target: the scored table.
        bundle: that scored the rows.
        sample: of the rows; only its nights are looked at.
        is_baseline: training has seen the rows: what is found is how the table is, and no news.

    Returns:
        The incidents that were opened in these nights.
    """
    nights = nights_of(config, target, sample)
    place = incidents_ref(config)
    known = [one for one in list_known(config, engine) or () if not one.is_of_table]
    context = _read_alert_context(config, engine, target, bundle, sample)
    present = [night for night in nights if night in context.nights]
    limits = config.monitor
    after = follow_incidents(known, context, present, limits.window, limits.close_after, target.table_id)
    before = {incident.id: incident for incident in known}
    if is_baseline:
        seen: Status = "acknowledged"
        after = [replace(one, status=seen) if one.status == "open" and one.id not in before else one for one in after]
    changed = [incident for incident in after if before.get(incident.id) != incident]
    if changed or not engine.exists(place):
        engine.upsert(place, to_table(changed), ("id",))
    return [incident for incident in after if incident.opened in set(nights)]


def list_known(config: Config, engine: Engine) -> list[Incident] | None:
    """All incidents in the table; None where `monitor` has not made it."""
    place = incidents_ref(config)
    return read_rows(engine, place, None) if engine.exists(place) else None


def search_incidents(
    config: Config, engine: Engine, target: TableState, bundle: vm.Bundle, sample: pa.Table
) -> list[Incident]:
    """The incidents of the nights of some scored rows as far as they can be told without those before; nothing is
    written."""
    nights = nights_of(config, target, sample)
    context = _read_alert_context(config, engine, target, bundle, sample)
    return find_incidents(context, nights[0]) if nights and context.nights else []


def choose_rows(config: Config, target: TableState, rows: int, total: int) -> Sample:
    """A sample of scored rows by their key, or by all that was carried along."""
    known = set(target.schema.names)
    key = tuple(name for name in config.source.key if name in known)
    carried = tuple(name for name in hashable_columns(target.schema) if name not in vm.SCORE_COLUMNS)
    return Sample(key or carried, rows, total, SEED)


def nights_of(config: Config, target: TableState, rows: pa.Table) -> list[NightName]:
    """The nights that rows belong to, in order."""
    found = names_of(rows.column(find_night_column(config, target)))
    return sorted({night for night in found if night is not None})


def _read_alert_context(
    config: Config, engine: Engine, target: TableState, bundle: vm.Bundle, sample: pa.Table
) -> AlertContext:
    """Alerts that nobody expects, and rows, of the nights of the sample and of the window before them."""
    night = find_night_column(config, target)
    window = _window(config, engine, target, night, nights_of(config, target, sample))
    alerting = combine(window, is_true("is_anomaly"))
    segments = segment_columns(bundle, target.schema)
    features = source_columns(bundle.feature_names, target.schema)
    counts = [engine.count(target, alerting), engine.count(target, window)]
    verdicts = read_verdicts(config, engine, target)
    judged = verdicts.shape.needed if verdicts else []
    columns = [
        list(dict.fromkeys([*features, *segments, *judged, night, "anomaly_score", "top_columns"])),
        list(dict.fromkeys([*segments, night])),
    ]
    tables = [
        engine.sample(target, names, where, choose_rows(config, target, limit, count))
        for names, where, limit, count in zip(
            columns, (alerting, window), (MAX_ALERTS, config.monitor.rows), counts, strict=True
        )
    ]
    weights = [max(1.0, count / max(table.num_rows, 1)) for count, table in zip(counts, tables, strict=True)]
    if verdicts:
        tables[0] = verdicts.without_expected(tables[0])
    nights = [["NULL" if name is None else name.text for name in names_of(table.column(night))] for table in tables]
    budget = config.score.alert_budget
    # Reasons stay what they are.
    reasons = tables[0].column("top_columns")
    alerts, rows = expand_table(tables[0].drop_columns(["top_columns"])), expand_table(tables[1])
    alerts = alerts.append_column("top_columns", reasons)
    return build_alert_context(bundle, alerts, rows, (nights[0], nights[1]), budget, (weights[0], weights[1]))


def _window(
    config: Config, engine: Engine, target: TableState, night: str, nights: Sequence[NightName]
) -> Predicate | None:
    """The nights of the rows, and before them twice the window, since there may be nights without rows."""
    if not nights:
        return None
    count = 2 * max(config.monitor.window, config.monitor.close_after)
    first = look_back(engine, target, night, nights[0], count)
    return between(engine, target, night, first, nights[-1])


def read_rows(engine: Engine, place: TableRef, where: Predicate | None) -> list[Incident]:
    """The incidents of a table that a condition chooses."""
    names = [name for name in SCHEMA.names if name != "description"]
    return [_from_row(row) for row in engine.read(engine.describe(place), names, where, MAX_INCIDENTS).to_pylist()]


def _from_row(row: Mapping[str, Any]) -> Incident:
    nights = {name: None if row[name] is None else NightName.of(row[name]) for name in _NIGHTS}
    # Where NULL was written as text, the segment says which of the two it is.
    conditions = tuple(
        (c["column"], None if c["value"] == "NULL" and " IS NULL" in row["segment"] else c["value"])
        for c in row["conditions"] or ()
    )
    return Incident(**{**row, **nights, "conditions": conditions})


def to_table(incidents: Sequence[Incident]) -> pa.Table:
    """Rows of the table of incidents."""
    rows = []
    for incident in incidents:
        row = {field.name: getattr(incident, field.name) for field in fields(incident)}
        row |= {name: None if row[name] is None else row[name].text for name in _NIGHTS}
        row["conditions"] = [{"column": column, "value": value} for column, value in incident.conditions]
        rows.append({**row, "description": incident.description})
    return pa.Table.from_pylist(rows, SCHEMA)
