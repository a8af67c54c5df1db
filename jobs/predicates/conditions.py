"""Conditions that the jobs themselves make: of column names and typed values, never by writing SQL. As text they read
back as the same condition."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Final, Literal, TypeAlias

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from jobs.common.errors import ConfigError
from jobs.predicates.predicate import Predicate, from_tree, resolve_column
from jobs.predicates.values import write_value

Sign: TypeAlias = Literal["=", "<", "<=", ">", ">="]
_SIGNS: Final[dict[str, type[exp.Expr]]] = {"=": exp.EQ, "<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE}
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def equals(column: str, value: object) -> Predicate:
    """Whether a column has a value; None is NULL. A text is read as the column's type."""
    return from_tree(_among(_name(column), [value]))


def compare_with(column: str, sign: Sign, value: object) -> Predicate:
    """How a column compares with a value that is not NULL."""
    return from_tree(_SIGNS[sign](this=_name(column), expression=_literal(value)))


def is_true(column: str) -> Predicate:
    """Whether a boolean column is true."""
    return from_tree(_name(column))


def is_null(column: str) -> Predicate:
    """Whether a column is NULL."""
    return equals(column, None)


def is_any_of(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Predicate:
    """Whether a row's columns have the values of one of `rows`; None is NULL, and there is one row at least.

    Rows that differ in one column alone become one set of its values: thousands of them are one look-up.
    """
    names = [_name(column) for column in columns]
    # The last column is the one with most values: it makes the sets.
    order = sorted(range(len(columns)), key=lambda k: len({row[k] for row in rows}))
    groups: dict[tuple[object, ...], list[object]] = {}
    for row in rows:
        *first, last = (row[k] for k in order)
        groups.setdefault(tuple(first), []).append(last)
    tests = []
    for shared, values in groups.items():
        parts = [_among(names[k], [value]) for k, value in zip(order, shared, strict=False)]
        parts.append(_among(names[order[-1]], list(dict.fromkeys(values))))
        tests.append(exp.Paren(this=reduce(_both, parts)) if len(parts) > 1 else parts[0])
    return from_tree(_any(tests))


def parse_pair(pair: str, names: Sequence[str], table: str, option: str = "--key") -> tuple[str, str]:
    """Column and text of `COLUMN=VALUE`; a column's name may hold a `=` itself.

    Raises:
        ConfigError: no `=`.
        DataError: no such column.
    """
    written = max((name for name in names if pair.startswith(f"{name}=")), key=len, default=None)
    if written is not None:
        return written, pair[len(written) + 1 :]
    name, separator, value = pair.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{option} COLUMN=VALUE", f"{option} {pair}", f"for example {option} order_id=42")
    return resolve_column(name.strip(), names, table), value


def _name(column: str) -> exp.Column:
    return exp.Column(this=exp.Identifier(this=column, quoted=not _reads_back(column)))


@lru_cache(1_024)
def _reads_back(column: str) -> bool:
    """Whether a name is one in SQL without quotes."""
    if not _PLAIN.fullmatch(column):
        return False
    try:
        tree = sqlglot.parse_one(f"{column} = 1", read="spark")
    except (SqlglotError, ValueError):
        return False
    return isinstance(tree, exp.EQ) and isinstance(tree.this, exp.Column) and tree.this.name == column


def _literal(value: object) -> exp.Literal:
    # Quoted: a condition reads a quoted text as the type of its column.
    return exp.Literal.string(write_value(value))


def _among(name: exp.Column, values: Sequence[object]) -> exp.Expr:
    known = [_literal(value) for value in values if value is not None]
    tests: list[exp.Expr] = []
    if known:
        equal = exp.EQ(this=name.copy(), expression=known[0])
        tests.append(equal if len(known) == 1 else exp.In(this=name.copy(), expressions=known))
    if len(known) < len(values):
        tests.append(exp.Is(this=name.copy(), expression=exp.Null()))
    return tests[0] if len(tests) == 1 else exp.Paren(this=_any(tests))


def _both(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    return exp.And(this=left, expression=right)


def _any(tests: Sequence[exp.Expr]) -> exp.Expr:
    """OR of them all, halved again and again: a chain of thousands would be too deep for Spark."""
    if len(tests) == 1:
        return tests[0]
    half = len(tests) // 2
    return exp.Paren(this=exp.Or(this=_any(tests[:half]), expression=_any(tests[half:])))
