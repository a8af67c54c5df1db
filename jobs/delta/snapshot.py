"""One version of a Delta table: its schema, its data files with their partition values and deletion vectors, and the
features that a reader or writer of it must know."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from jobs.delta.datafile import DataFile, Snapshot, first_line
from jobs.delta.mapping import MAPPING_MODE, plain_schema, to_physical
from jobs.delta.storage import TableRef, open_filesystem
from vae_model.errors import DataError

_READABLE = frozenset(
    {"columnMapping", "deletionVectors", "timestampNtz", "typeWidening", "v2Checkpoint", "vacuumProtocolCheck"}
)
_USE_SPARK = "use --engine spark, which reads it with Delta's own reader"
# What deltalake leaves as it is when it writes a path into the log.
_PLAIN_IN_PATHS = "!$&'()+,-./:;=@~"
_ACTION_COLUMNS = ("path", "size_bytes", "num_records")


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
    table = open_table(ref, version)
    _check_readable(table, ref)
    try:
        logical = pa.schema(table.schema().to_arrow())
    except (DeltaError, ValueError, pa.ArrowException) as error:
        raise DataError(f"column types that Arrow has in {ref.name}", first_line(error), _USE_SPARK) from error
    filesystem = open_filesystem(ref.uri, ref.storage_options)
    metadata = table.metadata()
    mapped = metadata.configuration.get(MAPPING_MODE, "none") != "none"
    return Snapshot(
        ref=ref,
        version=table.version(),
        table_id=str(metadata.id),
        schema=plain_schema(logical),
        physical=to_physical(logical) if mapped else plain_schema(logical),
        partition_columns=tuple(metadata.partition_columns),
        files=tuple(_list_files(table, ref, filesystem, plain_schema(logical))),
        writer_features=_writer_features(table),
    )


def _list_files(table: DeltaTable, ref: TableRef, filesystem: pafs.FileSystem, schema: pa.Schema) -> Iterator[DataFile]:
    actions = pa.table(table.get_add_actions())
    live = _read_deletion_vectors(table)
    partitioned = "partition" in actions.column_names
    partitions = actions.column("partition").combine_chunks() if partitioned else pa.array([], pa.struct([]))
    for i, (path, size, rows) in enumerate(zip(*(actions.column(c).to_pylist() for c in _ACTION_COLUMNS), strict=True)):
        relative = unquote(path)
        if "://" in relative or relative.startswith(("/", "file:")):
            raise DataError(f"data files inside {ref.name}", f"one elsewhere: {relative} (a shallow clone)", _USE_SPARK)
        values = {}
        for k, column in enumerate(partitions.type):
            values[column.name] = partitions.field(k)[i].cast(schema.field(column.name).type)
        mask = live.get(relative.rsplit("/", 1)[-1])
        total = rows if rows is not None else _count_footer(filesystem, relative, ref)
        hidden = 0 if mask is None else len(mask) - mask.true_count
        yield DataFile(relative, size, total - hidden, values, mask, quote(relative, safe=_PLAIN_IN_PATHS) == path)


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


def _check_readable(table: DeltaTable, ref: TableRef) -> None:
    unknown = sorted(set(table.protocol().reader_features or ()) - _READABLE)
    if table.metadata().configuration.get(MAPPING_MODE) == "id":
        unknown.append("column mapping by id")
    if unknown:
        raise DataError(
            f"a table that the local engine can read at {ref.name}", f"feature {', '.join(unknown)}", _USE_SPARK
        )


def _writer_features(table: DeltaTable) -> frozenset[str]:
    """Features by name; protocols older than 7 have no list and say by number what may be in use."""
    protocol, configuration = table.protocol(), table.metadata().configuration
    features = set(protocol.writer_features or ())
    if configuration.get(MAPPING_MODE, "none") != "none":
        features.add("columnMapping")
    if any(key.startswith("delta.constraints.") for key in configuration):
        features.add("checkConstraints")
    if '"delta.generationExpression"' in table.schema().to_json():
        features.add("generatedColumns")
    if '"delta.identity.' in table.schema().to_json():
        features.add("identityColumns")
    return frozenset(features)
