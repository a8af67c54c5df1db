"""One suite that every engine must pass: rows, values, replaced scopes, and each engine reads what the other wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import build_reporter
from jobs.engines import build_engine
from jobs.scoring.score import score

AT = datetime(2024, 5, 1, tzinfo=UTC)
SECTIONS = {
    "local": {"engine": "local"},
    "spark": {"engine": "spark"},
    "dataframe": {"engine": "spark", "route": "dataframe"},
}
WRITERS = tuple(SECTIONS)


def make_rows(rows: int = 300) -> pa.Table:
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "day": pa.array([f"2024-01-0{1 + i % 3}" for i in range(rows)]).cast(pa.date32()),
            "x": pa.array([None if i % 17 == 0 else float("nan") if i % 23 == 0 else v for i, v in enumerate(x)]),
            "y": pa.array(2 * x, pa.float32()),
            "city": pa.array([None if i % 29 == 0 else "øå"[i % 2] for i in range(rows)]),
            "flag": pa.array([bool(v > 0) for v in x]),
            "when": pa.array([AT] * rows, pa.timestamp("us", tz="UTC")),
            "tags": pa.array([["a", None], None, []] * (rows // 3), pa.list_(pa.string())),
            "more": pa.array([{"k": i} for i in range(rows)], pa.struct([("k", pa.int32())])),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conformance")
    rows = make_rows()
    write_deltalake(str(folder / "source"), rows, partition_by=["day"])
    vm.fit(rows, vm.ColumnOptions(ignore=("id", "day")), epochs=2, members=1).save(folder / "bundle")
    return folder


def run(folder: Path, engine: str, target: str, request: pytest.FixtureRequest, where: str | None = None) -> Config:
    if engine != "local":
        request.getfixturevalue("spark")
    config = Config.model_validate(
        {
            "source": {"table": str(folder / "source"), "key": ["id"], "partition": "day"},
            "extract": {"path": str(folder / "extract")},
            "bundle": {"path": str(folder / "bundle")},
            "score": {"table": str(folder / target), "explain": "all", **SECTIONS[engine]},
        }
    )
    score(config, build_engine(config), build_reporter("json"), where, AT)
    return config


def read(folder: Path, target: str) -> pa.Table:
    return DeltaTable(str(folder / target)).to_pyarrow_table().sort_by("id")


@pytest.mark.parametrize("engine", WRITERS)
def test_whole_table_equals_the_python_api(folder, engine, request):
    run(folder, engine, f"whole_{engine}", request)
    scored, expected = read(folder, f"whole_{engine}"), vm.score(make_rows(), vm.load(folder / "bundle"), scored_at=AT)
    assert scored.num_rows == 300
    for name in ("anomaly_score", "anomaly_p_value", "reconstruction_nll", "reconstruction_error"):
        np.testing.assert_allclose(scored[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5)
    for name in ("city", "tags", "more", "day"):
        assert scored[name].to_pylist() == make_rows()[name].to_pylist()


@pytest.mark.parametrize("engine", WRITERS)
def test_one_day_twice_touches_no_other_partition(folder, engine, request):
    target = f"days_{engine}"
    run(folder, engine, target, request)
    before = {a["path"] for a in pa.table(DeltaTable(str(folder / target)).get_add_actions()).to_pylist()}
    for _ in range(2):
        run(folder, engine, target, request, "day = '2024-01-02'")
    after = {a["path"] for a in pa.table(DeltaTable(str(folder / target)).get_add_actions()).to_pylist()}
    assert {p for p in before if "day=2024-01-02" not in p} == {p for p in after if "day=2024-01-02" not in p}
    assert read(folder, target)["id"].to_pylist() == list(range(300))


@pytest.mark.usefixtures("spark")
def test_each_engine_replaces_what_the_other_wrote(folder, request):
    run(folder, "local", "both", request)
    run(folder, "spark", "both", request, "day = '2024-01-01'")
    run(folder, "local", "both", request, "city = 'ø'")
    assert read(folder, "both")["id"].to_pylist() == list(range(300))
