"""What each column holds now, against what training saw: missing values, new categories, numbers out of range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.types as pt

from jobs.reporting.column_counts import ColumnCounts
from vae_model import Bundle
from vae_model.features.encoder import Encoder
from vae_model.features.nested import expand_schema
from vae_model.features.words import to_words

NULL_SURPLUS = 0.01
_SHOWN_VALUES = 5
_DAY_S = 86_400


@dataclass(frozen=True)
class ColumnQuality:
    """One column of the report's rows.

    Attributes:
        kind: how the model sees it; empty for a column that is only carried.
        null_share: NULL and NaN.
        null_share_then: in training; None where it is not known.
        low, high, mean: of the finite values, in words; no mean for clock times and what is not modelled.
        low_then, high_then: in training.
        unseen: rows with a category that training did not keep; None for what has no categories.
        unseen_values: the most frequent of these, with their rows.
        outside: rows beyond training's smallest and largest value; None for what has no range.
        remarks: what is odd.
    """

    name: str
    kind: str
    null_share: float
    null_share_then: float | None
    low: str = ""
    high: str = ""
    mean: str = ""
    low_then: str = ""
    high_then: str = ""
    unseen: int | None = None
    unseen_values: tuple[tuple[str, int], ...] = ()
    outside: int | None = None
    remarks: tuple[str, ...] = ()


def list_quality(
    counts: ColumnCounts, bundle: Bundle | None, columns: Sequence[str], schema: pa.Schema
) -> list[ColumnQuality]:
    """One line for each column, nested ones expanded, the features first as the model orders them."""
    encoders = _by_name(bundle)
    plain = expand_schema(pa.schema([schema.field(name) for name in columns]))
    names = plain.names
    ordered = [name for name in encoders if name in names] + [name for name in names if name not in encoders]
    return [_describe(name, counts, encoders.get(name), plain.field(name).type) for name in ordered]


def _by_name(bundle: Bundle | None) -> Mapping[str, tuple[Encoder, float]]:
    if bundle is None:
        return {}
    encoder = bundle.encoder
    return {
        name: (one, share)
        for name, one, share in zip(encoder.names, encoder.encoders, encoder.absent_share, strict=True)
    }


def _describe(name: str, counts: ColumnCounts, then: tuple[Encoder, float] | None, dtype: pa.DataType) -> ColumnQuality:
    encoder, share_then = then or (None, None)
    seen = counts.of("seen", name).rows
    share = (counts.of("null", name).rows + counts.of("nan", name).rows) / max(seen, 1)
    found = counts.of("range", name)
    low_then, high_then = encoder.bounds if encoder and encoder.bounds else (None, None)
    is_quantity = encoder is not None and encoder.is_quantity
    has_levels = encoder is not None and encoder.place == "category"
    new = sorted(counts.values("unseen value", name).items(), key=lambda item: (-item[1].rows, item[0]))
    unseen = counts.of("unseen", name).rows if has_levels else None
    outside = counts.of("outside", name).rows if is_quantity else None
    infinite = counts.of("infinite", name).rows
    mean = found.total / found.rows if found.rows else math.nan
    return ColumnQuality(
        name=name,
        kind=encoder.kind if encoder else "",
        null_share=share,
        null_share_then=share_then,
        low=_in_words(found.low, dtype),
        high=_in_words(found.high, dtype),
        mean=_in_words(mean, dtype) if math.isfinite(mean) and is_quantity else "",
        low_then=_in_words(low_then, _type_of_bounds(encoder, dtype)),
        high_then=_in_words(high_then, _type_of_bounds(encoder, dtype)),
        unseen=unseen,
        unseen_values=tuple((value, tally.rows) for value, tally in new[:_SHOWN_VALUES]),
        outside=outside,
        remarks=tuple(_find_remarks(share, share_then, unseen, outside, infinite, seen)),
    )


def _type_of_bounds(encoder: Encoder | None, dtype: pa.DataType) -> pa.DataType:
    """Of a moment that arrives as text, bounds are moments all the same."""
    if encoder is None or encoder.bounds is None or encoder.is_quantity or pt.is_temporal(dtype):
        return dtype
    return pa.time32("s") if encoder.bounds[1] <= _DAY_S else pa.timestamp("s")


def _find_remarks(
    share: float, share_then: float | None, unseen: int | None, outside: int | None, infinite: int, rows: int
) -> list[str]:
    remarks = []
    if share_then is not None and share > share_then + max(NULL_SURPLUS, share_then):
        remarks.append("more NULLs than in training")
    if unseen and unseen > max(1, rows // 10_000):
        remarks.append("new categories")
    if outside and outside > max(1, rows // 10_000):
        remarks.append("out of training's range")
    if infinite:
        remarks.append(f"{infinite:,} infinite")
    return remarks


def _in_words(value: float | None, dtype: pa.DataType) -> str:
    if value is None:
        return ""
    if pt.is_temporal(dtype) and not pt.is_duration(dtype):
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
        except OverflowError:
            return "beyond year 9999"
        if pt.is_date(dtype):
            return moment.date().isoformat()
        return f"{moment:%H:%M:%S}" if pt.is_time(dtype) else f"{moment:%Y-%m-%d %H:%M}"
    return to_words(float(value))
