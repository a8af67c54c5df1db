"""One data file of a Delta table, with its partition values and its deletion vector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

# How deltalake lists the causes of an error, and how a store that speaks S3 says no.
_CAUSE = re.compile(r"\s*\x1b\[\d+m↳\x1b\[0m (.*)")
_ANSWER = re.compile(r"<Code>(.+?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table.

    Attributes:
        path: relative to the table's folder.
        rows: live rows, without those that a deletion vector hides.
        partition: typed value of each partition column, NULLs included.
        live_mask: False where a deletion vector hides the row; None without one.
        removable: whether deltalake would spell the path as the log does; a removal spelt otherwise removes nothing.
    """

    path: str
    size_bytes: int
    rows: int
    partition: Mapping[str, pa.Scalar]
    live_mask: pa.BooleanArray | None = field(default=None, repr=False)
    removable: bool = True


def first_line(error: BaseException) -> str:
    """An error of another library in one line; what a store answered in XML, or the causes that deltalake lists below
    each other, belong to it."""
    lines = (str(error).strip() or "no details").splitlines()
    answer = _ANSWER.search(str(error))
    causes = [found[1] for found in map(_CAUSE.match, lines[1:]) if found]
    said = ": ".join([lines[0], *(answer.groups() if answer else causes)])
    return f"{error.__class__.__name__}: {said[:500]}"
