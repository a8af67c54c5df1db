"""What stands beside one row when it is explained: ordinary rows that are most like it, its segment night by night,
and the SQL that finds its like."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import Field
from jobs.common.sampling import Sample, hashable_columns
from jobs.engines.base import Engine, TableState
from jobs.predicates.conditions import equals, is_true
from jobs.predicates.predicate import Predicate, combine
from jobs.tables.nights import find_night_column
from jobs.tables.summaries import NIGHTS, merge_nights, summarise_nights
from vae_model.features.nested import expand_table, source_columns
from vae_model.features.words import to_words

SIMILAR: Final = 3
COMPARED_ROWS: Final = 20_000
SHOWN_NIGHTS: Final = 14
# A difference of more deviations is no larger one.
_FAR: Final = 3.0
_SEED: Final = 29


def find_similar(
    config: Config,
    engine: Engine,
    target: TableState,
    bundle: vm.Bundle,
    row: pa.Table,
    where: Predicate,
    without: Collection[str],
) -> list[dict[str, Field]]:
    """Ordinary rows of the scored table that are most like a row in all but some columns; none where the scored table
    does not carry the features.

    Args:
        config: the job.
        engine: to read with.
        target: the scored table.
        bundle: the model.
        row: one row.
        where: it is.
        without: the columns in which the rows may differ.
    """
    features = source_columns(bundle.feature_names, row.schema)
    key = [name for name in config.source.key if name in target.schema.names]
    if not set(features) <= set(target.schema.names):
        return []
    named = where.check_columns(target.schema, target.ref.name)
    columns = list(dict.fromkeys([*key, *named, *features, "is_anomaly"]))
    chosen = Sample(tuple(key) or hashable_columns(target.schema), COMPARED_ROWS, engine.count(target, None), _SEED)
    rows = engine.sample(target, columns, None, chosen)
    others = pc.invert(pc.fill_null(_matches(rows, where), False))
    rows = rows.filter(pc.and_(pc.invert(rows["is_anomaly"]), others)).drop_columns(["is_anomaly"])
    if not rows.num_rows:
        return []
    distances = _measure(bundle, row, rows, without)
    order = sorted(zip(distances.tolist(), map(str, rows.to_pylist()), range(rows.num_rows), strict=True))
    nearest = rows.take(pa.array([number for _, _, number in order[:SIMILAR]]))
    return [{name: to_words(value) for name, value in found.items()} for found in nearest.to_pylist()]


def _matches(rows: pa.Table, where: Predicate) -> pa.ChunkedArray:
    """[n] whether a condition holds."""
    numbered = rows.append_column("", pa.array(np.arange(rows.num_rows)))
    found = numbered.filter(where.to_pyarrow(rows.schema))[""]
    return pc.is_in(numbered[""], value_set=found.combine_chunks())


def _measure(bundle: vm.Bundle, row: pa.Table, rows: pa.Table, without: Collection[str]) -> npt.NDArray[np.float64]:
    """[n] how far rows are from one row, in deviations, summed over columns; another level counts as far."""
    encoder, layout = bundle.encoder, bundle.encoder.layout
    mine, theirs = (
        encoder.encode(expand_table(table, bundle.feature_names).combine_chunks().to_batches()[0])
        for table in (row.select(source_columns(bundle.feature_names, row.schema)), rows)
    )
    kept = np.array([name not in without for name in bundle.feature_names])
    owners = np.asarray((*layout.continuous, *layout.booleans), np.intp)
    parts = np.bincount(owners, minlength=layout.columns)[owners]
    apart = np.minimum(np.abs(theirs.x - mine.x), _FAR) / parts[:, None]
    levels = (theirs.codes != mine.codes) * _FAR
    absent = (theirs.absent != mine.absent) * _FAR
    total = apart[kept[owners]].sum(axis=0) + levels[kept[list(layout.categories)]].sum(axis=0)
    return np.asarray(total + absent[kept].sum(axis=0), np.float64)


def choose_segment(row: pa.Table, reasons: Sequence[vm.Reason], names: Collection[str]) -> Predicate | None:
    """What the first reason stands against, as a condition: rows alike in that; None where it is no plain column."""
    against = [name for name, _ in reasons[0].against if name in names] if reasons else []
    plain = [name for name in against if not pa.types.is_floating(row.schema.field(name).type)][:1]
    return combine(*(equals(name, row[name][0].as_py()) for name in plain))


def list_nights(
    config: Config, engine: Engine, target: TableState, segment: Predicate | None
) -> list[dict[str, Field]]:
    """The last nights of a segment: rows, and alerts."""
    night = find_night_column(config, target)
    columns = list(dict.fromkeys([night, "is_anomaly", "top_columns"]))
    found = merge_nights(engine.summarise(target, columns, segment, NIGHTS, partial(summarise_nights, night)))
    nights = sorted((line for line in found.to_pylist() if not line["column"]), key=lambda line: str(line["night"]))
    return [{"night": line["night"], "rows": line["rows"], "alerts": line["alerts"]} for line in nights[-SHOWN_NIGHTS:]]


def write_query(target: TableState, reasons: Sequence[vm.Reason], segment: Predicate | None) -> str:
    """Spark SQL for the alerts of the same segment that the same column is blamed for."""
    where = combine(is_true("is_anomaly"), segment)
    blamed = f" AND top_columns[0].column = '{reasons[0].column}'" if reasons else ""
    name = target.ref.name
    table = name if "/" not in name and target.ref.name.count(".") else f"delta.`{name}`"
    return f"SELECT * FROM {table} WHERE {where}{blamed} ORDER BY anomaly_score DESC"  # noqa: S608  to be read, not run
