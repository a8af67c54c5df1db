"""What is expected in a column given the others, and rows with a column hidden or set to that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vae_model.bundle.bundle import Bundle
from vae_model.features.encoding import Encoded
from vae_model.features.scales import Codes, Floats
from vae_model.network.forward import Forward
from vae_model.network.likelihood import Outputs

Indices = npt.NDArray[np.intp]


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
    """Put into column k of some rows, in place, what is expected there, the mean of the members."""
    layout = bundle.encoder.layout
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
    _repair_value(bundle, rows, k)
    if k in layout.texts:
        rows.texts[layout.texts.index(k)] = 0.0
    if k in layout.nullable:
        lost = np.flatnonzero(np.mean([o.nulls[layout.nullable.index(k)] for o in expected], axis=0) > 0)
        hidden = hide_columns(bundle, rows, lost, np.full(len(lost), k))
        rows.x[:, lost], rows.codes[:, lost], rows.absent[k, lost] = hidden.x, hidden.codes, True
        counts = bundle.encoder.counts[k] if bundle.encoder.counts else None
        if counts is not None:
            rows.values[layout.counted.index(k), lost] = len(counts.levels) + 1


def _repair_value(bundle: Bundle, rows: Encoded, k: int) -> None:
    """Set the value code of column k, in place, to that of the level nearest to what the inputs say."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    if k not in layout.counted:
        return
    counts, row = bundle.encoder.counts[k], layout.counted.index(k)
    if counts is None:
        return
    by_pair = expect_by_pair(bundle, rows, k)
    if by_pair is not None:
        rows.values[row] = by_pair
        return
    rows.values[row] = encoder.nearest_values(counts, inputs_of(bundle, rows, k))


def inputs_of(bundle: Bundle, rows: Encoded, k: int) -> Codes | Floats:
    """The network's inputs of column k: [n] codes of a category, else [parts, n]."""
    layout = bundle.encoder.layout
    if k in layout.categories:
        codes: Codes = rows.codes[layout.categories.index(k)]
        return codes
    if k in layout.booleans:
        return rows.x[[len(layout.continuous) + layout.booleans.index(k)]]
    return rows.x[np.flatnonzero(np.asarray(layout.continuous) == k)]


def expect_by_pair(bundle: Bundle, rows: Encoded, k: int) -> Codes | None:
    """The value codes that go with the value that tells most about column k, where the network does not know all of its
    levels; None where it does or nothing tells."""
    layout, encoder = bundle.encoder.layout, bundle.encoder.encoders[k]
    counts = bundle.encoder.counts[k] if k in layout.counted else None
    if counts is None or bundle.views is None or encoder.knows_all(counts):
        return None
    target = layout.counted.index(k)
    pair = next((pair for pair in bundle.views.counted.pairs if pair.target == target), None)
    return None if pair is None else pair.expect(rows.values[pair.condition])


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
