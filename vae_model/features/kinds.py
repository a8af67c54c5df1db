"""The list of column kinds; a string is of the first one that recognises it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, cast

from vae_model.features.categories import CategoryEncoder, TextEncoder
from vae_model.features.encoder import Encoder
from vae_model.features.numbers import BooleanEncoder, NumberEncoder, VectorEncoder
from vae_model.features.times import ClockEncoder, TimeEncoder

KINDS: Final[Mapping[str, type[Any]]] = {
    encoder.kind: encoder
    for encoder in (
        NumberEncoder,
        BooleanEncoder,
        CategoryEncoder,
        TimeEncoder,
        ClockEncoder,
        VectorEncoder,
        TextEncoder,
    )
}


def kinds_of(family: str) -> list[type[Encoder]]:
    """The kinds that columns of a family of types can have, the usual one first."""
    usual = [kind for kind in KINDS.values() if family in kind.families]
    return [*usual, *(kind for kind in KINDS.values() if family in kind.also)]


def encoder_to_json(encoder: Encoder) -> dict[str, Any]:
    """The encoder's kind and fields as JSON values, those with a default only where they differ: a bundle older than a
    field keeps its digest."""
    named = {
        f.name: getattr(encoder, f.name) for f in fields(cast("Any", encoder)) if getattr(encoder, f.name) != f.default
    }
    return {"kind": encoder.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in named.items()}}


def encoder_from_json(data: Mapping[str, Any]) -> Encoder:
    """Inverse of `encoder_to_json`."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"}
    encoder: Encoder = KINDS[data["kind"]](**fields)
    return encoder
