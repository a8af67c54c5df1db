"""Route `dataframe` beside what the conformance tests compare: what it asks of Spark, and that it leaves no trace of it
in the session."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import vae_model as vm
from jobs.delta.storage import TableRef
from jobs.engines.spark.tables import SparkTables
from jobs.engines.spark.udf import score_udf
from tests.engines.workbench import Workbench

RECORDS = "spark.sql.execution.arrow.maxRecordsPerBatch"
DICTIONARY = "parquet.enable.dictionary"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 4, 3_000)
    columns = {"id": np.arange(3_000), "amount": codes * 10.0 + rng.normal(size=3_000), "few": codes * 1.5}
    rows = pa.table({**columns, "shop": [f"shop {code}" for code in codes]})
    bench = Workbench(tmp_path_factory.mktemp("dataframe"))
    write_deltalake(str(bench.folder / "source"), rows)
    bench.fit(rows)
    return bench


def test_text_alone_gets_dictionaries_and_the_session_stays_as_it_was(bench: Workbench, spark: SparkSession) -> None:
    before = _ours(spark)
    bench.score("dataframe", "written")
    assert _ours(spark) == before
    found: dict[str, set[str]] = {}
    for path in Path(bench.folder / "written").glob("*.parquet"):
        group = pq.read_metadata(path).row_group(0)
        for column in map(group.column, range(group.num_columns)):
            found.setdefault(column.path_in_schema, set()).update(column.encodings)
    dictionaries = {path for path, encodings in found.items() if any("DICTIONARY" in name for name in encodings)}
    assert {"shop", "model_id"} <= dictionaries
    assert not dictionaries & {"id", "amount", "few", "anomaly_score", "latent_mu.list.element"}


def _ours(spark: SparkSession) -> dict[str, str]:
    """The settings of the kinds that we make; Delta leaves some of its own behind."""
    kinds = ("parquet.", "spark.sql.execution.")
    return {key: value for key, value in spark.conf.getAll.items() if key.startswith(kinds)}


def test_files_are_skipped_by_scores_and_keys_and_not_by_measured_numbers(
    bench: Workbench, spark: SparkSession
) -> None:
    bench.score("dataframe", "skipping")
    actions = pa.table(DeltaTable(str(bench.folder / "skipping")).get_add_actions(flatten=True))
    assert {"max.id", "max.shop", "max.anomaly_score", "max.scored_at"} <= set(actions.column_names)
    assert "max.amount" not in actions.column_names
    assert sum(actions["num_records"].to_pylist()) == 3_000


def test_what_the_user_set_stays(bench: Workbench, spark: SparkSession) -> None:
    tables = SparkTables(spark)
    spark.conf.set(RECORDS, "77")
    try:
        with tables.settings({RECORDS: "5", DICTIONARY: "false"}, yielding=True):
            assert (spark.conf.get(RECORDS), spark.conf.get(DICTIONARY)) == ("77", "false")
        with tables.settings({RECORDS: "5"}):
            assert spark.conf.get(RECORDS) == "5"
        assert spark.conf.get(RECORDS) == "77"
        assert spark.conf.get(DICTIONARY, None) is None
    finally:
        spark.conf.unset(RECORDS)


def test_a_count_and_the_history_come_from_the_log(bench: Workbench, spark: SparkSession) -> None:
    ref = TableRef(str(bench.folder / "source"))
    tables, tracker = SparkTables(spark), spark.sparkContext.statusTracker()
    spark.sparkContext.setJobGroup("from the log", "")
    try:
        state = bench.plan("spark", "nowhere").source
        assert tables.count(state, None) == 3_000
        assert [entry.version for entry in tables.history(ref)] == [0]
        assert not tracker.getJobIdsForGroup("from the log")
        assert tables.read(state, None).where("amount > 0").count() > 0
        assert tracker.getJobIdsForGroup("from the log")
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]


def test_a_struct_of_some_score_columns(bench: Workbench, spark: SparkSession) -> None:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    rows = spark.read.format("delta").load(str(bench.folder / "source"))
    wanted = ["anomaly_score", "is_anomaly"]
    some = score_udf(bench.bundle, scored_at=at, columns=wanted, spark=spark)
    every = score_udf(bench.bundle, scored_at=at, spark=spark)
    struct = F.struct("*")
    both = rows.select(some(struct).alias("some"), every(*bench.bundle.feature_names).alias("every"))
    assert both.schema["some"].dataType.fieldNames() == wanted
    assert both.schema["every"].dataType.fieldNames() == list(vm.SCORE_COLUMNS)
    assert both.where("some.anomaly_score <> every.anomaly_score OR some.is_anomaly <> every.is_anomaly").count() == 0
