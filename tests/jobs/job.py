"""A job in a folder of its own, run through the command line, and what it left behind."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from deltalake import DeltaTable
from typer.testing import CliRunner

from jobs.cli.main import app
from jobs.common.config import Config

ENGINES = ("local", "spark")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    stdout: str
    stderr: str

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @cached_property
    def error(self) -> dict[str, Any]:
        """The error's event, the last line on stderr."""
        return dict(json.loads(self.stderr.splitlines()[-1]))

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]


@dataclass
class Job:
    """A source, a scored table, an extract and a bundle in one folder; `settings` is the config, to be edited."""

    folder: Path
    engine: str = "local"
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = {
            "source": {"table": str(self.folder / "source"), "key": ["order_id"], "partition": "day"},
            "extract": {"path": str(self.folder / "extract")},
            "bundle": {"path": str(self.folder / "bundle")},
            "score": {"table": str(self.folder / "scored"), "engine": self.engine},
        }

    @property
    def source(self) -> Path:
        return Path(self.settings["source"]["table"])

    @property
    def source_file(self) -> Path:
        """One of the source's data files."""
        return self.source / min(live_files(self.source))

    @property
    def target(self) -> Path:
        return Path(self.settings["score"]["table"])

    @property
    def bundle(self) -> Path:
        return Path(self.settings["bundle"]["path"])

    @property
    def config_file(self) -> Path:
        return self.folder / "job.yaml"

    def config(self) -> Config:
        return Config.model_validate(self.settings)

    def write_config(self) -> Path:
        self.config_file.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return self.config_file

    def run(self, command: str, *arguments: str) -> Outcome:
        """Run a command on the settings as they are now."""
        self.write_config()
        return invoke(command, "--config", str(self.config_file), *arguments)

    def read(self) -> pa.Table:
        """The scored table."""
        return DeltaTable(str(self.target)).to_pyarrow_table().sort_by("order_id")


def invoke(*arguments: str) -> Outcome:
    """Run the command line in this process; nothing may come out of it but its exit."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def live_files(table: Path) -> set[str]:
    """The data files that the table's latest version consists of."""
    return set(pa.table(DeltaTable(str(table)).get_add_actions()).column("path").to_pylist())


def fingerprint(table: Path) -> dict[str, str]:
    """Every file of a Delta table's log and of its latest version, with its digest; empty where there is no table."""
    if not DeltaTable.is_deltatable(str(table)):
        return {}
    names = [str(path.relative_to(table)) for path in (table / "_delta_log").rglob("*.json")]
    names += sorted(live_files(table))
    return {name: hashlib.sha256((table / name).read_bytes()).hexdigest() for name in sorted(names)}


def all_files(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
