"""`init`: writes a commented config for someone's own table, guessed from its schema and a sample, so that extract,
train and score run as they stand. Plain Parquet becomes a Delta table first."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
import yaml

from jobs.common.config import Config
from jobs.common.config_file import load_config
from jobs.common.console import Reporter
from jobs.common.errors import ConfigError
from jobs.common.sampling import Sample, hashable_columns
from jobs.delta.mapping import find_odd_names
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, TableState
from jobs.onboarding.convert import convert_parquet, is_parquet
from jobs.onboarding.infer import InferredColumn, find_keys, infer_columns, infer_partition, is_key
from vae_model import DataError

SAMPLE_ROWS = 50_000
# Up to so many rows a guessed key is checked on all of them.
CHECKED_ROWS = 5_000_000
# Guesses that the sample allows but the whole table refutes, before no key is guessed at all.
MAX_ATTEMPTS = 8
_DATA = Path("data")


@dataclass(frozen=True)
class _Draft:
    """What the config will say, and why."""

    table: str
    name: str
    engine: str
    rows: int
    sampled: int
    key: tuple[str, ...]
    key_reason: str
    partition: str | None
    partition_reason: str
    columns: tuple[InferredColumn, ...]
    odd: tuple[str, ...] = ()


def init(
    table: str,
    build_engine: Callable[[Config], Engine],
    reporter: Reporter,
    output: Path | None = None,
    force: bool = False,
) -> Path:
    """The command: look at a table and write its config.

    Args:
        table: a Delta table, or Parquet files, which are written to a Delta table under data/ first.
        build_engine: the engine that reads the table, and that the config will name.
        reporter: hears of every guess and its reason.
        output: the config's file; conf/NAME.yaml when None.
        force: replace a config (and the Delta table made of Parquet files) that is there.

    Returns:
        The config's file.

    Raises:
        ConfigError: the config is there already.
        DataError: no table, or one without rows.
    """
    name = _name_of(table)
    path = output or Path("conf") / f"{name}.yaml"
    if path.exists() and not force:
        raise ConfigError(
            f"no file at {path}", "there is one", "name another with --output, or replace it with --force"
        )
    with _undone(Path(_paths(name)["delta"])):
        return _write_for(_adopt(table, name, reporter, force), name, build_engine, reporter, path)


def _write_for(table: str, name: str, build_engine: Callable[[Config], Engine], reporter: Reporter, path: Path) -> Path:
    config = _draft_config(table, name)
    engine = build_engine(config)
    source = engine.describe(TableRef(table))
    draft = _look(engine, source, name)
    odd = find_odd_names(source.schema.names)
    if odd and engine.name == "local":
        reporter.say(
            "engine", f"engine spark: only Spark writes {', '.join(map(repr, odd))} into a scored table", odd=odd
        )
        draft = replace(draft, engine="spark", odd=tuple(odd))
    _write(path, _render(draft), reporter, draft)
    return path


@contextmanager
def _undone(made: Path) -> Iterator[None]:
    """Takes away a table that was not there before, where the block does not end well."""
    was_there = made.exists()
    try:
        yield
    except BaseException:
        if not was_there:
            shutil.rmtree(made, ignore_errors=True)
        raise


def _name_of(table: str) -> str:
    last = table.rstrip("/").rpartition("/")[2]
    stem = re.sub(r"\.(parquet|delta)$", "", last).rpartition(".")[2] if "." in last else last
    return re.sub(r"\W+", "_", stem).strip("_").lower() or "table"


def _draft_config(table: str, name: str) -> Config:
    paths = _paths(name)
    return Config.model_validate(
        {
            "source": {"table": table},
            "extract": {"path": paths["extract"]},
            "bundle": {"path": paths["bundle"]},
            "score": {"table": paths["scored"]},
        }
    )


def _paths(name: str) -> dict[str, str]:
    return {what: str(_DATA / f"{name}_{what}") for what in ("extract", "bundle", "scored", "delta")}


def _adopt(table: str, name: str, reporter: Reporter, force: bool) -> str:
    """The Delta table to score: `table` itself, or what its Parquet files were written to."""
    place = Path(table)
    if "://" in table or not (place.is_file() or is_parquet(place)):
        return table
    if not is_parquet(place):
        raise DataError(f"a Delta table or Parquet files at {table}", "another kind of file", "name one of them")
    target = Path(_paths(name)["delta"])
    if target.exists() and not force:
        raise ConfigError(
            f"nothing at {target}, where the Delta table of {table} goes",
            "something",
            f"`sandtimer init {target}` takes the table that is there; --force writes it anew",
        )
    reporter.say("converting", f"{table} is Parquet, not Delta: writing its rows to the Delta table {target}")
    made = convert_parquet(Path(table), target)
    for note in made.notes:
        reporter.say("changed", f"changed: {note}", note=note)
    by = f", partitioned by {', '.join(made.partition_columns)}" if made.partition_columns else ""
    reporter.say("converted", f"{made.rows:,} rows are in {target}{by}", rows=made.rows, table=str(target))
    return str(target)


def _look(engine: Engine, source: TableState, name: str) -> _Draft:
    total = engine.count(source, None)
    if total == 0:
        raise DataError(f"rows in {source.ref.name}", "none, an empty table", "fill it, then run this again")
    columns = source.schema.names
    sample = engine.sample(source, columns, None, Sample(hashable_columns(source.schema), SAMPLE_ROWS, total, 0))
    key, key_reason = _guess_key(engine, source, sample, total)
    partition, partition_reason = infer_partition(sample, source.partition_columns)
    nights = tuple(dict.fromkeys([*source.partition_columns, *([partition] if partition else [])]))
    return _Draft(
        table=source.ref.name,
        name=name,
        engine=engine.name,
        rows=total,
        sampled=sample.num_rows,
        key=key,
        key_reason=key_reason,
        partition=partition,
        partition_reason=partition_reason,
        columns=tuple(infer_columns(sample, key, nights)),
    )


def _guess_key(engine: Engine, source: TableState, sample: pa.Table, total: int) -> tuple[tuple[str, ...], str]:
    """The first set of columns that tells the rows apart; on the sample, then on all rows unless they are too many."""
    for key in islice(find_keys(sample), MAX_ATTEMPTS):
        if total > CHECKED_ROWS:
            return key, f"unique and never NULL in a sample of {sample.num_rows:,} of {total:,} rows: check it"
        if is_key(engine.read(source, key, None, limit=total)):
            return key, f"unique and never NULL in all {total:,} rows"
    return (), "no few columns tell all rows apart"


def _write(path: Path, text: str, reporter: Reporter, draft: _Draft) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.draft")
        temporary.write_text(text, encoding="utf-8")
        try:
            load_config(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"a config to write at {path}", str(error), "name another with --output") from error
    shown = [{"column": c.name, "kind": c.kind or "no feature", "because": c.reason} for c in draft.columns]
    reporter.table("column", f"What {draft.table} seems to hold", shown)
    features = sum(column.kind is not None for column in draft.columns)
    key = f"key ({', '.join(draft.key)}), {draft.key_reason}" if draft.key else f"no key: {draft.key_reason}"
    reporter.say("key", key, key=draft.key)
    nights = f"partition {draft.partition}" if draft.partition else "no partition"
    reporter.say("partition", f"{nights}: {draft.partition_reason}", partition=draft.partition)
    reporter.say(
        "done",
        f"wrote {path}: {features} of {len(draft.columns)} columns are features; next: `sandtimer extract --config"
        f" {path}`, then train, score and report, with the same --config",
        path=str(path),
        table=draft.table,
        key=draft.key,
        partition=draft.partition,
    )


def _render(draft: _Draft) -> str:
    paths = _paths(draft.name)
    lines = [
        f"# How {_plain(draft.table)} is scored.",
        f"# `sandtimer init` wrote this from its schema and {draft.sampled:,} of its {draft.rows:,} rows.",
        "# What is here are guesses with their reasons: correct them. conf/template.yaml explains every key.",
        "",
        "source:",
        f"  table: {_yaml(draft.table)}",
        f"  # {_plain(draft.key_reason)}.",
        f"  key: {_yaml(list(draft.key))}",
        f"  # {_plain(draft.partition_reason)}.",
        f"  partition: {_yaml(draft.partition)}",
        "",
        "extract:",
        "  # The training sample.",
        f"  path: {_yaml(paths['extract'])}",
        "  rows: 200000",
        "",
        *_render_columns(draft.columns),
        "bundle:",
        "  # The trained model.",
        f"  path: {_yaml(paths['bundle'])}",
        "",
        "score:",
        "  # The scored table; the first run makes it.",
        f"  table: {_yaml(paths['scored'])}",
        "  # Share of normal rows that may raise an alert: one in a thousand.",
        "  alert_budget: 0.001",
        *(
            [f"  # Names such as {_plain(repr(draft.odd[0]))} take column mapping, which Spark writes."]
            if draft.odd
            else []
        ),
        f"  engine: {draft.engine}",
    ]
    return "\n".join(lines) + "\n"


def _render_columns(columns: Sequence[InferredColumn]) -> list[str]:
    features = [column for column in columns if column.kind]
    left_out = [column for column in columns if not column.kind]
    lines = ["columns:", "  # What the model reads, and as what."]
    lines += ["  kinds:"] if features else ["  kinds: {}"]
    lines += [f"    {_yaml(c.name)}: {c.kind}  # {_plain(c.reason)}" for c in features]
    lines += ["  # What it does not read: carried along into the scored table, with no part in a row's score."]
    lines += ["  exclude:"] if left_out else ["  exclude: []"]
    lines += [f"    - {_yaml(c.name)}  # {_plain(c.reason)}" for c in left_out]
    return [*lines, ""]


def _yaml(value: str | list[str] | None) -> str:
    """A value in YAML, on one line; text that YAML would read as something else comes quoted."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _plain(text: str) -> str:
    """Text for a comment: printable, on one line."""
    return "".join(character if character.isprintable() else "?" for character in text)[:160]
