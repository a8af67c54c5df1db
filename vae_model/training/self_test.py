"""The self-test: what a trained model would find in the user's own table. Generic faults are planted in held-out rows,
column by column (`planting`), and scored as any night would be: a map of what is heard, and of what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.self_test import Detection, SelfTest
from vae_model.features.scales import Doubles
from vae_model.training.planting import Planted, plant_faults

if TYPE_CHECKING:
    from vae_model.bundle.bundle import Bundle

BUDGET = 0.001
PLANTED_ROWS = 50
# Columns that faults are planted in: of a wider table every n-th.
MAX_COLUMNS = 64
# Alerts whose reasons are looked up: each costs as many rows as there are columns.
EXPLAINED_ROWS = 8
MAX_REPAIRS = 150_000


def run_self_test(bundle: Bundle, held_out: pa.Table, seed: int = 0) -> SelfTest:
    """Plant faults in held-out rows and score them.

    Args:
        bundle: calibrated.
        held_out: rows that the network has not seen, as they are.
        seed: of the rows to break.
    """
    from vae_model.scoring.scorer import Scorer

    if held_out.num_rows == 0:
        return SelfTest(0, 0.0, ())
    scorer = Scorer(bundle, alert_budget=BUDGET, explain="none")
    clean = _score(scorer, held_out)
    chosen = bundle.features[:: -(-len(bundle.features) // MAX_COLUMNS)]
    kinds = {column.name: column.kind for column in chosen}
    planted = list(plant_faults(held_out.select(bundle.feature_names), kinds, PLANTED_ROWS, seed))
    repairs = len(bundle.features) * max(1, len(planted))
    explained = min(EXPLAINED_ROWS, max(1, MAX_REPAIRS // repairs)) if repairs <= MAX_REPAIRS else 0
    ordered = np.sort(clean)
    scores = _score(scorer, pa.concat_tables([fault.table for fault in planted])) if planted else np.zeros(0)
    of_faults = np.split(scores, np.cumsum([len(fault.rows) for fault in planted])[:-1])
    detections = tuple(_judge(scorer, *found, ordered, explained) for found in zip(planted, of_faults, strict=False))
    return SelfTest(held_out.num_rows, round(float((clean > -np.log10(BUDGET)).mean()), 6), detections)


def _score(scorer: Any, table: pa.Table) -> Doubles:
    """-log10 p of each row."""
    parts = [
        scorer.score_batch(batch).column("anomaly_score").to_numpy() for batch in table.combine_chunks().to_batches()
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _judge(scorer: Any, planted: Planted, scores: Doubles, clean: Doubles, explained: int) -> Detection:
    below, at_most = (np.searchsorted(clean, scores, side=side) for side in ("left", "right"))
    auroc = float(np.mean(0.5 * (below + at_most)) / max(1, len(clean)))
    alerts = np.flatnonzero(scores > -np.log10(BUDGET))
    first = None
    if len(alerts) and explained:
        names = _first_reasons(scorer, planted.table, alerts[:explained])
        first = round(float(np.mean([name == planted.column for name in names])), 4)
    share = round(len(alerts) / len(scores), 4)
    return Detection(planted.column, planted.fault, len(scores), share, round(auroc, 4), first)


def _first_reasons(scorer: Any, table: pa.Table, rows: npt.NDArray[np.intp]) -> list[str]:
    batch = table.take(pa.array(rows)).combine_chunks().to_batches()[0]
    encoded = scorer.bundle.encoder.encode(batch)
    shares = scorer.explainer.shares(encoded, np.zeros((len(scorer.bundle.features), batch.num_rows), np.float32))
    return [scorer.bundle.feature_names[k] for k in np.argmax(shares, axis=0)]
