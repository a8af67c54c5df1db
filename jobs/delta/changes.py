"""What happened to a table between two versions, from the commits in its log: nothing, only new files, or more. Both
engines read the log here, since what counts as a change must not depend on who asks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import Schema
from deltalake.exceptions import DeltaError

from jobs.delta.columns import compare_columns
from jobs.delta.snapshot import open_table
from jobs.delta.storage import TableRef, open_filesystem
from vae_model.errors import DataError

# Operations that rewrite files without changing a row, should their actions fail to say so.
_SAME_ROWS: Final = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UPGRADE PROTOCOL"})

PartitionValues: TypeAlias = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class VersionFiles:
    """Added files, all of whose rows are new, and a version that they belong to."""

    version: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Changes:
    """What the commits after one version up to another did.

    Attributes:
        pieces: the added files: those that are still part of the last version, and those compacted since.
        only_appends: no row was updated or deleted, so the pieces are all there is.
        partitions: every partition that a commit added rows to or took rows from; None: not known.
        columns: how rows that were there before read otherwise now, in words (a renamed, dropped or widened column);
            empty: as they did.
    """

    pieces: tuple[VersionFiles, ...]
    only_appends: bool
    partitions: frozenset[PartitionValues] | None
    columns: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.pieces and self.only_appends and not self.columns


def read_changes(ref: TableRef, since: int, until: int) -> Changes | None:
    """Read the commits `since + 1` to `until`; None where the log does not reach back so far or cannot be read here.

    Our own commits to a table that is scored in place are no change.
    """
    try:
        filesystem = open_filesystem(ref.uri, ref.storage_options)
    except (OSError, ValueError, DeltaError):
        return None
    added: dict[str, int] = {}
    compacted: dict[str, int] = {}
    touched: set[PartitionValues] = set()
    only_appends, known = True, True
    schema: str | None = None
    for version in range(since + 1, until + 1):
        try:
            actions = list(read_commit(filesystem, version))
        except (OSError, ValueError, pa.ArrowException):
            return None
        schema = next((action["metaData"]["schemaString"] for action in actions if "metaData" in action), schema)
        for gone in (unquote(action["remove"]["path"]) for action in actions if "remove" in action):
            if gone in added:
                compacted[gone] = added.pop(gone)
        if keeps_rows(actions):
            continue
        adds = [action["add"] for action in actions if action.get("add", {}).get("dataChange", False)]
        removes = [action["remove"] for action in actions if action.get("remove", {}).get("dataChange", False)]
        added.update((unquote(add["path"]), version) for add in adds)
        only_appends &= not removes
        for action in (*adds, *removes):
            values = action.get("partitionValues")
            known &= values is not None
            touched.add(tuple(sorted((name, value or None) for name, value in (values or {}).items())))
    pieces = [VersionFiles(until, tuple(added))] if added else []
    pieces += [
        VersionFiles(v, tuple(p for p in compacted if compacted[p] == v)) for v in sorted(set(compacted.values()))
    ]
    try:
        columns = "" if schema is None else _compare_columns(ref, since, schema)
    except (DataError, DeltaError, ValueError):
        return None
    return Changes(tuple(pieces), only_appends, frozenset(touched) if known else None, columns)


def _compare_columns(ref: TableRef, since: int, schema: str) -> str:
    # Both as deltalake spells them: it and Spark write types differently.
    return compare_columns(open_table(ref, since).schema().to_json(), Schema.from_json(schema).to_json())


def are_readable(ref: TableRef, pieces: Sequence[VersionFiles]) -> bool:
    """Whether the files are there: VACUUM removes those that were compacted a while ago."""
    filesystem = open_filesystem(ref.uri, ref.storage_options)
    paths = [path for piece in pieces for path in piece.paths]
    return all(info.type == pafs.FileType.File for info in filesystem.get_file_info(paths))


def read_commit(filesystem: pafs.FileSystem, version: int) -> Iterator[Mapping[str, Any]]:
    """The actions of one commit."""
    with filesystem.open_input_stream(f"_delta_log/{version:020d}.json") as stream:
        for line in stream.read().decode("utf-8").splitlines():
            if line.strip():
                yield json.loads(line)


def keeps_rows(actions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a commit leaves the rows as they are: compaction, or scores that we attached in place."""
    info: Mapping[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    if info.get("operation") in _SAME_ROWS:
        return True
    lineage = parse_lineage(info.get("userMetadata"))
    return bool(lineage and lineage.get("mode") == "in_place")


def parse_lineage(text: str | None) -> dict[str, Any] | None:
    """The lineage in a commit's user metadata; None where the commit is not ours."""
    try:
        lineage = json.loads(text or "")
    except ValueError:
        return None
    return lineage if isinstance(lineage, dict) and lineage.get("app") == "sandtimer" else None
