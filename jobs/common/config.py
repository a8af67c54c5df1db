"""The config as typed sections. `conf/template.yaml` comments on every key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.common.engine_names import EngineName
from vae_model.options import ColumnOptions, KindName, ModelOptions, TrainOptions

PlaceT = TypeVar("PlaceT", str, Path)


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
    quarantine: Place | None = None


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


class Notify(_Section):
    """Who is told of new alarms, of incidents and of failed runs; nobody without a webhook, an address or a command."""

    webhook: str | None = Field(default=None, repr=False, pattern="^https?://")
    shape: Literal["json", "slack", "teams"] = "json"
    command: tuple[str, ...] | None = Field(default=None, min_length=1)
    mail_to: tuple[str, ...] = ()
    mail_from: str = "sandtimer@localhost"
    smtp_host: str = "localhost"
    smtp_port: int = Field(default=25, ge=1, le=65_535)
    smtp_starttls: bool = False
    smtp_user: str | None = None
    smtp_password: str | None = Field(default=None, repr=False)
    events: tuple[Literal["alarm", "incident", "closed", "failed"], ...] = ("alarm", "incident", "closed", "failed")


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
    notify: Notify = Notify()
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
        secrets = {"source": {"storage_options"}, "spark": {"conf"}, "score": {"quarantine"}}
        later = dict.fromkeys(("monitor", "notify", "report", "feedback", "compare", "mlflow"), True)
        content = self.model_dump(mode="json", exclude={**later, **secrets})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
