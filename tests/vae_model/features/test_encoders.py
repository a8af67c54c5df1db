import json
import math
from datetime import UTC, date, datetime, time
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from vae_model.features.categories import CategoryEncoder, choose_levels
from vae_model.features.kinds import KINDS, encoder_from_json, encoder_to_json
from vae_model.features.numbers import BooleanEncoder, NumberEncoder, VectorEncoder
from vae_model.features.scales import fit_scale, soft_clip, unclip
from vae_model.features.times import TimeEncoder
from vae_model.options import KindName


def encode(encoder, values):
    out = np.zeros((encoder.parts, len(values)), np.float32)
    return out, encoder.encode(values, out)


def test_soft_clip_keeps_order_and_is_invertible():
    z = np.array([-1e4, -6.0, -5.0, 0.0, 4.9, 5.1, 50.0, 1e5])
    clipped = soft_clip(z.copy())
    assert (np.diff(clipped) > 0).all()
    assert clipped[3:5] == pytest.approx([0.0, 4.9])
    assert unclip(clipped) == pytest.approx(z)
    assert soft_clip(np.array([np.inf, -np.inf])) == pytest.approx([18.8, -18.8], abs=0.1)


def test_number_standardises_and_marks_absent():
    encoder = NumberEncoder.fit(pa.array([1.0, 3.0, None, math.nan, math.inf]))
    assert (encoder.mean, encoder.std) == (2.0, 1.0)
    out, absent = encode(encoder, pa.array([2.0, 3.0, None, math.nan, -math.inf]))
    assert out[0, :4].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert out[0, 4] < -15
    assert absent.tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**63 - 1, -(2**63)], pa.int64()), pa.array([2**64 - 1, 0], pa.uint64()),
        pa.array([1.7e308, -1.7e308]),
        pa.array([5, 5], pa.int8()), pa.array([0.0, 0.0]), pa.array([None, None], pa.float32()),
        pa.array([], pa.int32()),
        pa.array([1, 2], pa.duration("us")), pa.array([1e-320, 0.0]),
    ],
)  # fmt: skip
def test_any_number_gives_finite_inputs(values):
    out, _ = encode(NumberEncoder.fit(values), values)
    assert np.isfinite(out).all()


def test_constant_gets_a_scale_of_its_own():
    assert fit_scale(np.full(10, 2013.0)) == (2013.0, pytest.approx(20.13))
    assert fit_scale(np.zeros(10)) == (0.0, 1.0)


def test_a_duration_counts_the_same_in_every_unit():
    encoder = NumberEncoder.fit(pa.array([1, 2, 5], pa.duration("s")))
    took = pa.array([3, None], pa.duration("s"))
    expected, absent = encode(encoder, took)
    assert absent.tolist() == [False, True]
    for unit in ("ms", "us", "ns"):
        assert np.array_equal(encode(encoder, took.cast(pa.duration(unit)))[0], expected)


def test_category_codes():
    encoder = CategoryEncoder(choose_levels({"b": 3, "a": 3, "c": 1}, max_categories=2))
    assert encoder.levels == ("a", "b")
    codes = np.zeros(4, np.int32)
    absent = encoder.encode(pa.array(["b", "c", None, ""]), codes)
    assert codes.tolist() == [1, 2, 3, 2]
    assert absent.tolist() == [False, False, True, False]


def test_category_of_dictionary_and_integers():
    encoder = CategoryEncoder(("1", "2"))
    for values in (pa.array(["2", "1"]).dictionary_encode(), pa.array([2, 1], pa.int64())):
        codes = np.zeros(2, np.int32)
        encoder.encode(values, codes)
        assert codes.tolist() == [1, 0]


def test_boolean():
    out, absent = encode(BooleanEncoder(), pa.array([True, None, False]))
    assert out[0].tolist() == [1.0, 0.0, -1.0]
    assert absent.tolist() == [False, True, False]


def test_vector_of_another_length_is_absent():
    values = pa.array([[1.0, 2.0], [3.0, 6.0], None, [1.0], [1.0, None]])
    encoder = VectorEncoder.fit(values)
    assert (encoder.length, encoder.mean) == (2, (pytest.approx(5 / 3), 4.0))
    _, absent = encode(encoder, values)
    assert absent.tolist() == [False, False, True, True, True]
    assert np.isfinite(encode(encoder, values)[0]).all()
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0]), 2)
    assert encode(encoder, fixed)[1].tolist() == [False]


def test_time_is_cyclic_and_linear_and_gives_the_next_nights_grace():
    stamps = [datetime(2024, 1, 1, h % 24, tzinfo=UTC).replace(day=1 + h // 24) for h in range(24 * 28)]
    encoder = TimeEncoder.fit(pa.array(stamps, pa.timestamp("us", tz="UTC")))
    assert encoder.periods == ("hour", "weekday", "year")
    far = [
        datetime(2024, 1, 28, 23, tzinfo=UTC),
        datetime(2024, 1, 31, 12, tzinfo=UTC),
        datetime(2025, 1, 20, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
        None,
    ]
    out, absent = encode(encoder, pa.array(far, pa.timestamp("us", tz="UTC")))
    assert out[-1, 0] == out[-1, 1] == pytest.approx(3**0.5)
    assert out[-1, 2] > 5
    assert out[-1, 3] < -5
    assert out[-1, 4] > 5
    assert absent.tolist() == [False, False, False, False, False, True]


def test_time_of_an_older_bundle_has_a_range_part():
    stamps = [datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 29)]
    fitted = TimeEncoder.fit(pa.array(stamps, pa.timestamp("us", tz="UTC")))
    older = TimeEncoder(fitted.periods, fitted.start_s, fitted.end_s)
    moments = [datetime(2024, 2, 20, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
    out, _ = encode(older, pa.array(moments, pa.timestamp("us", tz="UTC")))
    assert out[-1, 0] == 0.0
    assert (out[-1, 1:] > 5).all()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([date(2024, 1, 1), date(2024, 1, 2)]), pa.array([date(2024, 1, 1)], pa.date64()),
        pa.array([time(12, 30)], pa.time32("s")), pa.array([time(12, 30)], pa.time64("ns")),
        pa.array([0], pa.timestamp("ns")),
    ],
)  # fmt: skip
def test_every_time_type(values):
    out, absent = encode(TimeEncoder.fit(values), values)
    assert np.isfinite(out).all()
    assert not absent.any()


def test_time_words():
    encoder = TimeEncoder(("hour", "weekday"), 0.0, 1e6)
    stamps = pa.array([datetime(1970, 1, 6, 14, 30, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
    out, _ = encode(encoder, stamps)
    assert encoder.decode(out)[0] in ("hour 14:30, weekday Tue", "hour 14:29, weekday Tue")


@pytest.mark.parametrize(
    "encoder",
    [
        NumberEncoder(0.1, 2.0, -1.0, 9.0, True), CategoryEncoder(("ä", "b")), BooleanEncoder(),
        VectorEncoder(1, (0.5,), (1.0,)),
        TimeEncoder(("hour",), 1.5, 2.5),
    ],
)  # fmt: skip
def test_json_round_trip(encoder):
    assert encoder_from_json(json.loads(json.dumps(encoder_to_json(encoder)))) == encoder


def test_every_kind_is_in_the_config_and_back():
    names = set(get_args(get_args(KindName)[0])) - {"ignored"}
    assert names == set(KINDS) == {encoder.kind for encoder in KINDS.values()}
    families = [family for kind in KINDS.values() for family in kind.families]
    assert len(families) == len(set(families))  # one kind is the usual one of a family
