"""The config: defaults, overrides, variables, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jobs.common.config_file import load_config
from jobs.common.errors import ConfigError

MINIMAL = """
source:  {table: in, key: [id]}
extract: {path: extract}
bundle:  {path: bundle}
score:   {table: out}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def fail(folder: Path, text: str, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load_config(write(folder, text), overrides)
    return raised.value


def test_four_places_are_all_it_takes(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert (config.score.engine, config.score.alert_budget, config.score.explain) == ("local", 0.001, "alerts")
    assert (config.extract.rows, config.extract.seed) == (200_000, 7)
    assert config.source.partition is None and config.columns.include is None


def test_a_section_whose_keys_are_all_commented_out_means_its_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, MINIMAL + "columns:\ntrain:\n")) == load_config(write(tmp_path, MINIMAL))


@pytest.mark.parametrize("name", ["template.yaml", "flights.yaml"])
def test_the_files_in_conf_load(name: str, root: Path) -> None:
    load_config(root / "conf" / name)


def test_the_template_shows_the_defaults(root: Path, tmp_path: Path) -> None:
    template = load_config(root / "conf" / "template.yaml").model_dump()
    minimal = load_config(write(tmp_path, MINIMAL)).model_dump()
    for section in ("columns", "model", "train", "spark", "mlflow"):
        assert template[section] == minimal[section], section


def test_overrides_are_yaml_and_win_over_the_file(tmp_path: Path) -> None:
    overrides = ["score.engine=spark", "source.key=[a, b]", "train.seed=3", "source.where=x = 1", "score.samples=null"]
    config = load_config(write(tmp_path, MINIMAL), overrides)
    assert config.score.engine == "spark"
    assert config.source.key == ("a", "b")
    assert config.train.seed == 3
    assert config.source.where == "x = 1"
    assert config.score.samples is None
    assert load_config(write(tmp_path, MINIMAL), ["source.where="]).source.where == ""


@pytest.mark.parametrize("override", ["score.engine", "=1", ".a=1", "score.=1", "score.table.deeper=1", "a.b={"])
def test_overrides_that_are_none(override: str, tmp_path: Path) -> None:
    assert "--set" in str(fail(tmp_path, MINIMAL, override))


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHT", "2024-01-02")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    text = MINIMAL.replace("table: in", "table: '${UNSET:-data}/${NIGHT}/${EMPTY:-x}'")
    assert load_config(write(tmp_path, text)).source.table == "data/2024-01-02/x"
    error = fail(tmp_path, MINIMAL.replace("table: in", "table: '${UNSET}'"))
    assert "UNSET" in error.expected and "source.table" in error.expected and "export UNSET" in error.remedy
    assert "empty" in fail(tmp_path, MINIMAL.replace("table: in", "table: '${EMPTY}'")).found
    assert load_config(write(tmp_path, MINIMAL), ["score.table=${NIGHT}"]).score.table == "2024-01-02"


def test_a_variable_is_only_ever_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICK", "out}\nsource: {table: stolen, where: '${HOME}'")
    config = load_config(write(tmp_path, MINIMAL.replace("table: out", "table: '${TRICK}'")))
    assert config.source.table == "in"
    assert config.score.table.endswith("'${HOME}'")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("scores: {}", ("unknown key scores", "did you mean score?")),
        ("columns: {exlude: [a]}", ("unknown key columns.exlude", "did you mean columns.exclude?")),
        ("train: {zzz: 1}", ("unknown key train.zzz", "valid keys: ", "train.epochs")),
        ("extract: {rows: 10}", ("key extract.path", "missing")),
        ("extract: {path: x, rows: 0}", ("extract.rows", "greater than or equal to 1", "number 0")),
        ("extract: {path: x, rows: many}", ("extract.rows", "integer", "'many'")),
        ("source: {table: in, key: id}", ("source.key", "a list", "'id'")),
        ("source: text", ("source", "a section", "'text'")),
        ("score: {table: out, engine: duck}", ("score.engine", "'local' or 'spark'", "'duck'")),
        ("score: {table: out, mode: upsert}", ("score.mode", "'replace'", "'upsert'")),
        ("columns: {kinds: {a: colour}}", ("columns.kinds.a", "'colour'")),
        ("model: {layers: [0]}", ("model.layers",)),
        ("train: {epochs: -1}", ("train.epochs",)),
    ],
)
def test_errors_name_the_key_path(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    merged = yaml.safe_load(MINIMAL) | yaml.safe_load(text)
    error = fail(tmp_path, yaml.safe_dump(merged))
    assert [part for part in parts if part not in str(error)] == [], str(error)


@pytest.mark.parametrize("value", ["hunter2", ["hunter2"], {"deep": "hunter2"}, 4711])
def test_a_secret_is_not_shown(value: object, tmp_path: Path) -> None:
    tree = yaml.safe_load(MINIMAL)
    tree["source"]["storage_options"] = {"AWS_SECRET_ACCESS_KEY": "hunter2"}
    config = load_config(write(tmp_path, yaml.safe_dump(tree)))
    assert "hunter2" not in repr(config)
    tree["source"]["storage_options"] = {"AWS_SECRET_ACCESS_KEY": value, "other": [1]}
    message = str(fail(tmp_path, yaml.safe_dump(tree)))
    assert "hunter2" not in message and "4711" not in message


def test_the_digest_follows_everything_but_secrets(tmp_path: Path) -> None:
    digest = load_config(write(tmp_path, MINIMAL)).digest()
    with_secret = load_config(tmp_path / "job.yaml", ["source.storage_options.key=hunter2", "spark.conf.a=b"])
    assert with_secret.digest() == digest
    assert load_config(tmp_path / "job.yaml", ["score.alert_budget=0.01"]).digest() != digest


def test_keys_and_partitions_are_not_modelled(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL), ["source.partition=day", "columns.exclude=[note]"])
    options = config.column_options(("day", "country"))
    assert options.ignore == ("id", "day", "country")
    assert options.exclude == ("note",)
