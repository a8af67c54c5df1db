"""Makes a Delta table of a plain Parquet file or folder, so that someone's own files can be scored. Streams; the types
and names that Delta does not know are changed, and every change is said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.types as pt
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from vae_model import DataError

_BATCH_ROWS = 65_536
# Spark refuses these in a column's name.
_ODD = re.compile(r"[ ,;{}()\n\t=]")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.null(): pa.string(),
}


@dataclass(frozen=True)
class Adopted:
    """What was made: rows, the columns that partition the table, and a sentence for every change."""

    rows: int
    partition_columns: tuple[str, ...]
    notes: tuple[str, ...]


def is_parquet(path: Path) -> bool:
    """Whether there is a Parquet file, or a folder with some below it, which is no Delta table."""
    if path.is_file():
        return path.read_bytes()[:4] == b"PAR1" if path.stat().st_size < 2**16 else _starts_as_parquet(path)
    return path.is_dir() and not (path / "_delta_log").exists() and any(path.rglob("*.parquet"))


def convert_parquet(path: Path, target: Path) -> Adopted:
    """Write the rows of Parquet files to a Delta table, as its newest version; folders `day=2024-01-01` partition it.

    Raises:
        DataError: files that do not read, or that do not fit together.
    """
    try:
        source = _open(path)
        _check_names(source.schema, path)
        types, notes = _choose_types(source.schema)
        partitions = tuple(name for name in _partition_types(source) if name in types)
        names = _choose_names(list(types))
        notes += [f"{old}: called {new}, since Spark refuses the name" for old, new in names.items() if old != new]
        schema = pa.schema([(names[name], dtype) for name, dtype in types.items()])
        reader = pa.RecordBatchReader.from_batches(schema, _cast_batches(source, types, schema))
        by = [names[name] for name in partitions]
        write_deltalake(str(target), reader, mode="overwrite", schema_mode="overwrite", partition_by=by or None)
        return Adopted(source.count_rows(), tuple(by), tuple(notes))
    except (pa.ArrowException, OSError, DeltaError) as error:
        raise DataError(
            f"Parquet files with rows of one shape at {path}",
            str(error).strip().partition("\n")[0],
            "correct the files, or write a Delta table and name that",
        ) from error


def _check_names(schema: pa.Schema, path: Path) -> None:
    """Delta does not tell names apart by case, in structs neither."""
    clashes = _find_clashes(list(schema))
    if clashes:
        raise DataError(
            f"columns that differ in more than upper and lower case in {path}", "; ".join(clashes), "rename all but one"
        )


def _find_clashes(fields: Sequence[pa.Field]) -> list[str]:
    by_name: dict[str, list[str]] = {}
    for field in fields:
        by_name.setdefault(field.name.lower(), []).append(field.name)
    clashes = [" and ".join(names) for names in by_name.values() if len(names) > 1]
    for dtype in (field.type for field in fields if pt.is_nested(field.type)):
        clashes += _find_clashes([dtype.field(number) for number in range(dtype.num_fields)])
    return clashes


def _starts_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _open(path: Path) -> pads.Dataset:
    """All files under the columns of all of them; partition values that are dates become dates."""
    found = pads.dataset(path, format="parquet", partitioning="hive")
    files = [fragment.physical_schema for fragment in found.get_fragments()]
    schema = pa.unify_schemas([*files, found.schema], promote_options="permissive")
    partitions = _partition_types(found)
    for name, dtype in partitions.items():
        schema = schema.set(schema.get_field_index(name), pa.field(name, dtype))
    flavour = pads.partitioning(pa.schema(list(partitions.items())), flavor="hive") if partitions else None
    return pads.dataset(path, format="parquet", partitioning=flavour, schema=schema)


def _partition_types(source: pads.Dataset) -> dict[str, pa.DataType]:
    values: dict[str, set[str]] = {}
    for fragment in source.get_fragments():
        for name, value in pads.get_partition_keys(fragment.partition_expression).items():
            values.setdefault(name, set()).add(str(value))
    dates = {name for name, texts in values.items() if all(map(_ISO_DATE.fullmatch, texts))}
    return {name: pa.date32() if name in dates else source.schema.field(name).type for name in values}


def _choose_types(schema: pa.Schema) -> tuple[dict[str, pa.DataType], list[str]]:
    types: dict[str, pa.DataType] = {}
    notes: list[str] = []
    for field in schema:
        dtype = _to_delta(field.type)
        if dtype is None:
            notes.append(f"{field.name}: left out, Delta has no {field.type}")
            continue
        types[field.name] = dtype
        if dtype != field.type and not pt.is_dictionary(field.type):
            notes.append(f"{field.name}: {field.type} became {dtype}")
    return types, notes


def _to_delta(dtype: pa.DataType) -> pa.DataType | None:
    if pt.is_dictionary(dtype):
        return _to_delta(dtype.value_type)
    if pt.is_timestamp(dtype):
        return pa.timestamp("us", "UTC" if dtype.tz else None)
    if pt.is_time(dtype) or pt.is_duration(dtype) or pt.is_interval(dtype):
        return None
    return _WIDER.get(dtype, dtype)


def _choose_names(names: list[str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    taken = {name.lower() for name in names}
    for name in names:
        plain = _ODD.sub("_", name)
        while plain != name and plain.lower() in taken:
            plain += "_"
        taken.add(plain.lower())
        chosen[name] = plain
    return chosen


def _cast_batches(source: pads.Dataset, types: dict[str, pa.DataType], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in source.to_batches(columns=list(types), batch_size=_BATCH_ROWS):
        columns = [pc.cast(batch.column(name), dtype, safe=False) for name, dtype in types.items()]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
