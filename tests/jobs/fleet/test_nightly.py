"""Many tables in one night: what is due is done, one that fails keeps no other from it, and the page says so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from deltalake import DeltaTable, write_deltalake

from tests.jobs.job import Job, invoke


def write_configs(job: Job, **changes: dict[str, object]) -> Path:
    """A folder with a config for each name, which differs from the job's in one section."""
    folder = job.folder / "conf"
    folder.mkdir()
    for name, change in changes.items():
        settings = {**job.settings, **{key: {**job.settings[key], **value} for key, value in change.items()}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


def test_each_table_has_its_night_and_the_worst_is_the_exit_code(job: Job):
    other = {"score": {"table": str(job.folder / "other")}}
    lost = {"source": {"table": str(job.folder / "nowhere")}, "score": {"table": str(job.folder / "lost")}}
    conf = write_configs(job, good={}, lost=lost, other=other)
    page = job.folder / "index.html"
    outcome = invoke("nightly", str(conf), "--index", str(page))
    assert outcome.code == 3, outcome.stderr
    assert outcome.last["message"].startswith("3 tables: 2 quiet, 0 with alarms, 1 failed")
    for name in ("scored", "other"):
        assert (job.folder / f"{name}_report.html").exists() and (job.folder / f"{name}_nights").exists()
    text = page.read_text(encoding="utf-8")
    assert "<h1>Of 3 tables 1 failed</h1>" in text
    assert re.findall(r'<td class="(quiet|alarm|failed)">', text) == ["failed", "quiet", "quiet"]
    assert 'href="scored_report.html"' in text and "score: expected a Delta table" in text


def test_a_model_that_is_not_there_is_trained(job: Job):
    small = {"bundle": {"path": str(job.folder / "new")}, "score": {"table": str(job.folder / "other")}}
    conf = write_configs(job, fresh=small)
    outcome = invoke("nightly", str(conf), "--set", "train.epochs=1", "--set", "model.members=1",
                     "--index", str(job.folder / "index.html"))  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert (job.folder / "new" / "bundle.json").exists()
    assert DeltaTable(str(job.folder / "other")).to_pyarrow_table().num_rows == 600


def test_alerts_are_shared_out_over_all_rows(job: Job):
    conf = write_configs(job, good={})
    index = ("--index", str(job.folder / "index.html"))
    assert invoke("nightly", str(conf), *index).code == 0
    shutil.rmtree(job.target)
    assert invoke("nightly", str(conf), "--alerts", "20", *index).code in (0, 5)
    scored = DeltaTable(str(job.target)).to_pyarrow_table()
    # 200 rows a night: one in ten.
    flagged = scored.filter(scored["is_anomaly"])
    assert (
        pc.max(flagged["anomaly_p_value"]).as_py()
        < 0.1
        < pc.min(scored.filter(pc.invert(scored["is_anomaly"]))["anomaly_p_value"]).as_py()
    )


def test_a_folder_without_configs_is_an_error(tmp_path: Path):
    outcome = invoke("nightly", str(tmp_path))
    assert outcome.code == 2 and "*.yaml" in outcome.error["message"]


def test_a_broken_config_does_not_keep_the_others(job: Job):
    conf = write_configs(job, good={})
    (conf / "broken.yaml").write_text("source: 7", encoding="utf-8")
    outcome = invoke("nightly", str(conf), "--index", str(job.folder / "index.html"))
    assert outcome.code == 2
    assert outcome.last["message"].startswith("2 tables: 1 quiet, 0 with alarms, 1 failed")


def test_a_batch_is_judged_before_it_is_published(job: Job):
    assert job.run("monitor").code == 0
    before = sorted(str(path) for path in job.folder.rglob("*"))
    source = DeltaTable(str(job.source)).to_pyarrow_table()
    batch = source.filter(pc.equal(source["day"], pc.max(source["day"])))
    write_deltalake(str(job.folder / "staging"), batch)
    good = job.run("check", "--table", str(job.folder / "staging"))
    assert good.code == 0, good.stdout
    assert good.last["verdict"] == "publish" and good.last["rows"] == batch.num_rows and good.last["alarms"] == []

    broken = batch.set_column(3, "price", pc.multiply(batch["price"], 1_000.0))
    write_deltalake(str(job.folder / "broken"), broken)
    bad = job.run("check", "--table", str(job.folder / "broken"))
    assert bad.code == 5 and bad.last["verdict"] == "hold it back" and bad.last["alerts"] > 0
    assert any(sentence.startswith("price: expected values distributed") for sentence in bad.last["alarms"])

    ids = pa.array([None, *batch["order_id"].to_pylist()[1:]], batch.schema.field("order_id").type)
    keyless = batch.set_column(batch.schema.get_field_index("order_id"), "order_id", ids)
    write_deltalake(str(job.folder / "staging keyless"), keyless)
    without = job.run("check", "--table", str(job.folder / "staging keyless"))
    assert without.code == 5 and any("1 row has no key" in sentence for sentence in without.last["alarms"])

    import pyarrow.parquet as pq

    files = job.folder / "files"
    files.mkdir()
    pq.write_table(batch, files / "a.parquet")
    pq.write_table(batch, files / "b.parquet")
    twice = job.run("check", "--files", str(files))
    assert twice.code == 5 and any("was loaded twice" in sentence for sentence in twice.last["alarms"])
    part = job.run("check", "--where", "day = '2024-01-02'")
    assert part.code == 0 and part.last["rows"] == 200
    nothing = job.run("check")
    assert nothing.code == 2 and "--files, --table or --where" in nothing.error["message"]
    written = {path for path in map(str, job.folder.rglob("*")) if path not in before}
    assert not [path for path in written if "staging" not in path and "broken" not in path and "files" not in path]
    assert json.loads(good.stdout.splitlines()[-1])["event"] == "done"
