"""Which commits brought rows of which nights: from the log's own words on the files that they added."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake.exceptions import DeltaError

from jobs.delta.changes import keeps_rows, read_commit
from jobs.delta.storage import TableRef, open_filesystem


@dataclass(frozen=True)
class Load:
    """One commit that added or removed rows.

    Attributes:
        version: of the commit.
        moment: when it was made.
        made_by: the operation and, where the writer says so, the job, notebook or user.
        spans: first and last value of the night column in each file that it added or removed, as the log spells them;
            None where the log does not say.
    """

    version: int
    moment: datetime
    made_by: str
    spans: tuple[tuple[str, str] | None, ...]


def read_loads(ref: TableRef, column: str, since: int, until: int) -> list[Load]:
    """The commits `since + 1` to `until` that changed rows, as far as the log still has them."""
    try:
        filesystem = open_filesystem(ref.uri, ref.storage_options)
    except (OSError, ValueError, DeltaError):
        return []
    loads = []
    for version in range(since + 1, until + 1):
        try:
            actions = list(read_commit(filesystem, version))
        except (OSError, ValueError, pa.ArrowException):
            continue
        spans = () if keeps_rows(actions) else tuple(_list_spans(actions, column))
        if spans:
            info: Mapping[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
            moment = datetime.fromtimestamp(info.get("timestamp", 0) / 1_000, UTC)
            loads.append(Load(version, moment, _describe(info), spans))
    return loads


def _list_spans(actions: list[Mapping[str, Any]], column: str) -> Iterator[tuple[str, str] | None]:
    for action in actions:
        file = action.get("add") or action.get("remove")
        if file and file.get("dataChange", False):
            yield _find_span(file, column)


def _find_span(file: Mapping[str, Any], column: str) -> tuple[str, str] | None:
    values = file.get("partitionValues") or {}
    if column in values:
        value = values[column]
        return None if value is None else (str(value), str(value))
    stats = json.loads(file.get("stats") or "{}")
    low, high = (stats.get(end, {}).get(column) for end in ("minValues", "maxValues"))
    return None if low is None or high is None else (str(low), str(high))


def _describe(info: Mapping[str, Any]) -> str:
    """Such as `WRITE by job 17 of etl@example.com`."""
    job = info.get("job") or {}
    who = [f"job {job.get('jobName') or job['jobId']}"] if job.get("jobId") else []
    who += [f"notebook {info['notebook']['notebookId']}"] if (info.get("notebook") or {}).get("notebookId") else []
    who += [str(info["userName"])] if info.get("userName") else []
    return str(info.get("operation", "commit")) + (f" by {', '.join(who)}" if who else "")
