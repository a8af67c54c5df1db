"""How far two models agree on the same rows: ranks, alerts, calibration, score quantiles; and the gate that reads it.
Pure functions of two scored tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.common.config import Compare
from vae_model.bundle.self_test import SelfTest

Doubles: TypeAlias = npt.NDArray[np.float64]

# Levels that the calibration is read at, and how many rows a level must expect before it counts in the gate.
LEVELS: Final = (0.1, 0.01, 0.001)
MIN_EXPECTED: Final = 10
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class Comparison:
    """What one comparison found; pairs are (champion, challenger).

    Attributes:
        rows: that both scored.
        top: how many of the strangest rows `overlap` looks at.
        overlap: Jaccard index of the two sets of strangest rows.
        correlation: Spearman's, of the scores.
        alerts: rows below the budget.
        flipped: numbers of the rows that are alerts for one of them only, largest change of score first.
        shares: for each level, the share of rows with a p-value below it.
        quantiles: of the scores, for each of QUANTILES.
        missed: known anomalies that the champion has among its alerts and the challenger has not.
        budget: the alert budget.
    """

    rows: int
    top: int
    overlap: float
    correlation: float
    alerts: tuple[int, int]
    flipped: tuple[int, ...]
    shares: tuple[tuple[float, float], ...]
    quantiles: tuple[tuple[float, float], ...]
    missed: int
    budget: float

    @property
    def flips_per_alert(self) -> float:
        """Rows that flipped, for each alert of the champion, or that the budget allows where it has fewer."""
        return len(self.flipped) / max(self.alerts[0], self.budget * self.rows, 1.0)


@dataclass(frozen=True)
class Rule:
    """One rule of the gate: what it measures, what was found, its limit, and whether it holds."""

    name: str
    found: float
    limit: str
    ok: bool


def measure(
    champion: pa.Table, challenger: pa.Table, known: npt.NDArray[np.bool_], top: int, budget: float
) -> Comparison:
    """Compare the score columns of the same rows, scored by two models.

    Args:
        champion: scored by the model in use.
        challenger: scored by the other one.
        known: which rows somebody judged anomalies.
        top: how many of the strangest rows to compare.
        budget: the alert budget.
    """
    ours, theirs = (table["anomaly_score"].to_numpy() for table in (champion, challenger))
    is_alert = [table["is_anomaly"].to_numpy() for table in (champion, challenger)]
    differs = np.flatnonzero(is_alert[0] != is_alert[1])
    order = np.argsort(-np.abs(ours - theirs)[differs], kind="stable")
    p_values = [table["anomaly_p_value"].to_numpy() for table in (champion, challenger)]
    top = min(top, len(ours))
    return Comparison(
        rows=len(ours),
        top=top,
        overlap=_jaccard(_strangest(ours, top), _strangest(theirs, top)),
        correlation=correlate_ranks(ours, theirs),
        alerts=(int(is_alert[0].sum()), int(is_alert[1].sum())),
        flipped=tuple(map(int, differs[order])),
        shares=tuple((float((p_values[0] < level).mean()), float((p_values[1] < level).mean())) for level in LEVELS),
        quantiles=tuple((float(np.quantile(ours, q)), float(np.quantile(theirs, q))) for q in QUANTILES),
        missed=int((known & is_alert[0] & ~is_alert[1]).sum()),
        budget=budget,
    )


def apply_rules(found: Comparison, rules: Compare, detection_loss: float = 0.0) -> list[Rule]:
    """Each rule of the gate; a challenger passes when all hold.

    Args:
        found: the comparison.
        rules: the config's.
        detection_loss: see `measure_detection_loss`.
    """
    return [
        Rule(f"overlap of the {found.top} strangest rows", found.overlap, f"at least {rules.min_overlap:g}",
             found.overlap >= rules.min_overlap),
        Rule("correlation of the ranks", found.correlation, f"at least {rules.min_correlation:g}",
             found.correlation >= rules.min_correlation),
        Rule("calibration: worst factor between share and level", calibration_factor(found),
             f"at most {rules.max_calibration_factor:g}", calibration_factor(found) <= rules.max_calibration_factor),
        Rule("rows that flipped, for each alert", found.flips_per_alert, f"at most {rules.max_flips:g}",
             found.flips_per_alert <= rules.max_flips),
        Rule("known anomalies that only the champion finds", found.missed, f"at most {rules.max_missed}",
             found.missed <= rules.max_missed),
        Rule("planted faults found, less than the champion", detection_loss, f"at most {rules.max_detection_loss:g}",
             detection_loss <= rules.max_detection_loss),
    ]  # fmt: skip


def measure_detection_loss(champion: SelfTest | None, challenger: SelfTest | None) -> float:
    """By how much a smaller share of planted faults is an alert for the challenger, over the faults and columns of both
    self-tests; negative where it finds more, 0 where one of them has no self-test."""
    if champion is None or challenger is None:
        return 0.0
    theirs = {(d.column, d.fault): d.alerts for d in challenger.detections}
    lost = [d.alerts - theirs[d.column, d.fault] for d in champion.detections if (d.column, d.fault) in theirs]
    return float(np.mean(lost)) if lost else 0.0


def calibration_factor(found: Comparison) -> float:
    """By how much the challenger's share of rows below a level is off, at the worst level with enough rows to tell."""
    factors = [1.0]
    for level, (_, share) in zip(LEVELS, found.shares, strict=True):
        if level * found.rows >= MIN_EXPECTED:
            at_least_one = max(share, 0.5 / found.rows)
            factors.append(max(at_least_one / level, level / at_least_one))
    return max(factors)


def correlate_ranks(left: Doubles, right: Doubles) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; 1.0 where one side is constant."""
    ranks = [_rank(values) for values in (left, right)]
    spreads = [rank - rank.mean() for rank in ranks]
    norm = float(np.sqrt((spreads[0] ** 2).sum() * (spreads[1] ** 2).sum()))
    return float((spreads[0] * spreads[1]).sum() / norm) if norm else 1.0


def _rank(values: Doubles) -> Doubles:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: Doubles = (last - (counts - 1) / 2.0)[inverse]
    return mean_rank


def _strangest(scores: Doubles, top: int) -> set[int]:
    return set(np.argsort(-scores, kind="stable")[:top].tolist())


def _jaccard(left: set[int], right: set[int]) -> float:
    return len(left & right) / len(left | right) if left | right else 1.0
