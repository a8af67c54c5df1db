"""`demo`: real flights -> Delta table -> extract -> train -> score -> the ten strangest flights and the report."""

from __future__ import annotations

from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.engines.base import Engine
from jobs.onboarding.flights import load_flights, write_delta
from jobs.predicates.conditions import is_true
from jobs.reporting.report import report
from jobs.scoring.score import score
from jobs.tables.refs import target_ref
from jobs.training.extract import extract
from jobs.training.train import train
from vae_model.scoring.wording import describe_row

STRANGEST = 10
_SHOWN = ("flight_date", "carrier", "flight", "tailnum", "origin", "dest")
_QUERY = """\
SELECT carrier, count(*) AS flights, sum(CAST(is_anomaly AS INT)) AS strange, round(max(anomaly_score), 1) AS worst
FROM delta.`{table}`
GROUP BY carrier ORDER BY worst DESC"""


def demo(config: Config, engine: Engine, reporter: Reporter) -> None:
    """The command: everything once, from the package's data to the strangest rows."""
    reporter.say("flights", f"writing the flights of 2013 to the Delta table {config.source.table}")
    version = write_delta(config.source.table, load_flights())
    reporter.say(
        "flights", f"{config.source.table} is at version {version}", table=config.source.table, version=version
    )
    extract(config, engine, reporter)
    train(config, reporter)
    score(config, engine, reporter, full=True)
    rows = find_strangest(config, engine)
    reporter.table("strange flight", f"The {STRANGEST} strangest flights", rows)
    query = _QUERY.format(table=config.score.table)
    reporter.say("try next", f"Try next, in Spark SQL:\n\n{query}\n", sql=query)
    page = report(config, engine, reporter)
    reporter.say(
        "done",
        f"every flight is scored in {config.score.table}; open {page} in a browser",
        table=config.score.table,
        report=str(page),
    )


def find_strangest(config: Config, engine: Engine) -> list[dict[str, Field]]:
    """The rows of the scored table with the highest scores, each with its main reasons."""
    target = engine.describe(target_ref(config))
    columns = [*_SHOWN, "anomaly_score", "top_columns", "why"]
    found = engine.read(target, columns, is_true("is_anomaly"), limit=1_000_000)
    # The key breaks ties, so that both engines list the same flights in the same order.
    order = [("anomaly_score", "descending"), *((name, "ascending") for name in _SHOWN)]
    return [
        {name: str(row[name]) for name in _SHOWN}
        | {"score": round(row["anomaly_score"], 2), "because": ". ".join(describe_row(row))}
        for row in found.sort_by(order).slice(0, STRANGEST).to_pylist()
    ]
