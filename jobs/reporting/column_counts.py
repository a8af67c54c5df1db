"""Counts over the report's rows, from one pass: a histogram of the scores, rows of each model, and for each column what
is missing, new or out of range. A long, thin table that merges by sums, minima and maxima."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from jobs.engines.base import Engine, TableState
from jobs.predicates.predicate import Predicate
from jobs.tables.summaries import BIN, COUNTS, merge_counts, summarise_rows
from vae_model.features.encoder import Encoder
from vae_model.features.nested import expand_schema


@dataclass(frozen=True)
class Tally:
    """One line of the counts."""

    rows: int = 0
    low: float | None = None
    high: float | None = None
    total: float = 0.0


class ColumnCounts:
    """All lines, by what is counted, its name and a value."""

    def __init__(self, table: pa.Table) -> None:
        self._lines: dict[tuple[str, str], dict[str, Tally]] = {}
        for row in merge_counts(table).to_pylist():
            tally = Tally(row["rows"], row["low"], row["high"], row["total"])
            self._lines.setdefault((row["what"], row["name"]), {})[row["value"]] = tally

    def of(self, what: str, name: str = "") -> Tally:
        """The line without a value."""
        return self._lines.get((what, name), {}).get("", Tally())

    def values(self, what: str, name: str = "") -> Mapping[str, Tally]:
        """The lines of each value."""
        return self._lines.get((what, name), {})

    @property
    def rows(self) -> int:
        """Rows with a score."""
        return sum(tally.rows for tally in self.values("score").values())

    @property
    def alerts(self) -> int:
        return round(sum(tally.total for tally in self.values("model").values()))

    @property
    def model_ids(self) -> list[str]:
        """Models that scored the rows, the one with most rows first."""
        models = self.values("model")
        return sorted(models, key=lambda model_id: (-models[model_id].rows, model_id))

    def scores(self) -> list[tuple[float, int]]:
        """Lower end and rows of each bin of the score that has some, ascending."""
        return sorted((int(number) * BIN, tally.rows) for number, tally in self.values("score").items())

    def quantile_from_top(self, rows: int) -> float:
        """A score that at least so many rows reach, and as few others as the bins allow."""
        reached = 0
        for low, count in reversed(self.scores()):
            reached += count
            if reached >= rows:
                return low - BIN / 100
        return -1.0


def read_counts(
    engine: Engine,
    target: TableState,
    where: Predicate | None,
    encoders: Mapping[str, Encoder],
    columns: Sequence[str],
) -> ColumnCounts:
    """Count the matching rows.

    Args:
        engine: to read with.
        target: the scored table.
        where: rows to count; None: all.
        encoders: of the feature columns.
        columns: to look at, features or not; without one, only the scores are read.
    """
    paths = expand_schema(pa.schema([target.schema.field(name) for name in columns])).names
    summarise = partial(summarise_rows, dict(encoders), tuple(paths))
    wanted = [*columns, "anomaly_score", "is_anomaly", "model_id"]
    return ColumnCounts(engine.summarise(target, wanted, where, COUNTS, summarise))
