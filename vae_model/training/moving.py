"""Columns that move with the nights. The next night has values that no night had before, and they are no news: a date
written as text, a running number, a month that is still to come. A moment that follows the night stays a feature, and
what lies after the last one that training saw counts as that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.features.columns import Column
from vae_model.features.encoding import Encoded, TableEncoder
from vae_model.features.families import type_family
from vae_model.features.scales import Doubles, to_array, to_doubles
from vae_model.features.times import TimeEncoder, to_seconds

_DAY_S = 86_400.0
# Fewer nights show no course.
MIN_NIGHTS = 10
# A moment follows the night where it hardly strays from it, by days or as a part of all nights.
STRAY_S, STRAY_SHARE = 3.0 * _DAY_S, 0.05
# A column is constant within a night with hardly more different pairs than nights, and new each night with so many
# different values.
PAIRS, NEW = 1.05, 0.5
# Rank correlation of a running number with the night, and the different values that it has at least.
RUNNING, MANY = 0.98, 100
_RANKED_ROWS = 20_000


@dataclass(frozen=True)
class Moving:
    """Which columns move with the nights.

    Attributes:
        following: moments that follow the night.
        notes: a sentence for each column that is no feature for it.
        night: the column of the night, whose last one begins at `last_s`; empty without one.
    """

    following: frozenset[str] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)
    night: str = ""
    last_s: float = 0.0


def find_moving(sample: pa.Table, features: Sequence[Column], ignored: Sequence[str]) -> Moving:
    """Look at the features beside the night.

    Args:
        sample: training rows.
        features: as planned.
        ignored: key and partition columns; the first one that holds dates or moments is the night.
    """
    night = next((name for name in ignored if name in sample.column_names and _is_night(sample.column(name))), None)
    if night is None:
        return Moving()
    seconds = to_seconds(to_array(sample.column(night)))
    days = np.floor(seconds / _DAY_S)
    known = np.isfinite(days)
    nights = np.unique(days[known])
    if len(nights) < MIN_NIGHTS:
        return Moving()
    span_s = float(nights[-1] - nights[0]) * _DAY_S
    following, notes = set[str](), dict[str, str]()
    for column in features:
        values = to_array(sample.column(column.name))
        is_valued = column.kind in ("category", "text", "number") or (column.kind, column.family) == ("time", "string")
        why = _why_moving(values.filter(pa.array(known)), column, days[known], len(nights), span_s) if is_valued else ""
        if why:
            notes[column.name] = f"{column.name}: {why} {night}, and the next one's is new: not modelled"
        elif column.kind == "time" and _follows(to_seconds(values)[known], seconds[known], span_s):
            following.add(column.name)
    return Moving(frozenset(following), notes, night, float(np.nanmax(seconds)))


def advance_rows(moving: Moving, encoder: TableEncoder, batch: pa.RecordBatch, encoded: Encoded) -> None:
    """Put every other row, in memory, into the last night: moments that follow the night move as far as it does. Rows
    that are scored later lie there or beyond, which counts as there; training knows few of them otherwise. A night that
    is a feature itself stays: who asks for it asks for its place beside a month or a day.

    Args:
        moving: what follows the night.
        encoder: of the table.
        batch: rows.
        encoded: the same.
    """
    if not moving.following:
        return
    nights = to_seconds(batch.column(moving.night))
    rows = np.flatnonzero(np.isfinite(nights))[::2]
    for k, (column, of_column) in enumerate(zip(encoder.columns, encoder.encoders, strict=True)):
        if column.name not in moving.following - {moving.night} or not isinstance(of_column, TimeEncoder):
            continue
        moments = to_seconds(batch.column(column.name))[rows] + (moving.last_s - nights[rows])
        known = np.isfinite(moments)
        part = encoder.layout.first_part(k) + of_column.growing_part
        encoded.x[part, rows[known]] = of_column.locate(moments[known])


def _is_night(values: pa.ChunkedArray) -> bool:
    return type_family(values.type) in ("date", "timestamp") or TimeEncoder.recognises(values, 0)


def _follows(moments: Doubles, nights: Doubles, span_s: float) -> bool:
    lag = (moments - nights)[np.isfinite(moments)]
    if not len(lag) or float(np.nanmax(moments)) <= _DAY_S:
        return False
    stray = float(np.quantile(np.abs(lag - np.median(lag)), 0.95))
    return stray <= max(STRAY_S, STRAY_SHARE * span_s)


def _why_moving(values: pa.Array, column: Column, days: Doubles, nights: int, span_s: float) -> str:
    codes = values.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    known = np.isfinite(codes.astype(np.float64))
    codes, of = codes[known].astype(np.int64), days[known].astype(np.int64)
    if not len(codes):
        return ""
    distinct = int(codes.max()) + 1
    pairs = len(np.unique((of - of.min()) * distinct + codes))
    is_new = distinct >= NEW * nights or (distinct > 1 and span_s < TimeEncoder.WHOLE_YEAR_S)
    if pairs <= PAIRS * nights and distinct > 1 and is_new:
        return "has one value in each"
    if column.kind == "number" and distinct > MANY and abs(_correlate_ranks(to_doubles(values)[known], of)) >= RUNNING:
        return "grows with"
    return ""


def _correlate_ranks(x: Doubles, days: npt.NDArray[np.int64]) -> float:
    """Spearman's rank correlation, of some of the rows."""
    step = max(1, len(x) // _RANKED_ROWS)
    ranks = [np.unique(values[::step], return_inverse=True)[1].astype(np.float64) for values in (x, days)]
    return 0.0 if min(np.ptp(rank) for rank in ranks) == 0 else float(np.corrcoef(ranks[0], ranks[1])[0, 1])
