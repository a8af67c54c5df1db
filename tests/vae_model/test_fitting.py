import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import vae_model as vm


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
    ranks = [np.argsort(scored[c].to_numpy()) for c in ("anomaly_p_value", "reconstruction_error")]
    assert (ranks[0][:5] == ranks[1][::-1][:5]).all()


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
