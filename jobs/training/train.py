"""`train`: fits the model on the extract and saves it as a bundle, the only link from training to scoring."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import Field, Reporter
from jobs.common.errors import ConfigError, SetupError
from jobs.models.store import save_model
from jobs.models.tracking import open_tracker
from jobs.training.extract import Manifest, read_manifest
from vae_model.bundle.self_test import Detection, SelfTest
from vae_model.network.shape import COLLAPSED_NATS
from vae_model.training.profiling import measure_nights
from vae_model.training.self_test import BUDGET
from vae_model.training.sources import open_rows

# Mean KL of a latent unit below which its posterior is the prior, whatever the row.
# Share of planted faults found above which a column needs no mention.
WELL_HEARD = 0.9


def train(config: Config, reporter: Reporter, resume: bool = False, alias: str | None = None) -> vm.Bundle:
    """The command: extract -> bundle.

    Args:
        config: the job.
        reporter: hears what was left out of the model and why, and the loss of each epoch.
        resume: go on where a killed training stopped.
        alias: for the version that the config's section mlflow registers.

    Raises:
        ConfigError: `bundle.path` is no folder, or the section mlflow is wrong.
        DataError: no extract, too few rows, or no column to model.
        InterferenceError: MLflow's server does not answer.
        SetupError: torch or MLflow is not installed.
    """
    _check_folder(config)
    tracker = open_tracker(config, alias)
    manifest = read_manifest(config.extract.path)
    rows = _open_extract(config.extract.path, manifest)
    checkpoint = config.bundle.path.with_name(f"{config.bundle.path.name}.checkpoint")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    try:
        bundle = _fit(config, manifest, rows, reporter, checkpoint, resume)
    except ModuleNotFoundError as error:
        raise SetupError(
            "torch, which training needs", str(error), "run `pip install 'sandtimer[train]'`; scoring works without"
        ) from error
    night = config.source.partition
    if night is not None and night in rows.schema.names:
        bundle = measure_nights(bundle, open_rows(rows).batches(), night)
    save_model(bundle, config.bundle.path)
    if tracker:
        tracker.log(bundle, config, reporter)  # where that fails, --resume comes back to it at once
    checkpoint.unlink(missing_ok=True)
    for note in bundle.notes:
        reporter.say("left out", f"left out: {note}", note=note)
    _say_latent(bundle, reporter)
    _say_self_test(bundle, reporter)
    clocks = [column.name for column in bundle.features if column.kind == "clock"]
    if clocks:
        message = f"read as clock times such as 1730: {', '.join(clocks)}; columns.kinds can make them numbers"
        reporter.say("clock times", message, columns=clocks)
    reporter.say(
        "done",
        f"trained model {bundle.model_id} on {manifest.rows:,} rows, {len(bundle.features)} columns; saved to"
        f" {config.bundle.path}",
        model_id=bundle.model_id,
        features=bundle.feature_names,
        path=str(config.bundle.path),
    )
    return bundle


def _check_folder(config: Config) -> None:
    if config.bundle.is_registered:
        raise ConfigError(
            "a folder as bundle.path: training saves there, and mlflow.register_as registers it",
            f"'{config.bundle.path}'",
            "add --set bundle.path=FOLDER",
        )


def _say_latent(bundle: vm.Bundle, reporter: Reporter) -> None:
    """How many latent units carry something; one whose posterior is the prior has collapsed."""
    if bundle.latent_kl is None or not bundle.shape.is_variational:
        return
    kl = bundle.latent_kl.ravel()
    used = int((kl > COLLAPSED_NATS).sum())
    reporter.say(
        "latent",
        f"{used} of {len(kl)} latent units are in use, {kl.sum() / bundle.shape.members:.3g} nats in all",
        used=used,
        units=len(kl),
        kl=[round(float(value), 4) for value in kl],
    )


def _say_self_test(bundle: vm.Bundle, reporter: Reporter) -> None:
    """What the model found of faults planted in held-out rows, by kind of fault; and where it found nothing."""
    test = bundle.self_test
    if test is None or not test.detections:
        return
    title = f"Self-test: faults planted in {test.rows:,} held-out rows, one cell a row, at a budget of {BUDGET:g}"
    reporter.table("self-test", title, [describe_fault(fault, test) for fault in test.by_fault()])
    reporter.say(
        "self-test",
        f"{test.alerts:.0%} of the planted faults are alerts, and {test.clean_alerts:.2%} of the rows as they were",
        alerts=test.alerts,
        auroc=test.auroc,
        clean_alerts=test.clean_alerts,
    )
    for name in test.deaf_columns():
        message = f"{name}: hardly any fault planted in this column would be an alert; watch it by other means"
        reporter.say("not heard", message, column=name)


def describe_fault(fault: Detection, test: SelfTest) -> dict[str, Field]:
    """A line of the self-test's table."""
    of_columns = sorted((d.alerts, d.column) for d in test.detections if d.fault == fault.fault)
    return {
        "fault": fault.fault,
        "columns": len(of_columns),
        "found": f"{fault.alerts:.0%}",
        "AUROC": round(fault.auroc, 3),
        "named first": "" if fault.first is None else f"{fault.first:.0%}",
        "least heard in": ", ".join(f"{name} {share:.0%}" for share, name in of_columns[:3] if share < WELL_HEARD),
    }


def _fit(
    config: Config, manifest: Manifest, rows: pads.Dataset, reporter: Reporter, checkpoint: Path, resume: bool
) -> vm.Bundle:
    lineage = {
        "source": manifest.source,
        "source_id": manifest.source_id,
        "source_version": manifest.source_version,
        "where": manifest.where,
        "extract_rows": manifest.rows,
        "extract_digest": manifest.digest,
        "config_digest": config.digest(),
    }
    with reporter.progress("training", 0, "steps") as advance:
        done = 0

        def watch(event: vm.TrainEvent) -> None:
            nonlocal done
            remark = f"epoch {event.epoch} of {event.epochs}, loss {event.loss:.4g}, held out {event.held_out:.4g},"
            remark += f" KL {event.kl:.4g}"
            advance(event.step - done, remark, total=event.steps)
            done = event.step

        return vm.fit(
            rows,
            config.column_options(manifest.partition_columns),
            seed=config.train.seed,
            model=config.model,
            train=config.train,
            lineage=lineage,
            on_event=watch,
            checkpoint=checkpoint,
            resume=resume,
        )


def _open_extract(folder: Path, manifest: Manifest) -> pads.Dataset:
    remedy = "run `sandtimer extract` with this config again"
    try:
        rows = pads.dataset(sorted(map(str, folder.glob("*.parquet"))), format="parquet")
        count = rows.count_rows()
    except (OSError, pa.ArrowException) as error:
        raise vm.DataError(f"readable Parquet files in {folder}", str(error).splitlines()[0], remedy) from error
    if count != manifest.rows or count == 0:
        raise vm.DataError(f"{manifest.rows:,} rows in {folder}", f"{count:,}", remedy)
    return rows
