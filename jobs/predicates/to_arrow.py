"""Compiles a checked SQL condition to a pyarrow expression that keeps the rows Spark would keep: literals take the type
of the column they meet, NULL is neither true nor false, NaN equals itself and is larger than every other number."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from sqlglot import exp

from jobs.common.errors import ConfigError
from jobs.predicates.types import (
    CASTS,
    NAIVE_TIME,
    UTC_TIME,
    Operand,
    common_type,
    compare,
    constant,
    is_among,
    is_number,
    to_scalar,
    unify,
)
from jobs.predicates.values import read_value

_CASTABLE: dict[pa.DataType, tuple[pa.DataType, ...]] = {
    pa.date32(): (UTC_TIME, NAIVE_TIME),
    UTC_TIME: (pa.date32(), NAIVE_TIME),
    NAIVE_TIME: (pa.date32(), UTC_TIME),
    pa.int64(): (pa.int8(), pa.int16(), pa.int32()),
}
# Checked: Spark stops at an overflow or a division by zero, and so do we.
_ARITHMETIC: dict[type[exp.Expr], Callable[[pc.Expression, pc.Expression], pc.Expression]] = {
    exp.Add: pc.add_checked,
    exp.Sub: pc.subtract_checked,
    exp.Mul: pc.multiply_checked,
    exp.Div: pc.divide_checked,
}
_REWRITE = "rewrite that part"
_CHAIN = 200
_SHOWN = 200


def compile_predicate(tree: exp.Expr, schema: pa.Schema, names: Mapping[str, str]) -> pc.Expression:
    """A boolean pyarrow expression over batches of `schema`; `names` maps columns as written to the schema's names.

    Raises:
        ConfigError: a literal that does not fit the column's type, or types that cannot be compared.
    """
    operand = _Compiler(schema, names).compile(tree)
    if not pt.is_boolean(operand.dtype) or operand.expression is None:
        raise ConfigError(
            "a condition that is true or false for a row",
            f"{_sql(tree)}, a {operand.dtype}",
            "compare it with something",
        )
    return operand.expression


class _Compiler:
    def __init__(self, schema: pa.Schema, names: Mapping[str, str]) -> None:
        self._schema, self._names = schema, names
        self._rules: dict[type[exp.Expr], Callable[[exp.Expr], Operand]] = {
            exp.Paren: lambda node: self.compile(node.this),
            exp.Column: self._column,
            exp.Literal: self._literal,
            exp.Boolean: lambda node: Operand(pc.scalar(bool(node.this)), pa.bool_(), _sql(node)),
            exp.Null: lambda node: Operand(None, pa.null(), _sql(node)),
            exp.And: lambda node: self._logic(node, pc.and_kleene),
            exp.Or: lambda node: self._logic(node, pc.or_kleene),
            exp.Not: lambda node: _boolean(pc.invert(self._condition(node.this)), node),
            exp.In: self._in,
            exp.Between: self._between,
            exp.Is: self._is,
            exp.Like: self._like,
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
            exp.Neg: self._negate,
            exp.Coalesce: self._coalesce,
            exp.Lower: lambda node: self._text_function(node, pc.utf8_lower, pa.string()),
            exp.Upper: lambda node: self._text_function(node, pc.utf8_upper, pa.string()),
            exp.Length: lambda node: self._text_function(node, pc.utf8_length, pa.int64()),
            exp.Abs: self._abs,
            exp.IsNan: self._is_nan,
            exp.Year: lambda node: self._date_part(node, pc.year),
            exp.Month: lambda node: self._date_part(node, pc.month),
            exp.Day: lambda node: self._date_part(node, pc.day),
        }
        comparisons = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ)
        self._rules.update(dict.fromkeys(comparisons, self._comparison))
        self._rules.update(dict.fromkeys(_ARITHMETIC, self._arithmetic))

    def compile(self, node: exp.Expr) -> Operand:
        rule = self._rules.get(type(node))
        if rule is None:
            raise ConfigError("a condition that the engines can evaluate", _sql(node), _REWRITE)
        return rule(node)

    def _condition(self, node: exp.Expr) -> pc.Expression:
        operand = self.compile(node)
        if pt.is_null(operand.dtype):
            return to_scalar(None, pa.bool_())
        if not pt.is_boolean(operand.dtype) or operand.expression is None:
            raise ConfigError("a true/false condition", f"{_sql(node)}, a {operand.dtype}", "compare it with something")
        return operand.expression

    def _logic(self, node: exp.Expr, function: Callable[[pc.Expression, pc.Expression], pc.Expression]) -> Operand:
        return _boolean(_join([self._condition(part) for part in _split(node)], function), node)

    def _column(self, node: exp.Expr) -> Operand:
        name = self._names[node.name]
        return Operand(pc.field(name), self._schema.field(name).type, _sql(node))

    def _literal(self, node: exp.Expr) -> Operand:
        if node.is_string:
            return Operand(None, pa.string(), _sql(node), node.name)
        if re.fullmatch(r"\d+", node.name):
            return constant(read_value(node.name, pa.int64(), _sql(node)), _sql(node))
        return Operand(to_scalar(float(node.name), pa.float64()), pa.float64(), _sql(node), node.name)

    def _comparison(self, node: exp.Expr) -> Operand:
        left, right, dtype = unify(self.compile(node.this), self.compile(node.expression), _sql(node))
        if isinstance(node, exp.NullSafeEQ):
            both_null = left.is_null() & right.is_null()
            return _boolean(pc.coalesce(compare(exp.EQ, left, right, dtype), pc.scalar(False)) | both_null, node)
        return _boolean(compare(type(node), left, right, dtype), node)

    def _in(self, node: exp.Expr) -> Operand:
        # Spelled once: for each value again, a thousand values would take ten seconds.
        tested, sql = self.compile(node.this), _sql(node)
        tests, sets, has_null = list[pc.Expression](), dict[pa.DataType, list[pa.Scalar]](), False
        for operand in map(self.compile, node.expressions):
            dtype = common_type(tested, operand, sql)
            if operand.is_constant and not pt.is_null(tested.dtype):
                sets.setdefault(dtype, []).append(operand.to_constant(dtype))
            elif operand.expression is None and operand.text is None:
                has_null = True
            else:
                tests.append(compare(exp.EQ, tested.convert(dtype), operand.convert(dtype), dtype))
        tests += [is_among(tested.convert(dtype), values, dtype) for dtype, values in sets.items()]
        tests += [to_scalar(None, pa.bool_())] if has_null else []
        return _boolean(_join(tests, pc.or_kleene), node)

    def _between(self, node: exp.Expr) -> Operand:
        tested = self.compile(node.this)
        low_left, low, low_type = unify(tested, self.compile(node.args["low"]), _sql(node))
        high_left, high, high_type = unify(tested, self.compile(node.args["high"]), _sql(node))
        above = compare(exp.GTE, low_left, low, low_type)
        return _boolean(pc.and_kleene(above, compare(exp.LTE, high_left, high, high_type)), node)

    def _is(self, node: exp.Expr) -> Operand:
        if isinstance(node.expression, exp.Null):
            operand = self.compile(node.this)
            return _boolean(pc.scalar(False) if operand.expression is None else operand.expression.is_null(), node)
        condition = self._condition(node.this)
        if isinstance(node.expression, exp.Boolean):
            wanted = condition if node.expression.this else pc.invert(condition)
            return _boolean(pc.coalesce(wanted, pc.scalar(False)), node)
        raise ConfigError("IS NULL, IS TRUE or IS FALSE", _sql(node), _REWRITE)

    def _like(self, node: exp.Expr) -> Operand:
        operand, pattern = self.compile(node.this), node.expression
        if operand.expression is None or not pt.is_string(operand.dtype) or not isinstance(pattern, exp.Literal):
            raise ConfigError("LIKE between a text column and a 'pattern'", _sql(node), _REWRITE)
        return _boolean(pc.match_like(operand.expression, pattern.name), node)

    def _cast(self, node: exp.Expr) -> Operand:
        target, operand = CASTS.get(node.args["to"].this), self.compile(node.this)
        if target is None:
            raise ConfigError(f"a cast to {', '.join(sorted({k.value for k in CASTS}))}", _sql(node), _REWRITE)
        if operand.text is not None and pt.is_string(operand.dtype):
            return constant(read_value(operand.text, target, _sql(node)), _sql(node))
        allowed = target == operand.dtype or (operand.dtype in _CASTABLE.get(target, ()))
        if operand.expression is None or not (allowed or (pt.is_float64(target) and is_number(operand.dtype))):
            raise ConfigError(
                "a cast that means the same on every engine", f"{_sql(node)} of a {operand.dtype}", "compare without it"
            )
        return Operand(operand.expression.cast(target), target, _sql(node))

    def _arithmetic(self, node: exp.Expr) -> Operand:
        left, right = self._number(node.this), self._number(node.expression)
        if isinstance(node, exp.Div) or pt.is_float64(left.dtype) or pt.is_float64(right.dtype):
            dtype = pa.float64()
        else:
            dtype = pa.int64()
        values = left.convert(dtype), right.convert(dtype)
        return Operand(_ARITHMETIC[type(node)](*values), dtype, _sql(node))

    def _number(self, node: exp.Expr) -> Operand:
        operand = self.compile(node)
        if operand.expression is None or not (pt.is_integer(operand.dtype) or pt.is_floating(operand.dtype)):
            raise ConfigError(
                "numbers (integer, float or double) in arithmetic", f"{_sql(node)}, a {operand.dtype}", _REWRITE
            )
        dtype = pa.float64() if pt.is_floating(operand.dtype) else pa.int64()
        return Operand(operand.expression.cast(dtype), dtype, _sql(node))

    def _negate(self, node: exp.Expr) -> Operand:
        if isinstance(node.this, exp.Literal) and not node.this.is_string:
            text = f"-{node.this.name}"
            if re.fullmatch(r"-\d+", text):
                return constant(read_value(text, pa.int64(), _sql(node)), _sql(node))
            return Operand(to_scalar(float(text), pa.float64()), pa.float64(), _sql(node), text)
        operand = self._number(node.this)
        return Operand(pc.negate_checked(operand.expression), operand.dtype, _sql(node))

    def _abs(self, node: exp.Expr) -> Operand:
        operand = self._number(node.this)
        return Operand(pc.abs_checked(operand.expression), operand.dtype, _sql(node))

    def _coalesce(self, node: exp.Expr) -> Operand:
        operands = [self.compile(item) for item in [node.this, *node.expressions]]
        typed = next((operand for operand in operands if operand.text is None and operand.expression is not None), None)
        if typed is None:
            raise ConfigError("a column in coalesce", _sql(node), _REWRITE)
        types = {unify(typed, operand, _sql(node))[2] for operand in operands}
        if len(types) > 1 and not all(pt.is_integer(dtype) or pt.is_floating(dtype) for dtype in types):
            raise ConfigError("values of one type in coalesce", _sql(node), _REWRITE)
        wide = pa.float64() if any(pt.is_floating(dtype) for dtype in types) else pa.int64()
        dtype = wide if len(types) > 1 else types.pop()
        return Operand(pc.coalesce(*(operand.convert(dtype) for operand in operands)), dtype, _sql(node))

    def _text_function(
        self, node: exp.Expr, function: Callable[[pc.Expression], pc.Expression], dtype: pa.DataType
    ) -> Operand:
        operand = self.compile(node.this)
        if operand.expression is None or not pt.is_string(operand.dtype):
            raise ConfigError(f"a text column in {_sql(node)}", f"a {operand.dtype}", _REWRITE)
        return Operand(function(operand.expression).cast(dtype), dtype, _sql(node))

    def _is_nan(self, node: exp.Expr) -> Operand:
        operand = self._number(node.this)
        return _boolean(pc.coalesce(pc.is_nan(operand.expression), pc.scalar(False)), node)

    def _date_part(self, node: exp.Expr, function: Callable[[pc.Expression], pc.Expression]) -> Operand:
        inner = node.this.this if isinstance(node.this, exp.TsOrDsToDate) else node.this
        operand = self.compile(inner)
        if operand.expression is None or not (pt.is_date(operand.dtype) or pt.is_timestamp(operand.dtype)):
            raise ConfigError(f"a date or timestamp in {_sql(node)}", f"a {operand.dtype}", _REWRITE)
        return Operand(function(operand.expression), pa.int64(), _sql(node))


def _split(node: exp.Expr) -> list[exp.Expr]:
    """The parts of a chain of ANDs, or of ORs, in their order."""
    kind, left, parts = type(node), [node], list[exp.Expr]()
    while left:
        part = left.pop()
        inner = part
        while isinstance(inner, exp.Paren):
            inner = inner.this
        if isinstance(inner, kind):
            left += [inner.expression, inner.this]
        else:
            parts.append(part)
    return parts


def _join(
    parts: list[pc.Expression], function: Callable[[pc.Expression, pc.Expression], pc.Expression]
) -> pc.Expression:
    """All parts by AND or OR. Arrow makes one deep chain of however they are nested, and walks it by recursion; it
    stops at a double NOT."""
    while len(parts) > _CHAIN:
        chunks = [reduce(function, parts[start : start + _CHAIN]) for start in range(0, len(parts), _CHAIN)]
        parts = [pc.invert(pc.invert(chunk)) for chunk in chunks]
    return reduce(function, parts)


def _boolean(expression: pc.Expression, node: exp.Expr) -> Operand:
    return Operand(expression, pa.bool_(), _sql(node))


def _sql(node: exp.Expr) -> str:
    text = str(node.sql(dialect="spark"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
