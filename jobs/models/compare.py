"""`compare` and `rollback`: champion and challenger. Both models score the same rows, which are read once; rules in the
config say whether the challenger may take the champion's place, and one command puts the one before back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.errors import AlarmError
from jobs.common.sampling import Sample, hashable_columns
from jobs.engines.base import Engine, TableState
from jobs.labels.verdicts import read_verdicts
from jobs.models.comparison import LEVELS, QUANTILES, Comparison, Rule, apply_rules, measure, measure_detection_loss
from jobs.models.store import bundle_folder, load_model, roll_back, save_model
from jobs.predicates.predicate import combine, parse_where, resolve_column
from jobs.tables.refs import source_ref
from vae_model.features.nested import source_columns
from vae_model.scoring.wording import describe_row

SHOWN_FLIPS = 10
SHOWN_REASONS = 2
# Apart from the extract's sample, which the champion has learned.
_OTHER_SAMPLE = 1


def compare(
    config: Config,
    engine: Engine,
    reporter: Reporter,
    challenger: Path,
    where: str | None = None,
    promote: bool = False,
) -> Comparison | None:
    """The command: score the same rows by both models, say where they differ, and let the gate decide.

    Args:
        config: the job; its bundle is the champion.
        engine: to read the rows with.
        reporter: gets the tables.
        challenger: the other bundle's folder.
        where: rows to compare on, such as a night; of all rows otherwise.
        promote: put the challenger in the champion's place if the gate lets it pass.

    Returns:
        How far they agree; None where both are one model.

    Raises:
        AlarmError: the gate refuses; the champion stays.
        DataError: no bundle, no rows, or a feature that the table has not got.
    """
    folder = bundle_folder(config) if promote else config.bundle.path
    bundles = (load_model(config), vm.load(challenger))
    if bundles[0].model_id == bundles[1].model_id:
        reporter.say(
            "done",
            f"nothing to do: {challenger} is the champion itself, model {bundles[0].model_id[:12]}; train another one",
            promoted=False,
            champion=bundles[0].model_id,
            challenger=bundles[1].model_id,
        )
        return None
    source = engine.describe(source_ref(config))
    for bundle in bundles:
        bundle.check_schema(source.schema)
    rows = _read_rows(config, engine, source, bundles, where)
    reporter.say("comparing", f"scoring {rows.num_rows:,} rows by both models", rows=rows.num_rows)
    scored = [_score(rows, bundle, config) for bundle in bundles]
    known = _known_anomalies(rows, config, engine, source)
    found = measure(scored[0], scored[1], known, config.compare.top, config.score.alert_budget)
    _show(found, rows, scored, _key(config, source), reporter)
    rules = apply_rules(found, config.compare, measure_detection_loss(*(bundle.self_test for bundle in bundles)))
    reporter.table("rule", "The gate", [_show_rule(rule) for rule in rules])
    refused = [rule for rule in rules if not rule.ok]
    ids = {"champion": bundles[0].model_id, "challenger": bundles[1].model_id}
    if refused:
        raise AlarmError(
            f"a challenger that passes the gate (compare in the config) on {rows.num_rows:,} rows",
            "; ".join(f"{rule.name}: {rule.found:.3g}, {rule.limit}" for rule in refused),
            f"the champion {ids['champion'][:12]} stays; look at the flips, then retrain or change the rule",
        )
    if promote:
        save_model(bundles[1], folder)
    done = (
        f"is now in {config.bundle.path}; `sandtimer rollback` undoes it"
        if promote
        else "passes; --promote promotes it"
    )
    reporter.say(
        "done",
        f"challenger {ids['challenger'][:12]} against champion {ids['champion'][:12]} on {rows.num_rows:,} rows:"
        f" overlap {found.overlap:.2f}, correlation {found.correlation:.3f}, {len(found.flipped):,} flips; the"
        f" challenger {done}",
        promoted=promote,
        rows=rows.num_rows,
        overlap=found.overlap,
        correlation=found.correlation,
        flips=len(found.flipped),
        **ids,
    )
    return found


def rollback(config: Config, reporter: Reporter, to: str | None = None) -> str:
    """The command: put the model before the last back into its place.

    Args:
        config: the job.
        reporter: hears which one it is.
        to: the first digits of a model's id instead of the one before the last.

    Returns:
        The id of the model that is in place now.

    Raises:
        DataError: no model before it, or none with that id.
    """
    before, after = roll_back(bundle_folder(config), to)
    reporter.say(
        "done",
        f"model {after} is back in {config.bundle.path}, in the place of {before[:12]}, which is kept; `sandtimer score"
        " --full` scores everything with it, the next run only what is new",
        model_id=after,
        replaced=before,
    )
    return after


def _read_rows(
    config: Config, engine: Engine, source: TableState, bundles: Sequence[vm.Bundle], where: str | None
) -> pa.Table:
    source_filter = parse_where(config.source.where, "source.where") if config.source.where else None
    condition = combine(source_filter, parse_where(where) if where is not None else None)
    if condition:
        condition.to_pyarrow(source.schema)
    total = engine.count(source, condition)
    key = _key(config, source)
    partition = config.source.partition and resolve_column(
        config.source.partition, source.schema.names, source.ref.name
    )
    features = [name for bundle in bundles for name in source_columns(bundle.feature_names, source.schema)]
    columns = list(dict.fromkeys([*key, *([partition] if partition else []), *features]))
    seed = config.extract.seed + _OTHER_SAMPLE
    sample = Sample(key or hashable_columns(source.schema), config.compare.rows, total, seed)
    rows = engine.sample(source, columns, condition, sample) if total else None
    if rows is None or rows.num_rows == 0:
        raise vm.DataError(
            f"rows to compare on in {source.ref.name}{f' where {condition}' if condition else ''}", "none",
            "correct --where",
        )  # fmt: skip
    # In one order on every engine and in every run.
    return rows.sort_by([(name, "ascending") for name in key]) if key else rows


def _key(config: Config, source: TableState) -> tuple[str, ...]:
    return tuple(resolve_column(name, source.schema.names, source.ref.name) for name in config.source.key)


def _score(rows: pa.Table, bundle: vm.Bundle, config: Config) -> pa.Table:
    options = {"alert_budget": config.score.alert_budget, "explain": "alerts"}
    scored = vm.score(rows, bundle, **options)  # type: ignore[arg-type]
    return scored.select(["anomaly_score", "anomaly_p_value", "is_anomaly", "top_columns", "why"])


def _known_anomalies(rows: pa.Table, config: Config, engine: Engine, source: TableState) -> npt.NDArray[np.bool_]:
    verdicts = read_verdicts(config, engine, source) if config.source.key or config.source.partition else None
    if verdicts is None:
        return np.zeros(rows.num_rows, np.bool_)
    is_known = pc.fill_null(pc.equal(verdicts.judge(rows), "anomaly"), False)
    return np.asarray(is_known.to_numpy(), np.bool_)


def _show(
    found: Comparison, rows: pa.Table, scored: Sequence[pa.Table], key: Sequence[str], reporter: Reporter
) -> None:
    pairs: dict[str, tuple[float, float]] = {"alerts": found.alerts}
    pairs |= {f"share of rows with p below {level:g}": pair for level, pair in zip(LEVELS, found.shares, strict=True)}
    pairs |= {f"score at quantile {q:g}": pair for q, pair in zip(QUANTILES, found.quantiles, strict=True)}
    lines: list[dict[str, Field]] = [
        {"what": name, "champion": ours, "challenger": theirs} for name, (ours, theirs) in pairs.items()
    ]
    reporter.table("model", f"Both models on {found.rows:,} rows", lines)
    if found.flipped:
        shown = [_show_flip(i, rows, scored, key) for i in found.flipped[:SHOWN_FLIPS]]
        count = f"{len(found.flipped):,} rows are alerts for one model only"
        reporter.table("flip", f"{count}; the largest changes of score", shown)


def _show_flip(row: int, rows: pa.Table, scored: Sequence[pa.Table], key: Sequence[str]) -> dict[str, Field]:
    values = rows.select(list(key)).slice(row, 1).to_pylist()[0] if key else {"row": row}
    ours, theirs = (table.slice(row, 1).to_pylist()[0] for table in scored)
    return {
        "row": ", ".join(f"{name} = {value}" for name, value in values.items()),
        "champion": round(ours["anomaly_score"], 2),
        "challenger": round(theirs["anomaly_score"], 2),
        "alert for": "champion" if ours["is_anomaly"] else "challenger",
        "because": ". ".join(describe_row(ours if ours["is_anomaly"] else theirs, SHOWN_REASONS)),
    }


def _show_rule(rule: Rule) -> dict[str, Field]:
    return {"rule": rule.name, "found": float(rule.found), "limit": rule.limit, "holds": "yes" if rule.ok else "NO"}
