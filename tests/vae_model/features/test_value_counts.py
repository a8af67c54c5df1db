"""Values counted alone: how unusual a rare level, a new one and the first NULL are."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from vae_model.features.value_counts import ValueCounts, count_numbers, count_texts, never_seen


def codes_of(counts: ValueCounts, values: list[float]) -> list[int]:
    x, out = np.array(values, np.float64), np.zeros(len(values), np.int32)
    counts.encode_numbers(x, np.isnan(x), out)
    return out.tolist()


def count(values: list[float]) -> ValueCounts:
    counts = count_numbers(np.array(values, np.float64), np.zeros(len(values), np.bool_))
    assert counts is not None
    return counts


@pytest.mark.parametrize(
    "levels",
    [[1, 2, 5], [0.25, 0.5, 13.25], [10.357019999999999, 8.05546, 0.1], [-1e300, 0.0, 1e300], [-3, 70_000_000, 9]],
)
def test_levels_are_found_exactly_whatever_they_are(levels: list[float]) -> None:
    counts = count(levels * 100)
    assert codes_of(counts, sorted(levels)) == [0, 1, 2]
    near = [np.nextafter(level, np.inf) for level in levels]
    assert codes_of(counts, [*near, math.inf, -math.inf, math.nan]) == [3, 3, 3, 3, 3, 4]


def test_a_hole_of_a_full_lattice_is_as_its_neighbour() -> None:
    days = [float(day) for day in range(1, 31) if day != 5]
    assert codes_of(count(days * 100), [4, 5, 6, 31, 0, 4.5]) == [3, 3, 4, 29, 29, 29]
    few = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]
    assert codes_of(count(few * 100), [3]) == [10]


def test_quantities_are_not_counted() -> None:
    assert count_numbers(np.random.default_rng(0).normal(size=1_000), np.zeros(1_000, np.bool_)) is None
    assert count_numbers(np.zeros(0), np.zeros(0, np.bool_)) is None


@pytest.mark.parametrize("each", [75, 1_000])
def test_a_fifth_of_four_levels_that_were_seen_often_is_news(each: int) -> None:
    counts = count_texts(pa.array(["a", "b", "c", "d"] * each))
    assert counts.surprise[4] >= math.log10(4 * each + 1)
    assert counts.surprise[4] > 4.0
    assert counts.surprise[:4].max() < 0.5


def test_a_new_level_is_no_news_where_one_row_in_twenty_has_one() -> None:
    levels = [*(["usual"] * 950), *(f"once {i}" for i in range(50))]
    counts = count_texts(pa.array(levels))
    assert counts.surprise[-2] == pytest.approx(-math.log10(0.05), abs=0.02)


def test_a_level_seen_once_is_as_unusual_as_one_never_seen() -> None:
    counts = count_texts(pa.array(["a"] * 98 + ["b", "c"]))
    # A row that is the only one of its level was a new level to the others: Good-Turing.
    assert counts.surprise[counts.levels.index("b")] == pytest.approx(counts.surprise[-2], abs=1e-6)


def test_a_single_among_levels_that_were_seen_often_is_odder_than_the_rarest_of_these() -> None:
    shops = [f"shop {number}" for number in range(50) for _ in range(12 + number)]
    misspelt = [f"shxp {number}" for number in range(30)]
    counts = count_texts(pa.array(shops + misspelt))
    t = dict(zip(counts.levels, counts.surprise, strict=False))
    assert t["shxp 3"] > max(t[shop] for shop in set(shops)) + 0.2


def test_singles_can_be_kept_as_a_number() -> None:
    text = pa.array(["usual"] * 950 + [f"once {i}" for i in range(50)])
    whole, short = count_texts(text), count_texts(text, singles=False)
    assert (short.levels, short.singles) == (("usual",), 50)
    assert short.surprise[-2] == pytest.approx(whole.surprise[-2], abs=1e-6)
    assert short.surprise[0] == pytest.approx(whole.surprise[whole.levels.index("usual")], abs=1e-6)


def test_the_first_null_is_rarer_than_one_in_all_rows_and_a_usual_one_is_not() -> None:
    assert count_texts(pa.array(["a", "b"] * 500)).surprise[-1] == pytest.approx(never_seen(1_000), rel=1e-6)
    assert never_seen(1_000) > 4.0
    assert count_texts(pa.array(["a", None] * 500)).surprise[-1] < 0.5
