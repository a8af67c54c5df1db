"""What the self-test found, as a bundle keeps it: which faults in which columns would alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Detection:
    """What became of one fault in one column.

    Attributes:
        rows: broken rows.
        alerts: share of them below the budget.
        auroc: share of pairs (broken row, held-out row) in the right order.
        first: share of the explained alerts whose first reason is the broken column; None where none was explained.
    """

    column: str
    fault: str
    rows: int
    alerts: float
    auroc: float
    first: float | None


@dataclass(frozen=True)
class SelfTest:
    """The detectability map of a bundle; `clean_alerts` is the share of alerts among the rows as they were."""

    rows: int
    clean_alerts: float
    detections: tuple[Detection, ...]

    @property
    def auroc(self) -> float:
        return float(np.mean([d.auroc for d in self.detections])) if self.detections else 0.5

    @property
    def alerts(self) -> float:
        return float(np.mean([d.alerts for d in self.detections])) if self.detections else 0.0

    def by_fault(self) -> list[Detection]:
        """The mean over columns of each fault, in the order of the faults."""
        return [_mean("", fault, self._of(fault=fault)) for fault in dict.fromkeys(d.fault for d in self.detections)]

    def by_column(self) -> list[Detection]:
        """The mean over faults of each column."""
        return [_mean(name, "", self._of(column=name)) for name in dict.fromkeys(d.column for d in self.detections)]

    def deaf_columns(self) -> list[str]:
        """Columns in which hardly any fault would be an alert."""
        return [
            name
            for name in dict.fromkeys(d.column for d in self.detections)
            if all(d.alerts < HEARD_SHARE for d in self._of(column=name))
        ]

    def _of(self, **wanted: str) -> list[Detection]:
        return [d for d in self.detections if all(getattr(d, name) == value for name, value in wanted.items())]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "clean_alerts": self.clean_alerts,
            "detections": [asdict(detection) for detection in self.detections],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SelfTest:
        return cls(data["rows"], data["clean_alerts"], tuple(Detection(**d) for d in data["detections"]))


# Below this share of alerts a fault is as good as not found.
HEARD_SHARE = 0.05


def _mean(column: str, fault: str, found: Sequence[Detection]) -> Detection:
    first = [d.first for d in found if d.first is not None]
    return Detection(
        column, fault, sum(d.rows for d in found), float(np.mean([d.alerts for d in found])),
        float(np.mean([d.auroc for d in found])), float(np.mean(first)) if first else None,
    )  # fmt: skip
