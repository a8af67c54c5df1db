"""The bundle: everything that scoring needs, as safetensors and canonical JSON, under one digest. No pickle anywhere.

A folder holds `model.safetensors` and `bundle.json`; `to_bytes` is the same content in one piece, for broadcasting.
`model_id` is the SHA-256 of both, so a changed byte is refused on loading.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_model.bundle.profile import Profile
from vae_model.bundle.self_test import SelfTest
from vae_model.bundle.tensors import read_tensors, write_tensors
from vae_model.errors import BundleError
from vae_model.features.columns import Column, check_features
from vae_model.features.encoding import TableEncoder
from vae_model.features.text_model import TextModel
from vae_model.features.value_counts import ValueCounts
from vae_model.network.shape import Shape
from vae_model.schema import append_score_fields
from vae_model.views.calibration import Calibration
from vae_model.views.views import Views

# 2: rows are ranked by `views`. Bundles without them are still written as 1.
FORMAT_VERSION = 2
JSON_NAME, TENSORS_NAME = "bundle.json", "model.safetensors"
_MAGIC = b"STBUNDLE"
# Tensors that belong to other parts of a bundle than the network.
_PARTS = ("calibration.", "views.", "values.", "prototypes.", "texts.")


@dataclass(frozen=True)
class Bundle:
    """A trained model.

    Attributes:
        encoder: the columns and their statistics.
        shape: dimensions of the network.
        tensors: weights, `draws` [S, L], `column_baseline` [K], `latent_kl` [M, L], scales of columns
            [M, K] and members [M].
        calibration: statistic -> p-value.
        notes: what training wants reported, such as ignored columns.
        training_curve: one entry an epoch.
        lineage: where the training rows came from.
        schedule: how it was trained.
        versions: packages that trained it.
        profile: what training saw in each column; None in bundles older than it.
        views: how rows are judged; None in bundles of format 1.
        self_test: what the model finds of faults that were planted in held-out rows; None in older bundles.
    """

    encoder: TableEncoder
    shape: Shape
    tensors: Mapping[str, npt.NDArray[Any]]
    calibration: Calibration
    samples: int
    notes: tuple[str, ...] = ()
    training_curve: tuple[dict[str, float], ...] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    profile: Profile | None = None
    views: Views | None = None
    self_test: SelfTest | None = None

    @property
    def features(self) -> tuple[Column, ...]:
        return self.encoder.columns

    @property
    def feature_names(self) -> list[str]:
        return self.encoder.names

    @property
    def train_rows(self) -> int:
        return self.encoder.rows

    @property
    def latent_kl(self) -> npt.NDArray[np.float32] | None:
        """[M, L] mean KL of each latent unit over held-out rows, in nats; None in bundles older than it."""
        return self.tensors.get("latent_kl")

    @cached_property
    def model_id(self) -> str:
        """SHA-256 of the content, 64 hexadecimal digits."""
        return _digest(self._content(), self._tensor_bytes)

    @cached_property
    def _tensor_bytes(self) -> bytes:
        tensors = {**self.tensors, **self.calibration.to_tensors("calibration")}
        if self.views is not None:
            tensors |= self.views.to_tensors()
        for k, counts in enumerate(self.encoder.counts):
            if counts is not None:
                tensors |= counts.to_tensors(f"values.{k}")
        for k, model in enumerate(self.encoder.texts):
            if model is not None:
                tensors |= model.to_tensors(f"texts.{k}")
        return write_tensors(tensors)

    def _content(self) -> dict[str, Any]:
        # Without the keys where there is nothing: an older bundle keeps its digest.
        added: dict[str, Any] = {"profile": self.profile.to_json()} if self.profile else {}
        if self.profile and self.profile.watched:
            added["watched"] = [column.to_json() for column in self.profile.watched]
        if self.profile and self.profile.score_clusters > 1.0:
            added["score_clusters"] = self.profile.score_clusters
        if self.views is not None:
            added["views"] = self.views.to_json()
        if self.self_test is not None:
            added["self_test"] = self.self_test.to_json()
        if self.encoder.counts:
            added["counts"] = [counts and counts.to_json() for counts in self.encoder.counts]
        if any(self.encoder.texts):
            added["texts"] = [model and model.to_json() for model in self.encoder.texts]
        return {
            "format_version": FORMAT_VERSION if self.views is not None else 1,
            "rows": self.encoder.rows,
            "columns": self.encoder.to_json(),
            "shape": self.shape.to_json(),
            "samples": self.samples,
            "calibration": self.calibration.to_json(),
            "notes": list(self.notes),
            "training_curve": list(self.training_curve),
            "lineage": dict(self.lineage),
            "recipe": dict(self.schedule),
            "versions": dict(self.versions),
            **added,
        }

    def check_schema(self, schema: pa.Schema) -> None:
        """Raise DataError, with the difference, unless every feature column is there with a fitting type."""
        check_features(schema, self.features)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Input fields followed by the score fields; raises DataError on missing features and clashing names."""
        self.check_schema(schema)
        return append_score_fields(schema)

    def to_bytes(self) -> bytes:
        """The whole bundle in one piece: magic, length of the JSON (8 bytes, big endian), JSON, tensors."""
        text = _dump({**self._content(), "model_id": self.model_id})
        return _MAGIC + struct.pack(">Q", len(text)) + text + self._tensor_bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Inverse of `to_bytes`; raises BundleError on anything that is not exactly what was saved."""
        if data[:8] != _MAGIC or len(data) < 16:
            raise BundleError("bundle bytes", f"{len(data):,} other bytes", "pass what Bundle.to_bytes returned")
        (length,) = struct.unpack(">Q", data[8:16])
        return _parse(data[16 : 16 + length], data[16 + length :], "bundle bytes")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the folder; an older bundle there is replaced file by file only once both new files are complete."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        text = _dump({**self._content(), "model_id": self.model_id})
        for name, data in ((TENSORS_NAME, self._tensor_bytes), (JSON_NAME, text)):
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(folder / name)
        return folder


def load(path: str | os.PathLike[str]) -> Bundle:
    """Load a bundle's folder.

    Raises:
        BundleError: files missing, a changed byte, or a format newer than this version knows.
    """
    folder = Path(path)
    contents = []
    for name in (JSON_NAME, TENSORS_NAME):
        try:
            contents.append((folder / name).read_bytes())
        except OSError as error:
            found = "nothing there" if isinstance(error, FileNotFoundError) else str(error.strerror)
            raise BundleError(f"a bundle in '{folder}' with {name}", found, "run `sandtimer train` first") from error
    return _parse(contents[0], contents[1], f"'{folder}'")


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False).encode()


def _digest(content: Mapping[str, Any], tensors: bytes) -> str:
    digest = hashlib.sha256(_dump(content))
    digest.update(tensors)
    return digest.hexdigest()


def _parse(text: bytes, tensor_bytes: bytes, where: str) -> Bundle:
    remedy = "restore the bundle from a backup or train again"
    try:
        content = json.loads(text)
        version = content["format_version"]
        model_id = content.pop("model_id")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{JSON_NAME} of {where} to be a bundle's JSON", f"damaged text ({error})", remedy) from error
    if not isinstance(version, int) or version > FORMAT_VERSION or version < 1:
        raise BundleError(
            f"bundle format 1 to {FORMAT_VERSION} in {where}", f"format {version}", "use a newer Sandtimer"
        )
    found = _digest(content, tensor_bytes)
    if found != model_id or _dump({**content, "model_id": model_id}) != text:
        raise BundleError(f"content of {where} with digest {model_id}", f"digest {found}: it was changed", remedy)
    try:
        bundle = _build(content, tensor_bytes)
        # What it was read from is what it would be written as, and executors have no library to write it with.
        vars(bundle).update(model_id=model_id, _tensor_bytes=tensor_bytes)
        return bundle
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"a complete bundle in {where}", f"{type(error).__name__}: {error}", remedy) from error


def _build(content: Mapping[str, Any], tensor_bytes: bytes) -> Bundle:
    tensors = read_tensors(tensor_bytes)
    counts = tuple(
        data and ValueCounts.load(data, tensors, f"values.{k}") for k, data in enumerate(content.get("counts", ()))
    )
    texts = tuple(
        data and TextModel.load(data, tensors, f"texts.{k}") for k, data in enumerate(content.get("texts", ()))
    )
    encoder = TableEncoder.from_json(content["columns"], content["rows"], counts, texts)
    shape: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content["shape"].items()}
    return Bundle(
        encoder=encoder,
        shape=Shape(**shape),
        tensors={name: tensor for name, tensor in tensors.items() if not name.startswith(_PARTS)},
        calibration=Calibration.load(content["calibration"], tensors, "calibration"),
        samples=content["samples"],
        notes=tuple(content["notes"]),
        training_curve=tuple(content["training_curve"]),
        lineage=content["lineage"],
        schedule=content["recipe"],
        versions=content["versions"],
        profile=Profile.from_json(content["profile"], content.get("watched", []), content.get("score_clusters", 1.0))
        if "profile" in content
        else None,
        views=Views.load(content["views"], tensors, encoder) if "views" in content else None,
        self_test=SelfTest.from_json(content["self_test"]) if "self_test" in content else None,
    )
