"""`explain`: recomputes one row of the source table and shows every column's share in its score, what was observed
there and what the model expected."""

from __future__ import annotations

from pathlib import Path

if __name__ == "__main__" and not __package__:  # as a script: the packages lie one folder up
    import sys

    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Sequence

import pyarrow as pa

import vae_model as vm
from jobs.config import Config
from jobs.engines.base import Engine, TableState
from jobs.errors import ConfigError
from jobs.events import Reporter
from jobs.plan import source_ref
from jobs.predicate import Predicate, combine, equals, resolve_column


def explain(config: Config, engine: Engine, reporter: Reporter, key: Sequence[str]) -> None:
    """The command: one row, explained.

    Args:
        config: the job.
        engine: to read the row with.
        reporter: gets the table.
        key: `column=value` strings that together match one row of the source.

    Raises:
        ConfigError: a string without `=`, or a value that the column's type cannot hold.
        DataError: no such column, no row, or more than one.
    """
    bundle = vm.load(config.bundle.path)
    source = engine.describe(source_ref(config))
    bundle.check_schema(source.schema)
    where = _parse_key(key, source)
    row = _read_row(engine, source, where, bundle)
    scored = vm.score(row, bundle, alert_budget=config.score.alert_budget, explain="none").to_pylist()[0]
    shares = vm.explain(row, bundle).select(["column", "share", "nll", "observed", "expected"])
    reporter.table("column", f"Why {where} scores {scored['anomaly_score']:.2f}", shares.to_pylist())
    verdict = "an anomaly" if scored["is_anomaly"] else "no anomaly"
    reporter.say(
        "done",
        f"{where} in {source.ref.name} version {source.version} has anomaly score {scored['anomaly_score']:.3f}: 1 in"
        f" {1 / max(scored['anomaly_p_value'], 1e-300):,.0f} normal rows is as unusual; {verdict} at alert budget"
        f" {config.score.alert_budget:g} (model {bundle.model_id})",
        anomaly_score=scored["anomaly_score"],
        anomaly_p_value=scored["anomaly_p_value"],
        is_anomaly=scored["is_anomaly"],
        model_id=bundle.model_id,
    )


def _parse_key(key: Sequence[str], source: TableState) -> Predicate:
    parts = []
    for pair in key:
        name, separator, value = pair.partition("=")
        if not separator or not name.strip():
            raise ConfigError("--key COLUMN=VALUE", f"--key {pair}", "for example --key order_id=42")
        column = resolve_column(name.strip(), source.schema.names, source.ref.name)
        parts.append(equals(column, value))
    where = combine(*parts)
    if where is None:
        raise ConfigError("--key COLUMN=VALUE at least once", "none", "for example --key order_id=42")
    where.to_pyarrow(source.schema)
    return where


def _read_row(engine: Engine, source: TableState, where: Predicate, bundle: vm.Bundle) -> pa.Table:
    rows = engine.read(source, bundle.feature_names, where, limit=2)
    if rows.num_rows == 1:
        return rows
    count = engine.count(source, where) if rows.num_rows else 0
    raise vm.DataError(
        f"one row in {source.ref.name} version {source.version} where {where}",
        f"{count:,} rows" if count else "none",
        "add --key COLUMN=VALUE until one row is left" if count else "correct the key",
    )


if __name__ == "__main__":
    from jobs.cli import main

    main("explain")
