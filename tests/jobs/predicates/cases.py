"""Conditions that every engine must read the same way, over one table of awkward values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

NAN = float("nan")
TABLE = pa.table(
    {
        "id": pa.array([0, 1, 2, 3, 4], pa.int64()),
        "i": pa.array([-1, 0, 5, 2**31 - 1, None], pa.int32()),
        "f": pa.array([NAN, 0.1, -0.0, float("inf"), None], pa.float64()),
        "r": pa.array([0.1, NAN, 1.5, -1.5, None], pa.float32()),
        "dec": pa.array(
            [Decimal("0.10"), Decimal("-1.50"), Decimal("2.00"), Decimal("0.00"), None], pa.decimal128(10, 2)
        ),
        "s": pa.array(["", "a_b%", "Straße", "it's", None], pa.string()),
        "b": pa.array([True, False, True, False, None], pa.bool_()),
        "d": pa.array([date(2013, 6, 1), date(1970, 1, 1), date(9999, 12, 31), date(1, 1, 1), None], pa.date32()),
        "ts": pa.array(
            [
                datetime(2013, 6, 1, 5, tzinfo=UTC),
                datetime(2013, 6, 1, tzinfo=UTC),
                datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
                datetime(2024, 2, 29, 12, tzinfo=UTC),
                None,
            ],
            pa.timestamp("us", tz="UTC"),
        ),
    }
)

# Condition -> the ids of the rows that it keeps.
CASES: dict[str, list[int]] = {
    "d = '2013-06-01'": [0],
    "d >= DATE '1970-01-01' AND d < '9999-12-31'": [0, 1],
    "NOT (d = '2013-06-01')": [1, 2, 3],
    "d IN ('2013-06-01', '0001-01-01')": [0, 3],
    "d NOT IN ('2013-06-01', NULL)": [],
    "d IN ('2013-06-01', NULL)": [0],
    "d IS NULL": [4],
    "d IS NOT NULL AND i IS NOT NULL": [0, 1, 2, 3],
    "d BETWEEN '1970-01-01' AND '2013-06-01'": [0, 1],
    "d NOT BETWEEN '1970-01-01' AND '2013-06-01'": [2, 3],
    "year(d) = 2013 OR month(d) = 12": [0, 2],
    "day(d) = 1": [0, 1, 3],
    "ts = '2013-06-01 05:00:00'": [0],
    "ts = '2013-06-01'": [1],
    "ts < TIMESTAMP '1970-01-01 00:00:00'": [2],
    "ts >= '2013-06-01T07:00:00+02:00'": [0, 3],
    "CAST(ts AS DATE) = d": [0],
    "ts > d": [0, 1, 3],
    "i = 5": [2],
    "i = '5'": [2],
    "i > 4.5": [2, 3],
    "i IN (-1, 0)": [0, 1],
    "i <> 5": [0, 1, 3],
    "i <=> NULL": [4],
    "i <=> 5": [2],
    "NOT (i <=> 5)": [0, 1, 3, 4],
    "i + 1 = 0 OR i * 2 = 10": [0, 2],
    "i / 2 = 2.5": [2],
    "-i > 0": [0],
    "abs(i) = 1": [0],
    "f = 0.1": [1],
    "f > 0.05": [0, 1, 3],
    "f <= 0.1": [1, 2],
    "f = 0": [2],
    "f <> 0.1": [0, 2, 3],
    "NOT (f < 1)": [0, 3],
    "f BETWEEN 0 AND 1": [1, 2],
    "isnan(f)": [0],
    "NOT isnan(f)": [1, 2, 3, 4],
    "f IS NULL": [4],
    "r = 1.5": [2],
    "r = 0.1": [],
    "r >= -1.5": [0, 1, 2, 3],
    "f = r": [],
    "dec = 0.1": [0],
    "dec < 0": [1],
    "dec >= 2": [2],
    "dec = '2.00'": [2],
    "dec > i": [0],
    "s = ''": [0],
    "s LIKE '%a%'": [1, 2],
    "s LIKE 'a\\\\_b%'": [1],
    "s LIKE 'a_b_'": [1],
    "s = 'it\\'s'": [3],
    's = "it\'s"': [3],
    "s < 'b'": [0, 1, 2],
    "upper(s) = 'A_B%'": [1],
    "length(s) = 6": [2],
    "length(s) > 3 AND NOT s LIKE '%\\'%'": [1, 2],
    "coalesce(s, 'none') = 'none'": [4],
    "coalesce(i, -7) = -7": [4],
    "b": [0, 2],
    "NOT b": [1, 3],
    "b IS TRUE": [0, 2],
    "b IS NOT TRUE": [1, 3, 4],
    "b = false": [1, 3],
    "b OR d IS NULL": [0, 2, 4],
    "b AND NULL": [],
    "S = 'Straße' and `I` = 5": [2],
    "(i = 5) AND (1 = 1)": [2],
}
