"""Small tables beside the scored one: rows that replace those with the same key and join the others, in one commit."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from deltalake import Field, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from jobs.common.errors import ConflictError
from jobs.delta.commit import check_names
from jobs.delta.datafile import first_line
from jobs.delta.snapshot import exists, open_table
from jobs.delta.storage import TableRef
from vae_model.errors import DataError


def upsert_rows(ref: TableRef, rows: pa.Table, keys: Sequence[str]) -> int:
    """Update the rows whose keys are there (NULL equals NULL), insert the others; the table's new version.

    Raises:
        ConflictError: another writer was there first; nothing was committed.
        DataError: the table cannot be written.
    """
    try:
        if not exists(ref):
            check_names(rows.schema, ref)
            write_deltalake(ref.uri, rows, mode="error", storage_options=dict(ref.storage_options))
            return 0
        table = open_table(ref)
        known = {field.name for field in table.schema().fields}
        if lacking := [field for field in rows.schema if field.name not in known]:
            table.alter.add_columns([Field.from_arrow(field) for field in lacking])
        # The brackets matter: deltalake's parser would take `s.a AND ...` for one operand.
        same = " AND ".join(f"(t.{_quote(key)} IS NOT DISTINCT FROM s.{_quote(key)})" for key in keys)
        # Its `..._all` do not quote a backtick in a name.
        values = {_quote(name): f"s.{_quote(name)}" for name in rows.column_names}
        merge = table.merge(rows, predicate=same, source_alias="s", target_alias="t")
        merge.when_matched_update(values).when_not_matched_insert(values).execute()
        return int(table.version())
    except (CommitFailedError, DeltaError, OSError) as error:
        if isinstance(error, CommitFailedError) or "already exists" in str(error):
            found = "another writer was there first"
            raise ConflictError(
                f"no other writer of {ref.name}", found, "nothing was committed; run it again"
            ) from error
        raise DataError(f"to write {ref.name}", first_line(error), "check the table and the access") from error


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
