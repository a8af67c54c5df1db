"""`plan`: what `score` would read, write and skip, and by which route. Making a plan changes nothing; `score` carries
out exactly the plan that this module makes."""

from __future__ import annotations

import pyarrow as pa

from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.errors import ConfigError
from jobs.delta.commit import check_names
from jobs.delta.mapping import sort_fields
from jobs.engines.base import NO_WORK, Engine, ScoreIntent, ScorePlan, TableState
from jobs.models.store import load_model
from jobs.predicates.predicate import Predicate, combine, parse_where, resolve_column
from jobs.scoring.increment import Increment, check_columns, find_increment
from jobs.tables.refs import describe_target, source_ref, target_ref
from vae_model import SCORE_SCHEMA, Bundle, DataError


def plan(config: Config, engine: Engine, reporter: Reporter, where: str | None = None, full: bool = False) -> None:
    """The command: print the plan of a scoring run."""
    bundle = load_model(config)
    made = make_plan(config, engine, bundle, where, full)
    reporter.table("plan", "What score would do", [{"what": k, "value": v} for k, v in _describe(made, bundle).items()])
    work = made.work
    outcome = describe_nothing(made) if made.is_empty else f"would score {work.rows:,} rows into {made.target_ref.name}"
    reporter.say("done", f"{outcome}; nothing was changed", rows=work.rows, target=made.target_ref.name)


def describe_nothing(made: ScorePlan) -> str:
    """Why an empty plan has nothing to do."""
    scope = f"where {made.read}" if made.read else "in the table"
    reason = made.why if made.action == "nothing" else f"version {made.source.version} has no rows {scope}"
    if made.action == "merge":
        reason = f"the rows that changed since version {made.since} are neither in it nor in the scored table"
    return f"nothing to do: {made.source.ref.name}: {reason}"


def make_plan(
    config: Config, engine: Engine, bundle: Bundle, where: str | None = None, full: bool = False
) -> ScorePlan:
    """Look at source and target and decide what a scoring run does.

    Args:
        config: the job.
        engine: that would run it.
        bundle: the model; its features must be in the source.
        where: rows to score and to replace, whatever is scored already; None: what changed since the last run.
        full: score everything again.

    Raises:
        ConfigError: a condition that does not fit, or source and target are one table.
        DataError: no source, a feature missing or retyped, a column named like a score column, a foreign target.
    """
    asked = parse_where(where) if where is not None else None
    source_filter = parse_where(config.source.where, "source.where") if config.source.where else None
    _check_tables(config, where, full)
    source = engine.describe(source_ref(config))
    for predicate in (source_filter, asked):
        _check_predicate(predicate, source)
    _check_key(config, source)
    bundle.check_schema(source.schema)
    carried = choose_carried(config, source)
    schema = _output_schema(source, carried)
    target = describe_target(config, engine, source)
    if asked:
        _check_scope(asked, carried, config)
    if target:
        _check_target(target, source, config)
    increment = _choose_increment(config, engine, source, target, asked, full)
    increment, schema = _fit_columns(increment, schema, target, asked)
    intent = ScoreIntent(
        engine=engine.name,
        source=source,
        target=target,
        target_ref=target_ref(config),
        read=combine(source_filter, increment.scope),
        scope=increment.scope,
        schema=schema,
        carried=carried,
        action=increment.action,
        why=increment.why,
        pieces=increment.pieces,
        since=increment.since,
        keys=tuple(resolve_column(name, source.schema.names, source.ref.name) for name in config.source.key),
        watermark=None if asked else source.version,
        serial=_next_serial(target, increment),
    )
    route, reason = engine.choose_route(intent, config.score.route)
    work = NO_WORK if intent.action == "nothing" else engine.measure(intent, route)
    return ScorePlan.of(intent, route, reason, work)


def check_can_write(config: Config, engine: Engine, source: TableState) -> None:
    """Say before anything is trained that the job's engine could not write the scored table.

    Raises:
        DataError: names that only Spark can write, or names of score columns.
    """
    carried = choose_carried(config, source)
    schema = _output_schema(source, carried)
    if engine.name == config.score.engine == "local":
        check_names(schema, target_ref(config))


def _choose_increment(
    config: Config,
    engine: Engine,
    source: TableState,
    target: TableState | None,
    asked: Predicate | None,
    full: bool,
) -> Increment:
    if asked:
        if target:
            check_columns(engine, source, target)
        return Increment("replace", f"the rows where {asked}", scope=asked)
    if full:
        return Increment("replace", "everything, as asked")
    return find_increment(config, engine, source, target)


def _next_serial(target: TableState | None, increment: Increment) -> int:
    if target is None:
        return 0
    return 1 + (target.version if increment.last is None else increment.last)


def choose_carried(config: Config, source: TableState) -> tuple[str, ...]:
    """Source columns that go into the target: all, or key and partition columns; never scores of an earlier run."""
    if config.score.mode == "in_place":
        return tuple(name for name in source.schema.names if name not in SCORE_SCHEMA.names)
    if config.score.columns == "all":
        return tuple(source.schema.names)
    partition = [config.source.partition] if config.source.partition else []
    wanted = {resolve_column(name, source.schema.names, source.ref.name) for name in [*config.source.key, *partition]}
    return tuple(name for name in source.schema.names if name in wanted or name in source.partition_columns)


def _check_tables(config: Config, where: str | None, full: bool) -> None:
    if where is not None and full:
        raise ConfigError("--where or --full", "both", "leave one out: --full scores the whole table again")
    same = source_ref(config).identity == target_ref(config).identity
    if same and config.score.mode != "in_place":
        raise ConfigError(
            "score.table to be another table than source.table",
            f"'{config.score.table}' for both",
            "name a table of its own for the scores, or set score.mode to in_place",
        )
    if not same and config.score.mode == "in_place":
        raise ConfigError(
            "score.table to be source.table in mode in_place",
            f"'{config.score.table}' and '{config.source.table}'",
            "name the source for both, or choose another score.mode",
        )
    if config.score.mode == "in_place" and config.source.where:
        raise ConfigError(
            "no source.where in mode in_place, which keeps every row of the source",
            f"'{config.source.where}'",
            "leave source.where out, or choose another score.mode",
        )
    if config.score.mode == "in_place" and config.score.columns != "all":
        raise ConfigError("score.columns: all in mode in_place", config.score.columns, "leave score.columns out")


def _check_predicate(predicate: Predicate | None, source: TableState) -> None:
    if predicate:
        predicate.check_columns(source.schema, source.ref.name)
        predicate.to_pyarrow(source.schema)


def _check_key(config: Config, source: TableState) -> None:
    partition = [config.source.partition] if config.source.partition else []
    for name in [*config.source.key, *partition]:
        resolve_column(name, source.schema.names, f"{source.ref.name} (source.key, source.partition)")


def _output_schema(source: TableState, carried: tuple[str, ...]) -> pa.Schema:
    clashes = [name for name in carried if name.lower() in SCORE_SCHEMA.names]
    if clashes:
        raise DataError(
            "a source without columns named like score columns",
            f"{', '.join(clashes)} in {source.ref.name}",
            "rename them in the source, or score the table without them",
        )
    return pa.schema([*(source.schema.field(name) for name in carried), *SCORE_SCHEMA])


def _check_scope(asked: Predicate, carried: tuple[str, ...], config: Config) -> None:
    known = {name.lower() for name in carried}
    missing = [name for name in asked.columns if name.lower() not in known]
    if missing:
        raise ConfigError(
            "--where on columns that the scored table has",
            f"{', '.join(missing)}, which score.columns: {config.score.columns} leaves out",
            "use key and partition columns in --where, or set score.columns to all",
        )


def _check_target(target: TableState, source: TableState, config: Config) -> None:
    """A target must be a scored table of this source, or the source itself."""
    if config.score.mode != "in_place" and not {"anomaly_score", "model_id"} <= set(target.schema.names):
        raise DataError(
            f"a scored table or nothing at {target.ref.name}",
            "a table without score columns, which a run would overwrite",
            "choose another score.table",
        )
    if target.partition_columns != source.partition_columns:
        raise DataError(
            f"{target.ref.name} partitioned like the source, by ({', '.join(source.partition_columns)})",
            f"({', '.join(target.partition_columns)})",
            "choose another score.table, or drop this one",
        )


def _retyped(target: TableState, schema: pa.Schema) -> str:
    """The columns whose type is another one than that of the rows which stay, in words; empty if there is none."""
    there = {field.name: field.type for field in target.schema}
    changed = [f for f in schema if f.name in there and sort_fields(there[f.name]) != sort_fields(f.type)]
    return "; ".join(f"{field.name}: {there[field.name]} there, {field.type} now" for field in changed)


def _fit_columns(
    increment: Increment, schema: pa.Schema, target: TableState | None, asked: Predicate | None
) -> tuple[Increment, pa.Schema]:
    """Where rows stay, the target's columns as they are and then the new ones; everything where one is retyped."""
    if target is None or (increment.action == "replace" and increment.scope is None):
        return increment, schema
    changed = _retyped(target, schema)
    if changed and asked:
        raise DataError(
            f"{target.ref.name} with the columns that this run writes",
            changed,
            "score the whole table once, with --full",
        )
    if changed:
        return Increment("replace", f"everything: {changed}", increment.since), schema
    there = target.schema
    return increment, pa.schema([*there, *(field for field in schema if field.name not in there.names)])


def _describe(made: ScorePlan, bundle: Bundle) -> dict[str, Field]:
    work = made.work
    target = f"version {made.target.version}" if made.target else "not there yet"
    return {
        "source": f"{made.source.ref.name} version {made.source.version}",
        "target": f"{made.target_ref.name} ({target})",
        "model": bundle.model_id,
        "engine": made.engine,
        "route": f"{made.route}: {made.reason}",
        "to score": made.why,
        "action": made.action,
        "where": str(made.read) if made.read else "all rows",
        "rows to score": work.rows,
        "target rows to replace": work.replaced_rows,
        "source files to read": work.files_read,
        "source files to skip": work.files_skipped,
        "target files to replace": work.files_replaced,
        "target files to keep": work.files_kept,
    }
