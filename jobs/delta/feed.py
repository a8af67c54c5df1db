"""The keys that a stretch of the change data feed touches. Which rows they name now is for the table itself to say: the
feed tells keys that are not unique apart by nothing, so that its rows would be one row for several, or none."""

from __future__ import annotations

import pyarrow as pa
from deltalake.exceptions import DeltaError

from jobs.delta.keys import KeySet, collect
from jobs.delta.snapshot import open_table
from jobs.delta.storage import TableRef

_ENABLED = "delta.enableChangeDataFeed"


def read_changed_keys(ref: TableRef, since: int, until: int, keys: pa.Schema) -> KeySet | None:
    """The keys of all rows inserted, updated (before and after) or deleted in versions `since + 1` to `until`.

    Returns:
        None where the feed does not tell: it is off, cleaned away, or of columns under other names.
    """
    try:
        # Where the feed is off deltalake makes one up from whole files.
        last = open_table(ref, until)
        ends = (last, last if until == since + 1 else open_table(ref, since + 1))
        if any(end.metadata().configuration.get(_ENABLED) != "true" for end in ends):
            return None
        feed = pa.RecordBatchReader.from_stream(last.load_cdf(starting_version=since + 1, ending_version=until))
        if not set(keys.names) <= set(feed.schema.names):
            return None
        return collect((pa.Table.from_batches([batch]) for batch in feed), keys)
    except (DeltaError, OSError, ValueError, pa.ArrowException):
        return None
