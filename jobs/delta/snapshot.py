"""One version of a Delta table: its schema, its data files with their partition values and deletion vectors, and the
features that a reader or writer of it must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from jobs.delta.datafile import first_line
from jobs.delta.filelist import FileList, list_files
from jobs.delta.log import LoggedTable, NotPlainError, parse_values, read_log
from jobs.delta.mapping import MAPPING_MODE, plain_schema, to_physical
from jobs.delta.storage import TableRef, open_filesystem
from jobs.delta.version import Snapshot
from vae_model.errors import DataError

_READABLE = frozenset(
    {"columnMapping", "deletionVectors", "timestampNtz", "typeWidening", "v2Checkpoint", "vacuumProtocolCheck"}
)
_USE_SPARK = "use --engine spark, which reads it with Delta's own reader"


def open_table(ref: TableRef, version: int | None = None) -> DeltaTable:
    """The deltalake table.

    Raises:
        DataError: there is no Delta table, no such version, or one that deltalake cannot open.
    """
    try:
        return DeltaTable(ref.uri, version=version, storage_options=dict(ref.storage_options))
    except TableNotFoundError as error:
        raise DataError(
            f"a Delta table at {ref.name}",
            "none there",
            "check the path, or write the table first (`sandtimer demo` makes one)",
        ) from error
    except (DeltaError, OSError, ValueError) as error:
        raise DataError(
            f"a readable Delta table at {ref.name}", first_line(error), "check the table, the version and the access"
        ) from error


def exists(ref: TableRef) -> bool:
    """Whether a Delta table is there."""
    try:
        return DeltaTable.is_deltatable(ref.uri, dict(ref.storage_options))
    except (DeltaError, OSError, ValueError) as error:
        raise DataError(f"access to {ref.name}", first_line(error), "check path, endpoint and credentials") from error


def open_snapshot(ref: TableRef, version: int | None = None) -> Snapshot:
    """The latest or a given version of the table.

    Raises:
        DataError: no such table or version, or a feature that this engine cannot read faithfully.
    """
    filesystem = open_filesystem(ref.uri, ref.storage_options)
    logged = read_log(filesystem, version)
    if logged is not None:
        snapshot = _from_log(logged, ref)
        if snapshot is not None:
            return snapshot
    table = open_table(ref, version)
    metadata = table.metadata()
    return _build(
        ref,
        table.version(),
        _Head(
            str(metadata.id),
            table.schema(),
            metadata.partition_columns,
            metadata.configuration,
            tuple(table.protocol().reader_features or ()),
            tuple(table.protocol().writer_features or ()),
        ),
        lambda schema: _list_files(table, ref, filesystem, schema),
    )


@dataclass(frozen=True)
class _Head:
    """What a log says of a table as a whole."""

    table_id: str
    schema: Schema
    partition_columns: Sequence[str]
    configuration: Mapping[str, str | None]
    reader_features: Sequence[str]
    writer_features: Sequence[str]


def _from_log(logged: LoggedTable, ref: TableRef) -> Snapshot | None:
    """The snapshot from the log alone; None where deltalake had better list the files."""
    metadata, protocol = logged.metadata, logged.protocol
    head = _Head(
        str(metadata["id"]),
        Schema.from_json(metadata["schemaString"]),
        metadata["partitionColumns"],
        dict(metadata.get("configuration") or {}),
        protocol.get("readerFeatures") or (),
        protocol.get("writerFeatures") or (),
    )
    if logged.rows.null_count:
        return None
    try:
        return _build(ref, logged.version, head, lambda schema: _logged_files(logged, schema))
    except NotPlainError:
        return None


def _build(ref: TableRef, version: int, head: _Head, list_all: Callable[[pa.Schema], FileList]) -> Snapshot:
    _check_readable(head, ref)
    try:
        logical = pa.schema(head.schema.to_arrow())
    except (DeltaError, ValueError, pa.ArrowException) as error:
        raise DataError(f"column types that Arrow has in {ref.name}", first_line(error), _USE_SPARK) from error
    mapped = head.configuration.get(MAPPING_MODE, "none") != "none"
    files = list_all(plain_schema(logical))
    outside = files.first_outside()
    if outside:
        raise DataError(f"data files inside {ref.name}", f"one elsewhere: {outside} (a shallow clone)", _USE_SPARK)
    return Snapshot(
        ref=ref,
        version=version,
        table_id=head.table_id,
        schema=plain_schema(logical),
        physical=to_physical(logical) if mapped else plain_schema(logical),
        partition_columns=tuple(head.partition_columns),
        files=files,
        writer_features=_writer_features(head),
    )


def _logged_files(logged: LoggedTable, schema: pa.Schema) -> FileList:
    columns = {}
    for name in logged.values.column_names:
        columns[name] = parse_values(logged.values[name], schema.field(name).type)
    return list_files(logged.paths, logged.sizes, logged.rows, pa.table(columns))


def _list_files(table: DeltaTable, ref: TableRef, filesystem: pafs.FileSystem, schema: pa.Schema) -> FileList:
    actions = pa.table(table.get_add_actions()).combine_chunks()
    live_mask = _read_deletion_vectors(table)
    partitioned = "partition" in actions.column_names
    partitions = actions.column("partition").combine_chunks() if partitioned else pa.array([], pa.struct([]))
    columns = {}
    for k, column in enumerate(partitions.type):
        columns[column.name] = partitions.field(k).cast(schema.field(column.name).type)
    logged = actions.column("path").combine_chunks().cast(pa.string())
    rows = actions.column("num_records").to_pylist()
    masks = {}
    for i, path in enumerate(map(unquote, logged.to_pylist())):
        if rows[i] is None:
            rows[i] = _count_footer(filesystem, path, ref)
        mask = live_mask.get(path.rsplit("/", 1)[-1])
        if mask is not None:
            masks[path] = mask
            rows[i] -= len(mask) - mask.true_count
    sizes = actions.column("size_bytes").combine_chunks().cast(pa.int64())
    return list_files(logged, sizes, pa.array(rows, pa.int64()), pa.table(columns), masks)


def _read_deletion_vectors(table: DeltaTable) -> dict[str, pa.BooleanArray]:
    """The mask of each file that has one, by file name: the names are unique in a table."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    masks = {}
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for path, mask in zip(batch.column("filepath"), batch.column("selection_vector"), strict=True):
            masks[unquote(path.as_py()).rsplit("/", 1)[-1]] = mask.values
    return masks


def _count_footer(filesystem: pafs.FileSystem, path: str, ref: TableRef) -> int:
    try:
        return int(pq.read_metadata(path, filesystem=filesystem).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"a readable data file {path} in {ref.name}", first_line(error), "restore the file") from error


def _check_readable(head: _Head, ref: TableRef) -> None:
    unknown = sorted(set(head.reader_features) - _READABLE)
    if head.configuration.get(MAPPING_MODE) == "id":
        unknown.append("column mapping by id")
    if unknown:
        raise DataError(
            f"a table that the local engine can read at {ref.name}", f"feature {', '.join(unknown)}", _USE_SPARK
        )


def _writer_features(head: _Head) -> frozenset[str]:
    """Features by name; protocols older than 7 have no list and say by number what may be in use."""
    features = set(head.writer_features)
    if head.configuration.get(MAPPING_MODE, "none") != "none":
        features.add("columnMapping")
    if any(key.startswith("delta.constraints.") for key in head.configuration):
        features.add("checkConstraints")
    schema = head.schema.to_json()
    if '"delta.generationExpression"' in schema:
        features.add("generatedColumns")
    if '"delta.identity.' in schema:
        features.add("identityColumns")
    return frozenset(features)
