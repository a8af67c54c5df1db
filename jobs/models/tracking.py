"""Logs a training to MLflow: a run with parameters, curves and the bundle, and the bundle as a registered model."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import vae_model as vm
from jobs.common.config import Config, MlflowConfig
from jobs.common.console import Reporter
from jobs.common.errors import ConfigError
from jobs.common.packages import installed_version
from jobs.models.registry import MODEL_ID_TAG, connect, database_file, explain_errors, show
from vae_model.schema import SCORE_SCHEMA

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

# What a served model needs beside the code that it carries.
REQUIREMENTS = ("numpy", "pandas", "pyarrow", "safetensors", "pydantic", "threadpoolctl")
MAX_PARAMETER = 500


@dataclass(frozen=True)
class Tracker:
    """An experiment of a server that answered."""

    settings: MlflowConfig
    client: MlflowClient
    experiment_id: str
    alias: str | None

    def log(self, bundle: vm.Bundle, config: Config, reporter: Reporter) -> None:
        """Log one run and register its model; the run counts as failed when that breaks off.

        Raises:
            ConfigError: the server refuses something.
            InterferenceError: it does not answer.
        """
        import mlflow

        with explain_errors(self.settings), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about examples and hints that a signature makes needless
            with mlflow.start_run(experiment_id=self.experiment_id) as run:
                mlflow.set_tags(_tags(bundle))
                mlflow.log_params(_parameters(bundle, config))
                self._log_curves(run.info.run_id, bundle)
                mlflow.log_artifacts(str(config.bundle.path), "bundle")
                model = log_model(bundle, config.bundle.path)
            version = self._register(model, bundle.model_id, run.info.run_id)
        registered = f" and registered version {version} of {self.settings.register_as}" if version else ""
        alias = f", now {self.alias}" if version and self.alias else ""
        reporter.say(
            "logged",
            f"logged run {run.info.run_id} in {show(self.settings)}{registered}{alias}",
            run_id=run.info.run_id,
            experiment=self.settings.experiment,
            model=self.settings.register_as,
            version=version,
            alias=self.alias,
        )

    def _log_curves(self, run_id: str, bundle: vm.Bundle) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        names = ("loss", "held_out", "kl")
        curve = [
            Metric(name, point[name], now_ms, int(point["epoch"])) for point in bundle.training_curve for name in names
        ]
        for start in range(0, len(curve), 900):  # a request takes 1,000 at most
            self.client.log_batch(run_id, metrics=curve[start : start + 900])

    def _register(self, model: Any, model_id: str, run_id: str) -> int | None:
        name = self.settings.register_as
        if name is None:
            return None
        if not any(known.name == name for known in self.client.search_registered_models(f"name = '{name}'")):
            self.client.create_registered_model(name)
        tags = {MODEL_ID_TAG: model_id}
        made = self.client.create_model_version(name, model.model_uri, run_id, tags=tags, model_id=model.model_id)
        if self.alias:
            self.client.set_registered_model_alias(name, self.alias, made.version)
        return int(made.version)


def open_tracker(config: Config, alias: str | None) -> Tracker | None:
    """The config's experiment, made where it is missing; None where the config names no server. Called before training,
    so that a wrong address costs no training.

    Raises:
        ConfigError: an alias without a model to register, or a server that refuses.
        SetupError: MLflow is not installed.
        InterferenceError: the server does not answer.
    """
    settings = config.mlflow
    if alias and not re.fullmatch(r"[\w-]+", alias, re.ASCII):
        raise ConfigError("letters, digits, _ and - in --alias", f"'{alias}'", "for example --alias champion")
    if alias and settings.register_as is None:
        raise ConfigError("mlflow.register_as, which --alias is for", "none", "set it, or leave --alias out")
    if settings.tracking_uri is None:
        if settings.register_as is None:
            return None
        raise ConfigError("mlflow.tracking_uri, where mlflow.register_as registers", "none", "set both, or neither")
    client = connect(settings)
    with explain_errors(settings):
        found = client.get_experiment_by_name(settings.experiment)
        place = _artifact_place(settings)
        experiment_id = found.experiment_id if found else client.create_experiment(settings.experiment, place)
    return Tracker(settings, client, experiment_id, alias)


def _artifact_place(settings: MlflowConfig) -> str | None:
    """Beside an SQLite file, where MLflow would choose the current folder; a server knows its own."""
    database = database_file(settings)
    if database is None:
        return None
    folder = database.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    # A plain path in plain letters: MLflow does not find models again behind an address with escapes.
    return str(folder / "artifacts" / re.sub(r"\W", "_", settings.experiment))


def log_model(bundle: vm.Bundle, path: Path) -> Any:
    """Log the bundle as a pyfunc model of the active run."""
    import mlflow

    # The models' code is vae_model itself, so that they load where Sandtimer is not installed.
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={"bundle": str(path)},
        code_paths=[str(Path(str(vm.__file__)).parent)],
        pip_requirements=[f"{name}=={version}" for name in REQUIREMENTS if (version := installed_version(name))],
        signature=_signature(bundle),
        metadata={"model_id": bundle.model_id},
    )


def _signature(bundle: vm.Bundle) -> ModelSignature:
    """Feature columns in, score columns out. Integers and times are of any type: MLflow refuses the floats that pandas
    makes of integers with NULLs, and times with a time zone."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType, Array

    plain = {"boolean": "boolean", "floating": "double", "string": "string", "list of numbers": Array("double")}
    # Of a required vector MLflow refuses NULL; a column that is missing the scorer refuses itself.
    inputs = [ColSpec(plain.get(c.family, AnyType()), c.name, required=c.kind != "vector") for c in bundle.features]
    outputs = [ColSpec(_to_mlflow(field.type), field.name) for field in SCORE_SCHEMA]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _to_mlflow(dtype: pa.DataType) -> Any:
    from mlflow.types.schema import Array, Object, Property

    if pa.types.is_list(dtype):
        return Array(_to_mlflow(dtype.value_type))
    if pa.types.is_struct(dtype):
        return Object([Property(field.name, _to_mlflow(field.type)) for field in dtype])
    names = {pa.float64(): "double", pa.float32(): "float", pa.bool_(): "boolean", pa.string(): "string"}
    return names.get(dtype, "datetime")


def _tags(bundle: vm.Bundle) -> dict[str, str]:
    lineage = {f"sandtimer.{name}": str(value) for name, value in bundle.lineage.items()}
    return {MODEL_ID_TAG: bundle.model_id, **lineage}


def _parameters(bundle: vm.Bundle, config: Config) -> dict[str, str]:
    """What was asked for and, under `recipe` and `shape`, what the rules made of it."""
    sections: dict[str, Mapping[str, Any]] = {
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        "recipe": bundle.schedule,
        "shape": bundle.shape.to_json(),
        "data": {"train_rows": bundle.train_rows, "features": ", ".join(bundle.feature_names)},
    }
    return {
        f"{section}.{name}": str(value)[:MAX_PARAMETER]
        for section, values in sections.items()
        for name, value in values.items()
    }
