"""Mode merge on Spark: the net effect of a stretch of the change data feed, and the MERGE statement that applies it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from vae_model.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ALIVE = "__sandtimer_alive"
_CHANGES = "__sandtimer_changes"
_INSERTS = ("insert", "update_postimage")


def net_change(feed: DataFrame, keys: Sequence[str], matches: str | None, name: str) -> DataFrame:
    """One row for each key that changed, as it is now; `ALIVE` says whether it is there and matches.

    Raises:
        DataError: a key that is NULL, or that two rows have at once.
    """
    by_key = [F.col(quote(key)) for key in keys]
    is_insert = F.col("_change_type").isin(*_INSERTS)
    _check_keys(feed, by_key, is_insert, keys, name)
    last_first = Window.partitionBy(*by_key).orderBy(F.col("_commit_version").desc(), is_insert.desc())
    condition = F.coalesce(F.expr(matches), F.lit(False)) if matches else F.lit(True)
    return (
        feed.withColumn("__sandtimer_rank", F.row_number().over(last_first))
        .where("__sandtimer_rank = 1")
        .withColumn(ALIVE, is_insert & condition)
        .drop("__sandtimer_rank", "_change_type", "_commit_version", "_commit_timestamp")
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


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def _check_keys(feed: DataFrame, by_key: Sequence[Column], is_insert: Column, keys: Sequence[str], name: str) -> None:
    is_null = F.lit(False)
    for column in by_key:
        is_null = is_null | column.isNull()
    nulls = feed.where(is_null).count()
    twice = feed.where(is_insert).groupBy(*by_key, "_commit_version").count().where("count > 1").limit(1).collect()
    if nulls or twice:
        shown = ", ".join(f"{key} = {twice[0][key]}" for key in keys) if twice else ""
        raise DataError(
            f"source.key ({', '.join(keys)}) to name one row each in {name}",
            f"{nulls:,} changed rows where it is NULL" if nulls else f"two rows with {shown}",
            "correct the table or source.key, or set score.mode to replace",
        )
