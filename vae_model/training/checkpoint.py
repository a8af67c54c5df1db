"""Checkpoints of training: after each epoch, everything that the rest of the run depends on.

A killed run resumes and ends in the same bundle as an unbroken one. Random draws follow from (seed, epoch), so no
generator state is kept.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vae_model.errors import DataError


@dataclass
class Progress:
    """State after `len(curve)` epochs: weights, the optimizer's moments, the best weights so far, the curve."""

    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor]
    best_loss: float
    best_epoch: int
    curve: list[dict[str, float]]


def save_progress(path: Path, progress: Progress, fingerprint: str) -> None:
    """Replace the checkpoint at `path` in one step; a kill leaves the older or the newer one, never half of one."""
    groups = {"network": progress.network, "optimizer": progress.optimizer, "best": progress.best}
    tensors = {f"{group}/{name}": value.detach().cpu() for group, of in groups.items() for name, value in of.items()}
    state = {"best_loss": progress.best_loss, "best_epoch": progress.best_epoch, "curve": progress.curve}
    data = safetensors.torch.save(tensors, {"fingerprint": fingerprint, "state": json.dumps(state)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_progress(path: Path, fingerprint: str) -> Progress | None:
    """The checkpoint at `path`, or None where there is none.

    Raises:
        DataError: it is damaged, or belongs to another run (other rows, columns or options).
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state: dict[str, Any] = json.loads(metadata["state"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"a checkpoint at {path}", f"a damaged file ({error})", "train without --resume") from error
    if metadata["fingerprint"] != fingerprint:
        raise DataError(
            f"a checkpoint of this run at {path}",
            "one of other rows, columns or options",
            "train without --resume, or restore the extract and the config",
        )
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}, "best": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = value
    return Progress(groups["network"], groups["optimizer"], groups["best"], **state)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's step counts and moments by parameter number."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{name}": value for i, moments in state.items() for name, value in moments.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`."""
    content = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, moment = name.partition("/")
        state.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({**content, "state": state})
