"""The extract: sampled, the same bytes every time, replaced whole or not at all; and training from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.training.extract import MANIFEST, read_manifest
from tests.jobs.job import Job, all_files


def extract(job: Job, *arguments: str) -> Path:
    outcome = job.run("extract", *arguments)
    assert outcome.code == 0, outcome.stderr
    return Path(job.settings["extract"]["path"])


def test_every_row_of_a_small_table(any_job: Job) -> None:
    folder = extract(any_job)
    rows, manifest = pq.read_table(folder), read_manifest(folder)
    source = DeltaTable(str(any_job.source)).to_pyarrow_table()
    assert rows.select(source.column_names).sort_by("order_id") == source.sort_by("order_id")
    assert rows["order_id"].to_pylist() != sorted(rows["order_id"].to_pylist())
    assert (manifest.rows, manifest.total_rows, manifest.source_version) == (600, 600, 0)
    assert (manifest.source, manifest.where, manifest.key) == (str(any_job.source), None, ("order_id",))


def test_engines_and_runs_write_the_same_sample(job: Job, spark: object) -> None:
    settings = ("--set", "extract.rows=100", "--set", "extract.where=shop <> 'lima'")
    found = []
    for engine in ("local", "local", "spark"):
        folder = extract(job, *settings, "--engine", engine)
        found.append(read_manifest(folder))
        ids = pq.read_table(folder, columns=["order_id"])["order_id"].to_pylist()
        assert len(ids) == found[-1].rows == found[0].rows
        assert ids == pq.read_table(folder)["order_id"].to_pylist()
    assert found[0] == found[1] == found[2]
    assert 60 < found[0].rows < 140
    assert found[0].where is not None and "lima" in found[0].where


def test_the_sample_does_not_depend_on_the_layout(job: Job) -> None:
    first = pq.read_table(extract(job, "--set", "extract.rows=100"))
    rows = DeltaTable(str(job.source)).to_pyarrow_table().sort_by([("price", "descending")])
    shutil.rmtree(job.source)
    write_deltalake(str(job.source), rows.slice(0, 250))
    write_deltalake(str(job.source), rows.slice(250), mode="append")
    again = pq.read_table(extract(job, "--set", "extract.rows=100"))
    assert again.select(first.column_names) == first


def test_without_a_key_all_columns_decide(job: Job) -> None:
    job.settings["source"]["key"] = []
    first = pq.read_table(extract(job, "--set", "extract.rows=100"))
    assert 60 < first.num_rows < 140
    assert pq.read_table(extract(job, "--set", "extract.rows=100")) == first


def test_a_failed_extract_leaves_the_old_one(job: Job) -> None:
    folder = extract(job)
    before = all_files(folder.parent / "extract")
    data = job.source / min(DeltaTable(str(job.source)).to_pyarrow_dataset().files)
    data.unlink()
    assert job.run("extract").code == 3
    assert all_files(folder) == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".extract")] == []


@pytest.mark.parametrize("spoilt", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "key": []}'])
def test_a_manifest_that_is_none(spoilt: str, job: Job) -> None:
    folder = extract(job)
    (folder / MANIFEST).write_text(spoilt, encoding="utf-8")
    outcome = job.run("train")
    assert outcome.code == 3
    assert "sandtimer extract" in outcome.error["remedy"]


def test_training_refuses_an_extract_that_lost_a_file(job: Job) -> None:
    folder = extract(job)
    for path in folder.glob("*.parquet"):
        path.unlink()
    outcome = job.run("train")
    assert outcome.code == 3, outcome.stderr
    assert "sandtimer extract" in outcome.error["remedy"]


def test_training_records_where_its_rows_came_from(job: Job) -> None:
    manifest = read_manifest(extract(job))
    outcome = job.run("train", "--set", "train.epochs=1", "--set", "model.members=1")
    assert outcome.code == 0, outcome.stderr
    bundle = vm.load(job.bundle)
    assert outcome.last["model_id"] == bundle.model_id
    assert bundle.lineage["source_id"] == manifest.source_id == str(DeltaTable(str(job.source)).metadata().id)
    assert bundle.lineage["extract_digest"] == manifest.digest
    assert {"order_id", "day"}.isdisjoint(bundle.feature_names)
    assert json.loads((job.bundle / "bundle.json").read_text(encoding="utf-8"))["rows"] > 0
    assert not list(job.folder.glob("*.checkpoint"))
