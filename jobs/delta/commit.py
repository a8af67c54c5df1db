"""One atomic commit of the files that a run wrote and the files that they replace. The log is the only judge of a
race: a commit that another writer overtook goes through only if what it replaces is still as it was planned."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from jobs.common.errors import ConflictError
from jobs.delta.datafile import DataFile, first_line
from jobs.delta.filelist import FileList
from jobs.delta.files import FileLayout, NewFile, serialise_partition
from jobs.delta.mapping import find_odd_names
from jobs.delta.pruning import prune_files
from jobs.delta.snapshot import open_snapshot, open_table
from jobs.delta.statistics import creation_properties
from jobs.delta.storage import TableRef
from jobs.delta.version import Snapshot
from jobs.predicates.predicate import Predicate
from vae_model.errors import DataError

MAX_ATTEMPTS: Final = 20
WRITABLE_FEATURES = frozenset({"appendOnly", "changeDataFeed", "invariants", "timestampNtz", "vacuumProtocolCheck"})


@dataclass(frozen=True)
class Change:
    """What a commit does.

    Attributes:
        layout: of the target afterwards.
        adds: files written for it.
        removes: files of the planned snapshot that they replace.
        scope: rows that are replaced; None: all. No other writer may have touched files that can hold them.
        lineage: goes into the commit's user metadata, as JSON, where both engines keep it; its run_id is unique.
        transaction: application id and version to record, if any; another run that recorded one first wins.
        compacted: files whose rows are in `adds` as they were.
        whole: every row is replaced, and the table's columns become those of `layout`.
    """

    layout: FileLayout
    adds: Sequence[NewFile]
    removes: Sequence[DataFile]
    scope: Predicate | None
    lineage: Mapping[str, str | int | None]
    transaction: tuple[str, int] | None = None
    whole: bool = True
    compacted: Sequence[DataFile] = ()


def check_writable(target: Snapshot) -> None:
    """Refuse targets whose features this engine would not honour.

    Raises:
        DataError: naming the features.
    """
    unknown = sorted(target.writer_features - WRITABLE_FEATURES)
    if unknown:
        raise DataError(
            f"a target that the local engine can write at {target.ref.name}",
            f"a table with {', '.join(unknown)}",
            "use --engine spark, or another score.table",
        )


def check_removable(target: Snapshot, files: FileList) -> None:
    """Refuse to replace files that Spark logged by names which deltalake would spell otherwise: beyond ASCII.

    Raises:
        DataError: naming the first of them.
    """
    spelt = files.first_irremovable()
    if spelt:
        raise DataError(
            f"files that the local engine can replace in {target.ref.name}",
            f"{spelt}, which the log spells as only Spark does",
            "use --engine spark, or drop the scored table and score the whole table again",
        )


def check_names(schema: pa.Schema, ref: TableRef) -> None:
    """Refuse column names that Delta allows only with column mapping.

    Raises:
        DataError: naming the columns.
    """
    odd = find_odd_names(schema.names)
    if odd:
        raise DataError(
            f"column names without spaces and any of ,;{{}}()= for a table that the local engine writes at {ref.name}",
            ", ".join(map(repr, odd)),
            "use --engine spark, which writes such names with column mapping; or rename them; or leave them out of the"
            " scored table (score.columns: key)",
        )


def create_table(ref: TableRef, change: Change) -> int:
    """Create the target with its first files; the version, 0.

    Raises:
        ConflictError: someone else created it meanwhile.
        DataError: the store refuses.
    """
    try:
        create_table_with_add_actions(
            ref.uri,
            Schema.from_arrow(change.layout.schema),
            list(map(_add, change.adds)),
            mode="error",
            partition_by=list(change.layout.partition_columns),
            configuration=creation_properties(
                change.layout.schema, change.layout.partition_columns, change.layout.indexed
            ),
            storage_options=dict(ref.storage_options),
            commit_properties=_properties(change),
        )
    except (DeltaError, OSError) as error:
        if "already exists" in str(error) or isinstance(error, CommitFailedError):
            raise _conflict(ref, "it was created meanwhile") from error
        raise DataError(
            f"to create a table at {ref.name}", first_line(error), "check the path and the access"
        ) from error
    return 0


def replace_files(planned: Snapshot, change: Change) -> int:
    """Commit to an existing target; the new version.

    Args:
        planned: the target as the run's plan saw it.
        change: files to add and to remove.

    Raises:
        ConflictError: another writer changed what is replaced; nothing was committed.
        DataError: the store or the table's own rules refuse the commit.
    """
    current = planned if change.whole else add_columns(planned, change)
    for _ in range(MAX_ATTEMPTS):
        try:
            _commit_at(current, change)
            return current.version + 1
        except CommitFailedError as error:
            latest = open_snapshot(planned.ref)
            if latest.version == current.version:
                raise _refusal(planned.ref, error) from error
            _check_untouched(planned, latest, change)
            current = latest
        except (DeltaError, OSError) as error:
            landed = _find_commit(planned.ref, change)
            if landed is None:
                raise _refusal(planned.ref, error) from error
            return landed
    raise _conflict(planned.ref, f"{MAX_ATTEMPTS} commits in a row came before this one")


def _commit_at(current: Snapshot, change: Change) -> None:
    table = DeltaTable(current.ref.uri, version=current.version, storage_options=dict(current.ref.storage_options))
    evolves = change.whole and current.schema != change.layout.schema
    # Overwrite replaces schema and all files; otherwise exactly our files go, and deltalake must not retry on its own:
    # it would not notice files that another writer added to the part that is replaced.
    removes = [] if evolves else [_remove(file, data_change=True) for file in change.removes]
    removes += [_remove(file, data_change=False) for file in change.compacted]
    table.create_write_transaction(
        [*map(_add, change.adds), *removes],
        "overwrite" if evolves else "append",
        Schema.from_arrow(change.layout.schema),
        list(change.layout.partition_columns),
        commit_properties=_properties(change),
    )


def _find_commit(ref: TableRef, change: Change) -> int | None:
    """The version of a commit that was written although its call failed, say in the checkpoint after it."""
    wanted = _user_metadata(change)
    try:
        history = DeltaTable(ref.uri, storage_options=dict(ref.storage_options)).history(MAX_ATTEMPTS)
    except (DeltaError, OSError):
        return None
    return next((int(entry["version"]) for entry in history if entry.get("userMetadata") == wanted), None)


def _user_metadata(change: Change) -> str:
    return json.dumps(dict(change.lineage), sort_keys=True)


def _add(file: NewFile) -> AddAction:
    return AddAction(file.path, file.size_bytes, dict(file.partition), file.modified_ms, file.is_new_data, file.stats)


def _remove(file: DataFile, data_change: bool) -> RemoveAction:
    values = {name: serialise_partition(value) for name, value in file.partition.items()}
    return RemoveAction(file.path, data_change, int(time.time() * 1000), file.size_bytes, values)


def _properties(change: Change) -> CommitProperties:
    transactions = [Transaction(*change.transaction)] if change.transaction else None
    return CommitProperties(
        custom_metadata={"userMetadata": _user_metadata(change)}, max_commit_retries=0, app_transactions=transactions
    )


def add_columns(planned: Snapshot, change: Change) -> Snapshot:
    """Give the table the columns that it lacks, NULL in every row, by a commit of its own: no row changes by it.

    Raises:
        ConflictError: another writer was there meanwhile.
        DataError: the table refuses.
    """
    missing = [field for field in change.layout.schema if field.name not in planned.schema.names]
    if not missing:
        return planned
    table = open_table(planned.ref, planned.version)
    try:
        table.alter.add_columns(
            list(Schema.from_arrow(pa.schema(missing)).fields), commit_properties=CommitProperties(max_commit_retries=0)
        )
    except CommitFailedError as error:
        raise _conflict(planned.ref, "another commit came before the new columns") from error
    except (DeltaError, OSError) as error:
        raise _refusal(planned.ref, error) from error
    return open_snapshot(planned.ref, planned.version + 1)


def _check_untouched(planned: Snapshot, latest: Snapshot, change: Change) -> None:
    if latest.table_id != planned.table_id or not set(planned.schema).issubset(set(latest.schema)):
        raise _conflict(planned.ref, "it was recreated or its columns changed")
    if change.transaction and _transaction_version(planned, change) != _transaction_version(latest, change):
        raise _conflict(planned.ref, f"version {latest.version} scored the same changes")
    before, after = (prune_files(version, change.scope).paths for version in (planned, latest))
    if set(before.to_pylist()) != set(after.to_pylist()):
        raise _conflict(planned.ref, f"version {latest.version} changed the rows that this run replaces")


def _transaction_version(snapshot: Snapshot, change: Change) -> int | None:
    app = change.transaction[0] if change.transaction else ""
    version = open_table(snapshot.ref, snapshot.version).transaction_version(app)
    return None if version is None else int(version)


def _conflict(ref: TableRef, found: str) -> ConflictError:
    return ConflictError(f"no other writer in this part of {ref.name}", found, "nothing was committed; run it again")


def _refusal(ref: TableRef, error: BaseException) -> DataError:
    return DataError(
        f"{ref.name} to take a commit", first_line(error), "nothing was committed; correct the cause and run it again"
    )
