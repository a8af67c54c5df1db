"""Peak memory, of the command in a process of its own: it follows neither the row group nor the number of files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from deltalake import DeltaTable, WriterProperties, write_deltalake

import vae_model as vm
from tests.jobs.job import live_files

MEASURED = """
import resource, sys
from jobs.cli.main import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss, which counts what the parent had before this program started.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]) // 1024, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def run(folder: Path, *arguments: str) -> tuple[int, float, int]:
    """Peak memory in MB, CPU seconds, and the rows that the command says."""
    command = [sys.executable, "-c", MEASURED, *arguments, "--config", str(folder / "job.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, cpu_s = done.stderr.splitlines()[-1].split()
    return int(peak), float(cpu_s), json.loads(done.stdout.splitlines()[-1])["rows"]


def prepare(folder: Path, rows: pa.Table, **score: str) -> None:
    columns = vm.ColumnOptions(ignore=("id", "day"))
    vm.fit(rows.slice(0, 3_000), columns, seed=1, epochs=1, members=1).save(folder / "bundle")
    config = {
        "source": {"table": str(folder / "source"), "key": ["id"]},
        "extract": {"path": str(folder / "extract")},
        "bundle": {"path": str(folder / "bundle")},
        "score": {"table": str(folder / "scored"), **score},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def test_ten_rows_merged_into_two_million_in_one_row_group(tmp_path: Path) -> None:
    rng, count = np.random.default_rng(0), 2_000_000
    columns = {f"x{i}": rng.normal(size=count) for i in range(6)}
    rows = pa.table({"id": np.arange(count), **columns, "shop": [f"shop {i % 50}" for i in range(count)]})
    whole = WriterProperties(max_row_group_size=count)
    feed = {"delta.enableChangeDataFeed": "true"}
    write_deltalake(
        str(tmp_path / "source"), rows, configuration=feed, writer_properties=whole, target_file_size=10**10
    )
    (file,) = live_files(tmp_path / "source")
    assert pq.read_metadata(tmp_path / "source" / file).num_row_groups == 1
    prepare(tmp_path, rows, mode="merge")
    peak, _, scored = run(tmp_path, "score")
    assert (scored, peak < 500) == (count, True), peak
    update = DeltaTable(str(tmp_path / "source")).update
    update(predicate="id >= 1000000 AND id < 1000010", updates={"x0": "x0 + 1"}, writer_properties=whole)
    peak, _, scored = run(tmp_path, "score")
    assert (scored, peak < 500) == (10, True), peak
    assert DeltaTable(str(tmp_path / "scored")).to_pyarrow_dataset().count_rows() == count


def test_one_row_of_very_wide_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pa.table({"id": np.arange(300), "a": rng.normal(size=300), "b": rng.normal(size=300)})
    prepare(tmp_path, rows)
    write_deltalake(str(tmp_path / "source"), rows.append_column("text", pa.array(["x" * 2**20] * 300)))
    assert run(tmp_path, "score")[2] == 300
    peak, _, scored = run(tmp_path, "score", "--where", "id = 5")
    assert (scored, peak < 600) == (1, True), peak
    peak, _, scored = run(tmp_path, "score", "--where", "id = 500")
    assert (scored, peak < 300) == (0, True), peak


def test_a_log_of_200_000_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pa.table({"id": np.arange(3_000), "day": ["2024-01-01"] * 3_000, "x": rng.normal(size=3_000)})
    prepare(tmp_path, rows.append_column("y", rows["x"]))
    source = tmp_path / "source"
    write_deltalake(str(source), rows.append_column("y", rows["x"]), partition_by=["day"])
    stats = {"numRecords": 1_000, "minValues": {"id": 0, "x": 0.5}, "maxValues": {"id": 9, "x": 1.5}}
    add = {"size": 10**6, "modificationTime": 0, "dataChange": True, "stats": json.dumps(stats)}
    for version in range(1, 11):
        lines = []
        for number in range(20_000):
            day = f"2024-{1 + number % 12:02}-{1 + number % 28:02}"
            path = f"day={day}/part-{version:03}-{number:06}-0123-4567-89ab-cdef.zstd.parquet"
            lines.append(json.dumps({"add": {"path": path, "partitionValues": {"day": day}, **add}}))
        (source / "_delta_log" / f"{version:020d}.json").write_text("\n".join(lines), encoding="utf-8")
    # 2 to 3 CPU seconds on an idle machine.
    peak, cpu_s, planned = run(tmp_path, "plan")
    assert (planned, peak < 300, cpu_s < 6) == (200_003_000, True, True), (peak, cpu_s)
    DeltaTable(str(source)).create_checkpoint()
    peak, cpu_s, planned = run(tmp_path, "plan", "--where", "day = '2024-03-03'")
    assert (planned > 0, peak < 300, cpu_s < 6) == (True, True, True), (peak, cpu_s)
