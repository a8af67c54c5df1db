"""ADBench: contaminated training rows; 70/30, stratified on the label."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from tests.bench.detection.detectors import build_detector
from tests.bench.detection.measures import Bools, Result

LABEL = "is_anomaly"


def split_table(labels: Bools, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """70 % and 30 % of the rows, stratified on the label."""
    rng = np.random.RandomState(seed)
    train, test = [], []
    for label in (False, True):
        rows = rng.permutation(np.flatnonzero(labels == label))
        kept = round(0.7 * len(rows))
        train.append(rows[:kept])
        test.append(rows[kept:])
    return np.concatenate(train), np.concatenate(test)


def run_adbench(name: str, paths: Iterable[Path], seeds: Iterable[int]) -> Result:
    """One detector on all tables."""
    result = Result()
    for path in track(list(paths), f"ADBench, {name}", transient=True):
        table = pq.read_table(path)
        labels = np.asarray(table[LABEL].to_numpy()).astype(bool)
        features = table.drop_columns([LABEL])
        for seed in seeds:
            train, test = split_table(labels, seed)
            detector = build_detector(name)
            result.fit(detector, features.take(pa.array(train)))
            result.add(path.stem, labels[test], result.score(detector, features.take(pa.array(test))))
    return result
