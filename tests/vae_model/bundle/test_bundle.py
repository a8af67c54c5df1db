import json
import random

import pyarrow as pa
import pytest

import vae_model as vm
from vae_model.bundle.tensors import read_tensors, write_tensors


@pytest.fixture
def folder(bundle, tmp_path):
    return bundle.save(tmp_path / "bundle")


def test_round_trip(bundle, folder, table):
    loaded = vm.load(folder)
    assert loaded.model_id == bundle.model_id == vm.Bundle.from_bytes(bundle.to_bytes()).model_id
    assert sorted(p.name for p in folder.iterdir()) == ["bundle.json", "model.safetensors"]
    at = {"scored_at": __import__("datetime").datetime(2024, 1, 1)}
    assert vm.score(table, loaded, **at).equals(vm.score(table, bundle, **at))


def test_saving_again_replaces(bundle, folder):
    bundle.save(folder)
    assert vm.load(folder).model_id == bundle.model_id


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors"])
def test_any_flipped_byte_is_refused(folder, name):
    path = folder / name
    data = path.read_bytes()
    for position in random.Random(0).sample(range(len(data)), 40):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(vm.BundleError, match="expected .*; found .*; "):
            vm.load(folder)


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 100])
def test_truncation_is_refused(folder, name, keep):
    path = folder / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(vm.BundleError):
        vm.load(folder)


def test_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(vm.BundleError, match="sandtimer train"):
        vm.load(tmp_path / "nowhere")


def test_newer_format_is_refused(folder):
    path = folder / "bundle.json"
    content = json.loads(path.read_text()) | {"format_version": 99}
    path.write_text(json.dumps(content))
    with pytest.raises(vm.BundleError, match="format 99"):
        vm.load(folder)


def test_bytes_that_are_no_bundle():
    with pytest.raises(vm.BundleError):
        vm.Bundle.from_bytes(b"pickle")


def test_output_schema(bundle, table):
    schema = bundle.output_schema(table.schema)
    assert schema.names == [*table.schema.names, *vm.SCORE_COLUMNS]
    with pytest.raises(vm.DataError, match="anomaly_score"):
        bundle.output_schema(table.schema.append(pa.field("anomaly_score", pa.float64())))
    with pytest.raises(vm.DataError, match="'city' was string, is int64"):
        bundle.check_schema(table.schema.set(5, pa.field("city", pa.int64())))


def test_tensors_read_back_and_gaps_are_refused(bundle):
    data = write_tensors(bundle.tensors)
    back = read_tensors(data)
    assert set(back) == set(bundle.tensors)
    for broken in (data[:-4], data + b"\0\0\0\0", b"", b"\xff" * 16):
        with pytest.raises(ValueError, match=r"."):
            read_tensors(broken)
