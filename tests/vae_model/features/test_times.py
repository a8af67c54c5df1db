import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from vae_model.features.kinds import encoder_from_json, encoder_to_json
from vae_model.features.times import ClockEncoder


def clocks(rows: int = 1_000) -> np.ndarray:
    minutes = np.random.default_rng(0).integers(0, 1_440, rows)
    return minutes // 60 * 100 + minutes % 60


def encode(encoder: ClockEncoder, values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    out = np.full((encoder.parts, len(values)), np.nan, np.float32)
    return out, encoder.encode(values, out)


def test_a_clock_is_linear_in_minutes_and_closes_at_midnight():
    encoder = ClockEncoder.fit(pa.array(clocks()))
    out, absent = encode(encoder, pa.array([59, 100, 159, 0, 2400, None], pa.int64()))
    assert out[0, 1] - out[0, 0] == pytest.approx(1 / encoder.std, rel=1e-3)
    assert out[0, 2] - out[0, 1] == pytest.approx(59 / encoder.std, rel=1e-3)
    np.testing.assert_allclose(out[1:, 3], out[1:, 4], atol=1e-6)
    assert absent.tolist() == [False] * 5 + [True]
    assert (out[:, 5] == 0).all()


def test_numbers_that_are_no_clock_times_are_far_from_all_that_are():
    encoder = ClockEncoder.fit(pa.array(clocks()))
    odd = pa.array([1275.0, 2500.0, -5.0, 12.5, np.inf, -np.inf, 1e300])
    out, absent = encode(encoder, odd)
    assert (out[0] > 5).all()
    assert np.isfinite(out).all()
    assert not absent.any()


def test_decoding_gives_the_number_back():
    values = [0, 59, 100, 1730, 2359]
    encoder = ClockEncoder.fit(pa.array(clocks()))
    assert encoder.decode(encode(encoder, pa.array(values))[0]) == values
    assert encoder_from_json(encoder_to_json(encoder)) == encoder


@pytest.mark.parametrize("dtype", [pa.int16(), pa.int64(), pa.float64(), pa.decimal128(30, 2)])
def test_clock_times_are_recognised_whatever_their_type(dtype):
    assert ClockEncoder.recognises(pa.chunked_array([pa.array([*clocks().tolist(), None]).cast(dtype)]), 256)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(1_000),                     # 60 to 99 occur
        np.arange(1_000) % 60,                # minutes alone: no hours
        np.arange(1_000) % 48 * 50,           # multiples of 50
        np.append(clocks(), 2_401),           # one value past midnight
        np.append(clocks(), 5.5),
        clocks(100),                          # too few to tell
        np.full(1_000, np.nan),
    ],
)  # fmt: skip
def test_other_numbers_stay_numbers(values):
    assert not ClockEncoder.recognises(pa.chunked_array([pa.array(values.astype(np.float64))]), 256)


def test_the_user_can_choose_either_kind():
    table = pa.table({"at": clocks(), "x": np.random.default_rng(1).normal(size=1_000)})
    kinds = [
        vm.fit(table, vm.ColumnOptions(kinds=chosen), epochs=1, members=1).features[0].kind
        for chosen in ({}, {"at": "number"})
    ]
    assert kinds == ["clock", "number"]
    forced = vm.fit(table, vm.ColumnOptions(kinds={"x": "clock"}), epochs=1, members=1)
    assert vm.score(table, forced).num_rows == 1_000


def test_a_duration_that_contradicts_two_clocks_is_found():
    """The relation that plain numbers hide: arrival - departure = duration, across full hours."""
    rng = np.random.default_rng(2)
    start, duration = rng.integers(0, 1_000, 4_000), rng.integers(30, 300, 4_000)
    end = start + duration
    table = pa.table({"start": start // 60 * 100 + start % 60, "end": end // 60 * 100 + end % 60, "duration": duration})
    bundle = vm.fit(table, members=1, epochs=30)
    broken = table.set_column(2, "duration", pa.array(rng.permutation(duration)))
    right, wrong = (vm.score(t, bundle, explain="none")["anomaly_score"].to_numpy() for t in (table, broken))
    assert np.mean(wrong[:1_000] > np.median(right)) > 0.9
