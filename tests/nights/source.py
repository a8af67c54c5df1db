"""The flights as the source of a simulation, with keys of two kinds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jobs.onboarding.flights import load_flights

KEY, DAY = "flight_id", "flight_date"
# A key as tables of other people have it: one in five has a twin, some are NULL. The oracle knows rows by `KEY`.
CODE = "code"


def load() -> pa.Table:
    """The flights by day, numbered."""
    flights = load_flights().sort_by([(DAY, "ascending"), ("time_hour", "ascending")])
    number = np.arange(flights.num_rows)
    code = np.where(number % 10 == 1, number - 1, number)
    codes = pa.array([None if i % 53 == 7 else f"F{c}" for i, c in enumerate(code.tolist())])
    return flights.append_column(KEY, pa.array(number, pa.int64())).append_column(CODE, codes)
