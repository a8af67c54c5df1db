"""What training saw of a table's columns, and rows counted by the same bins."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

import vae_model as vm
from vae_model.bundle.profile import ColumnProfile, WatchedColumn
from vae_model.features.bins import BinCounts


def count_features(bundle: vm.Bundle, batches: Iterable[pa.RecordBatch]) -> dict[str, BinCounts]:
    """Count rows by the bins of the bundle's profile; feature columns that the batches lack are left out.

    Raises:
        DataError: the bundle has no profile.
    """
    counted: dict[str, BinCounts] = {}
    columns = [*zip(profile_of(bundle), bundle.encoder.encoders, strict=True)]
    columns += [(column.profile, column.encoder) for column in watched_of(bundle)]
    for batch in batches:
        for profile, encoder in columns:
            if profile.name in batch.schema.names:
                found = encoder.count_by(profile.bins, batch.column(profile.name))
                counted[profile.name] = counted[profile.name] + found if profile.name in counted else found
    return counted


def profile_of(bundle: vm.Bundle) -> tuple[ColumnProfile, ...]:
    """What training saw in each feature column.

    Raises:
        DataError: the bundle is older than profiles.
    """
    if bundle.profile is None:
        raise vm.DataError(
            "a bundle with statistics of its training rows",
            f"model {bundle.model_id[:12]} of an earlier version, without them",
            "retrain to get training statistics: run `sandtimer train`",
        )
    return bundle.profile.columns


def watched_of(bundle: vm.Bundle) -> tuple[WatchedColumn, ...]:
    """String columns that are no features, of which training saw the forms."""
    return bundle.profile.watched if bundle.profile else ()
