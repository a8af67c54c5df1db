"""The log of a table, read in Arrow: its newest checkpoint and the commits after it. deltalake keeps an object for each
file; a log of 200,000 files costs it as many seconds as all else that a plan does, and twice the memory.

What is not plain (deletion vectors, mapped columns, checkpoints in parts, rare types of partitions) is left to it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.json as pj
import pyarrow.parquet as pq
import pyarrow.types as pt

from jobs.delta.mapping import MAPPING_MODE
from vae_model.arrays import to_arrow, to_arrow_text, to_numpy

_PLAIN_FEATURES: Final = frozenset({"deletionVectors", "timestampNtz", "typeWidening", "vacuumProtocolCheck"})
_NAME: Final = re.compile(r"(\d{20})\.(json|checkpoint\.parquet)")
_RECORDS: Final = r'^\s*\{\s*"numRecords"\s*:\s*(?P<rows>\d+)'
_BATCH_ROWS: Final = 8_192
_BLOCK_BYTES: Final = 4 * 2**20
# A checkpoint is read through a buffer: it can be one row group of hundreds of megabytes.
_BUFFER_BYTES: Final = 2**20


class NotPlainError(ValueError):
    """What the log holds is not for this reader."""


@dataclass(frozen=True)
class LoggedTable:
    """A version of a table as its log tells it.

    Attributes:
        metadata: the log's action of that name.
        protocol: as well.
        paths: of the live files, as the log spells them.
        rows: NULL where the log does not say.
        values: of the partition columns, as text.
    """

    version: int
    metadata: Mapping[str, Any]
    protocol: Mapping[str, Any]
    paths: pa.Array
    sizes: pa.Array
    rows: pa.Array
    values: pa.Table


def read_log(filesystem: pafs.FileSystem, version: int | None) -> LoggedTable | None:
    """The latest or a given version; None where the log holds what is not plain, or cannot be read here.

    Args:
        filesystem: rooted at the table's folder.
        version: None: the latest.
    """
    try:
        found = _choose_parts(filesystem, version)
        return None if found is None else _read(filesystem, *found)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def parse_values(text: pa.ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    """Partition values from the log's text.

    Raises:
        NotPlainError: of a type, or in a spelling, that deltalake had better read.
    """
    plain = pt.is_string(dtype) or pt.is_integer(dtype) or pt.is_date32(dtype) or pt.is_boolean(dtype)
    if not plain:
        raise NotPlainError(f"partitions of type {dtype}")
    whole = text.combine_chunks()
    # The empty text is NULL there.
    known = pc.if_else(pc.not_equal(whole, to_arrow_text([""])[0]), whole, pa.nulls(1, pa.string())[0])
    encoded = known.dictionary_encode()
    try:
        values = encoded.dictionary.cast(dtype)
    except pa.ArrowException as error:
        raise NotPlainError(str(error)) from error
    return pa.chunked_array([values.take(encoded.indices)])


def _choose_parts(filesystem: pafs.FileSystem, version: int | None) -> tuple[int, int, int] | None:
    """The checkpoint (-1: none), the first commit after it and the version; None where commits are missing."""
    names = [info.base_name for info in filesystem.get_file_info(pafs.FileSelector("_delta_log"))]
    parts = [match for match in map(_NAME.fullmatch, names) if match]
    commits = {int(match[1]) for match in parts if match[2] == "json"}
    if not commits or (version is not None and version not in commits):
        return None
    last = max(commits) if version is None else version
    checkpoint = max((int(m[1]) for m in parts if m[2] != "json" and int(m[1]) <= last), default=-1)
    if not set(range(checkpoint + 1, last + 1)) <= commits:
        return None
    return checkpoint, checkpoint + 1, last


def _read(filesystem: pafs.FileSystem, checkpoint: int, first: int, last: int) -> LoggedTable | None:
    metadata: Mapping[str, Any] = {}
    protocol: Mapping[str, Any] = {}
    names: list[str] | None = None
    base: list[pa.Table] = []
    later: list[pa.Table] = []
    for number, (heads, read) in enumerate(_list_parts(filesystem, checkpoint, first, last)):
        metadata = next((head["metaData"] for head in reversed(heads) if head.get("metaData")), metadata)
        protocol = next((head["protocol"] for head in reversed(heads) if head.get("protocol")), protocol)
        found = list(metadata["partitionColumns"])
        if not _is_plain(metadata, protocol) or (names is not None and found != names):
            return None
        names = found
        tables = list(read(names))
        if any(map(_is_odd, tables)):
            return None
        (base if first and number == 0 else later).extend(tables)
    files = _find_live(base, later)
    paths, sizes, rows = (files[name].combine_chunks() for name in ("path", "size", "rows"))
    values = pa.table({name: files[f"value {i}"] for i, name in enumerate(names or ())})
    return LoggedTable(last, metadata, protocol, paths, sizes, rows, values)


def _list_parts(
    filesystem: pafs.FileSystem, checkpoint: int, first: int, last: int
) -> Iterator[tuple[list[dict[str, Any]], Callable[[Sequence[str]], Iterable[pa.Table]]]]:
    """The parts of the log in order: what each says of the table, and how its files are read."""
    if first:
        path = _path(checkpoint, "checkpoint.parquet")
        opened = pq.ParquetFile(path, filesystem=filesystem, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        yield _checkpoint_heads(opened), partial(_checkpoint_files, opened)
    for block in _read_commits(filesystem, first, last):
        yield _find_heads(block), partial(_block_files, block)


def _is_odd(files: pa.Table) -> bool:
    """Whether there are deletion vectors, or removals whose spelling readers differ about."""
    removed = files["path"].filter(files["gone"])
    odd = (files["vector"], pc.match_substring(removed, "%"))
    return any(pc.any(found, min_count=0).as_py() for found in odd)


def _find_live(base: Sequence[pa.Table], later: Sequence[pa.Table]) -> pa.Table:
    """The files of a checkpoint and the commits after it that no later action adds again or removes."""
    if not later:
        return pa.concat_tables(base)
    commits = pa.concat_tables(later)
    live = commits.take(to_arrow(_last_adds(commits)))
    if not base:
        return live
    touched = pc.unique(commits["path"])
    kept = [part.filter(pc.invert(pc.is_in(part["path"], value_set=touched))) for part in base]
    return pa.concat_tables([*kept, live])


def _is_plain(metadata: Mapping[str, Any], protocol: Mapping[str, Any]) -> bool:
    mode = dict(metadata.get("configuration") or {}).get(MAPPING_MODE, "none")
    return mode == "none" and set(protocol.get("readerFeatures") or ()) <= _PLAIN_FEATURES


def _last_adds(actions: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows whose path no later row adds again or removes."""
    codes = to_numpy(actions["path"].combine_chunks().dictionary_encode().indices)
    last = np.zeros(codes.max(initial=-1) + 1, np.int64)
    np.maximum.at(last, codes, np.arange(len(codes)))
    gone = to_numpy(actions["gone"].combine_chunks())
    return np.sort(last[~gone[last]])


def _path(version: int, kind: str) -> str:
    return f"_delta_log/{version:020d}.{kind}"


def _read_commits(filesystem: pafs.FileSystem, first: int, last: int) -> Iterator[bytes]:
    """The commits in order, in blocks of whole commits."""
    block = io.BytesIO()
    for version in range(first, last + 1):
        with filesystem.open_input_stream(_path(version, "json")) as stream:
            block.write(stream.read())
        block.write(b"\n")
        if block.tell() > _BLOCK_BYTES:
            yield block.getvalue()
            block = io.BytesIO()
    if block.tell():
        yield block.getvalue()


def _find_heads(block: bytes) -> list[dict[str, Any]]:
    """The actions that say what the table is."""
    if b'"metaData"' not in block and b'"protocol"' not in block:
        return []
    lines = (line for line in block.splitlines() if b'"metaData"' in line[:16] or b'"protocol"' in line[:16])
    return [json.loads(line) for line in lines]


def _checkpoint_heads(opened: pq.ParquetFile) -> list[dict[str, Any]]:
    names = [name for name in ("metaData", "protocol") if name in opened.schema_arrow.names]
    found: list[dict[str, Any]] = []
    for batch in opened.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
        there = [batch.filter(pc.is_valid(batch[name])).to_pylist() for name in names]
        found += [row for rows in there for row in rows]
    return found


def _checkpoint_files(opened: pq.ParquetFile, names: Sequence[str]) -> Iterator[pa.Table]:
    fields = {field.name for field in opened.schema_arrow.field("add").type}
    wanted = [
        f"add.{name}" for name in ("path", "size", "stats", "partitionValues", "deletionVector") if name in fields
    ]
    for batch in opened.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
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


def _block_files(block: bytes, names: Sequence[str]) -> list[pa.Table]:
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
