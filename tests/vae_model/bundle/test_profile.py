"""Training statistics: exact counts, additive over batches, small, the same after saving."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from tests.vae_model.conftest import make_table
from vae_model.bundle.profile import profile_column
from vae_model.features.categories import CategoryEncoder
from vae_model.features.numbers import BooleanEncoder, NumberEncoder, VectorEncoder
from vae_model.features.times import TimeEncoder
from vae_model.training.profiling import measure_nights


@pytest.fixture(scope="module")
def bundle():
    return vm.fit(make_table(300), vm.ColumnOptions(ignore=("id",)), seed=4, epochs=1, members=1)


def test_numbers_are_binned_by_quantiles_with_a_bin_beyond_each_end():
    values = pa.array([None, np.nan, *range(1_000)], pa.float64())
    encoder = NumberEncoder.fit(values)
    profile = profile_column("x", "number", encoder, values)
    assert profile.nulls == 2 and profile.rows == 1_002
    np.testing.assert_allclose(profile.counts, (0, *[50] * 20, 0), atol=1)
    beyond = encoder.count_by(profile.bins, pa.array([-1.0, 999.0, 1_000.0, np.inf, -np.inf]))
    assert (beyond.counts[0], beyond.counts[-2], beyond.counts[-1]) == (2, 1, 2), beyond


def test_few_values_get_a_bin_each():
    values = pa.array([1, 1, 1, 2, 5, 5], pa.int32())
    assert profile_column("n", "number", NumberEncoder.fit(values), values).counts == (0, 3, 1, 2, 0)


def test_categories_keep_the_most_frequent_and_count_the_rest():
    words = [f"v{i:02}" for i in range(60) for _ in range(60 - i)]
    values = pa.array([*words, None])
    profile = profile_column("c", "category", CategoryEncoder(tuple(sorted(set(words) - {"v59"}))), values)
    assert profile.levels[:2] == ("v00", "v01") and len(profile.levels) == 40
    assert profile.counts[0] == 60 and profile.counts[-1] == sum(60 - i for i in range(40, 60))
    assert (profile.nulls, profile.unseen) == (1, 1)


def test_booleans_vectors_and_moments():
    flags = pa.array([True, False, False, None])
    assert profile_column("b", "boolean", BooleanEncoder(), flags).counts == (2, 1, 0)
    vectors = pa.array([[3.0, 4.0], [0.0, 0.0], [1.0], None])
    profile = profile_column("v", "vector", VectorEncoder.fit(vectors), vectors)
    assert (profile.nulls, profile.edges[-1]) == (2, 5.0)
    hours = pa.array([datetime(2024, 1, 1 + i // 24, i % 24, tzinfo=UTC) for i in range(480)], pa.timestamp("s", "UTC"))
    encoder = TimeEncoder.fit(hours)
    profile = profile_column("t", "time", encoder, hours)
    later = pa.array([datetime(2025, 1, 1, i, tzinfo=UTC) for i in range(24)], pa.timestamp("s", "UTC"))
    assert np.count_nonzero(encoder.count_by(profile.bins, later).counts) == np.count_nonzero(profile.counts)


def test_batches_add_up(bundle):
    table = make_table(100, seed=3)
    for profile, encoder in zip(bundle.profile.columns, bundle.encoder.encoders, strict=True):
        values = table.column(profile.name).combine_chunks()
        whole = encoder.count_by(profile.bins, values)
        parts = encoder.count_by(profile.bins, values.slice(0, 40)) + encoder.count_by(profile.bins, values.slice(40))
        np.testing.assert_array_equal(whole.counts, parts.counts)
        assert (whole.nulls, whole.unseen, whole.rows) == (parts.nulls, parts.unseen, 100)


def test_it_is_saved_with_the_bundle_and_small(bundle, tmp_path):
    bundle.save(tmp_path)
    again = vm.load(tmp_path)
    assert again.profile == bundle.profile and again.model_id == bundle.model_id
    assert vm.Bundle.from_bytes(bundle.to_bytes()).profile == bundle.profile
    text = json.dumps(json.loads((tmp_path / "bundle.json").read_text())["profile"])
    assert len(text) < 1_000 * len(bundle.features)
    assert sum(column.blamed for column in bundle.profile.columns) == pytest.approx(1.0, abs=0.01)


def test_nights_say_what_is_usual(bundle):
    table = make_table(4_000, seed=5)
    nights = np.repeat(np.arange(40), 100)
    x = table["x"].to_numpy() + nights  # one column moves from night to night
    at = table.schema.get_field_index("x")
    moving = table.set_column(at, "x", pa.array(x)).append_column("night", pa.array(nights))
    measured = {c.name: c.usual_psi for c in measure_nights(bundle, moving.to_batches(700), "night").profile.columns}
    assert measured["x"] > 1.0
    # The number in `text` grows from row to row: its form moves too.
    assert all(value < 0.5 for name, value in measured.items() if name not in ("x", "text")), measured
    few = measure_nights(bundle, moving.slice(0, 500).to_batches(), "night")
    assert few.profile == bundle.profile
