"""Models in an MLflow registry: `bundle.path: models:/NAME@ALIAS` or `models:/NAME/VERSION` instead of a folder. The
registry is asked which version that is; its bundle comes from a cache by digest, or is fetched once."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import vae_model as vm
from jobs.common.config import BundleConfig, MlflowConfig
from jobs.common.errors import ConfigError, InterferenceError, SetupError
from jobs.common.paths import cache_dir

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL_ID_TAG = "sandtimer.model_id"
BUNDLE_FOLDER = "artifacts/bundle"
_ADDRESS = re.compile(r"models:/+(?P<name>[^/@']+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
ENVIRONMENT = {
    # MLflow's own default is seven tries, each twice as far apart: minutes until a wrong address is a sentence.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    # Nobody but the configured server hears of a job.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
SQLITE = "sqlite:///"
_REPLACE = "train and register it again, or name another version in bundle.path"
_MISSING = "RESOURCE_DOES_NOT_EXIST"
# The codes of errors that another try does not help against; anything else is the server, its store or the network.
_REFUSED = ("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED", "BAD_REQUEST", "FEATURE_DISABLED")


def load_registered(bundle: BundleConfig, settings: MlflowConfig) -> vm.Bundle:
    """The bundle that `bundle.path` names in the registry.

    Raises:
        ConfigError: not an address of a model, or no such model, alias or version.
        SetupError: MLflow is not installed.
        InterferenceError: the server cannot be reached.
        BundleError: the version holds no bundle, or another one than it says.
    """
    address = _ADDRESS.fullmatch(str(bundle.path))
    if address is None:
        raise ConfigError(
            "bundle.path as models:/NAME@ALIAS or models:/NAME/VERSION", f"'{bundle.path}'", "correct bundle.path"
        )
    client, name = _connect_to_existing(settings), address["name"]
    with explain_errors(settings):
        try:
            if address["alias"]:
                version = client.get_model_version_by_alias(name, address["alias"])
            else:
                version = client.get_model_version(name, address["version"])
        except Exception as error:
            if not _is_missing(error):
                raise
            raise ConfigError(f"{bundle.path} in {show(settings)}", *_explain_missing(client, name)) from error
        return _fetch(version)


def find_registered(bundle: BundleConfig, settings: MlflowConfig, model_id: str) -> vm.Bundle | None:
    """The version with that digest of the model that `bundle.path` names, whatever its alias; None where it is gone."""
    address = _ADDRESS.fullmatch(str(bundle.path))
    if address is None:
        return None
    client = _connect_to_existing(settings)
    with explain_errors(settings):
        versions = client.search_model_versions(f"name = '{address['name']}'")
        found = next((version for version in versions if version.tags.get(MODEL_ID_TAG) == model_id), None)
        return _fetch(found) if found else None


def connect(settings: MlflowConfig) -> MlflowClient:
    """A client of the configured server, which is not asked anything yet.

    Raises:
        ConfigError: no `mlflow.tracking_uri`.
        SetupError: MLflow is not installed.
    """
    if settings.tracking_uri is None:
        raise ConfigError("mlflow.tracking_uri, for a model in a registry", "none", "set it, or use a folder")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise SetupError(
            "MLflow, which the config's section mlflow or a models:/ address needs",
            str(error),
            "run `pip install 'sandtimer[mlflow]'`, or use a folder as bundle.path",
        ) from error
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with explain_errors(settings):
        mlflow.set_tracking_uri(settings.tracking_uri)
        mlflow.set_registry_uri(settings.tracking_uri)
        return mlflow.MlflowClient()


@contextmanager
def explain_errors(settings: MlflowConfig) -> Iterator[None]:
    """Turn what MLflow raises into an error that names the server, without its password."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        reason = " ".join(str(error).split()).replace(str(settings.tracking_uri), show(settings))[:300]
        if error.error_code in _REFUSED or "unsupported URI" in reason:
            raise ConfigError(f"{show(settings)} to accept this", reason, "correct the section mlflow") from error
        remedy = "check mlflow.tracking_uri and that the server runs, then run it again"
        raise InterferenceError(f"an answer from {show(settings)}", reason, remedy) from error


def show(settings: MlflowConfig) -> str:
    """The server's address without user and password."""
    return re.sub(r"(?<=//)[^/]*@", "", settings.tracking_uri or "")


def database_file(settings: MlflowConfig) -> Path | None:
    """The SQLite file that the address names; None for anything else."""
    uri = settings.tracking_uri or ""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def _connect_to_existing(settings: MlflowConfig) -> MlflowClient:
    database = database_file(settings)
    if database and not database.exists():  # MLflow would make an empty one of a misspelt name
        raise ConfigError(f"MLflow's database {database}", "no such file", "correct mlflow.tracking_uri")
    return connect(settings)


def _is_missing(error: Exception) -> bool:
    return getattr(error, "error_code", "") == _MISSING or "not found" in str(error)


def _explain_missing(client: MlflowClient, name: str) -> tuple[str, str]:
    models = client.search_registered_models()
    model = next((model for model in models if model.name == name), None)
    if model is None:
        names = ", ".join(sorted(model.name for model in models)) or "no model at all"
        return f"no model '{name}'; there is {names}", "correct bundle.path or mlflow.tracking_uri"
    aliases = ", ".join(f"{alias} (version {version})" for alias, version in sorted(model.aliases.items()))
    newest = max((int(version.version) for version in client.search_model_versions(f"name = '{name}'")), default=0)
    return (
        f"newest version {newest}, {f'aliases {aliases}' if aliases else 'no alias'}",
        "set the alias with `sandtimer train --alias` or MlflowClient().set_registered_model_alias",
    )


def _fetch(version: ModelVersion) -> vm.Bundle:
    """The version's bundle, from the cache where its tag names the digest and the cache has it whole."""
    wanted = version.tags.get(MODEL_ID_TAG)
    cached = cache_dir() / "models" / wanted if wanted and re.fullmatch("[0-9a-f]{64}", wanted) else None
    if cached and cached.exists():
        try:
            bundle = vm.load(cached)
            if bundle.model_id == wanted:
                return bundle
        except vm.BundleError:
            pass  # damaged: fetched again
        shutil.rmtree(cached, ignore_errors=True)
    bundle = _download(version)
    if wanted and bundle.model_id != wanted:
        raise vm.BundleError(f"model {wanted} in {_name(version)}", f"model {bundle.model_id}", _REPLACE)
    if cached:
        bundle.save(cached)
    return bundle


def _download(version: ModelVersion) -> vm.Bundle:
    import mlflow

    with tempfile.TemporaryDirectory(prefix="sandtimer-") as folder:
        address = f"models:/{version.name}/{version.version}"
        fetched = Path(mlflow.artifacts.download_artifacts(address, dst_path=folder)) / BUNDLE_FOLDER
        try:
            return vm.load(fetched)
        except vm.BundleError as error:
            raise vm.BundleError(f"a bundle in {_name(version)}", error.found, _REPLACE) from error


def _name(version: ModelVersion) -> str:
    return f"version {version.version} of model '{version.name}'"
