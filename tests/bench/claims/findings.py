"""A measurement runs over some seeds; a finding is what came of it, with a verdict that follows from the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t


@dataclass(frozen=True)
class Sample:
    """One number for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Finding:
    """The numbers of each side, by its name; the claim says that `smaller` is below `larger`."""

    claim: str
    measure: str
    sides: Mapping[str, Sample]
    smaller: str
    larger: str

    @property
    def gaps(self) -> tuple[float, ...]:
        """larger - smaller for each seed; positive where the order is the claimed one."""
        pairs = zip(self.sides[self.larger].values, self.sides[self.smaller].values, strict=True)
        return tuple(a - b for a, b in pairs)

    @property
    def wins(self) -> int:
        """Seeds for which the order is the claimed one."""
        return sum(gap > 0 for gap in self.gaps)

    @property
    def verdict(self) -> str:
        """'holds' or 'fails' where the 95 % interval (Student's t) of the paired gaps leaves out zero, else 'open'."""
        n, mean = len(self.gaps), float(np.mean(self.gaps))
        if n < 2 or abs(mean) <= t.ppf(0.975, n - 1) * float(np.std(self.gaps, ddof=1)) / math.sqrt(n):
            return "open"
        return "holds" if mean > 0 else "fails"


@dataclass(frozen=True)
class Measurement:
    """What to measure: `run` takes a seed, of rows and networks alike, and gives one number for each side."""

    claim: str
    measure: str
    smaller: str
    larger: str
    run: Callable[[int], Mapping[str, float]]

    def find(self, seeds: Sequence[int]) -> Finding:
        """Run for every seed."""
        rows = [self.run(seed) for seed in seeds]
        sides = {name: Sample(tuple(row[name] for row in rows)) for name in rows[0]}
        return Finding(self.claim, self.measure, sides, self.smaller, self.larger)
