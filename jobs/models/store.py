"""Where the models of a job are: the one that training made last, and those before it, by digest, so that any row's
score can be explained by the model that gave it; in folders, or in an MLflow registry."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

import vae_model as vm
from jobs.common.config import Config
from jobs.common.errors import ConfigError

# The ids of the models that were replaced, the last one at the end.
_ORDER: Final = "order.json"


def save_model(bundle: vm.Bundle, path: Path) -> None:
    """Save a bundle; the one that is there goes to the past first."""
    try:
        before = vm.load(path)
    except vm.BundleError:
        before = None  # nothing there, or nothing that could still score
    if before is not None and before.model_id != bundle.model_id:
        _keep(before, past_models(path))
        _write_order(path, [*_read_order(path), before.model_id])
    bundle.save(path)


def load_model(config: Config) -> vm.Bundle:
    """The job's model.

    Raises:
        BundleError: nothing there, or a damaged bundle.
        SandtimerError: as `jobs.models.registry.load_registered`, where `bundle.path` is an address in a registry.
    """
    if config.bundle.is_registered:
        from jobs.models.registry import load_registered

        return load_registered(config.bundle, config.mlflow)
    return vm.load(config.bundle.path)


def roll_back(path: Path, to: str | None = None) -> tuple[str, str]:
    """Put a model of the past in the place of the last one, which is kept.

    Args:
        path: of the last model.
        to: the first digits of its id; None: the one that the last model replaced.

    Returns:
        The ids of the model that was there and of the one that is.

    Raises:
        DataError: there is no such model.
    """
    now, order = vm.load(path).model_id, _read_order(path)
    kept = sorted(folder.name for folder in past_models(path).glob("[0-9a-f]*"))
    if to is None:
        wanted = [model_id for model_id in order[-1:] if model_id in kept]
    else:
        wanted = [model_id for model_id in kept if model_id.startswith(to) and model_id != now]
    if len(wanted) != 1:
        known = ", ".join(model_id[:12] for model_id in kept) or "none"
        raise vm.DataError(
            f"one earlier model {f'whose id starts with {to}' if to else ''} in {past_models(path)}",
            f"{len(wanted)}; kept there: {known}",
            "name one with --to" if kept else "there is nothing to go back to",
        )
    bundle = vm.load(past_models(path) / wanted[0])
    _keep(vm.load(path), past_models(path))
    # Going back twice goes back two models; a model that is named is one more step forward.
    _write_order(path, order[:-1] if to is None else [*order, now])
    bundle.save(path)
    return now, bundle.model_id


def bundle_folder(config: Config) -> Path:
    """The folder whose bundle can be replaced.

    Raises:
        ConfigError: `bundle.path` is an address in a registry, where an alias decides.
    """
    if config.bundle.is_registered:
        raise ConfigError(
            "a folder as bundle.path, to put a model into",
            f"'{config.bundle.path}'",
            "move the alias in the registry instead: `mlflow.MlflowClient().set_registered_model_alias`",
        )
    return config.bundle.path


def find_model(config: Config, model_id: str) -> vm.Bundle | None:
    """The bundle with that digest: the last one or one of the past; None where it is gone."""
    if config.bundle.is_registered:
        from jobs.models.registry import find_registered

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


def _read_order(path: Path) -> list[str]:
    try:
        return list(map(str, json.loads((past_models(path) / _ORDER).read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise vm.DataError(
            f"a list of model ids in {past_models(path) / _ORDER}", str(error), "remove the file; --to names a model"
        ) from error


def _write_order(path: Path, order: list[str]) -> None:
    draft = past_models(path) / f".{_ORDER}"
    draft.write_text(json.dumps(order, indent=1), encoding="utf-8")
    draft.replace(past_models(path) / _ORDER)


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
