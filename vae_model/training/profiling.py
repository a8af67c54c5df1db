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
from vae_model.features.categories import CategoryEncoder, TextEncoder
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
# Of the nights that are trained on, the share that may be broken.
BROKEN_NIGHTS = 0.005
SCORED_ROWS = 30_000
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
    counted, new, high = _count_nights(bundle, encoders, batches, night)
    if len(counted) < MIN_NIGHTS:
        return bundle
    measured = []
    for k, (column, _) in enumerate(encoders):
        measured.append(_measure_column(column, [counts[k] for counts in counted.values()], new[k]))
    columns, others = measured[: len(bundle.profile.columns)], measured[len(bundle.profile.columns) :]
    usual = {profile.name: replace(column, profile=profile) for column, profile in zip(watched, others, strict=True)}
    kept = tuple(usual.get(column.profile.name, column) for column in bundle.profile.watched)
    scored = np.array(list(high.values()), np.float64).reshape(-1, 2)
    return replace(bundle, profile=Profile(tuple(columns), kept, _measure_clusters(scored[:, 0], scored[:, 1])))


def _measure_column(column: ColumnProfile, nights: Sequence[BinCounts], new: Doubles) -> ColumnProfile:
    """The profile with what single nights do.

    Args:
        column: over all nights.
        nights: the counts of each.
        new: of each, the rows with a level that no other night has.
    """
    expected, null_share = np.asarray(column.counts), column.nulls / max(column.rows, 1)
    rows, nulls = (np.array([getattr(n, name) for n in nights], np.float64) for name in ("rows", "nulls"))
    is_calendar = _is_calendar(expected, [n for n in nights if n.rows >= MIN_NIGHT_ROWS] or nights)
    measured = replace(
        column,
        is_calendar=is_calendar,
        null_clusters=_measure_clusters(nulls, rows),
        new_share=round(float(new.sum() / max(rows.sum(), 1.0)), 6),
        new_clusters=_measure_clusters(new, rows),
    )
    large = [n for n in nights if n.rows >= MIN_NIGHT_ROWS]
    if len(large) < MIN_NIGHTS:
        return measured
    # A few hundred rows differ from all of them by accident: about one part in their number for each bin.
    psi = [population_stability(expected, n.counts) - len(expected) / n.rows for n in large]
    strays = [abs(n.nulls / n.rows - null_share) for n in large]
    # All but the last one: it may be a broken night.
    usual = max(USUAL, 1.0 - 1.5 / len(large))
    usual_psi, usual_nulls = (round(max(0.0, float(np.quantile(v, usual))), 4) for v in (psi, strays))
    return replace(measured, usual_psi=usual_psi, usual_nulls=usual_nulls)


def _measure_clusters(hits: Doubles, rows: Doubles) -> float:
    """Variance of the nights' counts over that of a binomial distribution, at least 1; a few nights are left out, which
    may be broken (Pearson's chi-square over its degrees of freedom; McCullagh & Nelder 1989, ch. 4.5)."""
    share = float(hits.sum() / max(rows.sum(), 1.0))
    there = rows > 0
    if not 0.0 < share < 1.0 or not there.any():
        return 1.0
    spread = np.square(hits[there] - rows[there] * share) / (rows[there] * share * (1.0 - share))
    kept = np.sort(spread)[: len(spread) - max(1, round(BROKEN_NIGHTS * len(spread)))]
    return round(max(1.0, float(kept.mean())), 4) if len(kept) else 1.0


def _is_calendar(expected: Doubles, nights: Sequence[BinCounts]) -> bool:
    if expected.max(initial=0.0) > SPREAD_SHARE * expected.sum():
        return False
    alike = [n.counts.max() >= CALENDAR_SHARE * n.counts.sum() for n in nights if n.counts.sum()]
    return bool(alike) and float(np.mean(alike)) >= CALENDAR_NIGHTS


def _count_nights(
    bundle: Bundle,
    encoders: Sequence[tuple[ColumnProfile, Encoder]],
    batches: Iterable[pa.RecordBatch],
    night: str,
) -> tuple[dict[object, list[BinCounts]], list[Doubles], dict[object, list[int]]]:
    """Night -> counts of each column; of each column the rows of these nights with a level that no other one has; night
    -> rows with a score above 1, and rows, of some rows. No more nights than are looked at."""
    counted: dict[object, list[BinCounts]] = {}
    high: dict[object, list[int]] = {}
    forward, scored = build_forward(bundle), 0
    levels: list[list[pa.Table]] = [[] for _ in encoders]
    for batch in batches:
        values = batch.column(night)
        if scored < SCORED_ROWS:
            scored += batch.num_rows
            flags = score_rows(bundle, forward, bundle.encoder.encode(batch, own=True)).log10_p < -1.0
            for value, flag in zip(values.to_pylist(), flags.tolist(), strict=True):
                of_night = high.setdefault(value, [0, 0])
                of_night[0], of_night[1] = of_night[0] + flag, of_night[1] + 1
        for value in pc.unique(values):
            if value.as_py() not in counted and len(counted) >= MAX_NIGHTS:
                continue
            part = batch.filter(pc.equal(values, value) if value.is_valid else values.is_null())
            found = [encoder.count_by(profile.bins, part.column(profile.name)) for profile, encoder in encoders]
            before = counted.get(value.as_py())
            counted[value.as_py()] = [a + b for a, b in zip(before, found, strict=True)] if before else found
        for k, (profile, encoder) in enumerate(encoders):
            if isinstance(encoder, CategoryEncoder):
                pairs = pa.table({"night": values, "level": encoder.to_levels(batch.column(profile.name))})
                levels[k].append(pairs.group_by(["night", "level"]).aggregate([([], "count_all")]))
    return counted, [_count_new(parts, list(counted)) for parts in levels], high


def _count_new(parts: Sequence[pa.Table], nights: Sequence[object]) -> Doubles:
    """[nights] rows with a level that no other night has."""
    if not parts:
        return np.zeros(len(nights))
    pairs = pa.concat_tables(parts).group_by(["night", "level"]).aggregate([("count_all", "sum")])
    pairs = pairs.filter(pairs["level"].is_valid())
    of_level = pairs.group_by("level").aggregate([([], "count_all")])
    single = of_level.filter(pc.equal(of_level["count_all"], 1))["level"]
    alone = pairs.filter(pc.is_in(pairs["level"], value_set=single.combine_chunks()))
    found: dict[object, float] = {}
    for one, rows in zip(alone["night"].to_pylist(), alone["count_all_sum"].to_pylist(), strict=True):
        found[one] = found.get(one, 0.0) + rows
    return np.array([found.get(one, 0.0) for one in nights])
