"""Peak memory of training on an extract of a million rows: three copies of the real flights, every column a feature
that can be one. Run as `python -m tests.bench.memory`."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq

import vae_model as vm
from jobs.onboarding.flights import load_flights

COPIES = 3


def peak_gb() -> float:
    """Largest resident set of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        flights = load_flights()
        for number in range(COPIES):
            pq.write_table(flights, Path(folder) / f"{number}.parquet")
        del flights
        before_gb, started_s = peak_gb(), time.process_time()
        bundle = vm.fit(ds.dataset(folder))
        print(
            f"{bundle.train_rows:,} rows, {len(bundle.features)} features: {time.process_time() - started_s:.0f} CPU s,"
            f" peak {peak_gb():.2f} GB (before training: {before_gb:.2f} GB)"
        )


if __name__ == "__main__":
    main()
