import numpy as np
import pytest

import vae_model as vm
from vae_model.features.columns import plan_columns
from vae_model.features.encoding import fit_encoder
from vae_model.training.rows import RowStore


@pytest.mark.parametrize("memory_bytes", [0, 20_000, 10**9], ids=["file", "memory then file", "memory"])
def test_rows_come_back_as_they_went_in(table, memory_bytes):
    plan = plan_columns(table.schema, table, vm.ColumnOptions())
    encoder = fit_encoder(plan.features, table, 256, table.num_rows)
    encoded = encoder.encode(table.to_batches()[0])
    store = RowStore(encoder.layout, memory_bytes)
    for start in range(0, encoded.rows, 100):
        store.append(encoded.take(slice(start, start + 100)))
    index = np.array([599, 0, 250, 250])
    x, codes, absent = store.take(index)
    np.testing.assert_array_equal(x, encoded.x[:, index].T)
    np.testing.assert_array_equal(codes, encoded.codes[:, index].T)
    np.testing.assert_array_equal(absent.astype(bool), encoded.absent[:, index].T)
    assert store.rows == 600
    store.close()
