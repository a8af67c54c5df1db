"""`feedback`: verdicts on rows, given one by one or as a file, and the alerts that still wait for one.
The same verdict given again is the same verdict: nothing is written twice."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.errors import ConfigError
from jobs.engines.base import Engine, TableState
from jobs.labels.files import read_columns
from jobs.labels.precision import ALERTS, MAX_ALERTS, open_alerts
from jobs.labels.verdicts import (
    NIGHT_FROM,
    NIGHT_TO,
    NULL_KEYS,
    FeedbackSchema,
    Verdict,
    feedback_schema,
    read_null_keys,
    read_verdicts,
    today,
    write_null_keys,
)
from jobs.predicates.conditions import compare_with, equals, is_true, parse_pair
from jobs.predicates.predicate import Predicate, combine, resolve_column
from jobs.predicates.values import read_value, write_value
from jobs.tables.nights import NightName, between
from jobs.tables.refs import describe_target, source_ref
from vae_model import DataError
from vae_model.scoring.wording import describe_row, reason_columns


@dataclass(frozen=True)
class Given:
    """One verdict as somebody writes it.

    Attributes:
        verdict: expected or anomaly.
        key: `column=value` strings; key columns that are left out may have any value.
        nulls: key columns that are NULL.
        nights: first and last value of source.partition that it is about; None: open.
        until: last day on which it holds, in ISO format; None: for good.
        note: why.
        by: who says so; the user when None.
    """

    verdict: Verdict
    key: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ()
    nights: tuple[str | None, str | None] = (None, None)
    until: str | None = None
    note: str | None = None
    by: str | None = None


def add(config: Config, engine: Engine, reporter: Reporter, given: Given) -> None:
    """The command: one verdict; a second one on the same rows takes the place of the first.

    Raises:
        ConfigError: a key column that is none, a value of the wrong type, or a verdict on every row.
    """
    source = engine.describe(source_ref(config))
    shape = feedback_schema(config, source)
    texts = dict(parse_pair(pair, shape.key, "source.key") for pair in given.key)
    nulls = [resolve_column(name, shape.key, "source.key") for name in given.nulls]
    for name, text in zip((NIGHT_FROM, NIGHT_TO), given.nights, strict=True):
        if text is not None and name not in shape.schema.names:
            raise ConfigError("source.partition, to name nights by", "none", "set it in the config, or use --key")
        texts |= {} if text is None else {name: text}
    texts |= {NULL_KEYS: write_null_keys(nulls) or ""} if nulls else {}
    told = {"verdict": given.verdict, "until": given.until, "note": given.note}
    texts |= {name: text for name, text in told.items() if text}
    columns = {name: pa.array([_read_field(text, shape, name)]) for name, text in texts.items()}
    written, version = _record(config, engine, source, _complete(columns, shape, 1, given.by))
    what, is_there = _describe_rows(texts, shape), _is_there(config, engine, source, columns, nulls)
    reporter.say(
        "done",
        f"{what}: {given.verdict}{f' until {given.until}' if given.until else ''}"
        + (f"; recorded in {shape.ref.name} version {version}" if written else "; nothing to do: that was known")
        + ("" if is_there else "; no row of the scored table is named by it yet"),
        written=written,
        table=shape.ref.name,
        version=version,
    )


def import_file(config: Config, engine: Engine, reporter: Reporter, path: Path, by: str | None = None) -> None:
    """The command: verdicts from a CSV or Parquet file, all in one commit; see `add`.

    Raises:
        DataError: a column or a value that fits no verdict; nothing was written.
    """
    source = engine.describe(source_ref(config))
    shape = feedback_schema(config, source)
    columns = read_columns(path, shape)
    if NULL_KEYS in columns:
        known = [write_null_keys(read_null_keys(text, shape)) for text in columns[NULL_KEYS].to_pylist()]
        columns[NULL_KEYS] = pa.array(known, pa.string())
    rows = _complete(columns, shape, len(next(iter(columns.values()))), by)
    _check(rows, shape, str(path))
    written, version = _record(config, engine, source, rows)
    repeated = rows.num_rows - written
    reporter.say(
        "done",
        f"{written:,} verdicts of {path} are in {shape.ref.name} version {version}; {repeated:,} were known already, or"
        " came twice",
        written=written,
        table=shape.ref.name,
        version=version,
    )


def list_verdicts(config: Config, engine: Engine, reporter: Reporter) -> None:
    """The command: all verdicts, the latest first."""
    source = engine.describe(source_ref(config))
    verdicts = read_verdicts(config, engine, source)
    entries = verdicts.entries.sort_by([("recorded_at", "descending")]).to_pylist() if verdicts else []
    now = today()
    shape = feedback_schema(config, source)
    shown = [_show_entry(entry, shape, now) for entry in entries]
    name = shape.ref.name
    reporter.table("verdict", f"Verdicts in {name}", shown)
    holding = sum(entry["holds"] == "yes" for entry in shown)
    reporter.say("done", f"{len(shown):,} verdicts in {name}, {holding:,} of them hold today", verdicts=len(shown))


def list_pending(config: Config, engine: Engine, reporter: Reporter, limit: int = 20) -> None:
    """The command: the alerts that no verdict is about, the strangest first, each with the flags that name it."""
    source, target, verdicts = open_alerts(config, engine)
    shape = feedback_schema(config, source)
    columns = list(dict.fromkeys([*shape.needed, "anomaly_score", *reason_columns(target.schema.names)]))
    alerts = engine.read(target, columns, is_true(ALERTS), limit=MAX_ALERTS)
    if verdicts:
        alerts = alerts.filter(verdicts.judge(alerts, today()).is_null())
    order = [("anomaly_score", "descending"), *((name, "ascending") for name in shape.key)]
    worst = alerts.sort_by(order).slice(0, limit).to_pylist()
    reporter.table(
        "alert", f"Alerts of {target.ref.name} without a verdict", [_show_alert(row, shape) for row in worst]
    )
    reporter.say(
        "done",
        f"{len(worst):,} of {alerts.num_rows:,} alerts that wait for a verdict; next: `sandtimer feedback add` with the"
        " flags of one",
        pending=alerts.num_rows,
    )


def _record(config: Config, engine: Engine, source: TableState, rows: pa.Table) -> tuple[int, int | None]:
    """Write what is new; how many, and the table's version."""
    known = read_verdicts(config, engine, source)
    shape = feedback_schema(config, source)
    told = ["verdict", "until", "note"]

    def by_identity(table: pa.Table) -> dict[tuple[object, ...], tuple[object, ...]]:
        keys, values = table.select(shape.identity).to_pylist(), table.select(told).to_pylist()
        return {tuple(k.values()): tuple(v.values()) for k, v in zip(keys, values, strict=True)}

    there, wanted = by_identity(known.entries) if known else {}, by_identity(rows)
    last = {tuple(k.values()): i for i, k in enumerate(rows.select(shape.identity).to_pylist())}
    new = [i for identity, i in last.items() if there.get(identity) != wanted[identity]]
    if not new:
        return 0, engine.describe(shape.ref).version if known else None
    return len(new), engine.upsert(shape.ref, rows.take(pa.array(new)), shape.identity)


def _complete(columns: Mapping[str, pa.Array], shape: FeedbackSchema, rows: int, by: str | None) -> pa.Table:
    """All columns of the table of verdicts; those that were not given are NULL."""
    own = {
        "recorded_at": pa.array([datetime.now(UTC)] * rows, pa.timestamp("us", tz="UTC")),
        "recorded_by": pa.array([by or getpass.getuser()] * rows),
    }
    given = {**own, **columns}
    arrays = [given.get(field.name, pa.nulls(rows, field.type)) for field in shape.schema]
    table = pa.Table.from_arrays(arrays, schema=shape.schema)
    _check(table, shape, "the verdict")
    return table


def _check(rows: pa.Table, shape: FeedbackSchema, where: str) -> None:
    known = get_args(Verdict)
    odd = [word for word in rows["verdict"].to_pylist() if word not in known]
    if odd:
        raise DataError(f"a verdict in {where}: {' or '.join(known)}", f"{odd[0]!r}", "correct it")
    for text in rows[NULL_KEYS].unique().to_pylist():
        read_null_keys(text, shape)
    names_some = pa.array(np.zeros(rows.num_rows, np.bool_))
    for name in shape.identity:
        names_some = pc.or_(names_some, rows[name].is_valid())
    if not pc.all(names_some).as_py():
        raise ConfigError(
            f"rows that {where} is about: {', '.join(shape.identity)}", "none named, which would be all of them",
            "name a key column or nights",
        )  # fmt: skip


def _read_field(text: str, shape: FeedbackSchema, name: str) -> pa.Scalar:
    dtype = shape.schema.field(name).type
    option = {NIGHT_FROM: "--from", NIGHT_TO: "--to"}.get(name, f"--key {name}" if name in shape.key else f"--{name}")
    if name == NIGHT_TO and pa.types.is_timestamp(dtype):
        try:
            day = date.fromisoformat(text.strip())
        except ValueError:
            return read_value(text, dtype, option)
        # A night is a day: its last moment, where the column has moments.
        return read_value(f"{day} 23:59:59.999999", dtype, option)
    return read_value(text, dtype, option)


def _is_there(
    config: Config, engine: Engine, source: TableState, columns: Mapping[str, pa.Array], nulls: Sequence[str]
) -> bool:
    """Whether the verdict names a row of the scored table."""
    target = describe_target(config, engine, source)
    shape = feedback_schema(config, source)
    if target is None:
        return False
    tests: list[Predicate | None] = [equals(name, columns[name][0].as_py()) for name in shape.key if name in columns]
    tests += [equals(name, None) for name in nulls]
    first, last = (columns[name][0].as_py() if name in columns else None for name in (NIGHT_FROM, NIGHT_TO))
    if shape.partition and pa.types.is_string(source.schema.field(shape.partition).type):
        ends = [None if text is None else NightName.of(text) for text in (first, last)]
        tests.append(between(engine, target, shape.partition, ends[0], ends[1]))
    elif shape.partition:
        tests.append(None if first is None else compare_with(shape.partition, ">=", first))
        tests.append(None if last is None else compare_with(shape.partition, "<=", last))
    found = engine.read(target, shape.needed[:1], combine(*tests), limit=1)
    return bool(found.num_rows)


def _describe_rows(texts: Mapping[str, str], shape: FeedbackSchema) -> str:
    parts = [f"{name} = {texts[name]}" for name in shape.key if name in texts]
    parts += [f"{name} is NULL" for name in read_null_keys(texts.get(NULL_KEYS), shape)]
    parts += [f"from {texts[NIGHT_FROM]}"] if NIGHT_FROM in texts else []
    parts += [f"to {texts[NIGHT_TO]}"] if NIGHT_TO in texts else []
    return ", ".join(parts)


def _show_entry(entry: Mapping[str, Any], shape: FeedbackSchema, now: date) -> dict[str, Field]:
    named = {name: write_value(entry[name]) for name in shape.identity if entry[name] is not None}
    return {
        "rows": _describe_rows(named, shape),
        "verdict": entry["verdict"],
        "until": str(entry["until"] or ""),
        "holds": "yes" if entry["until"] is None or entry["until"] >= now else "no",
        "note": entry["note"],
        "by": entry["recorded_by"],
        "at": entry["recorded_at"].date().isoformat(),
    }


def _show_alert(row: Mapping[str, Any], shape: FeedbackSchema) -> dict[str, Field]:
    because = ". ".join(describe_row(row))
    return {"score": round(row["anomaly_score"], 2), "flags": _flags(row, shape), "because": because}


def _flags(row: Mapping[str, Any], shape: FeedbackSchema) -> str:
    """What `feedback add` is given, in a shell, to name this row; without a key, its night."""
    flags: list[str] = []
    for name in shape.key:
        flags += ["--null", name] if row[name] is None else ["--key", f"{name}={write_value(row[name])}"]
    if not shape.key and shape.partition and row[shape.partition] is not None:
        night = write_value(row[shape.partition])
        flags += ["--from", night, "--to", night]
    return shlex.join(flags)
