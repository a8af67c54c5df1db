"""The files that a log adds and removes, as Arrow tables: `path` as the log spells it, `size`, `rows`, whether it has a
deletion `vector`, whether it is `gone`, and `value 0` and so on, its partition values as text."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from vae_model.features.arrays import to_arrow, to_arrow_text, to_numpy

_RECORDS: Final = r'^\s*\{\s*"numRecords"\s*:\s*(?P<rows>\d+)'
BATCH_ROWS: Final = 8_192


def read_checkpoint_files(opened: pq.ParquetFile, names: Sequence[str]) -> Iterator[pa.Table]:
    """The files of a checkpoint, batch by batch; `names` are the partition columns."""
    fields = {field.name for field in opened.schema_arrow.field("add").type}
    wanted = [
        f"add.{name}" for name in ("path", "size", "stats", "partitionValues", "deletionVector") if name in fields
    ]
    for batch in opened.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
        add = batch.column("add").drop_null()
        vector = add.field("deletionVector") if "deletionVector" in fields else pa.nulls(len(add))
        stats = add.field("stats") if "stats" in fields else pa.nulls(len(add), pa.string())
        values = [_find_values(add.field("partitionValues"), name) for name in names]
        yield _table(add.field("path"), add.field("size"), stats, vector, values, np.zeros(len(add), np.bool_))


def _find_values(maps: pa.MapArray, name: str) -> pa.Array:
    """The value of one key in each map.

    Raises:
        ValueError: a map has none.
    """
    keys, items = maps.keys, maps.items
    mine = items.filter(pc.equal(keys, to_arrow_text([name])[0]))
    if len(mine) != len(maps):
        raise ValueError(f"no value of {name} in some files")
    return mine.cast(pa.string())


def read_commit_files(block: bytes, names: Sequence[str]) -> list[pa.Table]:
    """The files of some commits, in order; `names` are the partition columns."""
    values = pa.struct([(name, pa.string()) for name in names])
    vector = pa.struct([("storageType", pa.string())])
    add = [("path", pa.string()), ("size", pa.int64()), ("stats", pa.string()), ("deletionVector", vector)]
    schema = pa.schema(
        {"add": pa.struct([*add, ("partitionValues", values)]), "remove": pa.struct([("path", pa.string())])}
    )
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    read = pj.ReadOptions(use_threads=False, block_size=max(2**20, 2 * max(map(len, block.splitlines()))))
    rows = pj.read_json(io.BytesIO(block), read, options)
    add, gone = (rows[name].combine_chunks() for name in schema.names)
    is_add, is_gone = pc.is_valid(add), pc.is_valid(gone)
    kept = pc.or_(is_add, is_gone)
    add, gone, is_gone = add.filter(kept), gone.filter(kept), is_gone.filter(kept)
    flat = dict(zip(add.type.names, add.flatten(), strict=True))
    parts = dict(zip(names, flat["partitionValues"].flatten(), strict=True))
    paths = pc.coalesce(flat["path"], gone.flatten()[0])
    where = to_numpy(is_gone)
    return [_table(paths, flat["size"], flat["stats"], flat["deletionVector"], [parts[n] for n in names], where)]


def _table(
    paths: pa.Array, sizes: pa.Array, stats: pa.Array, vector: pa.Array, values: Sequence[pa.Array], gone: Any
) -> pa.Table:
    """Files, with what the log says of each; `rows` is taken out of the statistics, which are much longer."""
    texts = {f"value {i}": value for i, value in enumerate(values)}
    return pa.table(
        {
            "path": paths,
            "size": sizes,
            "rows": _count(stats),
            "vector": pc.is_valid(vector),
            "gone": to_arrow(gone),
            **texts,
        }
    )


def _count(stats: pa.Array) -> pa.Array:
    found = pc.struct_field(pc.extract_regex(stats, _RECORDS), "rows").cast(pa.int64())
    odd = np.flatnonzero(to_numpy(pc.and_(pc.is_null(found), pc.is_valid(stats))))
    if not len(odd):
        return found
    rows = found.to_pylist()
    for i in odd:
        rows[i] = json.loads(stats[i].as_py() or "{}").get("numRecords")
    return pa.array(rows, pa.int64())


def has_odd_files(files: pa.Table) -> bool:
    """Whether there are deletion vectors, or removals whose spelling readers differ about."""
    removed = files["path"].filter(files["gone"])
    odd = (files["vector"], pc.match_substring(removed, "%"))
    return any(pc.any(found, min_count=0).as_py() for found in odd)


def find_live(base: Sequence[pa.Table], later: Sequence[pa.Table]) -> pa.Table:
    """The files of a checkpoint and the commits after it that no later action adds again or removes."""
    if not later:
        return pa.concat_tables(base)
    commits = pa.concat_tables(later)
    live_adds = commits.take(to_arrow(_last_adds(commits)))
    if not base:
        return live_adds
    touched = pc.unique(commits["path"])
    kept = [part.filter(pc.invert(pc.is_in(part["path"], value_set=touched))) for part in base]
    return pa.concat_tables([*kept, live_adds])


def _last_adds(actions: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows whose path no later row adds again or removes."""
    codes = to_numpy(actions["path"].combine_chunks().dictionary_encode().indices)
    last = np.zeros(codes.max(initial=-1) + 1, np.int64)
    np.maximum.at(last, codes, np.arange(len(codes)))
    gone = to_numpy(actions["gone"].combine_chunks())
    return np.sort(last[~gone[last]])
