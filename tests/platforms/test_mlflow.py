"""MLflow on a real SQLite store: runs, the registry, models by address, and what goes wrong there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import mlflow
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.models import registry
from tests.documents import read_blocks, run_block
from tests.jobs.job import Job, Outcome

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


SERVE = """
import sys
import mlflow
import pandas as pd

sys.path.remove(sys.argv[1])
mlflow.set_tracking_uri(sys.argv[2])
model = mlflow.pyfunc.load_model("models:/orders@champion")
print(model.predict(pd.read_parquet(sys.argv[3]))["anomaly_score"].tolist())
import vae_model

assert not vae_model.__file__.startswith(sys.argv[1]), vae_model.__file__
"""


@pytest.fixture(scope="module")
def trained(orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that was trained twice: version 1 has the alias 'old', version 2 is the champion."""
    folder = tmp_path_factory.mktemp("mlflow")
    write_deltalake(str(folder / "source"), orders, partition_by=["day"])
    job = Job(folder)
    job.settings["model"], job.settings["train"] = {"members": 1}, {"epochs": 2}
    job.settings["mlflow"] = {
        "tracking_uri": f"sqlite:///{folder}/mlflow/mlflow.db",
        "experiment": "nightly orders",
        "register_as": "orders",
    }
    for arguments in (["extract"], ["train", "--alias", "old"], ["train", "--alias", "champion", "--set=train.seed=5"]):
        outcome = job.run(*arguments)
        assert outcome.code == 0, outcome.stderr
    return job


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of registered models."""
    monkeypatch.setattr(registry, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "models"


@pytest.fixture
def client(trained: Job) -> mlflow.MlflowClient:
    uri = trained.settings["mlflow"]["tracking_uri"]
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient()


def artifacts_of(client: mlflow.MlflowClient) -> Path:
    """The folder where the champion's artifacts lie."""
    version = client.get_model_version_by_alias("orders", "champion")
    return Path(client.get_model_version_download_uri("orders", version.version).removeprefix("file://"))


def run(job: Job, command: str, address: str, *arguments: str) -> Outcome:
    return job.run(command, "--set", f"bundle.path={address}", *arguments)


def test_a_training_is_a_run_with_parameters_curves_and_the_bundle(trained, client, tmp_path):
    bundle = vm.load(trained.bundle)
    experiment = client.get_experiment_by_name("nightly orders")
    newest, oldest = client.search_runs([experiment.experiment_id])
    assert newest.info.status == oldest.info.status == "FINISHED"
    assert newest.data.tags["sandtimer.model_id"] == bundle.model_id
    assert newest.data.tags["sandtimer.source_version"] == "0"
    assert newest.data.params["train.seed"] == "5"
    assert newest.data.params["recipe.epochs"] == "2"
    assert newest.data.params["data.features"] == "quantity, price, total, shop, currency"
    for name in ("loss", "held_out", "kl"):
        curve = [(point.step, point.value) for point in client.get_metric_history(newest.info.run_id, name)]
        assert curve == [(point["epoch"], point[name]) for point in bundle.training_curve]
    logged = client.download_artifacts(newest.info.run_id, "bundle", str(tmp_path))
    assert vm.load(logged).model_id == bundle.model_id


def test_everything_lies_beside_the_database(trained):
    assert (trained.folder / "mlflow" / "artifacts").is_dir()
    assert not Path("mlruns").exists()
    assert not Path("mlflow.db").exists()


def test_the_registered_model_has_a_signature_and_scores(trained, client, orders, orders_bundle):
    model = mlflow.pyfunc.load_model("models:/orders@champion")
    bundle = vm.load(trained.bundle)
    assert model.metadata.signature.inputs.input_names() == bundle.feature_names
    assert model.metadata.signature.outputs.input_names() == list(vm.SCORE_COLUMNS)
    expected = vm.score(orders, bundle).to_pandas()
    found = model.predict(orders.to_pandas().set_index("order_id", drop=False))
    assert found.index.tolist() == orders["order_id"].to_pylist()
    for name in ("anomaly_score", "reconstruction_nll", "model_id", "is_anomaly"):
        assert found[name].tolist() == expected[name].tolist(), name


def test_the_registered_model_scores_nulls_as_the_table_does(trained, client, orders):
    """pandas makes floats of integers with NULLs, and objects of a column of NULLs."""
    rows = orders.slice(0, 50)
    for name, values in (("quantity", [None, 3] * 25), ("shop", [None] * 50), ("price", [None, 1.5] * 25)):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pa.array(values, orders.schema.field(name).type))
    expected = vm.score(rows, vm.load(trained.bundle))
    found = mlflow.pyfunc.load_model("models:/orders@champion").predict(rows.to_pandas())
    assert found["anomaly_score"].tolist() == expected["anomaly_score"].to_pylist()
    assert found["top_columns"].isna().tolist() == [value is None for value in expected["top_columns"].to_pylist()]


def test_every_kind_of_column_goes_through_a_registered_model(tmp_path, client):
    from datetime import UTC, date, datetime, time, timedelta
    from decimal import Decimal

    from jobs.common.config import MlflowConfig
    from jobs.models.tracking import log_model

    moments = [datetime(2024, 1, 1 + n % 28, n % 24, tzinfo=UTC) for n in range(60)]
    table = pa.table(
        {
            "count": pa.array(range(60), pa.int16()),
            "code": pa.array([n % 3 for n in range(60)], pa.int64()),
            "ratio": pa.array([n / 7 for n in range(60)], pa.float32()),
            "price": pa.array([Decimal(n) / 4 for n in range(60)], pa.decimal128(9, 2)),
            "flag": [n % 2 == 0 for n in range(60)],
            "name": ["ab"[n % 2] for n in range(60)],
            "day": [date(2024, 1, 1 + n % 28) for n in range(60)],
            "moment": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "local": pa.array([moment.replace(tzinfo=None) for moment in moments], pa.timestamp("us")),
            "clock": [time(n % 24) for n in range(60)],
            "took": [timedelta(seconds=n) for n in range(60)],
            "vector": pa.array([[n / 2, 1.0] for n in range(60)], pa.list_(pa.float64())),
        }
    )
    bundle = vm.fit(table, vm.ColumnOptions(kinds={"code": "category"}), epochs=1, members=1)
    bundle.save(tmp_path / "bundle")
    assert len(bundle.features) == 12
    with mlflow.start_run(experiment_id=client.create_experiment("kinds", (tmp_path / "artifacts").as_uri())):
        info = log_model(bundle, tmp_path / "bundle")
    assert MlflowConfig().tracking_uri is None
    model = mlflow.pyfunc.load_model(info.model_uri)
    holes = pa.Table.from_batches([table.to_batches()[0].slice(0, 20)])
    holes = pa.table(
        {name: pa.array([None, *holes[name].to_pylist()[1:]], holes[name].type) for name in table.schema.names}
    )
    for rows in (
        table,
        holes,
        table.slice(0, 1),
        pa.table({n: pa.nulls(2, table[n].type) for n in table.schema.names}),
    ):
        expected = vm.score(rows, bundle)["anomaly_score"].to_pylist()
        assert model.predict(rows.to_pandas())["anomaly_score"].tolist() == pytest.approx(expected, rel=1e-6)


def test_a_served_model_needs_no_sandtimer(trained, client, orders, root, tmp_path):
    """The model carries its code: it loads where `jobs` and `vae_model` cannot be imported."""
    orders.to_pandas().head(20).to_parquet(tmp_path / "rows.parquet")
    uri = trained.settings["mlflow"]["tracking_uri"]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, root, uri, tmp_path / "rows.parquet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == vm.score(orders, vm.load(trained.bundle))["anomaly_score"].to_pylist()[:20]


def test_score_plan_explain_and_doctor_load_it_by_address(trained, orders, cache):
    champion = "models:/orders@champion"
    expected = vm.load(trained.bundle)
    shutil.rmtree(trained.target, ignore_errors=True)
    assert run(trained, "plan", champion).code == 0
    outcome = run(trained, "score", champion)
    assert outcome.code == 0, outcome.stderr
    assert outcome.last["model_id"] == expected.model_id
    scored = trained.read()
    assert scored["anomaly_score"].to_pylist() == vm.score(orders, expected)["anomaly_score"].to_pylist()
    explained = run(trained, "explain", champion, "--key", "order_id=5")
    assert "the scored table has the same score" in explained.last["message"]
    assert any(check.get("detail", "").endswith(f"in {champion}") for check in run(trained, "doctor", champion).events)
    assert [path.name for path in cache.iterdir()] == [expected.model_id]


def test_a_row_is_explained_by_the_version_that_scored_it(trained):
    """The alias has moved on; the version with the row's digest is found in the registry."""
    shutil.rmtree(trained.target, ignore_errors=True)
    old = run(trained, "score", "models:/orders@old").last["model_id"]
    explained = run(trained, "explain", "models:/orders@champion", "--key", "order_id=5")
    assert explained.last["model_id"] == old
    assert "the scored table has the same score" in explained.last["message"]
    assert run(trained, "plan", "models:/orders/1").code == 0


def test_moving_the_alias_changes_the_model_of_the_next_run(trained, client):
    shutil.rmtree(trained.target, ignore_errors=True)
    client.set_registered_model_alias("orders", "next", 1)
    first = run(trained, "score", "models:/orders@next").last["model_id"]
    client.set_registered_model_alias("orders", "next", 2)
    second = run(trained, "score", "models:/orders@next", "--full").last["model_id"]
    assert first != second == vm.load(trained.bundle).model_id
    assert DeltaTable(str(trained.target)).version() == 1


def test_the_cache_is_used_and_a_damaged_one_is_fetched_again(trained, client, cache):
    assert run(trained, "plan", "models:/orders@champion").code == 0
    (cached,) = cache.iterdir()
    artifacts = artifacts_of(client)
    hidden = artifacts.rename(artifacts.with_name("hidden"))
    assert run(trained, "plan", "models:/orders@champion").code == 0, "from the cache"
    (cached / "bundle.json").write_text("{}")
    gone = run(trained, "plan", "models:/orders@champion")
    hidden.rename(artifacts)
    assert (gone.code, gone.error["expected"]) == (3, "a bundle in version 2 of model 'orders'")
    assert run(trained, "plan", "models:/orders@champion").code == 0
    assert vm.load(cached).model_id == cached.name


def test_a_tampered_registered_model_is_refused(trained, client):
    place = artifacts_of(client)
    tensors = place / "artifacts" / "bundle" / "model.safetensors"
    before = tensors.read_bytes()
    tensors.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    outcome = run(trained, "score", "models:/orders@champion")
    tensors.write_bytes(before)
    assert outcome.code == 3
    assert "it was changed" in outcome.error["found"]


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (["bundle.path=models:/orders@nobody"], 2, "aliases champion (version 2)"),
        (["bundle.path=models:/orders/9"], 2, "newest version 2"),
        (["bundle.path=models:/other@champion"], 2, "no model 'other'; there is orders"),
        (["bundle.path=models:/orders"], 2, "models:/NAME@ALIAS"),
        (["mlflow.tracking_uri=sqlite:///{folder}/typo.db"], 2, "no such file"),
        (["mlflow.tracking_uri=foo://bar"], 2, "unsupported URI"),
        (["mlflow.tracking_uri={folder}/mlruns"], 2, "migrate to a database"),
        (["mlflow.tracking_uri=null"], 2, "found none"),
        (["mlflow.tracking_uri=http://me:secret@127.0.0.1:9"], 4, "Max retries exceeded"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(trained, settings, code, said):
    given = [
        part.replace("{folder}", str(trained.folder)) for part in ["bundle.path=models:/orders@champion", *settings]
    ]
    outcome = trained.run("plan", *(f"--set={part}" for part in given))
    assert outcome.code == code, outcome.stderr
    assert said in outcome.error["message"]
    assert "secret" not in outcome.stderr + outcome.stdout
    assert not (trained.folder / "typo.db").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set=mlflow.tracking_uri=http://me:secret@127.0.0.1:9"], 4, "check mlflow.tracking_uri"),
        (["--set=mlflow.tracking_uri=foo://bar"], 2, "unsupported URI"),
        (["--set=mlflow.register_as=null", "--alias=champion"], 2, "leave --alias out"),
        (["--set=mlflow.register_as=a/b"], 2, "mlflow.register_as"),
        (["--set=mlflow.tracking_uri=null"], 2, "set both, or neither"),
        (["--alias=no good"], 2, "--alias champion"),
        (["--set=bundle.path=models:/orders@champion"], 2, "--set bundle.path=FOLDER"),
    ],
)
def test_what_cannot_be_logged_is_said_before_the_training(trained, client, arguments, code, said):
    before = vm.load(trained.bundle).model_id
    outcome = trained.run("train", "--set=train.seed=9", *arguments)
    assert outcome.code == code, outcome.stderr
    assert said in outcome.error["message"]
    assert "secret" not in outcome.stderr + outcome.stdout
    assert vm.load(trained.bundle).model_id == before
    assert len(client.search_model_versions("name = 'orders'")) == 2


def test_a_training_that_could_not_be_logged_is_kept_and_logged_by_resume(trained, orders, tmp_path, client):
    job = Job(tmp_path)
    shutil.copytree(trained.folder / "extract", tmp_path / "extract")
    job.settings["model"], job.settings["train"] = {"members": 1}, {"epochs": 2}
    job.settings["mlflow"] = {"tracking_uri": f"sqlite:///{tmp_path}/runs/mlflow.db", "register_as": "orders"}
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "artifacts").touch()  # a file where a folder has to be
    failed = job.run("train")
    assert failed.code == 4, failed.stderr
    kept = vm.load(job.bundle).model_id
    (tmp_path / "runs" / "artifacts").unlink()
    resumed = job.run("train", "--resume", "--alias", "champion")
    assert resumed.code == 0, resumed.stderr
    assert not any(event["event"] == "training" for event in resumed.events)
    assert (resumed.last["model_id"], vm.load(job.bundle).model_id) == (kept, kept)
    write_deltalake(str(job.source), orders, partition_by=["day"])
    assert run(job, "score", "models:/orders@champion").last["model_id"] == kept
    runs = mlflow.MlflowClient().search_runs(["1"])
    assert [entry.info.status for entry in runs] == ["FINISHED", "FAILED"]


def test_without_the_extra_it_says_what_to_install(trained, root, tmp_path):
    """In a real environment with the base requirements alone."""
    requirements = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pins = ["--constraint", root / "constraints.txt"]
    subprocess.run([*uv, "pip", "install", "--python", python, *pins, *requirements], check=True)
    config = ["--config", trained.write_config(), "--set", "bundle.path=models:/orders@champion"]
    done = subprocess.run(
        [python, "-m", "jobs.score", *config],
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "run `pip install 'sandtimer[mlflow]'`" in done.stderr


def test_the_readmes_block(root: Path, orders: pa.Table, tmp_path: Path) -> None:
    blocks = read_blocks(root / "README.md", "mlflow")
    for name in ("jobs", "vae_model"):
        (tmp_path / name).symlink_to(root / name)
    job = Job(tmp_path / "data")
    write_deltalake(str(job.source), orders, partition_by=["day"])
    settings = {"model": {"members": 1}, "train": {"epochs": 2}}
    job.settings |= settings
    shutil.copy(job.write_config(), tmp_path / "data" / "orders.yaml")
    assert blocks
    for block in blocks:
        run_block(block, tmp_path)
    assert DeltaTable(str(job.target)).count() == orders.num_rows
