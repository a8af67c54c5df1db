"""Guesses from a sample of a table what a config has to say: which columns name a row, which one is the night, and what
each column is. Pure functions; every guess comes with its reason, for people to correct."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_model.features.columns import plan_columns
from vae_model.features.families import type_family
from vae_model.features.kinds import KINDS
from vae_model.features.nested import expand_table
from vae_model.features.words import describe_values
from vae_model.options import ColumnOptions
from vae_model.training.moving import find_moving

MAX_KEY_COLUMNS = 4
_MAX_CANDIDATES = 12
_MAX_NAME_CHARACTERS = 40
# A code repeats: each of its values stands in so many rows, on average, and there are not many of them.
_ROWS_PER_CODE = 20
_MAX_CODES = 64
_IDENTIFIER = re.compile(r"(^|_)(id|key|uuid|guid|pk|no|nr|num|number|code|sku)$|[a-z](Id|ID|Key|Code|No|Number)$")
_TYPE_ORDER = {"string": 0, "timestamp": 1, "date": 2, "integer": 3}


@dataclass(frozen=True)
class InferredColumn:
    """What a column is; kind None: no feature. `reason` says why, in words."""

    name: str
    kind: str | None
    reason: str


def infer_partition(sample: pa.Table, partition_columns: Sequence[str]) -> tuple[str | None, str]:
    """The column whose values are the nights, and why: a date that partitions the table, else the only date."""
    dates = [field.name for field in sample.schema if pt.is_date(field.type)]
    of_table = sorted(partition_columns, key=lambda name: name not in dates)
    if of_table:
        return of_table[0], "the table is partitioned by it"
    if len(dates) == 1 and 1 < pc.count_distinct(sample[dates[0]]).as_py() < sample.num_rows / 2:
        return dates[0], "the only date in the table, and each one has many rows"
    return None, "no partition column, and not just one date that many rows share"


def find_keys(sample: pa.Table) -> Iterator[tuple[str, ...]]:
    """Sets of columns that tell all rows of the sample apart, the likeliest keys first, the smallest sets first."""
    rows = sample.num_rows
    names = _rank_candidates(sample) if rows > 1 else []
    codes = {name: _encode(sample[name]) for name in names}
    counts = {name: int(codes[name].max()) + 1 for name in names}
    found: list[tuple[str, ...]] = []
    for size in range(1, MAX_KEY_COLUMNS + 1):
        for chosen in combinations(names, size):
            possible = prod(counts[name] for name in chosen) >= rows
            if possible and not any(set(key) <= set(chosen) for key in found) and _tells_apart(chosen, codes, counts):
                found.append(chosen)
                yield chosen


def is_key(rows: pa.Table) -> bool:
    """Whether no two rows are equal, and nothing is NULL."""
    if any(column.null_count for column in rows.columns):
        return False
    return bool(rows.group_by(rows.column_names, use_threads=False).aggregate([]).num_rows == rows.num_rows)


def infer_columns(sample: pa.Table, key: Sequence[str], partition: Sequence[str]) -> list[InferredColumn]:
    """What each column of the table is, in the table's order, nested ones expanded."""
    sample = expand_table(sample)
    planned = plan_columns(sample.schema, sample, ColumnOptions(ignore=tuple(partition)))
    moving = find_moving(sample, planned.features, partition)
    kinds = {column.name: column.kind for column in planned.features if column.name not in moving.notes}
    notes = dict(note.split(": ", 1) for note in (*planned.notes, *moving.notes.values()))
    return [_guess_column(field, sample[field.name], kinds, notes, key, partition) for field in sample.schema]


def _guess_column(
    field: pa.Field,
    values: pa.ChunkedArray,
    kinds: Mapping[str, str],
    notes: Mapping[str, str],
    key: Sequence[str],
    partition: Sequence[str],
) -> InferredColumn:
    name, family = field.name, type_family(field.type)
    if name in partition:
        return InferredColumn(name, None, "the night: carried along, not modelled")
    if name not in kinds:
        return InferredColumn(name, None, notes.get(name, f"type {field.type} cannot be modelled"))
    distinct = pc.count_distinct(values, mode="only_valid").as_py() if family in _TYPE_ORDER else 0
    is_code = distinct <= _MAX_CODES and distinct * _ROWS_PER_CODE <= len(values)
    if name in key and not (family == "string" and is_code) and family not in ("timestamp", "date"):
        return InferredColumn(name, None, f"names a row ({distinct:,} different values)")
    if name in key and len(key) == 1:
        return InferredColumn(name, None, "names a row")
    if family == "integer" and kinds[name] == "number" and _IDENTIFIER.search(name):
        if not is_code:
            return InferredColumn(name, None, f"a number that names something ({distinct:,} different values)")
        return InferredColumn(name, "category", f"a code: {describe_values(values)}")
    part = "part of the key, but its values repeat; " if name in key else ""
    return InferredColumn(name, kinds[name], part + KINDS[kinds[name]].describe(values))


def _rank_candidates(sample: pa.Table) -> list[str]:
    """Columns that can be part of a key: no NULL, more than one value, no measurement, no long text."""
    ranked = []
    for position, field in enumerate(sample.schema):
        family, values = type_family(field.type), sample[field.name]
        if family not in _TYPE_ORDER or values.null_count:
            continue
        distinct = pc.count_distinct(values).as_py()
        if distinct < 2 or (family == "string" and pc.mean(pc.utf8_length(values)).as_py() > _MAX_NAME_CHARACTERS):
            continue
        rank = (not _IDENTIFIER.search(field.name), _TYPE_ORDER[family], -distinct if family == "integer" else 0)
        ranked.append(((*rank, position), field.name))
    return [name for _, name in sorted(ranked)[:_MAX_CANDIDATES]]


def _encode(values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    encoded = values.combine_chunks().dictionary_encode()
    codes: npt.NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _tells_apart(names: tuple[str, ...], codes: dict[str, npt.NDArray[np.int64]], counts: dict[str, int]) -> bool:
    together, distinct = codes[names[0]], counts[names[0]]
    for name in names[1:]:
        # Numbered anew, the pairs never outgrow 64 bits.
        found, together = np.unique(together * counts[name] + codes[name], return_inverse=True)
        distinct = len(found)
    return distinct == len(together)
