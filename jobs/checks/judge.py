"""Judges one night by those before it, and the table by its last look. Pure functions on the ledger's records; every
finding is a sentence that says what was found and what is usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from jobs.checks.copies import Copies, compare_sketches
from jobs.checks.finding import Finding
from jobs.checks.freshness import Habit, expected_nights, learn_habit
from jobs.checks.ledger import NightRecord
from jobs.checks.segments import MissingSegment, find_missing
from jobs.checks.volume import expect_rows
from jobs.common.statistics import proportion_test, share_of

# Nights whose rows a night's are compared with, and whose counts say what is usual.
COMPARED = 60
HISTORY = 400
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# A night of which so many rows are copies was loaded twice as a whole.
WHOLE = 0.45
# Rows that two nights have in common, beyond what any two had before.
ALIKE = 0.3
SIGNIFICANT = 1e-4
MIN_COPIES = 3
# Rows that come late, beyond what ever did, as a share of the night.
LATE_SHARE = 0.02


def judge_night(record: NightRecord, before: Sequence[NightRecord], copies: Copies | None) -> tuple[Finding, ...]:
    """What is not as usual in a night that is looked at for the first time, or again.

    Args:
        record: its counts.
        before: earlier nights, in order.
        copies: of its rows; None where they were not read.
    """
    usual = [one for one in before if one.is_ordinary][-HISTORY:]
    found = [
        *(_judge_copies(record, usual, copies) if copies else ()),
        *_judge_keys(record, usual, copies),
        *_judge_missing_nights(record, before),
        *_judge_arrival(record, before),
    ]
    twice = any(finding.check == "copies" for finding in found)
    segments = find_missing(
        [one.segments for one in usual],
        [one.rows for one in usual],
        [one.day for one in usual],
        record.segments,
        record.rows,
        record.day,
    )
    volume = _judge_rows(record, usual, twice, segments)
    found += [_describe_segment(record, segment) for segment in _without_parts(segments)]
    return tuple(_settle(finding, before) for finding in [*volume, *found])


def judge_again(record: NightRecord, now: NightRecord) -> tuple[Finding, ...]:
    """What is not as usual in a night that changed after it had been looked at."""
    difference = now.rows - record.rows
    if difference < 0:
        sentence = f"{now.night} lost {-difference:,} of its {record.rows:,} rows after it had been looked at"
        return (Finding("changed", "fewer", now.night, sentence, -difference, now.night),)
    return ()


def judge_late_rows(now: NightRecord, before: Sequence[NightRecord]) -> tuple[Finding, ...]:
    """Rows that came after the night had been looked at, where more did than of any night before."""
    share = share_of(now.late_rows, now.rows)
    usual = max((share_of(one.late_rows, one.rows) for one in before if one.night != now.night), default=0.0)
    if now.late_rows < MIN_COPIES or share <= max(2.0 * usual, LATE_SHARE):
        return ()
    first = now.rows - now.late_rows
    sentence = f"{now.late_rows:,} rows of {now.night} came late: it had {first:,} rows when it was looked at first"
    return (Finding("changed", "late rows", now.night, sentence, now.late_rows, now.night),)


def judge_gone(record: NightRecord) -> Finding:
    """A night of which no row is left."""
    sentence = f"{record.night} is gone: it had {record.rows:,} rows"
    return Finding("changed", "gone", record.night, sentence, record.rows, record.night)


def judge_columns(before: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]) -> list[Finding]:
    """Columns that are gone, new or of another type."""
    then, found = dict(before), dict(now)
    changes: list[Finding] = []
    for name, dtype in before:
        if name not in found:
            sentence = f"column {name} is gone (it was of type {dtype})"
            changes.append(Finding("schema", f"{name} gone", "", sentence))
        elif found[name] != dtype:
            sentence = f"column {name} is of type {found[name]}, was {dtype}"
            changes.append(Finding("schema", f"{name} type", "", sentence))
    for name, dtype in now:
        if name not in then:
            sentence = f"column {name} is new, of type {dtype}"
            changes.append(Finding("schema", f"{name} new", "", sentence))
    return changes


def judge_lateness(records: Sequence[NightRecord], now: datetime) -> tuple[str, tuple[Finding, ...]]:
    """When the last night came and the next one usually does, in words; and the nights that should have come by now.

    Args:
        records: of all nights, in order.
        now: the moment of the look.
    """
    habit, days = learn_habit(_arrivals(records)), [one.day for one in records if one.day is not None]
    if habit is None or not days:
        return "", ()
    horizon = (now - habit.latest).date()
    missing = [day for day in expected_nights(days, horizon) if habit.due(day) < now]
    coming = expected_nights(days, days[-1] + timedelta(days=366))
    usual = f"the load of {coming[0]} usually comes by {_moment(habit.usual_by(coming[0]))}" if coming else ""
    if not missing:
        return usual, ()
    first, more = missing[0], len(missing) - 1
    sentence = f"no row of {first}, which usually comes by {_moment(habit.usual_by(first))}"
    sentence += f", nor of the {more:,} night{'' if more == 1 else 's'} after it" if more else ""
    return usual, (Finding("late", str(first), str(first), sentence),)


def likeness_of(sketch: Sequence[int], before: Sequence[NightRecord]) -> tuple[float, str]:
    """The largest share of rows in common with one earlier night, and which."""
    best, night = 0.0, ""
    for other in before[-COMPARED:]:
        share = compare_sketches(sketch, other.sketch) if other.sketch else 0.0
        if share > best:
            best, night = share, other.night
    return best, night


def _judge_rows(
    record: NightRecord, usual: Sequence[NightRecord], twice: bool, segments: Sequence[MissingSegment]
) -> list[Finding]:
    expected = expect_rows([one.day for one in usual], [one.rows for one in usual], record.day)
    if expected is None or expected.low <= record.rows <= expected.high:
        return []
    if record.rows > expected.high:
        if twice:
            return []
        subject, comparison = "more", f"{record.rows / max(expected.rows, 1.0):.1f} times as many"
    else:
        # What one segment lacks is said of the segment.
        lacking = expected.rows - record.rows
        of_segments = sum(one.expected for one in _without_parts(segments)) / max(record.rows, 1) * expected.rows
        if lacking * 0.6 <= of_segments:
            return []
        subject, comparison = "fewer", f"{record.rows / max(expected.rows, 1.0):.0%} of it"
    sentence = f"{record.night} has {record.rows:,} rows, about {expected.rows:,.0f} expected: {comparison}"
    sentence += _like_before(record, usual)
    return [Finding("rows", subject, record.night, sentence, record.rows)]


def _like_before(record: NightRecord, usual: Sequence[NightRecord]) -> str:
    """The last nights of the same weekday, to be believed."""
    day = record.day
    if day is None:
        return ""
    alike = [one for one in usual if one.day is not None and one.day.weekday() == day.weekday()][-3:]
    if len(alike) < 2:
        return ""
    counts = [f"{one.rows:,}" for one in alike]
    return f" (the {_WEEKDAYS[day.weekday()]}s before: {', '.join(counts[:-1])} and {counts[-1]})"


def _judge_copies(record: NightRecord, usual: Sequence[NightRecord], copies: Copies) -> list[Finding]:
    night = record.night
    looked = [one for one in usual if one.copied is not None]
    rows, before = sum(one.rows for one in looked), sum(one.copied or 0 for one in looked)
    share = share_of(copies.copied, copies.rows)
    most = max((share_of(one.copied or 0, one.rows) for one in looked), default=0.0)
    is_news = copies.copied >= MIN_COPIES and share > 2.0 * most
    if is_news and proportion_test(copies.copied, copies.rows, before, rows) < SIGNIFICANT:
        whole = "loaded twice: " if share >= WHOLE else ""
        sentence = f"{night} was {whole}" if whole else f"a part of {night} was loaded twice: "
        sentence += f"{copies.copied:,} of its {copies.rows:,} rows are copies of others"
        return [Finding("copies", "rows", night, sentence, copies.copied)]
    likeness, other = likeness_of(copies.sketch, usual)
    most = max((one.likeness or 0.0 for one in looked), default=0.0)
    if len(looked) >= 3 and likeness > ALIKE and likeness > most + ALIKE / 2:
        sentence = f"about {likeness:.0%} of the rows of {night} and of {other} are the same, night and key apart:"
        return [Finding("copies", "night", night, f"{sentence} {other} loaded again?", round(likeness * record.rows))]
    return []


def _judge_keys(record: NightRecord, usual: Sequence[NightRecord], copies: Copies | None) -> list[Finding]:
    found = []
    looked = [one for one in usual if one.shared_keys is not None]
    rows, before = sum(one.rows for one in looked), sum(one.shared_keys or 0 for one in looked)
    repeated = copies.shared - copies.copied if copies else 0
    if copies and repeated > 0 and _is_more(repeated, copies.rows, before, rows):
        which = "row has a key that another one" if repeated == 1 else "rows have a key that another one"
        sentence = f"{repeated:,} {which} of {record.night} has, too ({copies.example})"
        found.append(Finding("keys", "shared", record.night, sentence, repeated))
    rows, before = sum(one.rows for one in usual), sum(one.no_key for one in usual)
    if record.no_key and _is_more(record.no_key, record.rows, before, rows):
        which = "row has" if record.no_key == 1 else "rows have"
        sentence = f"{record.no_key:,} {which} no key on {record.night}"
        found.append(Finding("keys", "NULL", record.night, sentence, record.no_key))
    return found


def _is_more(count: int, rows: int, before: int, rows_before: int) -> bool:
    """Whether more than usual: the first at all, or a share that is no accident."""
    if not before:
        return rows_before >= rows
    share = share_of(count, rows)
    is_larger = share > 2.0 * share_of(before, rows_before)
    return is_larger and proportion_test(count, rows, before, rows_before) < SIGNIFICANT


def _describe_segment(record: NightRecord, segment: MissingSegment) -> Finding:
    rows = f"only {segment.rows:,} rows" if segment.rows else "no row"
    value = "NULL" if segment.value == "NULL" else f"'{segment.value}'"
    sentence = f"{rows} with {segment.column} = {value} on {record.night}, usually about {segment.expected:,.0f}"
    return Finding("segment", f"{segment.column} = {value}", record.night, sentence, segment.rows)


def _without_parts(segments: Sequence[MissingSegment]) -> list[MissingSegment]:
    """Of segments that are missing together those of the column with the largest: the others say the same once more."""
    return [segment for segment in segments if segment.column == segments[0].column]


def _judge_missing_nights(record: NightRecord, before: Sequence[NightRecord]) -> list[Finding]:
    day, days = record.day, [one.day for one in before if one.day is not None]
    if day is None or not days or day <= days[-1]:
        return []
    missing = expected_nights(days, day - timedelta(days=1))
    if not missing:
        return []
    names = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]} ({len(missing)} nights)"
    sentence = f"no row of {names}, between {days[-1]} and {day}"
    return [Finding("missing", names, record.night, sentence)]


def _arrivals(records: Sequence[NightRecord]) -> list[tuple[date, datetime]]:
    return [(one.day, one.arrived) for one in records if one.day is not None and one.arrived is not None]


def _judge_arrival(record: NightRecord, before: Sequence[NightRecord]) -> list[Finding]:
    habit: Habit | None = learn_habit(_arrivals(before))
    if habit is None or record.arrived is None or record.day is None or record.arrived <= habit.due(record.day):
        return []
    late = record.arrived - habit.usual_by(record.day)
    hours, minutes = divmod(round(late.total_seconds() / 60), 60)
    words = f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
    sentence = (
        f"{record.night} came at {_moment(record.arrived)}, {words} after it usually has"
        f" (by {_moment(habit.usual_by(record.day))})"
    )
    return [Finding("late", "arrival", record.night, sentence)]


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _settle(finding: Finding, before: Sequence[NightRecord]) -> Finding:
    """With the night since which it is so: the last night's, where that had the same."""
    last: Mapping[tuple[str, str], Finding] = (
        {(one.check, one.subject): one for one in before[-1].findings} if before else {}
    )
    same = last.get((finding.check, finding.subject))
    return replace(finding, since=same.since if same and same.since else finding.night)
