"""Row predicates: one SQL condition, parsed, checked against a short list of harmless constructs, and then only ever
used as the parsed tree, so that a crafted `--where` can do nothing but filter. The same tree becomes Spark SQL for the
Spark engine and a pyarrow expression for the local one."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from jobs.common.errors import ConfigError
from jobs.predicates.to_arrow import compile_predicate
from vae_model.errors import DataError

# sqlglot warns on stderr about statements that it cannot parse; the error below says it better.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

MAX_LENGTH = 100_000
MAX_TERMS = 1_000
_ALLOWED: tuple[type[exp.Expr], ...] = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren,
    exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ,
    exp.In, exp.Between, exp.Is, exp.Like, exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg,
    exp.Lower, exp.Upper, exp.Length, exp.Abs, exp.Coalesce, exp.IsNan, exp.Year, exp.Month, exp.Day, exp.TsOrDsToDate,
)  # fmt: skip
_GRAMMAR = (
    "one condition of columns, literals, AND, OR, NOT, comparisons, IN (list), BETWEEN, LIKE, IS NULL, + - * /, "
    "CAST, DATE '...', lower, upper, length, abs, coalesce, isnan, year, month, day"
)


@dataclass(frozen=True)
class Predicate:
    """A checked condition. Rows where it is NULL do not match, as in SQL's WHERE.

    Attributes:
        columns: names as written, in order of appearance.
    """

    tree: exp.Expr = field(repr=False)
    columns: tuple[str, ...]

    def sql(self, guarded: Mapping[str, str] | None = None, types: Mapping[str, str] | None = None) -> str:
        """The condition in Spark SQL, every column name quoted.

        Args:
            types: the columns' SQL types; the values of a list get the type of the column that they are compared with,
                which a session without ANSI SQL would turn into text instead.
            guarded: columns, with their SQL types, to compare as `x + 0`, which Spark does not look up in a file's
                statistics: by those that others than Spark wrote it would skip rows with NaN, its largest number.
        """
        tree = _widen(self.tree)
        if types:
            tree = tree.transform(_type_sets, {name.lower(): dtype for name, dtype in types.items()})
        if guarded:
            tree = tree.transform(_guard, {name.lower(): dtype for name, dtype in guarded.items()})
        return str(tree.transform(_hide_variables).sql(dialect="spark", identify=True, comments=False))

    def __str__(self) -> str:
        return str(self.tree.sql(dialect="spark", comments=False))

    def __and__(self, other: Predicate) -> Predicate:
        return from_tree(exp.And(this=_wrap(self.tree), expression=_wrap(other.tree)))

    def is_not_true(self) -> Predicate:
        """The rows that the condition leaves out: where it is false or NULL."""
        return from_tree(exp.Not(this=exp.Is(this=exp.Paren(this=self.tree.copy()), expression=exp.true())))

    def check_columns(self, schema: pa.Schema, table: str) -> tuple[str, ...]:
        """The columns' names as the table spells them.

        Raises:
            DataError: naming the column that the table does not have, and the nearest that it has.
        """
        return tuple(resolve_column(name, schema.names, table) for name in self.columns)

    def partition_only(self, partition_columns: Sequence[str]) -> bool:
        """Whether whole partitions match or not: every column is a partition column."""
        known = {name.lower() for name in partition_columns}
        return all(name.lower() in known for name in self.columns)

    def restricted_to(self, partition_columns: Sequence[str]) -> Predicate | None:
        """The AND-ed parts that use partition columns alone: where they fail no row matches. None: no such part."""
        parts = [from_tree(part) for part in _conjuncts(self.tree)]
        usable = [part for part in parts if part.partition_only(partition_columns)]
        return reduce(lambda a, b: a & b, usable) if usable else None

    def to_pyarrow(self, schema: pa.Schema) -> pc.Expression:
        """The condition as Spark would evaluate it, for batches of `schema`: typed literals, NULL, NaN.

        Raises:
            ConfigError: a literal or a type that does not fit its column.
            DataError: an unknown column.
        """
        names = dict(zip(self.columns, self.check_columns(schema, "the table"), strict=True))
        try:
            return compile_predicate(self.tree, schema, names)
        except RecursionError as error:
            raise ConfigError(
                "a condition that is not nested so deeply", "hundreds of levels", "use IN (...)"
            ) from error


def parse_where(sql: str, option: str = "--where") -> Predicate:
    """Parse and check one condition.

    Args:
        sql: Spark SQL, without WHERE.
        option: where it comes from, for the error message.

    Raises:
        ConfigError: not one condition, or a construct that is not on the list.
    """
    if len(sql) > MAX_LENGTH:
        raise ConfigError(f"{option}: {_GRAMMAR}", f"{len(sql):,} characters", f"write it in under {MAX_LENGTH:,}")
    try:
        trees = sqlglot.parse(sql, read="spark")
        problems = [problem for tree in trees if tree for node in tree.walk() if (problem := _find_problem(node))]
        predicate = from_tree(trees[0]) if len(trees) == 1 and trees[0] is not None else None
    except (SqlglotError, RecursionError, ValueError) as error:
        reason = " ".join(re.sub(r"\x1b\[\d+m", "", str(error) or error.__class__.__name__).split())[:200]
        raise ConfigError(f"{option}: {_GRAMMAR}", f"{sql[:200]!r}, which does not parse: {reason}", _QUOTE) from error
    if predicate is None:
        found = f"{len(trees)} statements" if any(trees) else "nothing"
        raise ConfigError(f"{option}: {_GRAMMAR}", f"{found} in {sql!r}", "write one condition without semicolons")
    terms = sum(isinstance(node, exp.And | exp.Or) for node in predicate.tree.walk())
    if terms > MAX_TERMS:
        raise ConfigError(
            f"{option}: at most {MAX_TERMS:,} conditions joined by AND and OR", f"{terms + 1:,} of them",
            "write many values of one column as IN (...), which may hold as many as you like",
        )  # fmt: skip
    if problems or not predicate.columns:
        found = problems[0] if problems else f"a condition on no column: {sql!r}"
        raise ConfigError(f"{option}: {_GRAMMAR}", found, _QUOTE)
    return predicate


_QUOTE = (
    "rewrite the condition; text goes in 'single quotes' (\\' for a quote inside), odd column names in `backquotes`"
)


def combine(*predicates: Predicate | None) -> Predicate | None:
    """All of them at once; None where there is none."""
    present = [predicate for predicate in predicates if predicate is not None]
    return reduce(lambda a, b: a & b, present) if present else None


def resolve_column(name: str, names: Sequence[str], table: str) -> str:
    """`name` as the table spells it: SQL does not look at upper and lower case.

    Raises:
        DataError: no such column, or several that differ in case alone.
    """
    if name in names:
        return name
    folded = [candidate for candidate in names if candidate.lower() == name.lower()]
    if len(folded) == 1:
        return folded[0]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"the nearest is '{near[0]}'" if near else f"its columns are {', '.join(names)}"
    raise DataError(f"column '{name}' in {table}", f"no such column; {hint}", "correct the name")


def from_tree(tree: exp.Expr) -> Predicate:
    """A condition of a tree that the jobs made themselves."""
    return Predicate(tree, tuple(dict.fromkeys(column.name for column in tree.find_all(exp.Column))))


def _hide_variables(node: exp.Expr) -> exp.Expr:
    """Spark replaces ${...} inside SQL text, also in quotes: such a value is written in two parts."""
    if not (isinstance(node, exp.Literal) and node.is_string and "${" in node.name):
        return node
    first, *others = node.name.split("${")
    parts = [f"{first}$", *(f"{{{other}$" for other in others[:-1]), f"{{{others[-1]}"]
    return exp.Concat(expressions=[exp.Literal.string(part) for part in parts])


def _type_sets(node: exp.Expr, types: Mapping[str, str]) -> exp.Expr:
    if not (isinstance(node, exp.In) and isinstance(node.this, exp.Column)):
        return node
    dtype = types.get(node.this.name.lower(), "string")
    if dtype == "string":
        return node
    values = [exp.cast(v.copy(), dtype, dialect="spark") if _is_text(v) else v.copy() for v in node.expressions]
    return exp.In(this=node.this.copy(), expressions=values)


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _guard(node: exp.Expr, types: Mapping[str, str]) -> exp.Expr:
    if not isinstance(node, exp.Column) or node.name.lower() not in types:
        return node
    zero = exp.cast(exp.Literal.number(0), types[node.name.lower()])
    return exp.Paren(this=exp.Add(this=node.copy(), expression=zero))


def _widen(tree: exp.Expr) -> exp.Expr:
    """With 64-bit arithmetic, as the local engine computes: Spark would add two INTs as INT, and stop at 2**31."""
    copied: exp.Expr = tree.copy()
    for column in list(copied.find_all(exp.Column)):
        around = column.parent
        while isinstance(around, exp.Paren | exp.Coalesce):
            around = around.parent
        if isinstance(around, exp.Add | exp.Sub | exp.Mul | exp.Neg | exp.Abs):
            zero = exp.cast(exp.Literal.number(0), "bigint")
            column.replace(exp.Paren(this=exp.Add(this=zero, expression=column.copy())))
    return copied


def _wrap(tree: exp.Expr) -> exp.Expr:
    copied: exp.Expr = tree.copy()
    return exp.Paren(this=copied) if isinstance(copied, exp.Or) else copied


def _conjuncts(tree: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(tree, exp.Paren):
        yield from _conjuncts(tree.this)
    elif isinstance(tree, exp.And):
        yield from _conjuncts(tree.this)
        yield from _conjuncts(tree.expression)
    else:
        yield tree


def _find_problem(node: exp.Expr) -> str:
    """Why a node is refused; empty if it is not."""
    problem = ""
    if node.comments:
        problem = "a comment"
    elif isinstance(node, exp.Concat):
        problem = "two texts side by side; write \\' for a quote inside a text"
    elif type(node) not in _ALLOWED:
        problem = f"{_shorten(node)} ({type(node).__name__.upper()})"
    elif isinstance(node, exp.Column) and (len(node.parts) != 1 or not isinstance(node.this, exp.Identifier)):
        problem = f"{_shorten(node)}, a part of a column or a column of another table"
    elif isinstance(node, exp.In) and (node.args.get("query") or node.args.get("unnest") or not node.expressions):
        problem = f"{_shorten(node)}, which is no list of values"
    elif isinstance(node, exp.Identifier) and "${" in node.name:
        # Spark replaces ${...} inside SQL text, quoted or not; a name cannot be written in two parts, as values are.
        problem = f"{node.name!r}, which Spark would substitute"
    return problem


def _shorten(node: exp.Expr) -> str:
    return repr(node.sql(dialect="spark")[:80])
