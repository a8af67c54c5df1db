"""Rows with a column hidden, or set to what is expected there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.bundle.bundle import Bundle
from vae_model.features.encoding import Encoded
from vae_model.features.scales import Codes
from vae_model.network.forward import Forward
from vae_model.network.likelihood import Outputs
from vae_model.scoring.expectation import Expected

Indices = npt.NDArray[np.intp]


def hide_columns(bundle: Bundle, encoded: Encoded, rows: Indices, columns: Indices) -> Encoded:
    """Copies of rows, each with one column hidden as in denoising training: no value, and no sign of absence."""
    layout = bundle.encoder.layout
    hidden = encoded.take(rows)
    owners = np.asarray((*layout.continuous, *layout.booleans))
    hidden.x[owners[:, None] == columns] = 0.0
    for c, k in enumerate(layout.categories):
        hidden.codes[c, columns == k] = layout.levels[c]
    hidden.absent[columns, np.arange(len(columns))] = False
    return hidden


def decode_rows(bundle: Bundle, forward: Forward, block: Encoded) -> list[Outputs]:
    """Each member's output distribution at the posterior mean of a block's rows."""
    return [forward.decode(m, forward.encode(m, block)[0]) for m in range(bundle.shape.members)]


def predict_conditionals(forward: Forward, block: Encoded) -> list[Outputs]:
    """Each member's conditional model of a block's rows."""
    return [forward.predict_conditionals(m, block) for m in range(forward.shape.members)]


def put_expected(bundle: Bundle, rows: Encoded, k: int, expected: Expected) -> None:
    """Put into column k of some rows, in place, what is expected there."""
    layout = bundle.encoder.layout
    rows.absent[k] = False
    inputs_of(bundle, rows, k)[...] = expected.inputs
    if expected.codes is not None:
        rows.values[layout.counted.index(k)] = expected.codes
    if k in layout.texts:
        rows.texts[layout.texts.index(k)] = 0.0
    if expected.lost.any():
        _put_null(bundle, rows, k, np.flatnonzero(expected.lost))
    if k in layout.prefixed:
        beginnings = bundle.encoder.prefixes_of_values(k)
        rows.values[len(layout.counted) + layout.prefixed.index(k)] = beginnings[rows.values[layout.counted.index(k)]]


def _put_null(bundle: Bundle, rows: Encoded, k: int, lost: Indices) -> None:
    layout = bundle.encoder.layout
    hidden = hide_columns(bundle, rows, lost, np.full(len(lost), k))
    rows.x[:, lost], rows.codes[:, lost], rows.absent[k, lost] = hidden.x, hidden.codes, True
    counts = bundle.encoder.counts[k] if k in layout.counted else None
    if counts is not None:
        rows.values[layout.counted.index(k), lost] = len(counts.levels) + 1


def inputs_of(bundle: Bundle, rows: Encoded, k: int) -> npt.NDArray[Any]:
    """The network's inputs of column k, a view: [n] codes of a category, else [parts, n]."""
    layout = bundle.encoder.layout
    if k in layout.categories:
        codes: Codes = rows.codes[layout.categories.index(k)]
        return codes
    if k in layout.booleans:
        first = len(layout.continuous) + layout.booleans.index(k)
        return rows.x[first : first + 1]
    first = layout.first_part(k)
    return rows.x[first : first + bundle.encoder.encoders[k].parts]


def decode_column(bundle: Bundle, outputs: Sequence[Outputs], k: int) -> list[object]:
    """The most likely value of column k for each row; None where NULL is likelier."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    values: list[object]
    if k in layout.categories:
        c = layout.categories.index(k)
        logits = np.mean([o.logits[c] for o in outputs], axis=0)
        values = list(encoder.decode(np.argmax(logits, axis=0)))
    elif k in layout.booleans:
        values = list(encoder.decode(np.mean([o.booleans[[layout.booleans.index(k)]] for o in outputs], axis=0)))
    else:
        parts = np.flatnonzero(np.asarray(layout.continuous) == k)
        values = list(encoder.decode(np.mean([o.mean[parts] for o in outputs], axis=0)))
    if k in layout.nullable:
        i = layout.nullable.index(k)
        likely_null = np.mean([o.nulls[i] for o in outputs], axis=0) > 0
        values = [None if null else v for v, null in zip(values, likely_null, strict=True)]
    return values
