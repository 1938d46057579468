"""What is printed: exact JSON for programs, and nothing that can steer a terminal."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dr_wandb.cli import output, run
from dr_wandb.cli.output import StdoutError, print_error, print_json, print_json_line, print_lines
from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.shell.progress import LOGGER, StderrHandler
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

EVIL = "\x1b[2J\x9b\u202e\nline"
ESCAPED = "\\x1b[2J\\x9b\\u202e\\nline"
CHANGES = SyncChanges(at="2026-01-01T00:00:00Z", new=(EVIL,))


def test_lines_are_escaped_unless_they_are_raw(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines(["plain ü 画像", EVIL])
    assert capsys.readouterr().out == f"plain ü 画像\n{ESCAPED}\n"
    print_lines([EVIL], raw=True)
    assert capsys.readouterr().out == f"{EVIL}\n"


def test_errors_are_escaped_and_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("what failed: \x1b\x9b\u202e\nwhat to do")
    assert capsys.readouterr().err == "what failed: \\x1b\\x9b\\u202e\nwhat to do\n"


@pytest.fixture
def logged() -> Iterator[logging.Handler]:
    handler = StderrHandler()
    LOGGER.addHandler(handler)
    yield handler
    LOGGER.removeHandler(handler)


@pytest.mark.usefixtures("logged")
def test_log_lines_are_escaped_and_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.warning("run %s", EVIL)
    assert capsys.readouterr().err == f"run {ESCAPED}\n"
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        LOGGER.warning("it failed", exc_info=True)
    traceback = capsys.readouterr().err.splitlines()
    assert traceback[0] == "it failed"
    assert traceback[-1] == "ValueError: \\x1b[2J"


@pytest.mark.parametrize("write", [print_json, print_json_line])
def test_json_is_exact_but_on_a_terminal(
    write: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(write)
    write(CHANGES)
    exact = capsys.readouterr().out
    assert "\x9b\u202e" in exact
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    write(CHANGES)
    shown = capsys.readouterr().out
    assert "\\u009b\\u202e" in shown
    assert json.loads(shown) == json.loads(exact)
    assert shown.count("\n") == exact.count("\n")


def test_closed_stdout_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    stream.close()
    monkeypatch.setattr("sys.stdout", stream)
    with pytest.raises(StdoutError):
        print_json(CHANGES)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_command_prints_json_that_cannot_steer_its_terminal(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("a\x9b\u202e")
    syncing.sync(source, tmp_path)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "dr_wandb", "log", NAME, "--json"]
    subprocess.run([*command, "--data-root", str(tmp_path)], stdout=theirs, check=True, timeout=60)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert json.loads(shown)["new"] == ["a\x9b\u202e"]
    assert '"a\\u009b\\u202e"' in shown


def test_names_in_a_log_are_as_they_are_with_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = MemorySource()
    source.add_run(EVIL)
    syncing.sync(source, tmp_path)
    arguments = ["log", NAME, "-v", "--data-root", str(tmp_path)]
    assert run(arguments) == 0
    assert f"  new: '{ESCAPED}'\n" in capsys.readouterr().out
    assert run([*arguments, "--raw"]) == 0
    assert f"  new: '{EVIL}'\n" in capsys.readouterr().out
