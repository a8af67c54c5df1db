"""The real flights: a row's score depends on the row and the bundle alone, not on its batch, neighbours or files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake

import vae_model as vm
from jobs.onboarding.flights import load_flights
from tests.engines.workbench import AT, ENGINES, Workbench, assert_same_cells, assert_same_scores
from vae_model import Scorer
from vae_model.scoring.scorer import Explain

ROWS = 20_000
IGNORED = ("id", "flight", "tailnum", "flight_date")


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    """Every sixteenth flight, numbered."""
    flights = load_flights()
    chosen = flights.take(pa.array(np.arange(ROWS) * (flights.num_rows // ROWS)))
    return chosen.append_column("id", pa.array(range(ROWS), pa.int64())).combine_chunks()


@pytest.fixture(scope="module")
def bundle(flights: pa.Table) -> vm.Bundle:
    return vm.fit(flights.slice(0, 6_000), vm.ColumnOptions(ignore=IGNORED), seed=2, epochs=1, members=2)


@pytest.fixture(scope="module")
def whole(flights: pa.Table, bundle: vm.Bundle) -> pa.Table:
    """The scores of all rows in one batch, in the order of the rows."""
    return score_in_batches(flights, bundle, ROWS)


def score_in_batches(rows: pa.Table, bundle: vm.Bundle, size: int, explain: Explain = "alerts") -> pa.Table:
    scorer = Scorer(bundle, scored_at=AT, explain=explain)
    return pa.Table.from_batches([scorer.score_batch(batch) for batch in rows.to_batches(max_chunksize=size)])


@pytest.mark.parametrize("size", [997, 4096])
def test_the_size_of_a_batch_does_not_matter(flights, bundle, whole, size):
    assert score_in_batches(flights, bundle, size).equals(whole)


def test_a_row_alone_scores_as_among_others(flights, bundle, whole):
    assert score_in_batches(flights.slice(0, 40), bundle, 1).equals(whole.slice(0, 40))


def test_the_order_of_the_rows_does_not_matter(flights, bundle, whole):
    order = pa.array(np.random.default_rng(1).permutation(ROWS))
    shuffled = score_in_batches(flights.take(order).combine_chunks(), bundle, 3_000)
    assert shuffled.equals(whole.take(order))


def test_the_columns_order_and_the_other_columns_do_not_matter(flights, bundle, whole):
    reordered = flights.select([*reversed(bundle.feature_names)])
    assert score_in_batches(reordered, bundle, ROWS).equals(whole)


def test_neighbours_that_are_absurd_do_not_matter(flights, bundle, whole):
    absurd = flights.slice(0, 500)
    for name in ("distance", "dep_delay", "air_time"):
        at = absurd.column_names.index(name)
        absurd = absurd.set_column(at, name, pc.multiply(absurd[name], 10**12))
    mixed = pa.concat_tables([absurd, flights.slice(0, 500)]).combine_chunks()
    assert score_in_batches(mixed, bundle, 1_000).slice(500).equals(whole.slice(0, 500))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("partition", [None, "carrier"])
def test_partitions_and_files_do_not_matter(flights, bundle, tmp_path: Path, request, engine, partition):
    if engine == "spark":
        request.getfixturevalue("spark")
    bundle.save(tmp_path / "bundle")
    rows = flights.slice(0, 3_000)
    order = pa.array(np.random.default_rng(1).permutation(rows.num_rows))
    for part in np.array_split(order, 3):
        write_deltalake(tmp_path / "source", rows.take(pa.array(part)), partition_by=partition, mode="append")
    bench = Workbench(tmp_path, partition)
    assert bench.score(engine, "scored") == rows.num_rows
    found = bench.read(engine, "scored")
    assert_same_cells(found, rows)
    assert_same_scores(found, score_in_batches(rows, bundle, 700, "all"))
