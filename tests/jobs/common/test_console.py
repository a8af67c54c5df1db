"""What a job says: JSON lines for machines, sentences for people."""

from __future__ import annotations

import io
import json
import sys

import pytest

from jobs.common.console import JsonReporter, PrettyReporter, build_reporter
from jobs.common.errors import ConfigError, ConflictError, DataError, InterferenceError, SetupError, describe, exit_code

ODD = 'a "quoted"\nline \ud800 [bold]not markup[/bold] ø'


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = JsonReporter()
    reporter.say("done", ODD, rows=3, target=None, list=["a"])
    reporter.table("row", "Rows", [{"a": 1}, {"a": 2.5}])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["done", "row", "row"]
    assert lines[0]["message"] == ODD and lines[0]["list"] == ["a"] and lines[0]["target"] is None
    assert [line["a"] for line in lines[1:]] == [1, 2.5]
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_an_error_is_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    JsonReporter().fail(DataError("this", "that", "do so"))
    said = capsys.readouterr()
    assert said.out == ""
    error = json.loads(said.err)
    assert {key: error[key] for key in ("event", "message", "expected", "found", "remedy")} == {
        "event": "error",
        "message": "expected this; found that; do so",
        "expected": "this",
        "found": "that",
        "remedy": "do so",
    }


def test_sentences_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = PrettyReporter()
    reporter.say("done", "scored [all] 3 rows", rows=3)
    reporter.table("row", "The rows", [{"name": "[red]x", "n": 1234, "share": 0.123456, "gone": None}])
    reporter.table("row", "No rows", [])
    reporter.fail(ConfigError("[a]", ODD, "do so"))
    said = capsys.readouterr()
    for text in ("scored [all] 3 rows", "The rows", "[red]x", "1,234", "0.1235"):
        assert text in said.out
    assert "error:" in said.err and "[bold]not markup[/bold]" in said.err and "expected [a]" in said.err


@pytest.mark.parametrize("kind", [JsonReporter, PrettyReporter])
def test_progress_hands_the_block_an_advance(kind: type, capsys: pytest.CaptureFixture[str]) -> None:
    with kind().progress("scoring", 10, "rows") as advance:
        advance(4)
        advance(6, "nearly", total=12)
    with kind().progress("training", 0, "steps") as advance:
        advance(1, total=5)
    assert "Traceback" not in capsys.readouterr().err


def test_the_format_follows_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(build_reporter("json"), JsonReporter)
    assert isinstance(build_reporter("pretty"), PrettyReporter)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(build_reporter(None), JsonReporter)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert isinstance(build_reporter(None), PrettyReporter)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a", "b", "c"), 2),
        (SetupError("a", "b", "c"), 2),
        (DataError("a", "b", "c"), 3),
        (ConflictError("a", "b", "c"), 4),
        (InterferenceError("a", "b", "c"), 4),
        (OSError(28, "No space left on device"), 4),
        (RuntimeError("oops"), 1),
        (MemoryError(), 1),
    ],
)
def test_every_error_has_a_code_and_three_parts(error: Exception, code: int) -> None:
    described = describe(error)
    assert exit_code(error) == code
    assert described.expected and described.found and described.remedy
    assert str(error) in described.found or described is error
