"""The Python API: score, explain, encode, reconstruct and generate with a bundle, on pyarrow tables, in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from vae_model.bundle.bundle import Bundle
from vae_model.errors import DataError
from vae_model.features.encoder import Encoder
from vae_model.features.nested import expand_table
from vae_model.features.scales import Floats
from vae_model.features.words import to_words
from vae_model.network.likelihood import Outputs
from vae_model.scoring.evidence import Reason
from vae_model.scoring.explainer import Explainer, name_expected
from vae_model.scoring.repair import decode_column, decode_rows
from vae_model.scoring.scorer import Explain, Scorer, ScoringOptions, build_forward, score_batches, score_rows

CHUNK_ROWS = 65_536
# Drawn at once: part of what a seed means.
DRAWN_ROWS = 1_216


def score(
    table: pa.Table,
    bundle: Bundle,
    *,
    alert_budget: float = 0.001,
    explain: Explain = "alerts",
    scored_at: datetime | None = None,
    samples: int | None = None,
) -> pa.Table:
    """The same rows with the score columns appended; see `ScoringOptions` for the options and errors."""
    scorer = Scorer(bundle, ScoringOptions(alert_budget, explain, samples, scored_at or datetime.now(UTC)))
    schema = bundle.output_schema(table.schema)
    return pa.Table.from_batches(score_batches(table.to_batches(CHUNK_ROWS), scorer), schema=schema)


def find_reasons(table: pa.Table, bundle: Bundle) -> list[list[Reason]]:
    """Why each row is as unusual as it is, typed, the largest share first; `describe_reason` has the words."""
    bundle.check_schema(table.schema)
    table = expand_table(table, bundle.feature_names)
    forward = build_forward(bundle)
    explainer = Explainer(bundle, forward)
    found: list[list[Reason]] = []
    for batch in table.to_batches(CHUNK_ROWS):
        encoded = bundle.encoder.encode(batch)
        rows, reasons = explainer.find_reasons(batch, encoded, score_rows(bundle, forward, encoded).terms)
        found += [[] for _ in range(batch.num_rows)]
        for row, reason in zip(rows.tolist(), reasons, strict=True):
            found[row - batch.num_rows].append(reason)
    return found


def explain(table: pa.Table, bundle: Bundle) -> pa.Table:
    """Every column's part in every row's score: row, column, nll, share, observed, expected; largest share first."""
    bundle.check_schema(table.schema)
    table = expand_table(table, bundle.feature_names)
    forward = build_forward(bundle)
    explainer = Explainer(bundle, forward)
    records: list[dict[str, object]] = []
    first = 0
    for batch in table.to_batches(CHUNK_ROWS):
        encoded = bundle.encoder.encode(batch)
        terms = score_rows(bundle, forward, encoded).terms
        judged = explainer.judge(encoded, terms)
        cells = np.divmod(np.arange(batch.num_rows * len(bundle.features)), len(bundle.features))
        expected = name_expected(bundle, judged.expected, *cells)
        for row in range(batch.num_rows):
            for k in np.argsort(-judged.shares[:, row], kind="stable"):
                name = bundle.feature_names[k]
                records.append(
                    {
                        "row": first + row,
                        "column": name,
                        "nll": float(terms[k, row]),
                        "share": float(judged.shares[k, row]),
                        "observed": to_words(batch.column(name)[row].as_py()),
                        "expected": expected[row * len(bundle.features) + k],
                    }
                )
        first += batch.num_rows
    fields = [("row", pa.int64()), ("column", pa.string()), ("nll", pa.float64()), ("share", pa.float64())]
    return pa.Table.from_pylist(records, pa.schema([*fields, ("observed", pa.string()), ("expected", pa.string())]))


def encode(table: pa.Table, bundle: Bundle) -> pa.Table:
    """Compression to the latent layer: columns latent_mu and latent_sigma, one row for each input row."""
    scored = score(table, bundle, explain="none")
    return scored.select(["latent_mu", "latent_sigma"])


def reconstruct(table: pa.Table, bundle: Bundle) -> pa.Table:
    """What the model expects to see in each feature column: denoised rows, absent values filled in.

    Numbers, booleans and categories come back in the column's own type; times as the expected phases in words.
    """
    bundle.check_schema(table.schema)
    table = expand_table(table, bundle.feature_names)
    forward = build_forward(bundle)
    columns: list[list[object]] = [[] for _ in bundle.features]
    for batch in table.to_batches(CHUNK_ROWS):
        for block in forward.split(bundle.encoder.encode(batch)):
            outputs = decode_rows(bundle, forward, block)
            for k in range(len(columns)):
                columns[k] += decode_column(bundle, outputs, k)
    types = [
        encoder.arrow_type(table.schema.field(name).type)
        for name, encoder in zip(bundle.feature_names, bundle.encoder.encoders, strict=True)
    ]
    arrays = [pa.array(v, t, from_pandas=False) for v, t in zip(_integral(columns, types), types, strict=True)]
    return pa.Table.from_arrays(arrays, names=bundle.feature_names)


def _integral(columns: list[list[object]], types: list[pa.DataType]) -> Iterator[list[object]]:
    for values, dtype in zip(columns, types, strict=True):
        if pa.types.is_integer(dtype):
            yield [int(v) if isinstance(v, float) else v for v in values]
        else:
            yield values


def generate(n: int, bundle: Bundle, seed: int = 0) -> pa.Table:
    """New rows, n of them: standard normal latent points, each value drawn from the decoder's output distribution.

    With several members each row comes from one of them. Times come as phases in words, vectors as lists of doubles.

    Raises:
        DataError: the model is an autoencoder.
    """
    if not bundle.shape.is_variational:
        raise DataError("a VAE to draw from", "an autoencoder, whose latents have no distribution", "train a vae")
    rng = np.random.default_rng(seed)
    forward, layout = build_forward(bundle), bundle.encoder.layout
    columns: list[list[object]] = [[] for _ in bundle.features]
    for start in range(0, n, DRAWN_ROWS):
        z = rng.standard_normal((bundle.shape.latent, DRAWN_ROWS), dtype=np.float32)
        outputs = forward.decode(start // DRAWN_ROWS % bundle.shape.members, z)
        for k, encoder in enumerate(bundle.encoder.encoders):
            values = _draw_column(encoder, k, outputs, bundle, rng)
            if k in layout.nullable:
                share = 1.0 / (1.0 + np.exp(-outputs.nulls[layout.nullable.index(k)].astype(np.float64)))
                values = [None if u < p else v for u, p, v in zip(rng.random(DRAWN_ROWS), share, values, strict=True)]
            columns[k] += values[: n - start]
    return pa.table({name: pa.array(v) for name, v in zip(bundle.feature_names, columns, strict=True)})


def _draw_column(encoder: Encoder, k: int, outputs: Outputs, bundle: Bundle, rng: np.random.Generator) -> list[object]:
    layout = bundle.encoder.layout
    if k in layout.categories:
        logits = outputs.logits[layout.categories.index(k)]
        gumbel = rng.gumbel(size=logits.shape)
        return list(encoder.decode(np.argmax(logits + gumbel, axis=0)))
    if k in layout.booleans:
        logit = outputs.booleans[[layout.booleans.index(k)]]
        return list(encoder.decode((logit + rng.logistic(size=logit.shape)).astype(np.float32)))
    parts = np.flatnonzero(np.asarray(layout.continuous) == k)
    sigma: Floats = np.exp(np.broadcast_to(outputs.log_sigma, outputs.mean.shape)[parts])
    noise: Floats = rng.standard_normal(sigma.shape, dtype=np.float32)
    drawn: Floats = outputs.mean[parts] + sigma * noise
    return list(encoder.decode(drawn))
