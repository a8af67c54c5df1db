"""The heart: `Scorer.score_batch(RecordBatch) -> RecordBatch`, a pure function of the row and the bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.bundle import Bundle
from vae_model.errors import DataError
from vae_model.features.arrays import to_arrow, to_arrow_text
from vae_model.features.encoding import Encoded
from vae_model.features.nested import expand_batch
from vae_model.features.scales import Bools, Doubles, Floats
from vae_model.network.forward import BlockScores, Forward, mean_of_members, sum_columns
from vae_model.network.ranking import rank_rows
from vae_model.schema import SCORE_COLUMNS, SCORE_SCHEMA
from vae_model.scoring.explainer import Explainer

Explain = Literal["alerts", "all", "none"]


@dataclass(frozen=True)
class ScoringOptions:
    """How rows are scored: with the bundle, all that decides a scorer's output.

    Attributes:
        alert_budget: rows with a p-value below it are anomalies (0.001: one normal row in a thousand).
        explain: fill `top_columns` for anomalies, for all rows, or for none.
        samples: use only the first so many of the bundle's latent draws; None: as many as it was calibrated with.
        scored_at: the run's logical time.
    """

    alert_budget: float = 0.001
    explain: Explain = "alerts"
    samples: int | None = None
    scored_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class RowScores:
    """Numbers of n rows: terms [K, n] in nats, log10_p, error and nll [n], mu and sigma [n, M * L]."""

    terms: Floats
    log10_p: Doubles
    error: Doubles
    nll: Doubles
    mu: Floats
    sigma: Floats


class Scorer:
    """Scores batches with one bundle.

    Args:
        bundle: the trained model.
        options: how; fields of it may be given by name instead, as in `Scorer(bundle, explain="all")`.
    """

    def __init__(self, bundle: Bundle, options: ScoringOptions | None = None, **given: Any) -> None:
        self.bundle = bundle
        self.options = replace(options or ScoringOptions(), **given)
        self.forward = build_forward(bundle, self.options.samples)
        self.explainer = Explainer(bundle, self.forward)
        self._model_id = to_arrow_text([bundle.model_id])[0]
        scored_at = self.options.scored_at
        utc = scored_at.astimezone(UTC) if scored_at.tzinfo else scored_at
        moment = np.datetime64(utc.replace(tzinfo=None), "us").astype(np.int64)
        self._scored_at = to_arrow(np.array([moment])).cast(SCORE_SCHEMA.field("scored_at").type)[0]
        self.schema = SCORE_SCHEMA

    @property
    def feature_names(self) -> list[str]:
        return self.bundle.feature_names

    def score_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The score columns of each row, in the order of the rows.

        Raises:
            DataError: a feature column is missing or of another type.
        """
        self.bundle.check_schema(batch.schema)
        batch = expand_batch(batch, self.feature_names)
        encoded = self.bundle.encoder.encode(batch)
        rows = score_rows(self.bundle, self.forward, encoded)
        p_value = np.power(10.0, rows.log10_p)
        is_anomaly = p_value < self.options.alert_budget
        reasons, why = self._explain(batch, encoded, rows, is_anomaly)
        n = batch.num_rows
        columns: dict[str, pa.Array] = {
            "anomaly_score": to_arrow(-rows.log10_p + 0.0),
            "anomaly_p_value": to_arrow(p_value),
            "is_anomaly": to_arrow(is_anomaly),
            "reconstruction_error": to_arrow(rows.error),
            "reconstruction_nll": to_arrow(rows.nll),
            "latent_mu": _to_list_array(rows.mu),
            "latent_sigma": _to_list_array(rows.sigma),
            "top_columns": reasons,
            "why": why,
            "model_id": pa.repeat(self._model_id, n),
            "scored_at": pa.repeat(self._scored_at, n),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in SCORE_COLUMNS], schema=self.schema)

    def _explain(
        self, batch: pa.RecordBatch, encoded: Encoded, rows: RowScores, is_anomaly: Bools
    ) -> tuple[pa.Array, pa.Array]:
        chosen = {"alerts": np.flatnonzero(is_anomaly), "all": np.arange(encoded.rows), "none": np.arange(0)}
        return self.explainer.top_columns(batch, encoded, rows.terms, chosen[self.options.explain])


def build_forward(bundle: Bundle, samples: int | None = None) -> Forward:
    """The numpy network of a bundle."""
    draws = bundle.tensors["draws"]
    wanted = bundle.samples if samples is None else samples
    if not 1 <= wanted <= len(draws):
        raise DataError(
            f"1 to {len(draws)} latent samples", f"score.samples = {wanted}", "choose a number in that range"
        )
    share = np.asarray(bundle.encoder.absent_share)
    absent_nll = -np.log(np.maximum(share, 0.5 / (bundle.encoder.rows + 1.0))).astype(np.float32)
    return Forward(bundle.encoder.layout, bundle.shape, bundle.tensors, draws[:wanted], absent_nll)


def score_rows(bundle: Bundle, forward: Forward, encoded: Encoded) -> RowScores:
    """Run the network over encoded rows, block by block."""
    n = encoded.rows
    k, latent = bundle.encoder.layout.columns, bundle.shape.members * bundle.shape.latent
    rows = RowScores(
        np.empty((k, n), np.float32), np.empty(n), np.empty(n), np.empty(n), np.empty((n, latent), np.float32),
        np.empty((n, latent), np.float32),
    )  # fmt: skip
    stop = 0
    for block in forward.split(encoded):
        start, stop = stop, stop + block.rows
        scores = forward.score(block)
        error = np.sqrt(sum_columns(scores.squares) / k)
        terms = scores.terms
        statistic = rank_block(bundle, scores, block)
        rows.terms[:, start:stop] = terms
        rows.nll[start:stop] = sum_columns(terms)
        rows.error[start:stop] = error
        rows.log10_p[start:stop] = bundle.calibration.log10_p(statistic)
        rows.mu[start:stop] = scores.mu.T
        rows.sigma[start:stop] = scores.sigma.T
    return rows


def rank_block(bundle: Bundle, scores: BlockScores, block: Encoded) -> Doubles:
    """The statistic that ranks rows, [B]."""
    if bundle.views is None:
        return _combine_members(bundle, scores)
    return bundle.views.statistic(mean_of_members(scores.ranked).copy(), block)


def _combine_members(bundle: Bundle, scores: BlockScores) -> Doubles:
    """Format 1: members' rankings, each on the scale of its held-out rows, averaged."""
    tensors, ranking = bundle.tensors, bundle.shape.ranking
    total = np.zeros(scores.mu.shape[1])
    for m in range(bundle.shape.members):
        ranks = rank_rows(
            ranking,
            scores.ranked[m],
            scores.member_squares[m],
            tensors["rank_center"][m],
            tensors["rank_scale"][m],
        )
        total += (ranks - tensors["member_center"][m]) / tensors["member_scale"][m]
    return total / bundle.shape.members


def _to_list_array(values: npt.NDArray[np.float32]) -> pa.ListArray:
    n, width = values.shape
    offsets = to_arrow(np.arange(n + 1, dtype=np.int32) * np.int32(width))
    return pa.ListArray.from_arrays(offsets, to_arrow(values))


def score_batches(batches: Iterable[pa.RecordBatch], scorer: Scorer) -> Iterator[pa.RecordBatch]:
    """Each batch with its score columns appended; the input's schema is checked once, before the first batch."""
    schema: pa.Schema | None = None
    for batch in batches:
        if schema is None:
            schema = scorer.bundle.output_schema(batch.schema)
        yield pa.RecordBatch.from_arrays([*batch.columns, *scorer.score_batch(batch).columns], schema=schema)
