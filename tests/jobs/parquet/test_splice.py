"""Spliced files: every reader sees the old columns as they were, bit for bit, and the new ones beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.parquet.footer import Footer, NotUnderstood, read_footer
from jobs.parquet.splice import Splicer
from tests.jobs.parquet.corpus import PYARROW, make_rows, write_others, write_pyarrow
from vae_model import SCORE_SCHEMA

DISK = pafs.LocalFileSystem()
# Codecs and encodings that Spark 4.2 does not read.
NOT_BY_SPARK = ("pages of version 2", "page checksums", "byte stream split", "delta encodings")
NAMES = ("anomaly_score", "latent_mu", "top_columns", "model_id", "scored_at", "is_anomaly")


def make_scores(rows: int) -> pa.Table:
    """Columns as scoring adds them, NULLs and nested ones among them."""
    rng = np.random.default_rng(5)
    reason = {"column": "x", "share": 0.5, "observed": "1", "expected": "2"}
    columns = {
        "anomaly_score": rng.random(rows),
        "latent_mu": rng.normal(size=(rows, 3)).tolist(),
        "top_columns": [[reason] if i % 5 == 0 else None for i in range(rows)],
        "model_id": ["abc"] * rows,
        "scored_at": [0] * rows,
        "is_anomaly": [i % 5 == 0 for i in range(rows)],
    }
    schema = pa.schema([SCORE_SCHEMA.field(name) for name in NAMES])
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema}, schema=schema)


def splice(path: Path, target: Path, groups: list[int] | None = None) -> tuple[Footer, pa.Table]:
    footer = read_footer(DISK, str(path), path.stat().st_size)
    numbers = range(len(footer.group_rows)) if groups is None else groups
    sizes = [footer.group_rows[i] for i in numbers]
    scores = make_scores(sum(sizes))
    with DISK.open_output_stream(str(target)) as sink:
        splicer = Splicer(DISK, str(path), footer, groups, sink, scores.schema, ["model_id"])
        for start, size in zip(np.cumsum([0, *sizes]).tolist(), sizes, strict=False):
            splicer.write_group(scores.slice(start, size))
        return splicer.close(), scores


def cells(table: pa.Table) -> dict[str, str]:
    """Each column as text that tells NaN from NULL and -0.0 from 0.0."""
    return {name: repr(table[name].to_pylist()) for name in table.column_names}


def check_readers(path: Path, target: Path, scores: pa.Table, spark: Any = None) -> None:
    old, new = pq.read_table(path), pq.read_table(target)
    assert new.column_names == [*old.column_names, *scores.column_names]
    wanted = old.cast(pa.schema([new.schema.field(name) for name in old.column_names]))
    assert cells(new.select(old.column_names)) == cells(wanted)
    assert cells(new.select(scores.column_names)) == cells(scores)
    assert new.num_rows == pq.ParquetFile(target).metadata.num_rows == scores.num_rows
    before, after = (duckdb.connect().execute("FROM read_parquet(?)", [str(p)]).fetchall() for p in (path, target))
    width = len(old.column_names)
    assert repr([row[:width] for row in after]) == repr(before)
    assert [row[width] for row in after] == scores["anomaly_score"].to_pylist()
    if "map" not in old.column_names:
        there, here = pl.read_parquet(path), pl.read_parquet(target)
        assert there.equals(here.select(there.columns)) and here["anomaly_score"].to_list() == [r[width] for r in after]
    if spark:
        check_spark(spark, path, target, scores)


def check_spark(spark: Any, path: Path, target: Path, scores: pa.Table) -> None:
    """Spark's two readers, with splits so small that each row group is one."""
    for vectorised in ("true", "false"):
        spark.conf.set("spark.sql.parquet.enableVectorizedReader", vectorised)
        spark.conf.set("spark.sql.files.maxPartitionBytes", "2kb")
        try:
            before = spark.read.parquet(str(path)).toArrow()
            after = spark.read.parquet(str(target)).toArrow()
        finally:
            spark.conf.unset("spark.sql.parquet.enableVectorizedReader")
            spark.conf.unset("spark.sql.files.maxPartitionBytes")
        assert cells(after.select(before.column_names)) == cells(before), vectorised
        assert sorted(after["anomaly_score"].to_pylist()) == sorted(scores["anomaly_score"].to_pylist())


@pytest.mark.parametrize("name", PYARROW)
def test_files_by_pyarrow(tmp_path, spark, name):
    write_pyarrow(tmp_path / "old.parquet", name)
    _, scores = splice(tmp_path / "old.parquet", tmp_path / "new.parquet")
    check_readers(tmp_path / "old.parquet", tmp_path / "new.parquet", scores, None if name in NOT_BY_SPARK else spark)


def test_files_by_duckdb_polars_and_delta(tmp_path, spark):
    for name, path in write_others(tmp_path):
        _, scores = splice(path, tmp_path / "new.parquet")
        check_readers(path, tmp_path / "new.parquet", scores, spark if "V2" not in name else None)


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip"])
def test_files_by_spark(tmp_path, spark, codec):
    rows = spark.createDataFrame(make_rows().drop_columns(["nothing"])).coalesce(1)
    writer = rows.write.option("compression", codec).option("parquet.block.size", 8_000)
    writer = writer.option("parquet.bloom.filter.enabled#text", "true").option("parquet.page.size", 1_000)
    writer.parquet(str(tmp_path / "spark"))
    (path,) = (tmp_path / "spark").glob("*.parquet")
    _, scores = splice(path, tmp_path / "new.parquet")
    check_readers(path, tmp_path / "new.parquet", scores, spark)
    keys = pq.read_metadata(tmp_path / "new.parquet").metadata or {}
    assert not any(b"row.metadata" in key for key in keys), "it lists columns, and not these"


@pytest.mark.parametrize("groups", [[0], [1, 2], [2]])
@pytest.mark.parametrize("name", ["defaults", "page index", "pages of version 2", "a bloom filter"])
def test_some_row_groups(tmp_path, groups, name):
    rows = write_pyarrow(tmp_path / "old.parquet", name)
    joined, scores = splice(tmp_path / "old.parquet", tmp_path / "new.parquet", groups)
    first = 250 * groups[0]
    taken = rows.slice(first, scores.num_rows)
    pq.write_table(taken, tmp_path / "taken.parquet")
    check_readers(tmp_path / "taken.parquet", tmp_path / "new.parquet", scores)
    assert joined.metadata.num_row_groups == len(groups)


def test_page_indexes_and_bloom_filters_are_carried(tmp_path):
    for name, marks in (("page index", ("has_offset_index", "has_column_index")), ("a bloom filter", ())):
        write_pyarrow(tmp_path / "old.parquet", name)
        splice(tmp_path / "old.parquet", tmp_path / "new.parquet")
        old, new = (pq.read_metadata(tmp_path / f"{which}.parquet") for which in ("old", "new"))
        for group in range(old.num_row_groups):
            for column in range(old.num_columns):
                before, after = old.row_group(group).column(column), new.row_group(group).column(column)
                assert before.to_dict() == after.to_dict()
                assert all(getattr(after, mark) for mark in marks)


def test_a_filter_by_bloom_filter_and_page_index_finds_the_same(tmp_path):
    rows = write_pyarrow(tmp_path / "old.parquet", "page index")
    splice(tmp_path / "old.parquet", tmp_path / "new.parquet")
    wanted = rows["i64"][333].as_py()
    found = duckdb.connect().execute(f"SELECT count(*) FROM '{tmp_path}/new.parquet' WHERE i64 = {wanted}").fetchone()
    assert found == (1,)
    assert pl.scan_parquet(tmp_path / "new.parquet").filter(pl.col("i64") == wanted).collect().height == 1


OPTIONS = st.fixed_dictionaries(
    {
        "row_group_size": st.integers(1, 60),
        "compression": st.sampled_from(["none", "snappy", "zstd", "gzip"]),
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "data_page_size": st.sampled_from([64, 4096, 2**20]),
        "write_page_index": st.booleans(),
        "write_statistics": st.booleans(),
        "version": st.sampled_from(["1.0", "2.4", "2.6"]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), options=OPTIONS, rows=st.integers(0, 120), seed=st.integers(0, 99))
def test_any_file_and_any_row_groups(tmp_path, data, options, rows, seed):
    table = make_rows(rows, seed)
    chosen = data.draw(st.lists(st.sampled_from(table.column_names), min_size=1, unique=True))
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    pq.write_table(table.select(chosen), old, **options)
    total = pq.read_metadata(old).num_row_groups
    first = data.draw(st.integers(0, max(total - 1, 0)))
    groups = data.draw(st.none() if not total else st.one_of(st.none(), st.just(list(range(first, total)))))
    _, scores = splice(old, new, groups)
    kept = pq.read_table(old).slice(0 if groups is None else first * options["row_group_size"])
    found = pq.read_table(new)
    assert cells(found.select(chosen)) == cells(kept.cast(pa.schema([found.schema.field(name) for name in chosen])))
    assert cells(found.select(list(NAMES))) == cells(scores)


def test_encrypted_and_foreign_files_are_not_understood(tmp_path):
    for content in (b"", b"PAR1", b"PARE" + bytes(40) + b"PARE", b"no parquet at all, but long enough to be one"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(NotUnderstood):
            read_footer(DISK, str(tmp_path / "file"), len(content))


def test_new_columns_must_have_the_old_ones_rows(tmp_path):
    write_pyarrow(tmp_path / "old.parquet", "defaults")
    footer = read_footer(DISK, str(tmp_path / "old.parquet"), (tmp_path / "old.parquet").stat().st_size)
    scores = make_scores(700)
    with DISK.open_output_stream(str(tmp_path / "new.parquet")) as sink:
        splicer = Splicer(DISK, str(tmp_path / "old.parquet"), footer, None, sink, scores.schema, [])
        splicer.write_group(scores)
        with pytest.raises(NotUnderstood, match="row groups of other sizes"):
            splicer.close()


def test_statistics_of_all_columns_are_in_the_joined_footer(tmp_path):
    write_pyarrow(tmp_path / "old.parquet", "defaults")
    joined, scores = splice(tmp_path / "old.parquet", tmp_path / "new.parquet")
    group = joined.metadata.row_group(0)
    by_path = {group.column(i).path_in_schema: group.column(i).statistics for i in range(group.num_columns)}
    assert by_path["anomaly_score"].min == min(scores["anomaly_score"].slice(0, 250).to_pylist())
    assert json.loads(json.dumps(by_path["i32"].max)) == 2**31 - 1
