"""The YAML config as typed sections: `${VAR}` expansion, `--set a.b=c` overrides, and errors that name the key path,
the nearest valid key, and what was expected there. `conf/template.yaml` comments on every key."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from jobs.common.errors import ConfigError
from vae_model.options import ColumnOptions, KindName, ModelOptions, TrainOptions

EngineName: TypeAlias = Literal["local", "spark"]
# What YAML gives; pydantic turns it into the sections below.
Yaml: TypeAlias = "str | int | float | bool | list[Yaml] | dict[str, Yaml] | None"

PlaceT = TypeVar("PlaceT", str, Path)

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")
_TEMPLATE = "see conf/template.yaml for every key"


def _check_place(value: PlaceT) -> PlaceT:
    if "\0" in str(value):
        raise ValueError("a name without NUL characters")
    return value


Place: TypeAlias = Annotated[str, AfterValidator(_check_place)]
Folder: TypeAlias = Annotated[Path, AfterValidator(_check_place)]


class _Section(BaseModel):
    # pydantic's own message, which --debug shows, would repeat a secret of the wrong type.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Source(_Section):
    """The table to score. `key` names a row; key and partition columns are carried, not modelled."""

    table: Place
    key: tuple[str, ...] = ()
    partition: str | None = None
    where: str | None = None
    storage_options: dict[str, str] = Field(default_factory=dict, repr=False)


class Extract(_Section):
    """The training sample: about `rows` rows, chosen by a hash of the key, written as Parquet under `path`."""

    path: Folder
    rows: int = Field(default=200_000, ge=1)
    where: str | None = None
    seed: int = 7


class Columns(_Section):
    """Which columns are features and of which kind; `vae_model.ColumnOptions` without what the source section says."""

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    kinds: dict[str, KindName] = Field(default_factory=dict)
    max_categories: int = Field(default=256, ge=2, le=65_536)


class BundleConfig(_Section):
    """Where training puts the model and scoring finds it: a folder, or for scoring an address in an MLflow registry."""

    path: Folder

    @property
    def is_registered(self) -> bool:
        """Whether the path is an address such as models:/flights@champion."""
        return str(self.path).startswith("models:/")


class Score(_Section):
    """What a scoring run writes, and how."""

    table: Place
    mode: Literal["replace", "merge", "append", "in_place"] = "replace"
    columns: Literal["all", "key"] = "all"
    samples: int | None = Field(default=None, ge=1)
    alert_budget: float = Field(default=0.001, gt=0, lt=1)
    explain: Literal["alerts", "all", "none"] = "alerts"
    engine: EngineName = "local"
    route: Literal["auto", "files", "dataframe"] = "auto"


class Monitor(_Section):
    """What `monitor` compares with training, where it writes, and beyond which limits it raises an alarm.

    Tables that are None are named after the scored table: `<score.table>_monitor` and `<score.table>_incidents`.
    """

    table: Place | None = None
    incidents: Place | None = None
    rows: int = Field(default=100_000, ge=100)
    ignore: tuple[str, ...] = ()
    psi_limit: float = Field(default=0.1, gt=0)
    null_limit: float = Field(default=0.02, gt=0, le=1)
    unseen_limit: float = Field(default=0.01, gt=0, le=1)
    score_limit: float = Field(default=0.5, gt=0.1, le=1)
    alert_limit: float = Field(default=5.0, ge=1)
    latent_limit: float = Field(default=0.5, ge=0, le=1)
    window: int = Field(default=7, ge=1)
    close_after: int = Field(default=3, ge=1)


class Report(_Section):
    """The page that `report` writes; without a path it lies beside the scored table, or in data/."""

    path: Folder | None = None
    rows: int = Field(default=50, ge=1, le=1_000)
    nights: int = Field(default=60, ge=0, le=5_000)
    sample: int = Field(default=2_000, ge=1, le=10_000)


class Feedback(_Section):
    """Where people's verdicts on rows lie, `<score.table>_feedback` without a `table`, and what they are used for."""

    table: Place | None = None
    precision: float = Field(default=0.5, gt=0, lt=1)


class Compare(_Section):
    """How many rows a challenger is compared on, and the rules by which it takes the champion's place."""

    rows: int = Field(default=50_000, ge=100)
    top: int = Field(default=100, ge=1)
    min_overlap: float = Field(default=0.1, ge=0, le=1)
    min_correlation: float = Field(default=0.6, ge=-1, le=1)
    max_calibration_factor: float = Field(default=3.0, gt=1)
    max_flips: float = Field(default=1.5, ge=0)
    max_missed: int = Field(default=0, ge=0)
    max_detection_loss: float = Field(default=0.05, ge=0, le=1)


class SparkConfig(_Section):
    """How Sandtimer starts Spark; ignored under spark-submit, which has already decided."""

    master: str | None = None
    packages: tuple[str, ...] | None = None
    jars_dir: Path | None = None
    conf: dict[str, str | int | float | bool] = Field(default_factory=dict, repr=False)


class MlflowConfig(_Section):
    """Where trainings are logged and models registered; nowhere without a `tracking_uri`, which may hold a password."""

    tracking_uri: str | None = Field(default=None, repr=False)
    experiment: str = Field(default="sandtimer", min_length=1)
    register_as: str | None = Field(default=None, pattern=r"^[^/:@']+$")


class Config(_Section):
    """One job: a source table, its extract, its model and its scored table."""

    source: Source
    extract: Extract
    columns: Columns = Columns()
    model: ModelOptions = ModelOptions()
    train: TrainOptions = TrainOptions()
    bundle: BundleConfig
    score: Score
    monitor: Monitor = Monitor()
    report: Report = Report()
    feedback: Feedback = Feedback()
    compare: Compare = Compare()
    spark: SparkConfig = SparkConfig()
    mlflow: MlflowConfig = MlflowConfig()

    def column_options(self, partition_columns: Sequence[str]) -> ColumnOptions:
        """The model's view: keys and partition columns are ignored unless `columns.kinds` names them."""
        partition = [self.source.partition] if self.source.partition else []
        ignore = tuple(dict.fromkeys([*self.source.key, *partition, *partition_columns]))
        return ColumnOptions(**self.columns.model_dump(), ignore=ignore)

    def digest(self) -> str:
        """Short digest of what decides a run, without secrets; it goes into each commit's lineage."""
        secrets = {"source": {"storage_options"}, "spark": {"conf"}}
        later = dict.fromkeys(("monitor", "report", "feedback", "compare", "mlflow"), True)
        content = self.model_dump(mode="json", exclude={**later, **secrets})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read, expand, override and validate a config file.

    Args:
        path: a YAML file; relative paths in it are relative to the current directory.
        overrides: `a.b=c` strings, the value parsed as YAML; they win over the file.

    Raises:
        ConfigError: naming the file or the key path, what was expected, what was found and the nearest valid key.
    """
    tree = _read_yaml(path)
    for override in overrides:
        _apply_override(tree, override)
    expanded = _expand(tree, ())
    if isinstance(expanded, dict):
        # `columns:` with every key commented out is YAML's null, and means the defaults.
        expanded = {name: section for name, section in expanded.items() if section is not None}
    try:
        return Config.model_validate(expanded)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False), str(path)) from error


def _read_yaml(path: Path) -> dict[str, Yaml]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"{error.__class__.__name__}: {error}"
        raise ConfigError(
            f"a readable YAML config at {path}", reason, "pass --config FILE; conf/template.yaml is a start"
        ) from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"valid YAML in {path}", reason, "correct that line") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"valid YAML in {path}", str(error), "correct that value") from error
    if not isinstance(tree, dict):
        found = "an empty file" if tree is None else f"a {_type_name(tree)}"
        raise ConfigError(f"sections such as source: and score: in {path}", found, _TEMPLATE)
    return tree


def _apply_override(tree: dict[str, Yaml], override: str) -> None:
    keys, separator, text = override.partition("=")
    names = keys.strip().split(".")
    if not separator or not all(names):
        raise ConfigError("--set section.key=value", f"--set {override}", "for example --set score.engine=spark")
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"a YAML value in --set {keys}=", text, "quote it, for example --set 'a.b=\"text: more\"'"
        ) from error
    node = tree
    for name in names[:-1]:
        child = node.get(name)
        if child is None:
            child = node[name] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"a section at {name} for --set {keys}", f"the value {child!r}", _TEMPLATE)
        node = child
    node[names[-1]] = value


def _expand(value: Yaml, key_path: tuple[str, ...]) -> Yaml:
    """`${VAR}` and `${VAR:-default}` in every string; an unset variable without a default is an error."""
    if isinstance(value, dict):
        return {str(key): _expand(child, (*key_path, str(key))) for key, child in value.items()}
    if isinstance(value, list):
        return [_expand(child, (*key_path, str(i))) for i, child in enumerate(value)]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(3)
        found = os.environ.get(name)
        if found:
            return found
        if default is None:
            raise ConfigError(
                f"environment variable {name}, which {'.'.join(key_path)} uses",
                "it is not set" if found is None else "it is empty",
                f"export {name}=... or write ${{{name}:-default}}",
            )
        return default

    return _VARIABLE.sub(lookup, value)


def _explain(errors: Sequence[ErrorDetails], where: str) -> ConfigError:
    # A misspelt key often shows up twice, as unknown and as missing: the unknown one says what to do.
    chosen = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = tuple(str(part) for part in chosen["loc"])
    key_path = ".".join(keys)
    if chosen["type"] == "extra_forbidden":
        return _explain_unknown(keys, where)
    if chosen["type"] == "missing":
        return ConfigError(f"key {key_path} in {where}", "it is missing", f"add it; {_TEMPLATE}")
    # pydantic adds the union's branch ('int', 'constrained-float') to the path; our keys end before it.
    known = _known_path(keys)
    expected = " or ".join(sorted({_describe(e) for e in errors if _known_path(tuple(map(str, e["loc"]))) == known}))
    found = "a value that is not shown" if {"storage_options", "tracking_uri"} & set(known) else _show(chosen["input"])
    return ConfigError(f"{'.'.join(known)} in {where} to be {expected}", found, _TEMPLATE)


def _explain_unknown(keys: tuple[str, ...], where: str) -> ConfigError:
    valid = _valid_keys(keys[:-1])
    near = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
    prefix = ".".join(keys[:-1])
    shown = [f"{prefix}.{name}" if prefix else name for name in valid]
    remedy = f"did you mean {'.'.join([*keys[:-1], near[0]])}?" if near else f"valid keys: {', '.join(shown)}"
    return ConfigError(f"only known keys in {where}", f"unknown key {'.'.join(keys)}", remedy)


def _describe(error: ErrorDetails) -> str:
    plain = {"tuple_type": "a list", "dict_type": "a section", "model_type": "a section"}
    return plain.get(error["type"]) or error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


def _known_path(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The longest prefix of a pydantic location that is a key path of the config."""
    if len(keys) >= 2 and keys[1] in _valid_keys(keys[:1]):
        open_ended = keys[1] in ("kinds", "conf", "storage_options")
        return keys[:3] if open_ended else keys[:2]
    return keys[:1]


def _valid_keys(section: tuple[str, ...]) -> list[str]:
    fields: Mapping[str, object] = Config.model_fields
    if section:
        model = Config.model_fields[section[0]].annotation if section[0] in Config.model_fields else None
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    return sorted(fields)


def _type_name(value: object) -> str:
    return {
        "dict": "section",
        "str": "text",
        "int": "number",
        "float": "number",
        "bool": "boolean",
        "NoneType": "null",
    }.get(type(value).__name__, type(value).__name__)


def _show(value: object) -> str:
    if isinstance(value, BaseModel):
        return f"{value.__class__.__name__.lower()} section as given"
    text = repr(value)
    return f"{_type_name(value)} {text if len(text) <= 80 else text[:77] + '...'}"
