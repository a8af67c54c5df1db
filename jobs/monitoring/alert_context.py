"""What incidents are searched in: alert rows with their reasons, and all rows of the same nights to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import vae_model as vm
from jobs.monitoring.fault_patterns import Evidence
from jobs.monitoring.profiles import profile_of
from jobs.monitoring.segments import Category, Codes
from jobs.predicates.values import write_value
from jobs.tables.nights import NightName
from vae_model.features.words import to_words

# A column with a smaller share in a row's score is not blamed for it, nor one with much less than the first reason.
BLAME_SHARE: Final = 0.2
_BLAME_OF_FIRST: Final = 0.6
# A column with more values is no segment.
MAX_VALUES: Final = 300


@dataclass(frozen=True)
class AlertContext:
    """Alert rows [n] and rows of the table [m], over some nights.

    Attributes:
        nights: in order.
        alert_nights: [n] numbers of nights; `row_nights` [m] likewise.
        blames: column -> the alert rows that blame it.
        reasons: column -> the alert rows that have it among their reasons at all.
        categories: columns that segments may name.
        values: feature column -> [n] values in words.
        alert_weight: rows that each alert row stands for; `row_weight` likewise.
        chance: column -> share of ordinary alerts that blame it.
        budget: share of ordinary rows that are alerts.
        alert_scores: [n] -log10 of the alerts' p-values.
    """

    nights: tuple[NightName, ...]
    alert_nights: Codes
    row_nights: Codes
    blames: Mapping[str, Evidence]
    reasons: Mapping[str, Evidence]
    categories: Mapping[str, Category]
    values: dict[str, npt.NDArray[np.object_]]
    alert_weight: float
    row_weight: float
    chance: Mapping[str, float]
    budget: float
    alert_scores: npt.NDArray[np.float64]

    @property
    def alerts(self) -> int:
        return len(self.alert_nights)


def segment_columns(bundle: vm.Bundle, schema: pa.Schema) -> list[str]:
    """Columns that may name a segment: categories, booleans, and other text columns that are carried along."""
    kinds = {column.name: column.kind for column in bundle.features}
    return [
        field.name
        for field in schema
        if field.name not in vm.SCORE_COLUMNS
        and (
            (kinds.get(field.name) in ("category", "boolean") and _can_be_named(field.type))
            or (field.name not in kinds and (_is_text(field.type) or pa.types.is_boolean(field.type)))
        )
    ]


def build_alert_context(
    bundle: vm.Bundle,
    alerts: pa.Table,
    rows: pa.Table,
    nights: tuple[Sequence[str], Sequence[str]],
    budget: float,
    weights: tuple[float, float] = (1.0, 1.0),
) -> AlertContext:
    """Put alert rows and rows of the same nights into the form that the search needs.

    Args:
        bundle: that scored them.
        alerts: with `anomaly_score`, `top_columns`, the feature columns and the segment columns.
        rows: with the segment columns: all rows, or a sample of them.
        nights: of the alert rows, and of the rows, by name.
        budget: share of normal rows that are alerts.
        weights: how many rows each alert row, and each row, stands for.

    Raises:
        DataError: the bundle has no profile.
    """
    names = tuple(sorted(NightName.of(text) for text in {*nights[0], *nights[1]}))
    number = {name.text: i for i, name in enumerate(names)}
    profile = profile_of(bundle)
    kinds = {column.name: column.kind for column in bundle.features}
    levels = {
        column.name: frozenset(encoder.known_levels)
        for column, encoder in zip(bundle.features, bundle.encoder.encoders, strict=True)
        if encoder.known_levels
    }
    reasons = alerts.column("top_columns").to_pylist()
    mentioned = _read_reasons(reasons, kinds, levels, 0.0)
    blames = _read_reasons(reasons, kinds, levels, BLAME_SHARE)
    known = [name for name in kinds if name in alerts.column_names]
    few = [name for name in segment_columns(bundle, rows.schema) if name in alerts.column_names]
    found = [_build_category(name, alerts, rows) for name in few]
    count = len(profile)
    return AlertContext(
        names,
        np.array([number[night] for night in nights[0]], np.int32),
        np.array([number[night] for night in nights[1]], np.int32),
        blames,
        mentioned,
        {category.name: category for category in found if 2 <= len(category.levels) <= MAX_VALUES},
        {name: _to_words(alerts.column(name)) for name in known},
        *weights,
        {column.name: (column.blamed * 256 + 1.0) / (256 + count) for column in profile},
        budget,
        np.asarray(alerts.column("anomaly_score").to_numpy(), np.float64),
    )


def _read_reasons(
    reasons: Sequence[Sequence[Mapping[str, Any]] | None],
    kinds: Mapping[str, str],
    levels: Mapping[str, frozenset[str]],
    least: float,
) -> dict[str, Evidence]:
    """Column -> the rows that have it as their first reason, or with at least such a share; with 0, all reasons."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for row, chosen in enumerate(reasons):
        first = chosen[0]["share"] if chosen else 0.0
        for rank, reason in enumerate(chosen or ()):
            blamed = rank == 0 or reason["share"] >= max(least, _BLAME_OF_FIRST * first)
            # What is there as expected is not what is wrong, even where nothing else explains more.
            blamed &= reason["observed"] != reason["expected"]
            if reason["column"] in kinds and (blamed or least == 0.0):
                found.setdefault(reason["column"], []).append((row, reason["observed"], reason["expected"]))
    return {
        name: Evidence(
            name,
            kinds[name],
            np.array([row for row, _, _ in rows], np.intp),
            np.array([observed for _, observed, _ in rows], np.object_),
            np.array([expected for _, _, expected in rows], np.object_),
            levels.get(name),
        )
        for name, rows in sorted(found.items())
    }


def _build_category(name: str, alerts: pa.Table, rows: pa.Table) -> Category:
    there, here = _to_texts(rows.column(name)), _to_texts(alerts.column(name))
    levels = sorted({*there.tolist(), *here.tolist()}, key=lambda text: (text is None, text or ""))
    index = pa.array(levels, pa.string())
    codes = [
        pc.index_in(pa.array(texts, pa.string()), value_set=index).to_numpy(zero_copy_only=False).astype(np.int32)
        for texts in (there, here)
    ]
    return Category(name, tuple(levels), *codes)


def _to_texts(values: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """Values as conditions read them back, whole; None is NULL."""
    return _map_values(values, lambda value: None if value is None else write_value(value))


def _to_words(values: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """Values in words, as reasons have them."""
    return _map_values(values, to_words)


def _map_values(values: pa.ChunkedArray, function: Callable[[object], str | None]) -> npt.NDArray[np.object_]:
    encoded = values.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_decode()
    if pa.types.is_nested(encoded.type):
        return np.array([function(value) for value in encoded.to_pylist()], np.object_)
    coded = encoded.dictionary_encode(null_encoding="encode")
    words = np.array([function(value) for value in coded.dictionary.to_pylist()], np.object_)
    picked: npt.NDArray[np.object_] = (
        words[coded.indices.to_numpy(zero_copy_only=False)] if len(words) else np.array([], np.object_)
    )
    return picked


def _can_be_named(dtype: pa.DataType) -> bool:
    """Whether a condition can name a value."""
    return not (pa.types.is_nested(dtype) or pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype))


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))
