"""A bundle that an earlier version saved must load and score the same for good."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vae_model as vm
from tests.vae_model.frozen import AT, FOLDER, NUMBERS, describe_scores


@pytest.fixture(scope="module")
def scored() -> pa.Table:
    return vm.score(pq.read_table(FOLDER / "rows.parquet"), vm.load(FOLDER), explain="all", scored_at=AT)


@pytest.fixture(scope="module")
def frozen() -> dict[str, list[object]]:
    return json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))


def test_it_holds_every_kind_of_column():
    assert {column.kind for column in vm.load(FOLDER).features} == {"number", "boolean", "category", "time", "vector"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 100_000


def test_its_identity_is_the_same():
    assert vm.load(FOLDER).model_id == json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))["model_id"]
    again = vm.Bundle.from_bytes(vm.load(FOLDER).to_bytes())
    assert again.model_id == vm.load(FOLDER).model_id


@pytest.mark.parametrize("name", [*NUMBERS, "latent_mu", "latent_sigma"])
def test_numbers_are_the_same(scored, frozen, name):
    # Processors sum in different orders: the same bits are promised on one kind of machine, 1e-5 on any.
    np.testing.assert_allclose(np.array(scored[name].to_pylist()), np.array(frozen[name]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["is_anomaly", "reasons"])
def test_verdicts_and_reasons_are_the_same(scored, frozen, name):
    assert describe_scores(scored)[name] == frozen[name]


def test_saving_it_again_changes_no_byte(tmp_path):
    vm.load(FOLDER).save(tmp_path)
    for name in ("bundle.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("version", [3, 0, -1, "1", None, 1.5])
def test_a_format_that_is_not_known_is_refused(tmp_path, version):
    shutil.copytree(FOLDER, tmp_path / "bundle")
    file = tmp_path / "bundle" / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"format_version": version}))
    with pytest.raises(vm.BundleError, match=r"bundle format 1 to 2 .*; found format .*; use a newer Sandtimer"):
        vm.load(tmp_path / "bundle")
