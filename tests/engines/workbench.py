"""What the conformance tests share: a folder with a source table, its model, and scored tables by both engines; and the
comparisons: carried columns bit for bit, scores within 1e-5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import build_reporter
from jobs.delta.storage import TableRef
from jobs.engines import build_engine
from jobs.engines.base import Engine, ScorePlan
from jobs.scoring.plan import make_plan
from jobs.scoring.score import score

AT = datetime(2024, 5, 1, tzinfo=UTC)
ENGINES = ("local", "spark")
# What can write: the Spark engine on each of its routes.
WRITERS = (*ENGINES, "dataframe")
KEY = "id"
NUMBERS = ("anomaly_score", "anomaly_p_value", "reconstruction_error", "reconstruction_nll")
VECTORS = ("latent_mu", "latent_sigma")
EXACT = ("is_anomaly", "model_id", "scored_at")


@dataclass(frozen=True)
class Workbench:
    """Jobs on one source table; targets are named after what wrote them.

    Attributes:
        folder: holds `source`, `bundle` and the targets.
        partition: the source's partition column, if a config should name one.
        sections: further config, such as `score.columns`.
    """

    folder: Path
    partition: str | None = None
    sections: dict[str, Any] | None = None

    def config(self, writer: str, target: str) -> Config:
        """The job of one of `WRITERS`."""
        engine, route = ("spark", "dataframe") if writer == "dataframe" else (writer, "auto")
        made = {
            "source": {"table": str(self.folder / "source"), "key": [KEY], "partition": self.partition},
            "extract": {"path": str(self.folder / "extract")},
            "bundle": {"path": str(self.folder / "bundle")},
            "score": {
                "table": str(self.folder / target),
                "explain": "all",
                "engine": engine,
                "route": route,
                **(self.sections or {}),
            },
        }
        return Config.model_validate(made)

    def fit(self, rows: pa.Table, ignore: Sequence[str] = (), **kinds: str) -> vm.Bundle:
        columns = vm.ColumnOptions(ignore=(KEY, *ignore), kinds=kinds)
        bundle = vm.fit(rows, columns, seed=1, epochs=2, members=1)
        bundle.save(self.folder / "bundle")
        return bundle

    @property
    def bundle(self) -> vm.Bundle:
        return vm.load(self.folder / "bundle")

    def plan(self, engine: str, target: str, where: str | None = None) -> ScorePlan:
        config = self.config(engine, target)
        return make_plan(config, build_engine(config), self.bundle, where)

    def score(self, engine: str, target: str, where: str | None = None, at: datetime = AT) -> int:
        """Rows scored, of the whole table or of those that match, whatever was scored already."""
        config = self.config(engine, target)
        result = score(config, build_engine(config), build_reporter("json"), where, at, full=where is None)
        return result.rows if result else 0

    def read(self, engine: str, target: str) -> pa.Table:
        """The whole table as this engine reads it, by key."""
        reader: Engine = build_engine(self.config(engine, target))
        state = reader.describe(TableRef(str(self.folder / target)))
        return reader.read(state, state.schema.names, None, 10**9).sort_by(KEY)

    def files(self, target: str) -> set[str]:
        actions = pa.table(DeltaTable(str(self.folder / target)).get_add_actions())
        return set(actions["path"].to_pylist())


def assert_same_cells(found: pa.Table, expected: pa.Table, names: Sequence[str] | None = None) -> None:
    """Types and values equal to the bit: repr tells -0.0 from 0.0, and NaN from NULL."""
    for name in names or expected.column_names:
        assert found.schema.field(name).type == expected.schema.field(name).type, name
        assert repr(found[name].to_pylist()) == repr(expected[name].to_pylist()), name


def assert_same_scores(found: pa.Table, expected: pa.Table) -> None:
    """Score columns equal within 1e-5 relative; what is no number exactly."""
    for name in NUMBERS:
        np.testing.assert_allclose(to_array(found[name]), to_array(expected[name]), 1e-5, 1e-9, err_msg=name)
    for name in VECTORS:
        there, here = (to_array(pa.chunked_array([t[name].combine_chunks().flatten()])) for t in (found, expected))
        np.testing.assert_allclose(there, here, 1e-5, 1e-6, err_msg=name)
    for name in [name for name in EXACT if name in found.column_names]:
        assert found[name].to_pylist() == expected[name].to_pylist(), name
    assert_same_reasons(found["top_columns"].to_pylist(), expected["top_columns"].to_pylist())


def assert_same_reasons(found: list[Any], expected: list[Any]) -> None:
    words = ("column", "observed", "expected")
    assert [none_or_words(row, words) for row in found] == [none_or_words(row, words) for row in expected]
    for there, here in zip(found, expected, strict=True):
        shares = [[reason["share"] for reason in row or []] for row in (there, here)]
        np.testing.assert_allclose(*shares, rtol=1e-4, atol=1e-6)


def none_or_words(row: list[dict[str, Any]] | None, words: Sequence[str]) -> list[tuple[Any, ...]] | None:
    return None if row is None else [tuple(reason[word] for word in words) for reason in row]


def to_array(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = column.to_numpy()
    assert np.isfinite(values).all()
    return np.asarray(values, np.float64)
