"""`feedback summary`: what the verdicts say about the alerts: how many are real, and which alert budget would keep
a given share of them real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.common.statistics import wilson_interval
from jobs.engines.base import Engine, TableState
from jobs.labels.verdicts import NULL_KEYS, Verdicts, feedback_schema, read_null_keys, read_verdicts
from jobs.predicates.conditions import is_true
from jobs.tables.distinct import pick_named
from jobs.tables.refs import describe_target, source_ref
from vae_model import DataError

ALERTS: Final = "is_anomaly"
# Alerts that are looked at, and rows that are looked up one by one.
MAX_ALERTS: Final = 1_000_000
MAX_LOOKED_UP: Final = 10_000
# Fewer labels say nothing about a threshold.
MIN_LABELS: Final = 10


@dataclass(frozen=True)
class Summary:
    """What the verdicts say about the alerts.

    Attributes:
        alerts: rows below the budget.
        real: alerts that are anomalies.
        expected: alerts that are not.
        precision: share of real ones among those judged, with its 95 % interval; None without one.
        budget: the largest one that keeps `feedback.precision` on the rows judged; None: nothing to suggest.
        labels: rows judged, alerts or not.
    """

    alerts: int
    real: int
    expected: int
    precision: tuple[float, float, float] | None
    budget: float | None
    labels: int


def summarise(config: Config, engine: Engine, reporter: Reporter) -> Summary:
    """The command: precision of the alerts at the budget, and the budget that the verdicts suggest.

    Raises:
        DataError: there is no scored table.
    """
    source, target, verdicts = open_alerts(config, engine)
    shape = feedback_schema(config, source)
    columns = [*shape.needed, "anomaly_p_value"]
    alerts = engine.read(target, columns, is_true(ALERTS), limit=MAX_ALERTS)
    judged = verdicts.judge(alerts) if verdicts else pa.chunked_array([pa.nulls(alerts.num_rows, pa.string())])
    real, expected = (int(pc.sum(pc.equal(judged, word)).as_py() or 0) for word in ("anomaly", "expected"))
    others = _look_up_others(engine, target, verdicts, columns) if verdicts else alerts.slice(0, 0)
    p_value = np.concatenate([alerts["anomaly_p_value"].to_numpy(), others["anomaly_p_value"].to_numpy()])
    words = [*judged.to_pylist(), *(verdicts.judge(others).to_pylist() if verdicts else [])]
    labels = [(float(p), word == "anomaly") for p, word in zip(p_value, words, strict=True) if word]
    summary = Summary(
        alerts=alerts.num_rows,
        real=real,
        expected=expected,
        precision=wilson_interval(real, real + expected) if real + expected else None,
        budget=suggest_budget(labels, config.feedback.precision, config.score.alert_budget),
        labels=len(labels),
    )
    _say_summary(summary, config, reporter, target)
    return summary


def suggest_budget(labels: Sequence[tuple[float, bool]], precision: float, budget: float) -> float | None:
    """The largest alert budget at which so large a share of the judged rows below it are real.

    Args:
        labels: p-value of each judged row, and whether it is an anomaly.
        precision: the share.
        budget: today's, which is kept where all labels below it fit.

    Returns:
        A p-value between two judged rows; None with few labels, or where no budget keeps the share.
    """
    ordered = sorted(labels)
    if len(ordered) < MIN_LABELS:
        return None
    is_real = np.array([real for _, real in ordered])
    good = np.flatnonzero(np.cumsum(is_real) / np.arange(1, len(ordered) + 1) >= precision)
    # A cut can only lie between two different p-values.
    cuts = [i for i in good if i + 1 == len(ordered) or ordered[i][0] < ordered[i + 1][0]]
    if not cuts:
        return None
    last = cuts[-1]
    if last + 1 == len(ordered):
        return max(budget, ordered[last][0])
    return float(f"{math.sqrt(max(ordered[last][0], 1e-300) * ordered[last + 1][0]):.2g}")


def _say_summary(summary: Summary, config: Config, reporter: Reporter, target: TableState) -> None:
    waiting = summary.alerts - summary.real - summary.expected
    counts = {
        "alerts": summary.alerts,
        "real": summary.real,
        "expected": summary.expected,
        "without a verdict": waiting,
    }
    reporter.table("count", f"Alerts of {target.ref.name}", [{"what": k, "rows": v} for k, v in counts.items()])
    budget = config.score.alert_budget
    if summary.precision is None:
        precision = "no alert has a verdict yet"
    else:
        share, low, high = summary.precision
        precision = f"precision at alert budget {budget:g}: {share:.0%} (95 % interval {low:.0%} to {high:.0%})"
    goal = f"{config.feedback.precision:.0%} of the judged rows below it real"
    if summary.budget is not None:
        advice = f"score.alert_budget: {summary.budget:.2g} is the largest that keeps {goal}"
    elif summary.labels < MIN_LABELS:
        advice = f"{summary.labels} judged rows are too few to suggest another budget ({MIN_LABELS} at least)"
    else:
        advice = f"no budget keeps {goal}: retrain, or give the model more columns"
    reporter.say(
        "done",
        f"{precision}; {advice}",
        precision=summary.precision[0] if summary.precision else None,
        interval=list(summary.precision[1:]) if summary.precision else None,
        suggested_budget=summary.budget,
        labels=summary.labels,
    )


def open_alerts(config: Config, engine: Engine) -> tuple[TableState, TableState, Verdicts | None]:
    """The source, its scored table and the verdicts on it.

    Raises:
        DataError: there is no scored table.
    """
    source = engine.describe(source_ref(config))
    target = describe_target(config, engine, source)
    if target is None:
        raise DataError(f"a scored table at {config.score.table}", "none there", "run `sandtimer score` first")
    return source, target, read_verdicts(config, engine, source)


def _look_up_others(engine: Engine, target: TableState, verdicts: Verdicts, columns: list[str]) -> pa.Table:
    """Rows that a verdict names one by one and that raised no alert."""
    shape, entries = verdicts.shape, verdicts.entries
    schema = pa.schema([target.schema.field(name) for name in columns])
    named = np.array([bool(shape.key)] * entries.num_rows)
    nulls = [set(read_null_keys(text, shape)) for text in entries[NULL_KEYS].to_pylist()]
    for name in shape.key:
        named &= entries[name].is_valid().to_numpy() | np.array([name in some for some in nulls], np.bool_)
    keys = entries.filter(pa.array(named)).select(list(shape.key)).slice(0, MAX_LOOKED_UP).combine_chunks()
    if not keys.num_rows:
        return schema.empty_table()
    pick = partial(pick_named, keys, schema, MAX_LOOKED_UP)
    return engine.summarise(target, columns, is_true(ALERTS).is_not_true(), schema, pick).slice(0, MAX_LOOKED_UP)
