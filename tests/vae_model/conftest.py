"""A small table of every kind of column, and a bundle trained on it, shared by the tests of vae_model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm

ROWS = 600


def make_table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """Related columns: y follows x, city decides fare, NULLs in some, a vector, a constant, a key."""
    rng = np.random.default_rng(seed)
    x = rng.normal(10, 3, rows)
    city = rng.choice(["Oslo", "Rome", "Lima"], rows)
    fare = np.select([city == "Oslo", city == "Rome"], [100, 50], 10) + rng.normal(0, 1, rows)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    when = [start + timedelta(hours=int(h)) for h in rng.integers(0, 24 * 90, rows)]
    return pa.table(
        {
            "id": pa.array(np.arange(rows), pa.int64()),
            "x": pa.array(x),
            "y": pa.array(2 * x + rng.normal(0, 0.1, rows), pa.float32()),
            "n": pa.array([None if i % 7 == 0 else int(v) for i, v in enumerate(x)], pa.int32()),
            "amount": pa.array([Decimal(f"{v:.2f}") for v in fare], pa.decimal128(10, 2)),
            "city": pa.array(city),
            "flag": pa.array([bool(v > 10) if i % 11 else None for i, v in enumerate(x)]),
            "when": pa.array(when, pa.timestamp("us", tz="UTC")),
            "day": pa.array([w.date() for w in when], pa.date32()),
            "vector": pa.array(np.stack([x, -x, rng.normal(size=rows)], axis=1).tolist(), pa.list_(pa.float64())),
            "constant": pa.array(np.full(rows, 2013), pa.int64()),
            "text": pa.array([f"row {i}" for i in range(rows)]),
        }
    )


@pytest.fixture(scope="session")
def table() -> pa.Table:
    return make_table()


@pytest.fixture(scope="session")
def bundle(table: pa.Table) -> vm.Bundle:
    return vm.fit(table, vm.ColumnOptions(ignore=("id",), max_categories=64), seed=3, members=2, latent=6, epochs=40)
