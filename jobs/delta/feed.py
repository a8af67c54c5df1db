"""The net effect of a stretch of the change data feed: what each row that changed is at the end of it, by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from jobs.delta.datafile import first_line
from jobs.delta.snapshot import open_table
from jobs.delta.storage import TableRef
from vae_model.errors import DataError

CHANGE_TYPE, COMMIT_VERSION = "_change_type", "_commit_version"
INSERTS = ("insert", "update_postimage")


@dataclass(frozen=True)
class NetChange:
    """Rows as they are now, and the key columns of every row that is or was there; each key once, none NULL."""

    rows: pa.Table
    touched: pa.Table


def read_feed(ref: TableRef, since: int, until: int, keys: Sequence[str], schema: pa.Schema) -> NetChange:
    """Read the feed of the versions `since + 1` to `until`; `schema` is the table's.

    Raises:
        DataError: the feed cannot be read, or `keys` do not name rows.
    """
    try:
        table = open_table(ref)
        feed = pa.table(table.load_cdf(starting_version=since + 1, ending_version=until).read_all())
    except (DeltaError, OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"the change data feed of {ref.name} since version {since}", first_line(error), "run once with --full"
        ) from error
    return net_change(feed, keys, schema, ref.name)


def net_change(feed: pa.Table, keys: Sequence[str], schema: pa.Schema, name: str) -> NetChange:
    """The net effect of a feed; rows of the same version count in the order delete, insert.

    Raises:
        DataError: a key that is NULL, or that two rows have at once.
    """
    columns = [_cast(feed, field) for field in schema]
    rows = pa.Table.from_arrays(columns, schema=schema)
    is_insert = (
        pc.is_in(feed[CHANGE_TYPE].cast(pa.string()), pa.array(INSERTS)).combine_chunks().to_numpy(zero_copy_only=False)
    )
    moment = 2 * feed[COMMIT_VERSION].to_numpy() + is_insert
    _check_no_null(rows, keys, name)
    order = pc.sort_indices(
        rows.select(list(keys)).append_column("\0moment", pa.array(moment)),
        [(key, "ascending") for key in (*keys, "\0moment")],
    )
    rows, moment = rows.take(order), moment[order.to_numpy()]
    same_key = _equals_next(rows, keys)
    twice = np.flatnonzero(same_key & (moment[1:] == moment[:-1]) & (moment[1:] % 2 == 1))
    if len(twice):
        raise bad_key(keys, name, f"two rows with {_show(rows, keys, int(twice[0]))}")
    last = np.flatnonzero(np.append(~same_key, True)) if len(moment) else np.zeros(0, np.int64)
    return NetChange(
        rows=rows.take(pa.array(last[moment[last] % 2 == 1])),
        touched=rows.select(list(keys)).take(pa.array(last)),
    )


def _cast(feed: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in feed.column_names:
        return pa.chunked_array([pa.nulls(feed.num_rows, field.type)])
    return feed[field.name].cast(field.type)


def _check_no_null(rows: pa.Table, keys: Sequence[str], name: str) -> None:
    for key in keys:
        if rows[key].null_count:
            raise bad_key(keys, name, f"{rows[key].null_count:,} changed rows where {key} is NULL")


def _equals_next(rows: pa.Table, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
    equal = np.ones(max(rows.num_rows - 1, 0), np.bool_)
    for key in keys:
        column = rows[key].combine_chunks()
        same = pc.equal(column.slice(0, len(equal)), column.slice(1)) if len(equal) else pa.array([], pa.bool_())
        equal &= np.asarray(same.to_numpy(zero_copy_only=False), np.bool_)
    return equal


def bad_key(keys: Sequence[str], name: str, found: str) -> DataError:
    """The error for keys that do not name rows."""
    return DataError(
        f"source.key ({', '.join(keys)}) to name one row each in {name}",
        found,
        "correct the table or source.key, or set score.mode to replace",
    )


def _show(rows: pa.Table, keys: Sequence[str], row: int) -> str:
    return ", ".join(f"{key} = {rows[key][row].as_py()}" for key in keys)
