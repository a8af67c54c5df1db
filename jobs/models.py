"""Where the models of a job are: the one that training made last, and those before it, by digest, so that any row's
score can be explained by the model that gave it; in folders, or in an MLflow registry."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import vae_model as vm
from jobs.config import Config


def save_model(bundle: vm.Bundle, path: Path) -> None:
    """Save a bundle; the one that is there goes to the past first."""
    try:
        before = vm.load(path)
    except vm.BundleError:
        before = None  # nothing there, or nothing that could still score
    if before is not None and before.model_id != bundle.model_id:
        _keep(before, past_models(path))
    bundle.save(path)


def load_model(config: Config) -> vm.Bundle:
    """The job's model.

    Raises:
        BundleError: nothing there, or a damaged bundle.
        SandtimerError: as `jobs.registry.load_registered`, where `bundle.path` is an address in a registry.
    """
    if config.bundle.is_registered:
        from jobs.registry import load_registered

        return load_registered(config.bundle, config.mlflow)
    return vm.load(config.bundle.path)


def find_model(config: Config, model_id: str) -> vm.Bundle | None:
    """The bundle with that digest: the last one or one of the past; None where it is gone."""
    if config.bundle.is_registered:
        from jobs.registry import find_registered

        return find_registered(config.bundle, config.mlflow, model_id)
    path = config.bundle.path
    for folder in (path, past_models(path) / model_id):
        try:
            bundle = vm.load(folder)
        except vm.BundleError:
            continue
        if bundle.model_id == model_id:
            return bundle
    return None


def past_models(path: Path) -> Path:
    """The folder with one bundle for each model before the last."""
    return path.with_name(f"{path.name}.past")


def _keep(bundle: vm.Bundle, folder: Path) -> None:
    kept = folder / bundle.model_id
    if kept.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".", dir=folder))
    bundle.save(draft)
    draft.chmod(0o755)
    try:
        draft.rename(kept)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)  # another training was quicker with the same model
