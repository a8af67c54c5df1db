"""What is expected in a column given the others, and rows with a column hidden or set to that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_model.bundle.bundle import Bundle
from vae_model.features.encoding import Encoded
from vae_model.features.scales import Bools, Codes
from vae_model.network.forward import Forward
from vae_model.network.likelihood import Outputs

Indices = npt.NDArray[np.intp]
# Share of the training rows with what tells most for which an expected value holds.
SURE = 0.5


def take_outputs(outputs: Outputs, rows: Indices) -> Outputs:
    """The output distributions of some rows."""
    return outputs.map(lambda values: values[:, rows])


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


def repair_column(bundle: Bundle, rows: Encoded, expected: Sequence[Outputs], k: int) -> None:
    """Put into column k of some rows, in place, what is expected there: by the network (the mean of its members), or by
    counting where that is surer."""
    layout = bundle.encoder.layout
    by_counts = expect_by_counts(bundle, rows, k)
    rows.absent[k] = False
    if k in layout.categories:
        c = layout.categories.index(k)
        rows.codes[c] = np.argmax(np.mean([o.logits[c] for o in expected], axis=0), axis=0)
    elif k in layout.booleans:
        b = layout.booleans.index(k)
        rows.x[len(layout.continuous) + b] = np.sign(np.mean([o.booleans[b] for o in expected], axis=0))
    else:
        parts = np.flatnonzero(np.asarray(layout.continuous) == k)
        rows.x[parts] = np.mean([o.mean[parts] for o in expected], axis=0)
    counts = bundle.encoder.counts[k] if k in layout.counted else None
    if counts is not None:
        nearest = bundle.encoder.encoders[k].nearest_values(counts, inputs_of(bundle, rows, k))
        rows.values[layout.counted.index(k)] = nearest
    if k in layout.texts:
        rows.texts[layout.texts.index(k)] = 0.0
    lost = np.zeros(rows.rows, np.bool_)
    if k in layout.nullable:
        lost = np.mean([o.nulls[layout.nullable.index(k)] for o in expected], axis=0) > 0
    if by_counts is not None:
        lost = _put_values(bundle, rows, k, *by_counts, lost)
    if lost.any():
        _put_null(bundle, rows, k, np.flatnonzero(lost))
    if k in layout.prefixed:
        beginnings = bundle.encoder.prefixes_of_values(k)
        rows.values[len(layout.counted) + layout.prefixed.index(k)] = beginnings[rows.values[layout.counted.index(k)]]


def _put_values(bundle: Bundle, rows: Encoded, k: int, values: Codes, chosen: Bools, lost: Bools) -> Bools:
    """Put counted values into the chosen rows, in place; which rows are to hold no value."""
    layout, known = bundle.encoder.layout, bundle.encoder.inputs_of_values(k)
    rows.values[layout.counted.index(k), chosen] = values[chosen]
    levels = known.shape[-1]
    told = np.flatnonzero(chosen & (values < levels))
    inputs_of(bundle, rows, k)[..., told] = known[..., values[told]]
    without: Bools = np.where(chosen, values == levels + 1, lost)
    return without


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


def expect_by_counts(bundle: Bundle, rows: Encoded, k: int) -> tuple[Codes, Bools] | None:
    """The value codes that go with the value that tells most about column k, and the rows in which counting is surer
    than the network: it holds for most training rows, or the network does not know the column's levels."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    counts = bundle.encoder.counts[k] if k in layout.counted else None
    if counts is None or bundle.views is None:
        return None
    target = layout.counted.index(k)
    given = next((given for given in bundle.views.counted.given if given.target == target), None)
    if given is None:
        return None
    codes, share = given.expect(rows.values)
    chosen: Bools = (share >= SURE) | (not encoder.knows_all(counts))
    return codes, chosen & (codes != len(counts.levels))


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
