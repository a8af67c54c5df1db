"""The last step of training: a bundle gets the profile of its training rows, for monitoring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from vae_model.bundle import Bundle
from vae_model.encoding import Encoded
from vae_model.explaining import Explainer, take_rows
from vae_model.profile import Profile, profile_column
from vae_model.scales import Doubles, to_array
from vae_model.scorer import build_forward, score_rows

# Of the held-out rows, the most unusual: their reasons say which columns are blamed when nothing is broken.
BLAMED_SHARE = 0.02
MAX_BLAMED_ROWS = 256


def attach_profile(bundle: Bundle, sample: pa.Table, held_out: Encoded) -> Bundle:
    """The bundle with the profile of its training rows.

    Args:
        bundle: calibrated.
        sample: training rows; all of them or an even choice.
        held_out: encoded rows that the network has not seen; they say which columns get the blame by chance.
    """
    blamed = _blame(bundle, held_out)
    columns = [
        profile_column(c.name, c.kind, encoder, to_array(sample.column(c.name)))
        for c, encoder in zip(bundle.features, bundle.encoder.encoders, strict=True)
    ]
    with_blame = [replace(c, blamed=round(float(share), 4)) for c, share in zip(columns, blamed, strict=True)]
    return replace(bundle, profile=Profile(tuple(with_blame)))


def _blame(bundle: Bundle, held_out: Encoded) -> Doubles:
    """[K] how often each column is the first reason among the most unusual held-out rows."""
    forward = build_forward(bundle)
    rows = score_rows(bundle, forward, held_out)
    count = int(np.clip(held_out.rows * BLAMED_SHARE, 1, MAX_BLAMED_ROWS))
    worst = np.argsort(rows.log10_p, kind="stable")[:count]
    shares = Explainer(bundle, forward).shares(take_rows(held_out, worst), rows.terms[:, worst])
    first = np.argmax(shares, axis=0)
    return np.bincount(first, minlength=len(bundle.features)) / count
