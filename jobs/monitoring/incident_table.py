"""`incidents`: the table of incidents, one row each with the same id for all of its nights, and how a scored run
updates it: alerts of its nights and of the window before them, and a sample of all rows to compare with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

import pyarrow as pa

import vae_model as vm
from jobs.checks.finding import PREFIX, Finding
from jobs.checks.ledger import accept_findings
from jobs.checks.look import Look
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.sampling import Sample, hashable_columns
from jobs.delta.loads import Load, read_loads
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, TableState
from jobs.labels.verdicts import read_verdicts
from jobs.monitoring.alert_context import AlertContext, build_alert_context, segment_columns
from jobs.monitoring.incidents import Incident, Status, find_incidents, follow_incidents
from jobs.predicates.conditions import is_true
from jobs.predicates.predicate import Predicate, combine
from jobs.tables.nights import NightName, between, find_night_column, look_back, names_of
from jobs.tables.refs import incidents_ref, ledger_ref, source_ref, target_ref
from vae_model.features.nested import expand_table, source_columns

# Alert rows that are looked at, at most: more say nothing more.
MAX_ALERTS: Final = 20_000
MAX_INCIDENTS: Final = 100_000
# Commits of the source that are looked through for those that brought an incident's rows, and named of them.
MAX_LOADS: Final = 400
SHOWN_LOADS: Final = 3
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


def list_incidents(config: Config, engine: Engine, reporter: Reporter, with_closed: bool = False) -> list[Incident]:
    """The command: incidents that are open, or all, the latest first.

    Raises:
        DataError: there is no table of incidents yet.
    """
    place = incidents_ref(config)
    if not engine.exists(place):
        raise vm.DataError(
            f"a table of incidents at {place.name}", "none", "run `sandtimer monitor` after a scoring run"
        )
    known = [one for one in _read(engine, place, None) if with_closed or one.status != "closed"]
    known.sort(key=lambda incident: (incident.last_seen, incident.rows), reverse=True)
    target = engine.describe(target_ref(config))
    night = find_night_column(config, target)
    loads = list_loads(config, engine, night)
    for one in known:
        where, brought = describe_rows(engine, target, night, one), describe_loads(one, loads)
        fields: dict[str, Field] = {"id": one.id, "status": one.status, "rows": one.rows, "what": one.description}
        fields |= {"first_seen": one.first_seen.text, "last_seen": one.last_seen.text, "where": where, "loads": brought}
        came = f"\n    came with: {'; '.join(brought)}" if brought else ""
        message = f"{one.id} {one.status}: {one.description}\n    its rows: WHERE {where}{came}"
        reporter.say("incident", message, **fields)
    count = sum(incident.status == "open" for incident in known)
    reporter.say("done", f"{count:,} of {len(known):,} incidents are open, in {place.name}", open=count)
    return known


def describe_rows(engine: Engine, target: TableState, night: str, incident: Incident) -> str:
    """A condition on the scored table that lists an incident's rows; those of a night, where it is about the night."""
    of_nights = between(engine, target, night, incident.first_seen, incident.last_seen)
    parts = [of_nights.sql()] if of_nights else []
    if not incident.is_of_table:
        parts += ["is_anomaly", *([incident.segment] if incident.segment else [])]
    return " AND ".join(parts)


def list_loads(config: Config, engine: Engine, night: str) -> list[Load]:
    """The last commits of the source that brought rows, as far as its log tells."""
    source = engine.describe(source_ref(config))
    place = source.location or source.ref
    if place.in_catalog or night not in source.schema.names:
        return []
    return read_loads(place, night, max(-1, source.version - MAX_LOADS), source.version)


def describe_loads(incident: Incident, loads: Sequence[Load]) -> list[str]:
    """The commits that brought rows of an incident's nights, the latest first; not many."""
    mine = [load for load in loads if any(span and _overlaps(span, incident) for span in load.spans)]
    words = [f"version {load.version} ({load.made_by} at {load.moment:%Y-%m-%d %H:%M})" for load in reversed(mine)]
    return [*words[:SHOWN_LOADS], *([f"and {len(words) - SHOWN_LOADS} more"] if len(words) > SHOWN_LOADS else [])]


def _overlaps(span: tuple[str, str], incident: Incident) -> bool:
    low, high = (NightName.of(end[:10]) for end in span)
    return low <= incident.last_seen and high >= incident.first_seen


def change_status(config: Config, engine: Engine, reporter: Reporter, identity: str, status: Status) -> Incident:
    """The command: somebody has seen an incident (acknowledged), or knows that it is over (closed).

    Args:
        config: the job.
        engine: to read and write with.
        reporter: hears of it.
        identity: the incident's id, or the first characters of it that no other one has.
        status: the new one.

    Raises:
        DataError: there is no such incident, or more than one.
    """
    place = incidents_ref(config)
    found = [one for one in list_known(config, engine) or () if one.id.startswith(identity)]
    if len(found) != 1:
        raise vm.DataError(
            f"one incident whose id begins with '{identity}' in {place.name}",
            f"{len(found)}",
            "`sandtimer incidents --all` lists them",
        )
    changed = replace(found[0], status=status, closed=found[0].last_seen if status == "closed" else None)
    engine.upsert(place, _to_table([changed]), ("id",))
    if changed.is_of_table:
        accept_findings(engine, ledger_ref(config), changed.column.removeprefix(PREFIX), changed.first_seen)
    reporter.say("done", f"incident {changed.id} is {status}: {changed.description}", id=changed.id, status=status)
    return changed


def follow_checks(config: Config, engine: Engine, target: TableState, looked: Look) -> dict[Finding, str]:
    """Open, go on with and close the incidents of nights as wholes; the ids of what was found."""
    if not looked.last or (not looked.is_news and not looked.alarms):
        return {}
    place, last = incidents_ref(config), NightName.of(looked.last)
    known = {one.id: one for one in list_known(config, engine) or () if one.is_of_table}
    ids: dict[Finding, str] = {}
    changed: list[Incident] = []
    for finding in (*looked.alarms, *looked.settled):
        since = NightName.of(finding.since or finding.night or looked.last)
        name = f"{target.table_id}\n{finding.column}\n{finding.subject}\n{since}"
        identity = ids[finding] = hashlib.sha256(name.encode()).hexdigest()[:12]
        seen = NightName.of(finding.night) if finding.night else last
        old = known.get(identity)
        if old is None:
            changed.append(
                Incident(
                    identity,
                    finding.column,
                    "",
                    finding.sentence,
                    finding.rows,
                    0.0,
                    since,
                    max(since, seen),
                    opened=last,
                )
            )
        elif old.status != "closed" and seen > old.last_seen:
            changed.append(replace(old, last_seen=seen, effect=finding.sentence))
    still = set(ids.values())
    over = [one for one in known.values() if one.status != "closed" and one.id not in still and looked.is_news]
    changed += [replace(one, status="closed", closed=last) for one in over]
    if changed:
        engine.upsert(place, _to_table(changed), ("id",))
    return ids


def read_incidents(config: Config, engine: Engine, target: TableState, sample: pa.Table) -> list[Incident]:
    """The incidents that were opened in the nights of some scored rows."""
    nights = set(nights_of(config, target, sample))
    place = incidents_ref(config)
    known = _read(engine, place, None) if engine.exists(place) else []
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
        engine.upsert(place, _to_table(changed), ("id",))
    return [incident for incident in after if incident.opened in set(nights)]


def list_known(config: Config, engine: Engine) -> list[Incident] | None:
    """All incidents in the table; None where `monitor` has not made it."""
    place = incidents_ref(config)
    return _read(engine, place, None) if engine.exists(place) else None


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
        list(dict.fromkeys([*features, *segments, *judged, night, "top_columns"])),
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
    reasons = tables[0].select(["top_columns"])
    alerts, rows = expand_table(tables[0].drop_columns(["top_columns"])), expand_table(tables[1])
    alerts = alerts.append_column("top_columns", reasons.column(0))
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


def _read(engine: Engine, place: TableRef, where: Predicate | None) -> list[Incident]:
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


def _to_table(incidents: Sequence[Incident]) -> pa.Table:
    rows = []
    for incident in incidents:
        row = {field.name: getattr(incident, field.name) for field in fields(incident)}
        row |= {name: None if row[name] is None else row[name].text for name in _NIGHTS}
        row["conditions"] = [{"column": column, "value": value} for column, value in incident.conditions]
        rows.append({**row, "description": incident.description})
    return pa.Table.from_pylist(rows, SCHEMA)
