"""Mode merge on Spark: the keys that a stretch of the change data feed touches, and the MERGE statement that puts the
rows which have them now in the place of those that had them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from jobs.delta.mapping import MAPPING_MODE, find_odd_names

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ALIVE = "__sandtimer_alive"
_KEY = "__sandtimer_key_"
_CHANGES = "__sandtimer_changes"


def changed_keys(feed: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The keys of all rows in a stretch of the change data feed, each once; NULL is a key like any other."""
    return feed.select(*map(_column, keys)).distinct()


def with_keys(rows: DataFrame, touched: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The rows whose keys are among those touched, however many rows have the same one."""
    renamed = touched.select(*(_column(key).alias(f"{_KEY}{i}") for i, key in enumerate(keys)))
    same = reduce(lambda a, b: a & b, (_column(key).eqNullSafe(F.col(f"{_KEY}{i}")) for i, key in enumerate(keys)))
    return rows.join(renamed, same, "left_semi")


def merge_statement(
    target: str, rows: DataFrame, touched: DataFrame, keys: Sequence[str], columns: Sequence[str]
) -> str:
    """The statement that puts `rows` in the place of all rows whose keys are among those touched.

    What it merges becomes a view of the session: the rows, which match nothing and are inserted, and a mark for each
    touched key, by which the target's rows go. So a key may name several rows on either side.
    """
    fields = [field for field in rows.schema.fields if field.name in columns]
    blank = [_column(f.name) if f.name in keys else F.lit(None).cast(f.dataType).alias(f.name) for f in fields]
    marks = touched.select(*blank, F.lit(False).alias(_ALIVE))
    alive = rows.select(*(_column(field.name) for field in fields), F.lit(True).alias(_ALIVE))
    alive.unionByName(marks).createOrReplaceTempView(_CHANGES)
    same = " AND ".join(f"t.{quote(key)} <=> c.{quote(key)}" for key in keys)
    names = ", ".join(map(quote, columns))
    values = ", ".join(f"c.{quote(name)}" for name in columns)
    return (
        f"MERGE INTO {target} t USING {_CHANGES} c ON NOT c.{_ALIVE} AND {same} "  # noqa: S608  names are quoted
        "WHEN MATCHED THEN DELETE "
        f"WHEN NOT MATCHED AND c.{_ALIVE} THEN INSERT ({names}) VALUES ({values})"
    )


def add_columns_statement(target: str, missing: Sequence[pa.Field]) -> str:
    """The statement that gives the target the columns that it lacks."""
    columns = ", ".join(f"{quote(field.name)} {from_arrow_type(field.type).simpleString()}" for field in missing)
    return f"ALTER TABLE {target} ADD COLUMNS ({columns})"


def upsert_statement(target: str, rows: DataFrame, keys: Sequence[str]) -> str:
    """The statement that puts `rows`, which become a view of the session, in the place of those with the same keys."""
    rows.createOrReplaceTempView(_CHANGES)
    same = " AND ".join(f"t.{quote(key)} <=> s.{quote(key)}" for key in keys)
    # Spelled out: Delta's `*` does not quote a backtick in a name.
    names = [quote(name) for name in rows.columns]
    update = ", ".join(f"t.{name} = s.{name}" for name in names)
    return (
        f"MERGE INTO {target} t USING {_CHANGES} s ON {same} "  # noqa: S608  names are quoted
        f"WHEN MATCHED THEN UPDATE SET {update} "
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({', '.join(f's.{name}' for name in names)})"
    )


def mapping_options(names: Sequence[str]) -> dict[str, str]:
    """What a new table with these columns needs: some names take column mapping."""
    return {MAPPING_MODE: "name"} if find_odd_names(names) else {}


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def _column(name: str) -> Column:
    return F.col(quote(name))
