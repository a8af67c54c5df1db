"""What is read at once is bounded by bytes, however large a row group is, and no other columns are read where no row
matches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import WriterProperties, write_deltalake

from jobs.delta.datafile import DataFile
from jobs.delta.keys import KeySet
from jobs.delta.pruning import bind
from jobs.delta.reading import HasKey, count_matching, read_file
from jobs.delta.snapshot import open_snapshot
from jobs.delta.storage import TableRef
from jobs.delta.streaming import BATCH_BYTES, OpenFile
from jobs.delta.version import Snapshot
from jobs.predicates.predicate import parse_where

ONE_GROUP = WriterProperties(max_row_group_size=10**9)


def write(folder: Path, rows: pa.Table, properties: WriterProperties = ONE_GROUP) -> tuple[Snapshot, DataFile]:
    write_deltalake(str(folder), rows, writer_properties=properties, target_file_size=10**10)
    snapshot = open_snapshot(TableRef(str(folder)))
    (file,) = snapshot.files
    return snapshot, file


TEXTS = {
    "long texts": lambda i: f"{i:06}" * 2_000,
    "one long text": lambda i: "x" * 12_000,
    "few long texts": lambda i: "xyz"[i % 3] * 12_000,
    "short texts": lambda i: f"{i:06}",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_batches_are_bounded_by_bytes(kind: str, tmp_path: Path) -> None:
    rows = pa.table({"id": pa.array(range(6_000), pa.int64()), "text": [TEXTS[kind](i) for i in range(6_000)]})
    snapshot, file = write(tmp_path / "t", rows)
    batches = list(read_file(snapshot, file, ["id", "text"]))
    assert max(batch.nbytes for batch in batches) <= 2 * BATCH_BYTES
    assert pa.Table.from_batches(batches).equals(rows)
    assert (len(batches) == 1) == (kind == "short texts")


def test_a_large_row_group_comes_through_a_buffer(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pa.table({"id": np.arange(1_500_000), **{name: rng.normal(size=1_500_000) for name in "abcdef"}})
    snapshot, file = write(tmp_path / "t", rows, WriterProperties(max_row_group_size=10**9, compression="UNCOMPRESSED"))
    del rows
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for batch in OpenFile(snapshot, file).read(0, snapshot.schema.names):
        most, count = max(most, pa.total_allocated_bytes() - before), count + batch.num_rows
    assert pq.read_metadata(tmp_path / "t" / file.path).row_group(0).total_byte_size > 60 * 2**20
    assert (count, most < 50 * 2**20) == (1_500_000, True), most


def test_no_other_column_is_read_where_no_row_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"id": pa.array([i * 2 for i in range(9_000)], pa.int64()), "text": ["x"] * 9_000})
    snapshot, file = write(tmp_path / "t", rows, WriterProperties(max_row_group_size=1_000))
    read: list[tuple[int, tuple[str, ...]]] = []
    plain = OpenFile.read

    def note(self: OpenFile, number: int, columns: Any) -> Any:
        read.append((number, tuple(columns)))
        return plain(self, number, columns)

    monkeypatch.setattr(OpenFile, "read", note)
    keys = HasKey(KeySet(pa.table({"id": [4_000, 4_001, 16_000]})))
    wanted = bind(parse_where("id = 2001"), snapshot), bind(parse_where("id = 2002"), snapshot), keys
    found = [sum(batch.num_rows for batch in read_file(snapshot, file, ["text"], some)) for some in wanted]
    assert found == [0, 1, 2]
    text = [number for number, columns in read if columns == ("text",)]
    assert text == [1, 2, 8], "one row group for each row"
    assert {number for number, _ in read} == {1, 2, 8}, "the others are ruled out by their footers"


@pytest.mark.parametrize(
    ("column", "keys"),
    [
        (pa.array([3, None, 5, 9] * 500, pa.int64()), [None, 9]),
        (pa.array(["b", "a", None, "zz"] * 500), ["a", "c", None]),
        (pa.array([1.5, float("nan"), None, -0.5] * 500), [float("nan"), 7.0]),
        (pa.array([b"x", None, b"\xff", b""] * 500), [b"\xff", b""]),
    ],
)
def test_footers_rule_out_no_row_that_has_a_key(column: pa.Array, keys: list[Any], tmp_path: Path) -> None:
    rows = pa.table({"key": column, "n": range(2_000)})
    snapshot, file = write(tmp_path / "t", rows, WriterProperties(max_row_group_size=100))
    chosen = HasKey(KeySet(pa.table({"key": pa.array(keys, column.type)})))
    wanted = sum(repr(value) in map(repr, keys) for value in column.to_pylist())
    assert count_matching(snapshot, file, chosen) == wanted > 0
    others = HasKey(chosen.keys, wanted=False)
    assert count_matching(snapshot, file, others) == 2_000 - wanted
