"""The log read in Arrow says what deltalake says, of any table that it takes; what is not plain it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.delta.log import read_log
from jobs.delta.snapshot import open_snapshot
from jobs.delta.storage import TableRef, open_filesystem
from jobs.engines.logs import read_history

DAYS = ["2024-01-01", "2024-01-02", None]
PARTITIONS = {
    "text": pa.array(["a b", "ø/%41", None]),
    "date": pa.array(DAYS).cast(pa.date32()),
    "number": pa.array([1, -7, None], pa.int32()),
    "flag": pa.array([True, False, None]),
    "none": None,
}


def make(folder: Path, kind: str, checkpoint: int | None) -> DeltaTable:
    """A table with appends, updates, deletes, a compaction, and maybe a checkpoint in between."""
    values = PARTITIONS[kind]
    rows = pa.table({"id": pa.array(range(30), pa.int64()), "x": [float(i) for i in range(30)]})
    if values is not None:
        rows = rows.append_column("part", pa.concat_arrays([values] * 10))
    for number in range(4):
        by = None if values is None else ["part"]
        write_deltalake(str(folder), rows, mode="append", partition_by=by)
        if number == checkpoint:
            DeltaTable(str(folder)).create_checkpoint()
    table = DeltaTable(str(folder))
    table.update(predicate="id = 3", updates={"x": "x + 1"})
    table.delete("id = 4")
    table.optimize.compact()
    return DeltaTable(str(folder))


def listed(table: DeltaTable) -> dict[str, tuple[int, int]]:
    actions = pa.table(table.get_add_actions())
    return {
        path: (size, rows)
        for path, size, rows in zip(
            *(actions[name].to_pylist() for name in ("path", "size_bytes", "num_records")), strict=True
        )
    }


@pytest.mark.parametrize("checkpoint", [None, 1, 3])
@pytest.mark.parametrize("kind", PARTITIONS)
def test_every_version_is_what_deltalake_reads(kind: str, checkpoint: int | None, tmp_path: Path) -> None:
    latest = make(tmp_path / "t", kind, checkpoint)
    filesystem = open_filesystem(str(tmp_path / "t"), {})
    for version in [*range(latest.version() + 1), None]:
        table = DeltaTable(str(tmp_path / "t"), version=version)
        logged = read_log(filesystem, version)
        if logged is None:
            assert kind == "text" and table.version() > 3, "removals of paths that readers spell differently"
        else:
            assert logged.version == table.version()
            found = zip(*(column.to_pylist() for column in (logged.paths, logged.sizes, logged.rows)), strict=True)
            assert {path: (size, rows) for path, size, rows in found} == listed(table)
        snapshot = open_snapshot(TableRef(str(tmp_path / "t")), version)
        assert (snapshot.version, snapshot.table_id) == (table.version(), str(table.metadata().id))
        assert snapshot.rows == table.to_pyarrow_table().num_rows
        if kind != "none":
            values = {file.path: file.partition["part"].as_py() for file in snapshot.files}
            assert set(values.values()) == set((PARTITIONS[kind] or pa.nulls(0)).to_pylist())


@pytest.mark.parametrize("version", [None, 5, 0])
def test_the_history_is_what_deltalake_reads(version: int | None, tmp_path: Path) -> None:
    make(tmp_path / "t", "date", 1)
    history = DeltaTable(str(tmp_path / "t")).history()
    # Not that of the older version: deltalake numbers it wrongly.
    wanted = [entry for entry in history if version is None or entry["version"] <= version]
    found = read_history(TableRef(str(tmp_path / "t")), version)
    assert [(e.version, e.operation, e.read_version) for e in found] == [
        (e["version"], e["operation"], e.get("readVersion")) for e in wanted
    ]
    assert [int(e.timestamp.timestamp() * 1_000) for e in found] == [e["timestamp"] for e in wanted]


def test_a_log_that_ends_before_a_checkpoint_or_lacks_a_commit(tmp_path: Path) -> None:
    make(tmp_path / "t", "date", 3)
    filesystem, log = open_filesystem(str(tmp_path / "t"), {}), tmp_path / "t" / "_delta_log"
    whole = read_log(filesystem, None)
    for version in range(3):
        (log / f"{version:020d}.json").unlink()
    cut = read_log(filesystem, None)
    assert whole and cut and sorted(cut.paths.to_pylist()) == sorted(whole.paths.to_pylist())
    assert read_log(filesystem, 1) is None and read_log(filesystem, 99) is None
    (log / f"{5:020d}.json").unlink()
    assert read_log(filesystem, None) is None, "deltalake says what is missing"


@pytest.mark.parametrize("change", ["vector", "feature", "no statistics", "spaces"])
def test_what_is_not_plain(change: str, tmp_path: Path) -> None:
    make(tmp_path / "t", "none", None)
    path = tmp_path / "t" / "_delta_log" / f"{3:020d}.json"
    actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for action in actions:
        if "add" in action and change == "vector":
            action["add"]["deletionVector"] = {"storageType": "u", "pathOrInlineDv": "x", "sizeInBytes": 1}
        if "add" in action and change == "no statistics":
            del action["add"]["stats"]
    if change == "feature":
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"]}
        actions.append({"protocol": protocol | {"writerFeatures": ["v2Checkpoint"]}})
    path.write_text("\n".join(json.dumps(a, indent=None) for a in actions), encoding="utf-8")
    logged = read_log(open_filesystem(str(tmp_path / "t"), {}), 3)
    if change in ("vector", "feature"):
        assert logged is None
    else:
        assert logged is not None and logged.rows.null_count == (change == "no statistics")
        assert open_snapshot(TableRef(str(tmp_path / "t")), 3).rows == 120
