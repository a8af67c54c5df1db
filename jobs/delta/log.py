"""The log of a table, read in Arrow: its newest checkpoint and the commits after it. deltalake keeps an object for each
file; a log of 200,000 files costs it as many seconds as all else that a plan does, and twice the memory.

What is not plain (deletion vectors, mapped columns, checkpoints in parts, rare types of partitions) is left to it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pyarrow.types as pt
from deltalake.exceptions import DeltaError

from jobs.delta.actions import BATCH_ROWS, find_live, has_odd_files, read_checkpoint_files, read_commit_files
from jobs.delta.mapping import MAPPING_MODE
from vae_model.features.arrays import to_arrow_text

_PLAIN_FEATURES: Final = frozenset({"deletionVectors", "timestampNtz", "typeWidening", "vacuumProtocolCheck"})
_NAME: Final = re.compile(r"(\d{20})\.(json|checkpoint\.parquet)")
_BLOCK_BYTES: Final = 4 * 2**20
# Commits are read at once, since a store answers slowly.
_READERS: Final = 4
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
    except (OSError, ValueError, KeyError, DeltaError, pa.ArrowException):
        return None


def read_commit_infos(filesystem: pafs.FileSystem, version: int | None) -> list[tuple[int, Mapping[str, Any]]] | None:
    """What the commits up to a version (None: the latest) say of themselves, newest first; None: not to be read.

    deltalake's own history numbers the commits of an older version wrongly once there are later ones.
    """
    try:
        names = [info.base_name for info in filesystem.get_file_info(pafs.FileSelector("_delta_log"))]
        commits = [int(match[1]) for match in map(_NAME.fullmatch, names) if match and match[2] == "json"]
        chosen = sorted((n for n in commits if version is None or n <= version), reverse=True)
        with ThreadPoolExecutor(_READERS) as pool:
            return list(zip(chosen, pool.map(partial(_read_commit_info, filesystem), chosen), strict=True))
    except (OSError, ValueError, DeltaError, pa.ArrowException):
        return None


def _read_commit_info(filesystem: pafs.FileSystem, version: int) -> Mapping[str, Any]:
    with filesystem.open_input_stream(_path(version, "json")) as stream:
        data = stream.read()
    # In the first line or in the last, as the writer likes; the name can also stand in a text.
    at = data.find(b'"commitInfo"')
    while at >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        action = json.loads(data[start : end if end >= 0 else len(data)]) if at - start < 16 else {}
        if "commitInfo" in action:
            found: Mapping[str, Any] = action["commitInfo"]
            return found
        at = data.find(b'"commitInfo"', at + 1)
    return {}


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
        if any(map(has_odd_files, tables)):
            return None
        (base if first and number == 0 else later).extend(tables)
    files = find_live(base, later)
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
        yield _checkpoint_heads(opened), partial(read_checkpoint_files, opened)
    for block in _read_commits(filesystem, first, last):
        yield _find_heads(block), partial(read_commit_files, block)


def _is_plain(metadata: Mapping[str, Any], protocol: Mapping[str, Any]) -> bool:
    mode = dict(metadata.get("configuration") or {}).get(MAPPING_MODE, "none")
    return mode == "none" and set(protocol.get("readerFeatures") or ()) <= _PLAIN_FEATURES


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
    for batch in opened.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
        there = [batch.filter(pc.is_valid(batch[name])).to_pylist() for name in names]
        found += [row for rows in there for row in rows]
    return found
