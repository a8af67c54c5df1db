"""`fit`: rows -> column plan -> statistics -> trained network -> calibrated bundle. The only door to torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from vae_model.bundle.bundle import Bundle
from vae_model.errors import DataError
from vae_model.features.columns import plan_columns
from vae_model.features.encoding import Encoded, TableEncoder, concat_encoded, fit_encoder
from vae_model.network.autoencoder import Network
from vae_model.network.forward import BlockScores, mean_of_members
from vae_model.network.likelihood import unbound_log_sigma
from vae_model.network.shape import Shape, TrainingSchedule, choose_schedule, choose_shape
from vae_model.options import ColumnOptions, ModelOptions, TrainOptions
from vae_model.scoring.scorer import build_forward
from vae_model.training.checkpoint import load_progress, save_progress
from vae_model.training.loop import Trainer, TrainEvent, choose_device, export_weights, take_batch
from vae_model.training.moving import Moving, advance_rows, find_moving
from vae_model.training.profiling import attach_profile
from vae_model.training.rows import RowStore
from vae_model.training.self_test import run_self_test
from vae_model.training.sources import BATCH_ROWS, Source, TrainingRows, open_rows
from vae_model.views.calibration import calibrate, calibrate_score
from vae_model.views.nearness import MAX_PROTOTYPES, choose_prototypes
from vae_model.views.views import Views, count_views, fit_views

MIN_ROWS = 10
STORED_DRAWS = 64
STATISTICS_ROWS = 200_000
JUDGED_ROWS = 5_000
REGRESSED_ROWS = 20_000
TESTED_ROWS = 4_000
# In standard errors: of few held-out rows the far tail is a guess, and a false alarm costs more than a late one.
CAUTION = 1.5


def fit(  # noqa: PLR0913
    source: Source,
    columns: ColumnOptions | None = None,
    seed: int = 0,
    *,
    model: ModelOptions | None = None,
    train: TrainOptions | None = None,
    lineage: Mapping[str, Any] | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
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
        checkpoint: file that keeps the state after each epoch; the caller removes it once the bundle is saved.
        resume: go on from the checkpoint, if there is one; the bundle is the same as an unbroken run's.

    Raises:
        DataError: too few rows, or no column that can be a feature.
        ValueError: an unknown or impossible option.
    """
    columns = columns or ColumnOptions()
    model, train = _merge_options(model or ModelOptions(), train or TrainOptions(seed=seed), options)
    rows = open_rows(source)
    if rows.count < MIN_ROWS:
        raise DataError(f"at least {MIN_ROWS} rows to train on", f"{rows.count}", "extract more rows")
    sample = rows.sample(STATISTICS_ROWS)
    plan = plan_columns(sample.schema, sample, columns)
    moving = find_moving(sample, plan.features, columns.ignore)
    plan = plan.without({name: why for name, why in moving.notes.items() if name not in columns.kinds})
    encoder = fit_encoder(plan.features, sample, columns.max_categories, rows.count, moving.following)
    shape = choose_shape(encoder.layout, model)
    schedule = choose_schedule(rows.count, model, train)
    store, held_out, tested = _split(rows, encoder, schedule, moving)
    judged = RowStore(encoder.layout)
    judged.append(held_out.take(slice(0, JUDGED_ROWS)))
    network = Network(encoder.layout, shape, schedule.seed).to(choose_device(train.device))
    prototypes = choose_prototypes(encoder.layout, _take_prototypes(store), store.rows, schedule.seed)
    views = count_views(encoder, _encode(encoder, sample, moving), prototypes)
    if network.conditionals is not None:
        first = take_batch(store, torch.arange(min(store.rows, REGRESSED_ROWS))[None], torch.device("cpu"))
        network.conditionals.start_from_regression(first.x[0], first.absent[0])
    trainer = Trainer(network, schedule, store, judged)
    with _threads(1 if train.threads == "auto" else train.threads):
        _run(trainer, encoder, on_event, Path(checkpoint) if checkpoint else None, resume)
    store.close()
    bundle = Bundle(
        encoder=encoder,
        shape=shape,
        tensors={**export_weights(network), "draws": _draw_latents(shape, schedule)},
        calibration=calibrate(np.zeros(1)),
        samples=schedule.samples,
        notes=plan.notes,
        training_curve=tuple(trainer.curve),
        lineage=dict(lineage or {}),
        schedule=asdict(schedule),
        versions={name: importlib.metadata.version(name) for name in ("numpy", "pyarrow", "torch")},
    )
    calibrated = _calibrate(bundle if shape.is_variational else _with_residual_sigma(bundle, held_out), views, held_out)
    with_test = _replace(calibrated, self_test=run_self_test(calibrated, tested, schedule.seed))
    return attach_profile(with_test, sample, held_out)


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


def _split(
    rows: TrainingRows, encoder: TableEncoder, schedule: TrainingSchedule, moving: Moving
) -> tuple[RowStore, Encoded, pa.Table]:
    """Encode all rows once: some of them are held out, the rest is packed for training. Some of the held-out rows also
    come as they are, for the self-test. Whatever the seed, the same rows are held out: what is one in a thousand then
    does not change with it."""
    chosen = np.zeros(rows.count, np.bool_)
    chosen[np.random.default_rng(0).permutation(rows.count)[: schedule.holdout]] = True
    store, held_out, start = RowStore(encoder.layout), [], 0
    tested: list[pa.RecordBatch] = []
    share = min(1.0, TESTED_ROWS / schedule.holdout)
    for batch in rows.batches():
        encoded = encoder.encode(batch, own=True)
        advance_rows(moving, encoder, batch, encoded)
        mine = chosen[start : start + encoded.rows]
        start += encoded.rows
        held_out.append(encoded.take(np.flatnonzero(mine)))
        whole = np.flatnonzero(mine)
        tested.append(batch.take(pa.array(whole[: math.ceil(len(whole) * share)])))
        store.append(encoded.take(np.flatnonzero(~mine)))
    return store, concat_encoded(held_out), pa.Table.from_batches(tested)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch with so many threads, and with the caller's number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(
    trainer: Trainer,
    encoder: TableEncoder,
    on_event: Callable[[TrainEvent], None] | None,
    checkpoint: Path | None,
    resume: bool,
) -> None:
    if checkpoint is None:
        trainer.run(on_event)
        return
    content = [encoder.to_json(), encoder.rows, asdict(trainer.network.shape), asdict(trainer.schedule)]
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    progress = load_progress(checkpoint, fingerprint) if resume else None
    if progress:
        trainer.resume(progress)
    trainer.run(on_event, lambda p: save_progress(checkpoint, p, fingerprint))


def _draw_latents(shape: Shape, schedule: TrainingSchedule) -> npt.NDArray[np.float32]:
    """Fixed latent draws [S, L]: the posterior mean itself first, then antithetic pairs (z, -z)."""
    half = np.random.default_rng(schedule.seed + 1).standard_normal((STORED_DRAWS // 2, shape.latent))
    pairs = np.stack([half, -half], axis=1).reshape(STORED_DRAWS, shape.latent)
    return np.concatenate([np.zeros((1, shape.latent)), pairs[:-1]]).astype(np.float32)


def _encode(encoder: TableEncoder, table: pa.Table, moving: Moving) -> Encoded:
    parts = []
    for batch in table.to_batches(BATCH_ROWS):
        parts.append(encoder.encode(batch, own=True))
        advance_rows(moving, encoder, batch, parts[-1])
    return concat_encoded(parts)


def _take_prototypes(store: RowStore) -> Encoded:
    """Random training rows, in random order."""
    chosen = np.random.default_rng(store.rows).permutation(store.rows)[:MAX_PROTOTYPES]
    x, codes, absent = store.take(chosen)
    none = np.zeros((0, len(chosen)), np.int32)
    return Encoded(x.T, codes.T, absent.T.astype(np.bool_), none, none.astype(np.float32))


def _calibrate(bundle: Bundle, views: Views, held_out: Encoded) -> Bundle:
    """Held-out rows fix what is usual for each column and view, and the p-values."""
    forward = build_forward(bundle)
    blocks = [forward.score(block) for block in forward.split(held_out)]
    ranked = np.concatenate([mean_of_members(b.ranked) for b in blocks], axis=1)
    tensors = {
        **bundle.tensors,
        "latent_kl": _latent_kl(blocks, bundle.shape),
        "column_baseline": np.median(ranked[: bundle.encoder.layout.columns], axis=1),
    }
    fitted, statistic = fit_views(views, ranked, held_out)
    return _replace(bundle, tensors=tensors, views=fitted, calibration=calibrate_score(statistic, caution=CAUTION))


def _with_residual_sigma(bundle: Bundle, held_out: Encoded) -> Bundle:
    """An autoencoder's loss says nothing of sigma: each continuous part gets the spread of its held-out residuals."""
    shape, p = bundle.shape, len(bundle.encoder.layout.continuous)
    forward, n = build_forward(bundle), min(held_out.rows, JUDGED_ROWS)
    changed = {k: bundle.tensors[k].copy() for k in ("head.weight", "head.bias", "shortcut_out") if k in bundle.tensors}
    for m in range(shape.members):
        means = [
            forward.decode(m, forward.encode(m, block)[0]).mean for block in forward.split(held_out.take(slice(n)))
        ]
        residual = held_out.x[:p, :n] - np.concatenate(means, axis=1)
        log_sigma = 0.5 * np.log(np.maximum(np.square(residual.astype(np.float64)).mean(axis=1), 1e-12))
        for tensor in changed.values():
            tensor[m, p : 2 * p] = 0.0
        changed["head.bias"][m, p : 2 * p, 0] = unbound_log_sigma(log_sigma, shape)
    return _replace(bundle, tensors={**bundle.tensors, **changed})


def _latent_kl(blocks: Sequence[BlockScores], shape: Shape) -> npt.NDArray[np.float32]:
    """Mean KL(posterior || prior) of each latent unit over held-out rows, [M, L] in nats; near 0: it collapsed."""
    if not shape.is_variational:
        return np.zeros((shape.members, shape.latent), np.float32)
    mu = np.concatenate([block.mu for block in blocks], axis=1).astype(np.float64)
    sigma = np.concatenate([block.sigma for block in blocks], axis=1).astype(np.float64)
    kl = 0.5 * (mu * mu + sigma * sigma - 1.0 - 2.0 * np.log(sigma))
    means: npt.NDArray[np.float64] = kl.mean(axis=1)
    return means.reshape(shape.members, shape.latent).astype(np.float32)


def _replace(bundle: Bundle, **changes: Any) -> Bundle:
    fields = {name: getattr(bundle, name) for name in Bundle.__dataclass_fields__}
    return Bundle(**{**fields, **changes})
