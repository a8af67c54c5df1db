"""The last steps of training: a bundle gets the profile of its training rows, and how far single nights are from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_model.bundle.bundle import Bundle
from vae_model.bundle.profile import ColumnProfile, Profile, WatchedColumn, population_stability, profile_column
from vae_model.features.arrays import to_text
from vae_model.features.bins import BinCounts
from vae_model.features.categories import TextEncoder
from vae_model.features.encoder import Encoder
from vae_model.features.encoding import Encoded
from vae_model.features.families import type_family
from vae_model.features.scales import Doubles, to_array
from vae_model.scoring.explainer import Explainer
from vae_model.scoring.scorer import build_forward, score_rows

# Of the held-out rows, the most unusual: their reasons say which columns are blamed when nothing is broken.
BLAMED_SHARE = 0.02
MAX_BLAMED_ROWS = 256
# Nights with fewer training rows say nothing, and fewer nights do not say what is usual.
MIN_NIGHT_ROWS, MIN_NIGHTS = 20, 20
MAX_NIGHTS = 1_000
USUAL = 0.99
# A column of which so many nights have (almost) one value each, and all of them many, moves with the calendar.
CALENDAR_NIGHTS, CALENDAR_SHARE, SPREAD_SHARE = 0.9, 0.95, 0.6


def attach_profile(bundle: Bundle, sample: pa.Table, held_out: Encoded) -> Bundle:
    """The bundle with the profile of its training rows.

    Args:
        bundle: calibrated.
        sample: training rows; all of them or an even choice.
        held_out: encoded rows that the network has not seen; they say which columns get the blame by chance.
    """
    blamed = _blame(bundle, held_out)
    columns = [
        profile_column(c.name, c.kind, encoder, to_array(sample.column(c.name)))
        for c, encoder in zip(bundle.features, bundle.encoder.encoders, strict=True)
    ]
    with_blame = [replace(c, blamed=round(float(share), 4)) for c, share in zip(columns, blamed, strict=True)]
    names = [name for name in sample.column_names if name not in bundle.feature_names]
    watched = [
        _watch(name, sample.column(name)) for name in names if type_family(sample.schema.field(name).type) == "string"
    ]
    return replace(bundle, profile=Profile(tuple(with_blame), tuple(column for column in watched if column)))


def _watch(name: str, values: pa.ChunkedArray) -> WatchedColumn | None:
    """The forms of a string column that is no feature, runs of a class of characters as one: names count up."""
    text = to_text(to_array(values))
    if text.null_count == len(text):
        return None
    encoder = TextEncoder.of_forms(text.drop_null(), "runs")
    return WatchedColumn(profile_column(name, "text", encoder, text), encoder)


def _blame(bundle: Bundle, held_out: Encoded) -> Doubles:
    """[K] how often each column is the first reason among the most unusual held-out rows."""
    forward = build_forward(bundle)
    rows = score_rows(bundle, forward, held_out)
    count = int(np.clip(held_out.rows * BLAMED_SHARE, 1, MAX_BLAMED_ROWS))
    worst = np.argsort(rows.log10_p, kind="stable")[:count]
    shares = Explainer(bundle, forward).shares(held_out.take(worst), rows.terms[:, worst])
    first = np.argmax(shares, axis=0)
    return np.bincount(first, minlength=len(bundle.features)) / count


def measure_nights(bundle: Bundle, batches: Iterable[pa.RecordBatch], night: str) -> Bundle:
    """The bundle with what its columns usually do from night to night: weather, weekdays, months.

    Args:
        bundle: with a profile.
        batches: training rows.
        night: the column whose values are the nights; not a feature.
    """
    if bundle.profile is None:
        return bundle
    watched = [column for column in bundle.profile.watched if column.profile.name != night]
    encoders = [*zip(bundle.profile.columns, bundle.encoder.encoders, strict=True)]
    encoders += [(column.profile, column.encoder) for column in watched]
    counted = _count_nights(encoders, batches, night)
    measured = []
    for k, (column, _) in enumerate(encoders):
        nights = [counts[k] for counts in counted.values() if counts[k].rows >= MIN_NIGHT_ROWS]
        if len(nights) < MIN_NIGHTS or len(counted) > MAX_NIGHTS:
            return bundle
        measured.append(_measure_column(column, nights))
    columns, others = measured[: len(bundle.profile.columns)], measured[len(bundle.profile.columns) :]
    usual = {profile.name: replace(column, profile=profile) for column, profile in zip(watched, others, strict=True)}
    kept = tuple(usual.get(column.profile.name, column) for column in bundle.profile.watched)
    return replace(bundle, profile=Profile(tuple(columns), kept))


def _measure_column(column: ColumnProfile, nights: Sequence[BinCounts]) -> ColumnProfile:
    """The profile with what single nights do."""
    expected, null_share = np.asarray(column.counts), column.nulls / max(column.rows, 1)
    # A few hundred rows differ from all of them by accident: about one part in their number for each bin.
    psi = [population_stability(expected, n.counts) - len(expected) / n.rows for n in nights]
    nulls = [abs(n.nulls / n.rows - null_share) for n in nights]
    usual_psi, usual_nulls = (round(max(0.0, float(np.quantile(v, USUAL))), 4) for v in (psi, nulls))
    is_calendar = _is_calendar(expected, nights)
    return replace(column, usual_psi=usual_psi, usual_nulls=usual_nulls, is_calendar=is_calendar)


def _is_calendar(expected: Doubles, nights: Sequence[BinCounts]) -> bool:
    if expected.max(initial=0.0) > SPREAD_SHARE * expected.sum():
        return False
    alike = [n.counts.max() >= CALENDAR_SHARE * n.counts.sum() for n in nights if n.counts.sum()]
    return bool(alike) and float(np.mean(alike)) >= CALENDAR_NIGHTS


def _count_nights(
    encoders: Sequence[tuple[ColumnProfile, Encoder]], batches: Iterable[pa.RecordBatch], night: str
) -> dict[object, list[BinCounts]]:
    """Night -> counts of each column; no more nights than are looked at."""
    counted: dict[object, list[BinCounts]] = {}
    for batch in batches:
        values = batch.column(night)
        for value in pc.unique(values):
            chosen = pc.equal(values, value) if value.is_valid else values.is_null()
            part = batch.filter(chosen)
            found = [encoder.count_by(profile.bins, part.column(profile.name)) for profile, encoder in encoders]
            before = counted.get(value.as_py())
            counted[value.as_py()] = [a + b for a, b in zip(before, found, strict=True)] if before else found
        if len(counted) > MAX_NIGHTS:
            break
    return counted
