"""`fit`: rows -> column plan -> statistics -> trained network -> calibrated bundle. The only door to torch."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from vae_model.bundle import Bundle
from vae_model.calibration import calibrate
from vae_model.columns import plan_columns
from vae_model.encoding import Encoded, TableEncoder, fit_encoder
from vae_model.errors import DataError
from vae_model.explaining import take_rows
from vae_model.forward import split_blocks
from vae_model.network import Network
from vae_model.options import ColumnOptions, ModelOptions, TrainOptions
from vae_model.rules import Recipe, Shape, choose_recipe, choose_shape
from vae_model.scorer import build_forward, combine
from vae_model.training import Rows, Trainer, TrainEvent, choose_device, export_weights

MIN_ROWS = 10
STORED_DRAWS = 64

Source: TypeAlias = pa.Table | ds.Dataset | Iterable[pa.RecordBatch]


def fit(
    source: Source,
    columns: ColumnOptions | None = None,
    seed: int = 0,
    *,
    model: ModelOptions | None = None,
    train: TrainOptions | None = None,
    lineage: Mapping[str, Any] | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
    **options: Any,
) -> Bundle:
    """Fit a VAE to rows without labels.

    Args:
        source: a table, a pyarrow dataset (a folder of Parquet files), or record batches.
        columns: which columns are features, and as what; by default the types and a sample decide.
        seed: of everything random; the same seed on the same machine gives the same bundle, bit for bit.
        model: options of the network.
        train: options of the training.
        options: single options of either by name, such as beta=0.5 or epochs=3.
        lineage: where the rows came from; kept in the bundle.
        on_event: called after each epoch.

    Raises:
        DataError: too few rows, or no column that can be a feature.
        ValueError: an unknown or impossible option.
    """
    columns = columns or ColumnOptions()
    model, train = _merge_options(model or ModelOptions(), train or TrainOptions(seed=seed), options)
    table = _to_table(source)
    if table.num_rows < MIN_ROWS:
        raise DataError(f"at least {MIN_ROWS} rows to train on", f"{table.num_rows}", "extract more rows")
    plan = plan_columns(table.schema, table.slice(0, 50_000), columns)
    encoder = fit_encoder(plan.features, table, columns.max_categories)
    encoded = _encode_all(encoder, table)
    shape = choose_shape(table.num_rows, encoder.layout, model)
    recipe = choose_recipe(table.num_rows, shape, model, train)
    held_out, kept = _split(encoded, recipe)
    trainer = _train(encoder, shape, recipe, train, kept, held_out, on_event)
    bundle = Bundle(
        encoder=encoder,
        shape=shape,
        tensors={**export_weights(trainer.network), **_draw_constants(shape, recipe)},
        calibration=calibrate(np.zeros(1)),
        samples=recipe.samples,
        notes=plan.notes,
        training_curve=tuple(trainer.curve),
        lineage=dict(lineage or {}),
        recipe=asdict(recipe),
        versions={name: importlib.metadata.version(name) for name in ("numpy", "pyarrow", "torch")},
    )
    return _calibrate(bundle, held_out)


def _merge_options(
    model: ModelOptions, train: TrainOptions, options: Mapping[str, Any]
) -> tuple[ModelOptions, TrainOptions]:
    unknown = set(options) - set(ModelOptions.model_fields) - set(TrainOptions.model_fields)
    if unknown:
        raise ValueError(f"unknown options: {', '.join(sorted(unknown))}")
    for_model = {k: v for k, v in options.items() if k in ModelOptions.model_fields}
    for_train = {k: v for k, v in options.items() if k in TrainOptions.model_fields}
    return (
        ModelOptions(**{**model.model_dump(), **for_model}),
        TrainOptions(**{**train.model_dump(), **for_train}),
    )


def _to_table(source: Source) -> pa.Table:
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, ds.Dataset):
        return source.to_table()
    batches = list(source)
    if not batches:
        raise DataError("rows to train on", "no batch at all", "extract some rows first")
    return pa.Table.from_batches(batches)


def _encode_all(encoder: TableEncoder, table: pa.Table) -> Encoded:
    parts = [encoder.encode(batch) for batch in table.to_batches(65_536)]
    return Encoded(
        np.concatenate([p.x for p in parts], axis=1),
        np.concatenate([p.codes for p in parts], axis=1),
        np.concatenate([p.absent for p in parts], axis=1),
    )


def _split(encoded: Encoded, recipe: Recipe) -> tuple[Encoded, Encoded]:
    order = np.random.default_rng(recipe.seed).permutation(encoded.rows)
    held_out, kept = np.sort(order[: recipe.holdout]), np.sort(order[recipe.holdout :])
    return take_rows(encoded, held_out), take_rows(encoded, kept)


def _train(
    encoder: TableEncoder,
    shape: Shape,
    recipe: Recipe,
    train: TrainOptions,
    kept: Encoded,
    held_out: Encoded,
    on_event: Callable[[TrainEvent], None] | None,
) -> Trainer:
    import torch

    torch.set_num_threads(1 if train.threads == "auto" else train.threads)
    device = choose_device(train.device)
    network = Network(encoder.layout, shape, recipe.seed).to(device)
    judged = take_rows(held_out, np.arange(min(held_out.rows, 10_000)))
    trainer = Trainer(network, recipe, Rows.from_encoded(kept, device), Rows.from_encoded(judged, device))
    trainer.run(on_event)
    return trainer


def _draw_constants(shape: Shape, recipe: Recipe) -> dict[str, npt.NDArray[Any]]:
    """Fixed latent draws [S, L] in antithetic pairs (z, -z), and neutral scales to be replaced by `_calibrate`."""
    half = np.random.default_rng(recipe.seed + 1).standard_normal((STORED_DRAWS // 2, shape.latent))
    draws = np.stack([half, -half], axis=1).reshape(STORED_DRAWS, shape.latent)
    return {
        "draws": draws.astype(np.float32),
        "member_center": np.zeros(shape.members),
        "member_scale": np.ones(shape.members),
        "kl_weight": np.zeros(1),
    }


def _calibrate(bundle: Bundle, held_out: Encoded) -> Bundle:
    """Scores of held-out rows fix each member's scale, each column's usual term, and the p-values."""
    forward = build_forward(bundle)
    blocks = [forward.score(block) for block in split_blocks(held_out)]
    n = held_out.rows
    nll = np.concatenate([b.member_nll for b in blocks], axis=1)[:, :n].astype(np.float64)
    kl = np.concatenate([b.member_kl for b in blocks], axis=1)[:, :n]
    terms = np.concatenate([b.terms for b in blocks], axis=1)[:, :n]
    squares = np.concatenate([b.squares for b in blocks], axis=1)[:, :n]
    quartiles = np.quantile(nll, (0.25, 0.5, 0.75), axis=1)
    tensors = {
        **bundle.tensors,
        "member_center": quartiles[1],
        "member_scale": np.maximum(quartiles[2] - quartiles[0], 1e-6),
        "column_baseline": np.median(terms, axis=1).astype(np.float32),
    }
    scaled = _replace(bundle, tensors=tensors)
    error = np.sqrt(squares.mean(axis=0, dtype=np.float64))
    return _replace(scaled, calibration=calibrate(combine(scaled, nll.astype(np.float32), kl, error)))


def _replace(bundle: Bundle, **changes: Any) -> Bundle:
    fields = {name: getattr(bundle, name) for name in Bundle.__dataclass_fields__}
    return Bundle(**{**fields, **changes})
