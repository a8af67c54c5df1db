"""People's verdicts on rows, in a small Delta table beside the scored one: this was expected, that was an anomaly. A
verdict names rows by key columns (NULL: any value, unless `null_keys` lists the column) and an interval of nights, and
holds until a day or for good.

Scores never change by it: a row that is expected is left out where alerts are listed, a bad one where the training
sample is drawn."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.config import Config
from jobs.common.errors import ConfigError
from jobs.delta.storage import TableRef
from jobs.engines.base import Engine, TableState
from jobs.predicates.predicate import resolve_column
from jobs.tables.nights import NightName
from jobs.tables.refs import feedback_ref
from vae_model import DataError

Verdict: TypeAlias = Literal["expected", "anomaly"]
NIGHT_FROM, NIGHT_TO, NULL_KEYS = "night_from", "night_to", "null_keys"
_NULL_KEYS = pa.field(
    NULL_KEYS, pa.string(), metadata={"comment": "key columns that are NULL in the row, as a JSON list; NULL: none"}
)
_OWN = pa.schema(
    [
        pa.field(
            "verdict", pa.string(), metadata={"comment": "expected: no alert; anomaly: real, no example to learn from"}
        ),
        pa.field("until", pa.date32(), metadata={"comment": "the last day on which the verdict holds; NULL: for good"}),
        pa.field("note", pa.string(), metadata={"comment": "why"}),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC"), metadata={"comment": "when it was given"}),
        pa.field("recorded_by", pa.string(), metadata={"comment": "who gave it"}),
    ]
)
MAX_VERDICTS: Final = 1_000_000
_ROW, _ENTRY = "\0row", "\0entry"
_VALUE, _NULL = 1, 2


@dataclass(frozen=True)
class FeedbackSchema:
    """What the table of verdicts looks like for one job: key columns, the ends of an interval of nights, the rest."""

    ref: TableRef
    key: tuple[str, ...]
    partition: str | None
    schema: pa.Schema

    @property
    def identity(self) -> list[str]:
        """The columns that name the rows; one verdict for each of their values."""
        return [name for name in self.schema.names if name not in _OWN.names]

    @property
    def needed(self) -> list[str]:
        """The columns that rows must have to be judged."""
        return list(dict.fromkeys([*self.key, *([self.partition] if self.partition else [])]))


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of one job."""

    shape: FeedbackSchema
    entries: pa.Table

    def judge(self, rows: pa.Table, on: date | None = None) -> pa.ChunkedArray:
        """The verdict on each row that holds on a day (None: also those that have run out); NULL where there is none.

        The one that was given last wins.
        """
        entries = self.entries if on is None else self.entries.filter(_holds(on))
        entries = entries.sort_by([("recorded_at", "ascending"), *((name, "ascending") for name in self.shape.key)])
        found = np.full(rows.num_rows, -1, np.int64)
        for row, entry in self._match(rows.select(self.shape.needed), entries):
            np.maximum.at(found, row, entry)
        chosen = pa.array(found, mask=found < 0)
        return (
            entries["verdict"].take(chosen)
            if len(entries)
            else pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
        )

    def without_expected(self, rows: pa.Table, on: date | None = None) -> pa.Table:
        """The rows that nobody expects, today or on another day: what a list of alerts shows."""
        return rows.filter(pc.fill_null(pc.not_equal(self.judge(rows, on or today()), "expected"), True))

    def without_bad(self, rows: pa.Table, on: date | None = None) -> pa.Table:
        """The rows that are not known to be anomalies: what there is to learn from."""
        return rows.filter(pc.fill_null(pc.not_equal(self.judge(rows, on or today()), "anomaly"), True))

    def _match(
        self, rows: pa.Table, entries: pa.Table
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Pairs of a row and an entry that names it, by the key columns that the entries fill in or say are NULL."""
        numbered = rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
        named = self._named(entries)
        for pattern in np.unique(named, axis=1).T:
            which = np.flatnonzero((named == pattern[:, None]).all(axis=0))
            keys = [name for name, how in zip(self.shape.key, pattern, strict=True) if how == _VALUE]
            candidates = numbered
            for name in (name for name, how in zip(self.shape.key, pattern, strict=True) if how == _NULL):
                candidates = candidates.filter(candidates[name].is_null())
            some = entries.take(pa.array(which)).append_column(_ENTRY, pa.array(which, pa.int64()))
            if keys:
                some = some.select([*keys, *self._ends, _ENTRY])
                yield self._within(candidates.join(some, keys=keys, join_type="inner", use_threads=False))
                continue
            for entry in some.to_pylist():
                count = candidates.num_rows
                alone = candidates.append_column(_ENTRY, pa.array(np.full(count, entry[_ENTRY]), pa.int64()))
                for name in self._ends:
                    end = pa.array([entry[name]] * count, self.shape.schema.field(name).type)
                    alone = alone.append_column(name, end)
                yield self._within(alone)

    def _named(self, entries: pa.Table) -> npt.NDArray[np.int8]:
        """[keys, entries] how an entry names each key column: not at all, by a value, or as NULL."""
        named = np.array([entries[name].is_valid().to_numpy() for name in self.shape.key], np.int8)
        named = named.reshape(-1, len(entries))
        for number, text in enumerate(entries[NULL_KEYS].to_pylist()):
            for name in read_null_keys(text, self.shape):
                named[self.shape.key.index(name), number] = _NULL
        return named

    @property
    def _ends(self) -> list[str]:
        return [NIGHT_FROM, NIGHT_TO] if self.shape.partition else []

    def _within(self, pairs: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The pairs whose row lies in the entry's nights."""
        if self.shape.partition:
            columns = [pairs[self.shape.partition], pairs[NIGHT_FROM], pairs[NIGHT_TO]]
            nights, first, last = _to_ranks(columns) if pa.types.is_string(columns[0].type) else columns
            after = pc.or_kleene(pc.is_null(first), pc.greater_equal(nights, first))
            before = pc.or_kleene(pc.is_null(last), pc.less_equal(nights, last))
            pairs = pairs.filter(pc.and_kleene(after, before))
        return pairs[_ROW].to_numpy(), pairs[_ENTRY].to_numpy()


def read_null_keys(text: str | None, shape: FeedbackSchema) -> tuple[str, ...]:
    """The key columns that a verdict says are NULL.

    Raises:
        DataError: no list of key columns.
    """
    if text is None:
        return ()
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not {*map(str, names)} <= {*shape.key}:
        raise DataError(
            f"a JSON list of key columns ({', '.join(shape.key)}) in {NULL_KEYS}",
            repr(text),
            'for example ["order_id"]',
        )
    return tuple(names)


def write_null_keys(names: Sequence[str]) -> str | None:
    """What `read_null_keys` reads; the same columns give the same text."""
    return json.dumps(sorted(set(names)), ensure_ascii=False) if names else None


def _to_ranks(columns: Sequence[pa.ChunkedArray]) -> list[pa.Array]:
    """Nights that are text as numbers in their order."""
    texts = {text for column in columns for text in column.unique().to_pylist() if text is not None}
    orders = sorted({NightName.of(text).order for text in texts})
    rank = {text: bisect_left(orders, NightName.of(text).order) for text in texts}
    return [pa.array([rank.get(text) for text in column.to_pylist()], pa.int64()) for column in columns]


def feedback_schema(config: Config, source: TableState) -> FeedbackSchema:
    """The table of verdicts that fits a job's source.

    Raises:
        ConfigError: no key and no partition to name rows by.
        DataError: a key column that has the name of one of the table's own.
    """
    if not config.source.key and not config.source.partition:
        raise ConfigError("source.key, to name the rows of a verdict by", "none", "set source.key in the config")
    names = source.schema.names
    key = tuple(resolve_column(name, names, source.ref.name) for name in config.source.key)
    partition = config.source.partition and resolve_column(config.source.partition, names, source.ref.name)
    clashes = sorted({*key} & {*_OWN.names, NIGHT_FROM, NIGHT_TO, NULL_KEYS})
    if clashes:
        raise DataError(
            "key columns with names of their own", f"{', '.join(clashes)}", "rename them, or choose another source.key"
        )
    fields = [pa.field(name, source.schema.field(name).type) for name in key]
    if partition:
        fields += [pa.field(name, source.schema.field(partition).type) for name in (NIGHT_FROM, NIGHT_TO)]
    return FeedbackSchema(feedback_ref(config), key, partition or None, pa.schema([*fields, _NULL_KEYS, *_OWN]))


def read_verdicts(config: Config, engine: Engine, source: TableState) -> Verdicts | None:
    """All verdicts of a job; None where nobody ever gave one.

    Raises:
        DataError: a table with other columns.
    """
    if not engine.exists(feedback_ref(config)):
        return None
    shape = feedback_schema(config, source)
    there = engine.describe(shape.ref)
    types = {field.name: field.type for field in there.schema}
    # Tables of earlier versions do not have it.
    wanted = [field for field in shape.schema if field.name != NULL_KEYS or NULL_KEYS in types]
    missing = [field.name for field in wanted if types.get(field.name) != field.type]
    if missing:
        raise DataError(
            f"verdicts by source.key ({', '.join(shape.key)}) in {shape.ref.name}",
            f"a table that differs in {', '.join(missing)}",
            "restore source.key and source.partition, or name another feedback.table",
        )
    rows = engine.read(there, [field.name for field in wanted], None, limit=MAX_VERDICTS)
    if NULL_KEYS not in types:
        rows = rows.append_column(_NULL_KEYS, pa.nulls(rows.num_rows, pa.string()))
    return Verdicts(shape, rows.select(shape.schema.names))


def today() -> date:
    """The day that decides which verdicts have run out, in UTC."""
    return datetime.now(UTC).date()


def _holds(on: date) -> pc.Expression:
    return pc.field("until").is_null() | (pc.field("until") >= pa.scalar(on, pa.date32()))
