"""A few nights of each kind; `make test-nights` runs sixty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from tests.nights.course import Course
from tests.nights.simulate import simulate
from tests.nights.source import CODE, KEY, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    return load()


def check(course: Course, flights: pa.Table) -> None:
    verdict, tally = simulate(course, flights)
    assert verdict.is_clean, verdict
    assert verdict.rows > 500 * course.nights * course.days
    if course.kill_every < course.nights:
        assert tally.kills > 0


@pytest.mark.parametrize(("mode", "key"), [("merge", KEY), ("merge", CODE), ("replace", KEY), ("in_place", KEY)])
def test_nights(mode: str, key: str, flights: pa.Table) -> None:
    check(Course("local", mode, 8, kill_every=2, key=key), flights)


def test_nights_on_spark(flights: pa.Table, spark: SparkSession) -> None:
    # Night 4 has two runs at once; killing a JVM takes too long here.
    check(Course("spark", "merge", 4, kill_every=99, key=CODE), flights)
