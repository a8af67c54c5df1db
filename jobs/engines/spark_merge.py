"""Mode merge on Spark: the net effect of a stretch of the change data feed, and the MERGE statement that applies it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from jobs.delta.feed import CHANGE_TYPE, COMMIT_VERSION, INSERTS, bad_key
from jobs.delta.mapping import MAPPING_MODE, find_odd_names

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ALIVE = "__sandtimer_alive"
_CHANGES = "__sandtimer_changes"


def net_change(feed: DataFrame, keys: Sequence[str], matches: str | None) -> DataFrame:
    """One row for each key that changed, as it is now; `ALIVE` says whether it is there and matches."""
    by_key = [F.col(quote(key)) for key in keys]
    is_insert = F.col(CHANGE_TYPE).isin(*INSERTS)
    last_first = Window.partitionBy(*by_key).orderBy(F.col(COMMIT_VERSION).desc(), is_insert.desc())
    condition = F.coalesce(F.expr(matches), F.lit(False)) if matches else F.lit(True)
    return (
        feed.withColumn("__sandtimer_rank", F.row_number().over(last_first))
        .where("__sandtimer_rank = 1")
        .withColumn(ALIVE, is_insert & condition)
        .drop("__sandtimer_rank", CHANGE_TYPE, COMMIT_VERSION, "_commit_timestamp")
    )


def merge_statement(target: str, changes: DataFrame, keys: Sequence[str], columns: Sequence[str]) -> str:
    """The statement that makes the target's rows those of `changes`, which becomes a view of the session."""
    changes.createOrReplaceTempView(_CHANGES)
    same = " AND ".join(f"t.{quote(key)} = c.{quote(key)}" for key in keys)
    update = ", ".join(f"t.{quote(name)} = c.{quote(name)}" for name in columns)
    names = ", ".join(map(quote, columns))
    values = ", ".join(f"c.{quote(name)}" for name in columns)
    return (
        f"MERGE INTO {target} t USING {_CHANGES} c ON {same} "  # noqa: S608  names are quoted
        f"WHEN MATCHED AND c.{ALIVE} THEN UPDATE SET {update} "
        f"WHEN MATCHED THEN DELETE "
        f"WHEN NOT MATCHED AND c.{ALIVE} THEN INSERT ({names}) VALUES ({values})"
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


def check_keys(feed: DataFrame, keys: Sequence[str], name: str) -> None:
    """Refuse keys that do not name the rows of a feed.

    Raises:
        DataError: a key that is NULL, or that two rows have at once.
    """
    by_key = [F.col(quote(key)) for key in keys]
    is_null = reduce(lambda a, b: a | b, (column.isNull() for column in by_key))
    nulls = feed.where(is_null).count()
    if nulls:
        raise bad_key(keys, name, f"{nulls:,} changed rows where it is NULL")
    inserted = feed.where(F.col(CHANGE_TYPE).isin(*INSERTS))
    twice = inserted.groupBy(*by_key, COMMIT_VERSION).count().where("count > 1").limit(1).collect()
    if twice:
        raise bad_key(keys, name, f"two rows with {', '.join(f'{key} = {twice[0][key]}' for key in keys)}")
