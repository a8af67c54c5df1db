"""Nights as wholes: what is usual, and what is told of a night that is not. No table, no engine."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs.checks.copies import Copies, compare_sketches, measure_copies
from jobs.checks.finding import Finding
from jobs.checks.freshness import expected_nights, learn_habit
from jobs.checks.judge import judge_columns, judge_lateness, judge_night
from jobs.checks.ledger import NightRecord
from jobs.checks.segments import find_missing
from jobs.checks.volume import expect_rows

FIRST = date(2024, 1, 1)
WEEK = (1.0, 1.0, 1.1, 1.0, 1.2, 0.6, 0.5)
SHOPS = {"rome": 0.5, "oslo": 0.3, "cork": 0.2}


def count(day: date, base: float = 400.0) -> int:
    return round(base * WEEK[day.weekday()])


def make_record(number: int, rows: int | None = None, **changes: object) -> NightRecord:
    day = FIRST + timedelta(number)
    found = count(day) if rows is None else rows
    segments = {("shop", shop): round(share * found) for shop, share in SHOPS.items()}
    arrived = datetime(day.year, day.month, day.day, 5, number % 7, tzinfo=UTC) + timedelta(days=1)
    fields = {"arrived": arrived, "rows": found, "copied": 0, "shared_keys": 0, "segments": segments, **changes}
    return NightRecord(str(day), number, arrived, **fields)


def make_before(number: int, **changes: object) -> list[NightRecord]:
    return [make_record(earlier, **changes) for earlier in range(number)]


BEFORE = make_before(40)


def judge(record: NightRecord, copies: Copies | None = None, before: list[NightRecord] | None = None) -> list[Finding]:
    return [*judge_night(record, make_before(record.version) if before is None else before, copies)]


def tell(record: NightRecord, copies: Copies | None = None, before: list[NightRecord] | None = None) -> list[str]:
    return [finding.sentence for finding in judge(record, copies, before)]


@pytest.mark.parametrize("number", range(40, 47))
def test_an_ordinary_night_of_any_weekday_is_told_nothing_of(number):
    assert tell(make_record(number)) == []


@pytest.mark.parametrize(("number", "rows"), [(40, 110), (43, 230), (45, 10)])
def test_too_few_rows(number, rows):
    (finding,) = judge(make_record(number, rows=rows))
    assert (finding.check, finding.subject, finding.rows) == ("rows", "fewer", rows)
    assert f"about {count(FIRST + timedelta(number)):,} expected" in finding.sentence


def test_a_saturday_is_judged_as_one():
    saturday = FIRST + timedelta(40)
    assert saturday.weekday() == 5
    assert tell(make_record(40)) == []
    assert tell(make_record(40, rows=count(saturday - timedelta(1))))[0].endswith(
        "(the Saturdays before: 240, 240 and 240)"
    )


def test_a_broken_night_does_not_become_usual():
    halves = [make_record(number, rows=count(FIRST + timedelta(number)) // 2) for number in range(40, 46)]
    judged, before = [], BEFORE
    for record in halves:
        found = judge_night(record, before, None)
        judged.append(found)
        before = [*before, NightRecord(**{**vars(record), "findings": found})]
    assert [[f.subject for f in found] for found in judged] == [["fewer"]] * 6
    assert [found[0].is_settled for found in judged] == [False] + [True] * 5
    assert {found[0].since for found in judged} == {halves[0].night}


def test_a_night_loaded_twice_is_told_as_that_alone():
    copies = Copies(880, 440, 440, "id = 7, 2 times", 0, ())
    assert tell(make_record(44, rows=960), copies) == [
        "2024-02-14 was loaded twice: 440 of its 880 rows are copies of others"
    ]


def test_copies_that_every_night_has_are_no_news():
    before = make_before(44, copied=40)
    assert tell(make_record(44), Copies(440, 44, 0, "", 0, ()), before) == []
    assert "a part of" in tell(make_record(44), Copies(440, 190, 0, "", 0, ()), before)[0]


def test_a_missing_segment_is_told_and_the_shortage_that_it_explains_is_not():
    whole = count(FIRST + timedelta(44))
    left = round(0.7 * whole)
    record = make_record(
        44, rows=left, segments={("shop", "rome"): round(0.5 * whole), ("shop", "cork"): round(0.2 * whole)}
    )
    (sentence,) = tell(record)
    assert sentence.startswith("no row with shop = 'oslo' on 2024-02-14, usually about")


def test_a_segment_that_has_no_rows_on_this_weekday_is_not_missed():
    def without_cork(record: NightRecord) -> NightRecord:
        closed = date.fromisoformat(record.night).weekday() == 2
        kept = {name: rows for name, rows in record.segments.items() if not (closed and name[1] == "cork")}
        return NightRecord(**{**vars(record), "segments": kept})

    before = [without_cork(record) for record in make_before(44)]
    assert tell(without_cork(make_record(44)), before=before) == []


def test_rows_of_an_earlier_night_are_recognised():
    rng = np.random.default_rng(0)
    nights = [pa.table({"day": [str(k)] * 300, "id": range(300), "price": rng.normal(size=300)}) for k in range(2)]
    again = nights[0].set_column(0, "day", pa.array(["9"] * 300)).set_column(1, "id", pa.array(range(900, 1200)))
    one, other, copied = (measure_copies(rows, "day", ["id"]) for rows in (*nights, again))
    assert compare_sketches(one.sketch, other.sketch) == 0.0
    assert compare_sketches(one.sketch, copied.sketch) == 1.0
    before = [*make_before(43), make_record(43, sketch=one.sketch, likeness=0.0)]
    (sentence,) = tell(make_record(44), copied, before)
    assert "are the same, night and key apart: 2024-02-13 loaded again?" in sentence


def test_copies_and_shared_keys_are_counted():
    rows = pa.table({"day": ["1"] * 5, "id": [1, 1, 2, 3, 3], "price": [1.0, 1.0, 2.0, 3.0, 4.0]})
    found = measure_copies(rows, "day", ["id"])
    assert (found.rows, found.copied, found.shared) == (5, 1, 2)
    assert found.example in ("id = 1, 2 times", "id = 3, 2 times")
    assert found.digest == measure_copies(rows.take([4, 3, 2, 1, 0]), "day", ["id"]).digest


def test_a_repeated_key_and_one_that_is_null_are_told():
    copies = Copies(440, 0, 3, "id = 7, 4 times", 0, ())
    assert tell(make_record(44, no_key=2), copies) == [
        "3 rows have a key that another one of 2024-02-14 has, too (id = 7, 4 times)",
        "2 rows have no key on 2024-02-14",
    ]


def test_a_late_load_is_told_with_its_hours():
    arrived = datetime(2024, 2, 15, 7, 20, tzinfo=UTC)
    assert tell(make_record(44, arrived=arrived)) == [
        "2024-02-14 came at 2024-02-15 07:20, 2 h 14 min after it usually has (by 2024-02-15 05:06)"
    ]


def test_a_night_that_is_not_there_is_told_by_the_clock_and_by_the_next_one():
    usual, none = judge_lateness(BEFORE, datetime(2024, 2, 11, 5, 20, tzinfo=UTC))
    assert (usual, none) == ("the load of 2024-02-10 usually comes by 2024-02-11 05:06", ())
    _, late = judge_lateness(BEFORE, datetime(2024, 2, 11, 6, 0, tzinfo=UTC))
    assert [f.sentence for f in late] == ["no row of 2024-02-10, which usually comes by 2024-02-11 05:06"]
    assert tell(make_record(42), before=BEFORE) == [
        "no row of 2024-02-10 to 2024-02-11 (2 nights), between 2024-02-09 and 2024-02-12"
    ]


def test_a_weekday_without_loads_is_not_waited_for():
    days = [FIRST + timedelta(k) for k in range(60) if (FIRST + timedelta(k)).weekday() < 5]
    assert expected_nights(days, days[-1] + timedelta(4)) == [
        day for day in (days[-1] + timedelta(k) for k in range(1, 5)) if day.weekday() < 5
    ]


def test_one_late_load_does_not_become_usual():
    arrivals = [(one.day, one.arrived) for one in BEFORE]
    late = [*arrivals[:-1], (arrivals[-1][0], arrivals[-1][1] + timedelta(hours=9))]
    assert learn_habit(late) == learn_habit(arrivals)


def test_columns_that_are_gone_new_or_of_another_type():
    found = judge_columns(
        (("a", "int32"), ("b", "string"), ("c", "date32")), (("a", "int64"), ("c", "date32"), ("d", "bool"))
    )
    assert [(f.sentence, f.is_alarm) for f in found] == [
        ("column a is of type int64, was int32", True),
        ("column b is gone (it was of type string)", True),
        ("column d is new, of type bool", False),
    ]


def test_the_end_of_a_month_and_a_trend_are_expected():
    days = [FIRST + timedelta(k) for k in range(120)]
    rows = [round(300 * 1.004**k * (1.6 if (day + timedelta(1)).day == 1 else 1.0)) for k, day in enumerate(days)]
    for number in (120, days.index(date(2024, 3, 31)), days.index(date(2024, 4, 29))):
        day = FIRST + timedelta(number)
        expected = expect_rows(days[:number], rows[:number], day)
        assert expected is not None
        truth = 300 * 1.004**number * (1.6 if (day + timedelta(1)).day == 1 else 1.0)
        assert abs(expected.rows / truth - 1.0) < 0.05


def test_few_nights_say_nothing():
    assert expect_rows([FIRST] * 6, [100] * 6, FIRST) is None
    assert find_missing([{}] * 6, [1] * 6, [FIRST] * 6, {}, 1, FIRST) == []
    assert learn_habit([(FIRST, datetime(2024, 1, 2, tzinfo=UTC))] * 4) is None
