"""Types in predicates: a literal takes the type of the column it is compared with, two columns meet in a common type,
and comparisons follow Spark's rules, also for NaN. What would mean different things on two engines is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from sqlglot import exp

from jobs.common.errors import ConfigError
from jobs.predicates.values import Value, read_value

UTC_TIME, NAIVE_TIME = pa.timestamp("us", tz="UTC"), pa.timestamp("us")
CASTS: dict[exp.DType, pa.DataType] = {
    exp.DType.DATE: pa.date32(),
    exp.DType.TIMESTAMPTZ: UTC_TIME,
    exp.DType.TIMESTAMPLTZ: UTC_TIME,
    exp.DType.TIMESTAMP: UTC_TIME,
    exp.DType.TIMESTAMPNTZ: NAIVE_TIME,
    exp.DType.DOUBLE: pa.float64(),
    exp.DType.BIGINT: pa.int64(),
}
_PLAIN: dict[type[exp.Expr], Callable[[pc.Expression, pc.Expression], pc.Expression]] = {
    exp.EQ: pc.equal,
    exp.NEQ: pc.not_equal,
    exp.LT: pc.less,
    exp.LTE: pc.less_equal,
    exp.GT: pc.greater,
    exp.GTE: pc.greater_equal,
}


@dataclass(frozen=True)
class Operand:
    """An expression with its type. A literal that has not met a column keeps its `text`, and NULL has no expression.

    Attributes:
        constant: the value, where it is the same for every row and has its type already.
    """

    expression: pc.Expression | None
    dtype: pa.DataType
    sql: str
    text: str | None = None
    constant: pa.Scalar | None = None

    @property
    def is_constant(self) -> bool:
        """Whether `to_constant` has a value to convert."""
        return self.text is not None or self.constant is not None

    def to_constant(self, dtype: pa.DataType) -> pa.Scalar:
        """The value of a constant as `dtype`; see `convert`."""
        if self.text is not None or self.constant is None:
            return read_value(self.text or "", dtype, self.sql)
        return self.constant.cast(dtype, safe=_is_safe(self.dtype, dtype))

    def convert(self, dtype: pa.DataType) -> pc.Expression:
        """The expression as `dtype`.

        Raises:
            ConfigError: a literal that is no such value.
        """
        if self.text is not None:
            return read_literal(self.text, dtype, self.sql)
        if self.expression is None:
            return to_scalar(None, dtype)
        if self.dtype == dtype:
            return self.expression
        return self.expression.cast(dtype, safe=_is_safe(self.dtype, dtype))


def constant(value: pa.Scalar, sql: str) -> Operand:
    """A literal that has its type."""
    return Operand(pc.scalar(value), value.type, sql, constant=value)


def is_number(dtype: pa.DataType) -> bool:
    """Integers, floats and decimals."""
    return bool(pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype))


def unify(left: Operand, right: Operand, sql: str) -> tuple[pc.Expression, pc.Expression, pa.DataType]:
    """Both sides in the type that they are compared in.

    Raises:
        ConfigError: the types do not compare, or a literal does not fit.
    """
    dtype = common_type(left, right, sql)
    return left.convert(dtype), right.convert(dtype), dtype


def is_among(tested: pc.Expression, values: Sequence[pa.Scalar], dtype: pa.DataType) -> pc.Expression:
    """Whether a value is one of some, as one look-up: an expression for each would be a tree that Arrow, which makes a
    chain of it, cannot walk. NULL is neither in nor out; NaN is NaN, and -0.0 is 0.0."""
    known = [value.as_py() for value in values] if pt.is_floating(dtype) else list(values)
    if pt.is_floating(dtype) and 0.0 in known:
        known += [0.0, -0.0]
    inside = pc.if_else(
        tested.is_valid(), pc.is_in(tested, value_set=pa.array(known, dtype)), to_scalar(None, pa.bool_())
    )
    if pt.is_floating(dtype) and any(math.isnan(value) for value in known):
        return inside
    if pt.is_boolean(dtype):
        return inside
    # Parquet's statistics know ranges, not sets. They leave NaN out, which is no matter: NaN is not in this set.
    ends = pc.min_max(pa.array(known, dtype))
    above, below = (pc.greater_equal(tested, ends["min"]), pc.less_equal(tested, ends["max"]))
    return pc.and_kleene(pc.and_kleene(above, below), inside)


def compare(kind: type[exp.Expr], left: pc.Expression, right: pc.Expression, dtype: pa.DataType) -> pc.Expression:
    """A comparison as Spark makes it: NaN = NaN, and NaN is larger than every other number."""
    if not pt.is_floating(dtype):
        return _PLAIN[kind](left, right)
    # Spelled out even where IEEE would do: Parquet's statistics leave NaN out, and row groups are skipped by them.
    nan_left, nan_right = pc.is_nan(left), pc.is_nan(right)
    equal = (pc.equal(left, right) & ~nan_left) | (nan_left & nan_right)
    less = (pc.less(left, right) & ~nan_left) | (~nan_left & nan_right)
    by_kind: dict[type[exp.Expr], pc.Expression] = {
        exp.EQ: equal,
        exp.NEQ: ~equal,
        exp.LT: less,
        exp.LTE: less | equal,
        exp.GT: ~(less | equal),
        exp.GTE: ~less,
    }
    return by_kind[kind]


def read_literal(text: str, dtype: pa.DataType, sql: str) -> pc.Expression:
    """A literal's text as an expression of type `dtype`; see `read_value`."""
    return pc.scalar(read_value(text, dtype, sql))


def to_scalar(value: Value | None, dtype: pa.DataType) -> pc.Expression:
    """A literal expression of exactly that type."""
    return pc.scalar(pa.scalar(value, dtype))


def _is_safe(dtype: pa.DataType, wanted: pa.DataType) -> bool:
    """As Spark compares: the largest integers lose digits where they meet a double."""
    return not (pt.is_integer(dtype) and pt.is_floating(wanted))


def common_type(left: Operand, right: Operand, sql: str) -> pa.DataType:
    """The type that both are compared in.

    Raises:
        ConfigError: the types do not compare.
    """
    for one, other in ((left, right), (right, left)):
        if one.expression is None and one.text is None:
            return other.dtype if not pt.is_null(other.dtype) else pa.bool_()
        if one.text is not None and other.text is None:
            return _type_for_literal(one, other, sql)
    if left.dtype == right.dtype and not pt.is_nested(left.dtype) and not pt.is_binary(left.dtype):
        return left.dtype
    if is_number(left.dtype) and is_number(right.dtype):
        return _common_number(left.dtype, right.dtype)
    times = [dtype for dtype in (left.dtype, right.dtype) if pt.is_timestamp(dtype)]
    if times and all(pt.is_timestamp(d) or pt.is_date(d) for d in (left.dtype, right.dtype)):
        return UTC_TIME if any(dtype.tz for dtype in times) else NAIVE_TIME
    raise ConfigError(f"types that can be compared in {sql}", f"{left.dtype} and {right.dtype}", _remedy(left, right))


def _type_for_literal(literal: Operand, other: Operand, sql: str) -> pa.DataType:
    """A quoted text reads as any plain type, an unquoted decimal number as a number only."""
    if pt.is_nested(other.dtype) or pt.is_binary(other.dtype):
        raise ConfigError(f"a column that can be compared in {sql}", f"a {other.dtype}", "test it with IS NULL only")
    if pt.is_string(literal.dtype):
        return other.dtype
    if not is_number(other.dtype):
        raise ConfigError(
            f"types that can be compared in {sql}", f"{literal.sql} and {other.dtype}", _remedy(literal, other)
        )
    if pt.is_integer(other.dtype):
        return pa.float64()
    if pt.is_decimal(other.dtype):
        places = max(other.dtype.scale, -int(Decimal(literal.text or "0").as_tuple().exponent), 0)
        return pa.decimal256(76, min(places, 38))
    return pa.float64()


def _common_number(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    if pt.is_floating(left) or pt.is_floating(right):
        return pa.float64()
    if pt.is_decimal(left) or pt.is_decimal(right):
        scale = max(dtype.scale for dtype in (left, right) if pt.is_decimal(dtype))
        return pa.decimal256(76, scale)
    return pa.int64()


def _remedy(left: Operand, right: Operand) -> str:
    strings = pt.is_string(left.dtype) or pt.is_string(right.dtype)
    return "put the value in 'single quotes'" if strings or left.text or right.text else "compare like with like"
