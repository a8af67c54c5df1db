import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch

import vae_model as vm
from vae_model.training.loop import TrainEvent


def test_same_seed_gives_the_same_bundle_bit_for_bit(table):
    few = table.slice(0, 200)
    ids = [vm.fit(few, seed=s, epochs=2, members=2).model_id for s in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_sources_are_equivalent(table, tmp_path):
    few = table.slice(0, 100)
    pq.write_table(few, tmp_path / "part.parquet")
    sources = (few, ds.dataset(tmp_path), few.to_batches(30))
    assert len({vm.fit(s, epochs=1, members=1).model_id for s in sources}) == 1


def test_events_and_curve(table):
    events = []
    bundle = vm.fit(table, epochs=3, members=1, on_event=events.append, lineage={"source": "t", "version": 4})
    assert [e.epoch for e in events] == [1, 2, 3]
    assert events[-1].step == events[-1].steps
    assert [c["held_out"] for c in bundle.training_curve] == [e.held_out for e in events]
    assert bundle.training_curve[-1]["loss"] < bundle.training_curve[0]["loss"]
    assert bundle.lineage == {"source": "t", "version": 4}


def test_autoencoder_kind(table):
    bundle = vm.fit(table, kind="autoencoder", epochs=4, members=1)
    scored = vm.score(table, bundle)
    assert np.isfinite(scored["anomaly_score"].to_numpy()).all()
    assert not any(any(s) for s in scored["latent_sigma"].to_pylist())
    odd = vm.score(table.set_column(1, "x", pa.array([1e6] * table.num_rows)), bundle)
    assert np.median(odd["reconstruction_error"].to_numpy()) > 2 * np.median(scored["reconstruction_error"].to_numpy())
    assert np.median(odd["anomaly_score"].to_numpy()) > 2


def test_too_few_rows():
    with pytest.raises(vm.DataError, match="at least 10 rows"):
        vm.fit(pa.table({"a": [1, 2, 3]}))
    with pytest.raises(vm.DataError, match="no batch"):
        vm.fit([])


def test_unknown_option():
    with pytest.raises(ValueError, match="epoch"):
        vm.fit(pa.table({"a": list(range(20))}), epoch=3)


@pytest.mark.parametrize("values", [[1.0] * 20, ["a"] * 20, [True] * 20, [None] * 10 + [1] * 10], ids=str)
def test_degenerate_tables_fit_and_score(values):
    table = pa.table({"a": values})
    scored = vm.score(table, vm.fit(table, epochs=1, members=1))
    assert np.isfinite(scored["anomaly_score"].to_numpy()).all()


class Killed(BaseException):
    """Stands for the process ending: nothing may catch it."""


def test_a_broken_run_resumes_to_the_same_bundle(table, tmp_path):
    def break_off(event: TrainEvent) -> None:
        if event.epoch == 3:
            raise Killed

    options = {"epochs": 5, "members": 2, "seed": 4}
    path = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        vm.fit(table, on_event=break_off, checkpoint=path, **options)
    epochs = []
    resumed = vm.fit(table, on_event=lambda e: epochs.append(e.epoch), checkpoint=path, resume=True, **options)
    assert epochs == [3, 4, 5]
    assert resumed.model_id == vm.fit(table, **options).model_id
    assert vm.fit(table, checkpoint=path, resume=True, **options).model_id == resumed.model_id


def test_a_checkpoint_of_another_run_is_refused(table, tmp_path):
    path = tmp_path / "checkpoint"
    vm.fit(table, epochs=1, members=1, checkpoint=path)
    with pytest.raises(vm.DataError, match="other rows, columns or options"):
        vm.fit(table, epochs=2, members=1, checkpoint=path, resume=True)
    path.write_bytes(b"damaged")
    with pytest.raises(vm.DataError, match="damaged"):
        vm.fit(table, epochs=1, members=1, checkpoint=path, resume=True)


def test_collapsed_latent_units_are_reported(table):
    used = vm.fit(table, members=1, epochs=20, beta=0.1, latent=3).latent_kl
    collapsed = vm.fit(table, members=1, epochs=20, beta=100.0, latent=3).latent_kl
    assert used.shape == collapsed.shape == (1, 3)
    assert used.max() > 0.5
    assert collapsed.max() < 0.01


def test_the_caller_keeps_its_threads(table):
    torch.set_num_threads(2)
    vm.fit(table.slice(0, 50), epochs=1, members=1, threads=1)
    assert torch.get_num_threads() == 2


def test_an_autoencoders_likelihood_has_the_spread_of_its_residuals():
    x = np.random.default_rng(0).normal(size=(3_000, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 0] + 0.1 * x[:, 1], "c": x[:, 1]})
    bundle = vm.fit(table, kind="autoencoder", members=1, latent=1, epochs=20)
    scored = vm.score(table, bundle, explain="none")
    error, nll = scored["reconstruction_error"].to_numpy(), scored["reconstruction_nll"].to_numpy()
    assert np.corrcoef(error, nll)[0, 1] > 0.8
    # The mean of -log p of a normal with the residuals' own spread: half for each column, and log sigma.
    assert nll.mean() < 3 * (0.5 + 0.92) + 0.1
    with pytest.raises(vm.DataError, match="a VAE to draw from"):
        vm.generate(3, bundle)
