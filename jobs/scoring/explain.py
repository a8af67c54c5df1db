"""`explain`: recomputes one row of the source table and shows why it is unusual: in sentences, every column's share,
what was observed and expected; ordinary rows like it, its segment night by night, and the SQL that finds its like; and
that the scored table has the same score, by the same model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.errors import ConfigError
from jobs.engines.base import Engine, LogEntry, TableState
from jobs.models.store import find_model, load_model
from jobs.predicates.conditions import equals, parse_pair
from jobs.predicates.predicate import Predicate, combine, resolve_column
from jobs.predicates.values import read_value
from jobs.scoring.context import choose_segment, find_similar, list_nights, write_query
from jobs.tables.refs import describe_target, source_ref
from vae_model.features.nested import source_columns

# Engines agree to this, relative.
TOLERANCE: Final = 1e-5


@dataclass(frozen=True)
class Scored:
    """What the scored table says of a row, and the run that said it."""

    anomaly_score: float
    model_id: str
    scored_at: datetime
    run: LogEntry | None


def explain(config: Config, engine: Engine, reporter: Reporter, key: Sequence[str], nulls: Sequence[str] = ()) -> None:
    """The command: one row, explained by the model that scored it, from the source version that it was scored in.

    Args:
        config: the job.
        engine: to read the row with.
        reporter: gets the table.
        key: `column=value` strings that together match one row of the source.
        nulls: columns that are NULL in it.

    Raises:
        ConfigError: a string without `=`, or a value that the column's type cannot hold.
        DataError: no such column, no row, or more than one.
    """
    source = engine.describe(source_ref(config))
    where = _parse_key(key, nulls, source)
    target = describe_target(config, engine, source)
    found = _find_scored(target, engine, where)
    model = find_model(config, found.model_id) if found else None
    bundle = model or load_model(config)
    source, row = _read_then(engine, source, found, where, bundle)
    scored = vm.score(row, bundle, alert_budget=config.score.alert_budget, explain="none").to_pylist()[0]
    shares = vm.explain(row, bundle).select(["column", "share", "nll", "observed", "expected"])
    reasons = vm.find_reasons(row, bundle)[0]
    for reason in reasons:
        fields: dict[str, Field] = {"column": reason.column, "kind": reason.kind, "share": round(reason.share, 4)}
        reporter.say("reason", f"{vm.describe_reason(reason)} ({reason.share:.0%})", **fields)
    reporter.table("column", f"Why {where} scores {scored['anomaly_score']:.2f}", shares.to_pylist())
    if target is not None and "top_columns" in target.schema.names:
        _show_context(config, engine, reporter, target, bundle, row, where, reasons)
    verdict = "an anomaly" if scored["is_anomaly"] else "no anomaly"
    reporter.say(
        "done",
        f"{where} in {source.ref.name} version {source.version} has anomaly score {scored['anomaly_score']:.3f}:"
        f" {_describe_rarity(scored['anomaly_p_value'], bundle)}; {verdict} at alert budget"
        f" {config.score.alert_budget:g} (model {bundle.model_id}); {_compare(found, scored, model is not None)}",
        anomaly_score=scored["anomaly_score"],
        anomaly_p_value=scored["anomaly_p_value"],
        is_anomaly=scored["is_anomaly"],
        model_id=bundle.model_id,
        source_version=source.version,
        table_score=found.anomaly_score if found else None,
        run_id=(found.run.lineage or {}).get("run_id") if found and found.run else None,
    )


def _show_context(
    config: Config,
    engine: Engine,
    reporter: Reporter,
    target: TableState,
    bundle: vm.Bundle,
    row: pa.Table,
    where: Predicate,
    reasons: Sequence[vm.Reason],
) -> None:
    blamed = [reason.column for reason in reasons[:1]]
    similar = find_similar(config, engine, target, bundle, row, where, blamed) if _can_name(where, target) else []
    if similar:
        reporter.table("similar row", f"Ordinary rows most like it but for {', '.join(blamed)}", similar)
    segment = choose_segment(row, reasons, target.schema.names)
    nights = list_nights(config, engine, target, segment)
    if nights:
        reporter.table("night", f"The last nights of {segment or 'all rows'}", nights)
    query = write_query(target, reasons, segment)
    reporter.say("its like", f"its like, in Spark SQL: {query}", sql=query)


def _can_name(where: Predicate, target: TableState) -> bool:
    """Whether the scored table carries the columns of a condition."""
    return {name.lower() for name in where.columns} <= {name.lower() for name in target.schema.names}


def _find_scored(target: TableState | None, engine: Engine, where: Predicate) -> Scored | None:
    """The row in the scored table; None where it is not there, or not findable by these columns."""
    if target is None:
        return None
    wanted = ["anomaly_score", "model_id", "scored_at"]
    if not _can_name(where, target) or not set(wanted) <= set(target.schema.names):
        return None
    rows = engine.read(target, wanted, where, limit=2).to_pylist()
    if len(rows) != 1 or rows[0]["model_id"] is None:
        return None
    runs = (entry for entry in engine.history(target) if entry.lineage and _is_run_of(entry.lineage, rows[0]))
    return Scored(rows[0]["anomaly_score"], rows[0]["model_id"], rows[0]["scored_at"], next(runs, None))


def _is_run_of(lineage: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    same_time: bool = datetime.fromisoformat(str(lineage.get("scored_at"))) == row["scored_at"]
    return same_time and bool(lineage.get("model_id") == row["model_id"])


def _read_then(
    engine: Engine, now: TableState, found: Scored | None, where: Predicate, bundle: vm.Bundle
) -> tuple[TableState, pa.Table]:
    """The row as it was when it was scored; as it is now where that version is gone."""
    lineage = found.run.lineage if found and found.run else None
    if lineage and lineage.get("source_id") == now.table_id and lineage["source_version"] != now.version:
        try:
            then = engine.describe(now.ref, int(lineage["source_version"]))
            bundle.check_schema(then.schema)
            return then, _read_row(engine, then, where, bundle)
        except vm.DataError:
            pass  # vacuumed, or cleaned from the log: today's row has to do
    bundle.check_schema(now.schema)
    return now, _read_row(engine, now, where, bundle)


def _describe_rarity(p_value: float, bundle: vm.Bundle) -> str:
    """How rare such a row is, as far as training rows can tell."""
    if p_value * (bundle.train_rows + 1) < 1.0:
        return f"beyond all {bundle.train_rows:,} training rows"
    return f"1 in {1 / p_value:,.0f} normal rows is as unusual"


def _compare(found: Scored | None, scored: Mapping[str, Any], has_model: bool) -> str:
    if found is None:
        return "it is not in the scored table"
    if not has_model:
        return f"the scored table has {found.anomaly_score:.3f} by model {found.model_id}, which is not kept here"
    difference = abs(found.anomaly_score - scored["anomaly_score"])
    if difference <= TOLERANCE * max(1.0, abs(found.anomaly_score)):
        return "the scored table has the same score"
    return f"the scored table has {found.anomaly_score:.3f}: the row has changed since it was scored"


def _parse_key(key: Sequence[str], nulls: Sequence[str], source: TableState) -> Predicate:
    parts = []
    for pair in key:
        column, text = parse_pair(pair, source.schema.names, source.ref.name)
        parts.append(equals(column, read_value(text, source.schema.field(column).type, f"--key {column}").as_py()))
    parts += [equals(resolve_column(name, source.schema.names, source.ref.name), None) for name in nulls]
    where = combine(*parts)
    if where is None:
        raise ConfigError("--key COLUMN=VALUE or --null COLUMN", "neither", "for example --key order_id=42")
    return where


def _read_row(engine: Engine, source: TableState, where: Predicate, bundle: vm.Bundle) -> pa.Table:
    rows = engine.read(source, source_columns(bundle.feature_names, source.schema), where, limit=2)
    if rows.num_rows == 1:
        return rows
    count = engine.count(source, where) if rows.num_rows else 0
    raise vm.DataError(
        f"one row in {source.ref.name} version {source.version} where {where}",
        f"{count:,} rows" if count else "none",
        "add --key COLUMN=VALUE until one row is left" if count else "correct the key",
    )
