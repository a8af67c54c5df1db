"""Verdicts from files: the columns of a CSV or Parquet file as the table of verdicts has them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from jobs.labels.verdicts import FeedbackSchema
from jobs.predicates.predicate import resolve_column
from jobs.predicates.values import read_value
from vae_model import DataError


def read_columns(path: Path, shape: FeedbackSchema) -> dict[str, pa.Array]:
    """The file's columns by the table's names and types; an empty field of a CSV file is NULL.

    Raises:
        DataError: no such file, no column `verdict`, a column that the table has not got, or a value that does not fit.
    """
    try:
        is_parquet = path.suffix.lower() in (".parquet", ".pq")
        found = pq.read_table(path) if is_parquet else _read_csv(path)
    except (OSError, pa.ArrowException) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error).partition("\n")[0]
        raise DataError(f"a CSV or Parquet file at {path}", reason, "correct the path or the file") from error
    names = [resolve_column(name, shape.schema.names, f"verdicts; {path} has it") for name in found.column_names]
    if "verdict" not in names or found.num_rows == 0:
        problem = "no column verdict" if found.num_rows else "no rows"
        raise DataError(f"verdicts in {path}", problem, f"give it the columns {', '.join(shape.schema.names)}")
    columns = found.combine_chunks().columns
    return {name: _convert(column, shape.schema.field(name), path) for name, column in zip(names, columns, strict=True)}


def _read_csv(path: Path) -> pa.Table:
    with path.open("rb") as file:
        names = file.readline().decode("utf-8-sig").strip().split(",")
    texts = {name.strip().strip('"'): pa.string() for name in names}
    options = pacsv.ConvertOptions(column_types=texts, strings_can_be_null=True, null_values=[""])
    return pacsv.read_csv(path, convert_options=options)


def _convert(column: pa.ChunkedArray, field: pa.Field, path: Path) -> pa.Array:
    if not pa.types.is_string(column.type):
        try:
            return column.cast(field.type).combine_chunks()
        except pa.ArrowException as error:
            raise DataError(f"{field.type} values in {field.name} of {path}", str(error), "correct them") from error
    values = [
        None if text is None else read_value(text, field.type, f"{field.name} of {path}, row {number}").as_py()
        for number, text in enumerate(column.to_pylist(), 1)
    ]
    return pa.array(values, field.type)
