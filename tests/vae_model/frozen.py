"""Makes the frozen bundle of tests/data: `python -m tests.vae_model.frozen`, once for each bundle format, from rows
that every column kind is in. A committed bundle is never made again: it must load and score the same for good."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import vae_model as vm
from tests.vae_model.conftest import make_table

FOLDER = Path(__file__).parents[1] / "data" / "bundle_format_1"
AT = datetime(2024, 1, 1, tzinfo=UTC)
NUMBERS = ("anomaly_score", "anomaly_p_value", "reconstruction_error", "reconstruction_nll")


def make_rows() -> pa.Table:
    """Ordinary rows, a row of NULLs, and a row that is wrong in every column."""
    rows = make_table(20, seed=9)
    nulls = dict.fromkeys(rows.column_names)
    wrong = {"x": np.inf, "y": -1e30, "n": 2**31 - 1, "city": "Atlantis", "vector": [0.0], "day": date.max}
    return pa.concat_tables([rows, pa.Table.from_pylist([nulls, nulls | wrong], schema=rows.schema)])


def make_bundle() -> vm.Bundle:
    return vm.fit(make_table(300), vm.ColumnOptions(ignore=("id",)), seed=4, members=2, latent=3, layers=(8,), epochs=3)


def describe_scores(scored: pa.Table) -> dict[str, object]:
    """What a version must get right, as JSON: numbers, latent layer, verdicts and reasons."""
    named = {name: scored[name].to_pylist() for name in (*NUMBERS, "latent_mu", "latent_sigma", "is_anomaly")}
    reasons = [[(r["column"], r["observed"], r["expected"]) for r in row] for row in scored["top_columns"].to_pylist()]
    return named | {"reasons": [list(map(list, row)) for row in reasons]}


def main() -> None:
    bundle = make_bundle()
    bundle.save(FOLDER)
    pq.write_table(make_rows(), FOLDER / "rows.parquet")
    scores = describe_scores(vm.score(make_rows(), bundle, explain="all", scored_at=AT))
    (FOLDER / "scores.json").write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
