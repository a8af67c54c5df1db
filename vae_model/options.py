"""What a user may choose about columns, model and training; everything else follows by rule from the data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

KIND_ALIASES = {
    "categorical": "category",
    "numeric": "number",
    "bool": "boolean",
    "ignore": "ignored",
    "timestamp": "time",
}

KindName = Annotated[
    Literal["number", "boolean", "category", "time", "clock", "vector", "text", "ignored"],
    BeforeValidator(lambda kind: KIND_ALIASES.get(kind, kind) if isinstance(kind, str) else kind),
]


def _check_layers(layers: tuple[int, ...]) -> tuple[int, ...]:
    if not layers or min(layers) < 1:
        raise ValueError("layers needs at least one width, each at least 1")
    return layers


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnOptions(_Options):
    """Which columns the model reads and as what.

    Attributes:
        include: only these columns are features; null means every column that is not excluded or ignored.
        exclude: never features.
        kinds: column name -> kind; overrides what the type and a sample suggest, and `ignore`.
        max_categories: the most frequent levels kept per category column; rarer ones share the level 'unseen'.
        ignore: keys and partition columns: carried along, not modelled, unless `kinds` names them.
    """

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    kinds: dict[str, KindName] = Field(default_factory=dict)
    max_categories: int = Field(default=256, ge=2, le=65_536)
    ignore: tuple[str, ...] = ()


class ModelOptions(_Options):
    """Shape of the network; 'auto' follows the rules of `vae_model.network.shape`.

    Attributes:
        kind: 'vae' (mu and sigma fork, ELBO) or 'autoencoder' (no fork, rmse loss).
        layers: widths of the encoder's hidden layers, outermost first; the decoder mirrors them.
        latent: width of the latent layer.
        beta: weight of the Kullback-Leibler term.
        members: networks trained together, whose scores are averaged.
        samples: fixed latent draws that each row's score averages over.
    """

    kind: Literal["vae", "autoencoder"] = "vae"
    layers: Literal["auto"] | Annotated[tuple[int, ...], AfterValidator(_check_layers)] = "auto"
    latent: Literal["auto"] | Annotated[int, Field(ge=1, le=512)] = "auto"
    beta: Literal["auto"] | Annotated[float, Field(ge=0, le=100)] = "auto"
    members: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    samples: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"


class TrainOptions(_Options):
    """How the network is fitted.

    Attributes:
        epochs: passes over the training rows.
        batch_rows: rows per gradient step.
        learning_rate: peak of the one-cycle schedule.
        seed: of the initial weights, the batch order, the draws; same seed, same bundle.
        device: 'auto' takes a GPU when torch sees one.
        holdout: share of rows kept out of training, for early stopping and calibration.
        patience: epochs without a better held-out loss before training stops; 0 never stops early.
        trim: share of each batch with the largest losses that gives no gradient (robustness to anomalies).
        mask: probability that a column is hidden from the encoder in a training row (denoising).
        threads: of torch on the CPU; 'auto' is 1: batches are small, and waiting threads burn a busy machine.
    """

    epochs: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    batch_rows: Literal["auto"] | Annotated[int, Field(ge=2)] = "auto"
    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = "auto"
    seed: int = 0
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    holdout: Literal["auto"] | Annotated[float, Field(gt=0, lt=0.9)] = "auto"
    patience: int = Field(default=5, ge=0)
    trim: Literal["auto"] | Annotated[float, Field(ge=0, lt=0.5)] = "auto"
    mask: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
