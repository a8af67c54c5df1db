"""The strangest rows with their reasons: from the scored table, or computed again where a row has none there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

import vae_model as vm
from jobs.common.config import Config
from jobs.common.sampling import hashable_columns
from jobs.engines.base import Engine, TableState
from jobs.labels.verdicts import read_verdicts
from jobs.models.store import find_model
from jobs.predicates.conditions import compare_with
from jobs.predicates.predicate import combine
from jobs.reporting.column_counts import ColumnCounts
from jobs.reporting.row_filter import Scope
from jobs.tables.summaries import name_nights, pick_top, to_batch
from vae_model.features.nested import expand_schema
from vae_model.features.words import to_words
from vae_model.scoring.wording import describe_row, reason_columns

_SCORES = ("anomaly_score", "is_anomaly", "model_id")


@dataclass(frozen=True)
class Reason:
    """One column's part in a row's strangeness."""

    column: str
    share: float
    sentence: str


@dataclass(frozen=True)
class StrangeRow:
    """One row; `key` names it in the source, `values` is all of it."""

    night: str
    key: dict[str, str]
    values: dict[str, str]
    score: float
    is_alert: bool
    reasons: tuple[Reason, ...]


def read_strangest(
    engine: Engine,
    target: TableState,
    scope: Scope,
    counts: ColumnCounts,
    key: Sequence[str],
    limit: int,
    config: Config,
) -> list[StrangeRow]:
    """The rows of the report with the highest scores that nobody expects; ties are broken by the key.

    Args:
        engine: to read with.
        target: the scored table.
        scope: the report's rows.
        counts: of these rows; its histogram says which rows need not be read.
        key: columns that name a row; without any, every column that can be sorted.
        limit: rows wanted.
        config: the job, which says where its models lie.
    """
    carried = [name for name in target.schema.names if name not in vm.SCORE_COLUMNS]
    shown = list(key) or [name for name in hashable_columns(target.schema) if name in carried]
    columns = list(dict.fromkeys([*carried, scope.night, *_SCORES, *reason_columns(target.schema.names)]))
    schema = pa.schema([target.schema.field(name) for name in columns])
    verdicts = read_verdicts(config, engine, target)
    # Twice as many where some may be expected, and are not shown.
    enough = 2 * limit if verdicts else limit
    least = compare_with("anomaly_score", ">=", counts.quantile_from_top(enough))
    order = [("anomaly_score", "descending"), *((name, "ascending") for name in shown)]
    pick = partial(pick_top, schema, order, enough)
    found = engine.summarise(target, columns, combine(scope.rows, least), schema, pick)
    wanted = verdicts.without_expected(found) if verdicts else found
    rows = wanted.sort_by(order).slice(0, limit).combine_chunks()
    nights = name_nights(to_batch(rows.select([scope.night])).column(0)).to_pylist()
    again = _explain_again(rows, config)
    strange = []
    for number, (row, night) in enumerate(zip(rows.to_pylist(), nights, strict=True)):
        reasons = _to_reasons(row) or again.get(number, ())
        names, values = ({name: to_words(row[name]) for name in some} for some in (shown, carried))
        strange.append(StrangeRow(night, names, values, row["anomaly_score"], bool(row["is_anomaly"]), reasons))
    return strange


def _explain_again(rows: pa.Table, config: Config) -> dict[int, tuple[Reason, ...]]:
    """Reasons of the rows that have none, by number, as far as their models and features are there."""
    lacking: dict[str, list[int]] = {}
    for number, row in enumerate(rows.select(["model_id", "top_columns"]).to_pylist()):
        if not row["top_columns"] and row["model_id"]:
            lacking.setdefault(row["model_id"], []).append(number)
    reasons: dict[int, tuple[Reason, ...]] = {}
    for model_id, numbers in lacking.items():
        bundle = find_model(config, model_id)
        if bundle is None or not set(bundle.feature_names) <= set(expand_schema(rows.schema).names):
            continue
        bare = rows.take(numbers).drop_columns([name for name in rows.column_names if name in vm.SCORE_COLUMNS])
        explained = vm.score(bare, bundle, explain="all").select(["top_columns", "why"]).to_pylist()
        reasons |= {number: _to_reasons(row) for number, row in zip(numbers, explained, strict=True)}
    return reasons


def _to_reasons(row: Mapping[str, Any]) -> tuple[Reason, ...]:
    told = zip(row["top_columns"] or (), describe_row(row), strict=True)
    return tuple(Reason(reason["column"], float(reason["share"]), sentence) for reason, sentence in told)
