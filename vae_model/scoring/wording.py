"""Reasons in sentences: the one place for their words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from vae_model.scoring.evidence import USUAL, Named, Reason


def describe_reason(reason: Reason) -> str:
    """One sentence, such as "currency is 'NOK'; of 1,672 training rows with shop = 'rome' none has that, 1,668 have
    'EUR'". What it says of training rows was counted there.
    """
    return f"{reason.column} is {_quote(reason, reason.observed)}{_WORDS[reason.kind](reason)}"


def describe_row(row: Mapping[str, Any], limit: int | None = None) -> list[str]:
    """The sentences of a scored row, by its `why`; of a row that was scored before there was one, by `top_columns`."""
    told = row.get("why") or [
        f"{reason['column']} is {reason['observed']}, expected {reason['expected']}"
        for reason in row["top_columns"] or ()
    ]
    return list(told)[:limit]


def reason_columns(names: Collection[str]) -> list[str]:
    """The columns that `describe_row` reads, of those that a table has: one that was scored before has no `why`."""
    return [name for name in ("top_columns", "why") if name in names]


def join_named(named: Named) -> str:
    """`a = 1, b = 2 and c = 3`."""
    parts = [f"{column} is NULL" if value == "NULL" else f"{column} = {value}" for column, value in named]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _never_seen(reason: Reason) -> str:
    form = f" nor one of its form ({_bare(reason.form)})" if reason.form else ""
    return f", which none of {reason.of:,} training rows has{form}{_and_expected(reason)}"


def _seldom(reason: Reason) -> str:
    return f", as in {_count(reason.seen)} of {reason.of:,} training rows{_and_expected(reason)}"


def _beyond(reason: Reason) -> str:
    if reason.low == reason.high:
        return f"; it is {reason.low} in all {reason.of:,} training rows"
    return f"; {reason.of:,} training rows have {reason.low} to {reason.high}{_and_expected(reason)}"


def _form(reason: Reason) -> str:
    return (
        f", of a form ({_bare(reason.form)}) that {_count(reason.seen)} of {reason.of:,} training rows"
        f" {'has' if reason.seen < 2 else 'have'}{_and_expected(reason)}"
    )


def _spelling(reason: Reason) -> str:
    return f", spelt as hardly any of {reason.of:,} training rows{_and_expected(reason)}"


def _pair(reason: Reason) -> str:
    mine = f"{_count(reason.seen)} {'has' if reason.seen < 2 else 'have'} that"
    usual = f", {reason.usual:,} have {_quote(reason, reason.expected)}" if reason.usual else _and_expected(reason)
    return f"; of {reason.of:,} training rows with {join_named(reason.against)}, {mine}{usual}"


def _range(reason: Reason) -> str:
    rows = f"all {reason.of:,}" if reason.usual == reason.of else f"{reason.usual:,} of {reason.of:,}"
    return f"; {rows} training rows with {join_named(reason.against)} have {reason.low} to {reason.high}"


def _as_extreme(reason: Reason) -> str:
    many = f"{_count(reason.seen)} of {reason.of:,} training rows"
    return f", {reason.kind} in {many}{_and_expected(reason)}"


def _given(reason: Reason) -> str:
    wanted = f"{reason.low} to {reason.high}" if reason.low else _quote(reason, reason.expected)
    beside = f" with {join_named(reason.against)}" if reason.against else ""
    return f"; {wanted} is expected{beside}"


def _together(reason: Reason) -> str:
    beside = join_named(reason.against) if reason.against else "the row's other values"
    return f": nothing odd by itself, but rare together with {beside}"


def _swapped(reason: Reason) -> str:
    return f" and {join_named(reason.against)}; the other way round the row is usual"


def _and_expected(reason: Reason) -> str:
    told = reason.expected not in (USUAL, reason.observed)
    return f"; {_quote(reason, reason.expected)} is expected" if told else ""


def _count(rows: int) -> str:
    return f"{rows:,}" if rows else "none"


def _bare(form: str) -> str:
    return form.removeprefix("a form like ")


def _quote(reason: Reason, word: str) -> str:
    plain = not reason.is_text or word == "NULL" or word.startswith(("a form like ", "a text of ", "an empty text"))
    return word if plain else f"'{word}'"


_WORDS: Final[Mapping[str, Callable[[Reason], str]]] = {
    "never seen": _never_seen,
    "seldom": _seldom,
    "NULL": _seldom,
    "beyond": _beyond,
    "form": _form,
    "spelling": _spelling,
    "pair": _pair,
    "range": _range,
    "as large": _as_extreme,
    "as small": _as_extreme,
    "given": _given,
    "together": _together,
    "swapped": _swapped,
}
