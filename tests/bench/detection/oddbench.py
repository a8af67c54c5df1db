"""OddBench: real tables whose training rows are all ordinary, with a test half that the benchmark fixed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from tests.bench.detection.detectors import build_detector
from tests.bench.detection.measures import Result

IS_TEST, LABEL = "is_test", "is_anomaly"


def run_oddbench(name: str, paths: Iterable[Path]) -> Result:
    """One detector on all tables."""
    result = Result()
    for path in track(list(paths), f"OddBench, {name}", transient=True):
        table = pq.read_table(path)
        of_test = np.asarray(table[IS_TEST]).astype(bool)
        labels = np.asarray(table[LABEL]).astype(bool)[of_test]
        features = table.drop_columns([IS_TEST, LABEL])
        detector = build_detector(name)
        result.fit(detector, features.filter(pa.array(~of_test)))
        result.add(path.stem, labels, result.score(detector, features.filter(pa.array(of_test))))
    return result
