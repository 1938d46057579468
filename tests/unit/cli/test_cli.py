"""The command line: every flag arrives, and mistakes are told in a line or two."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_wandb import ExportEngine, ExportMode, ExportRequest, SyncMode
from dr_wandb.cli import command, run
from dr_wandb.cli.output import terminal_width
from dr_wandb.core.contract.criteria import Criterion
from dr_wandb.core.contract.failures import (
    EXIT_BUG,
    EXIT_CODES,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_UNREADY,
)
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.scope import CRITERIA, RunScope
from tests.support import syncing
from tests.support.checkout import RECORDING
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

RequestOf = Callable[..., ExportRequest]


class CaughtError(Exception):
    def __init__(self, request: ExportRequest) -> None:
        self.request = request


@pytest.fixture
def request_of(monkeypatch: pytest.MonkeyPatch) -> RequestOf:
    """Return a function that gives the request which the command makes of its arguments."""

    def export(engine: ExportEngine) -> None:
        raise CaughtError(engine.request)

    monkeypatch.setattr(ExportEngine, "export", export)

    def made_of(*arguments: str) -> ExportRequest:
        with pytest.raises(CaughtError) as caught:
            run(arguments)
        return caught.value.request

    return made_of


def test_plain_command_asks_for_the_defaults(request_of: RequestOf) -> None:
    assert request_of("e", "p", "--name", "n") == ExportRequest(entity="e", project="p", name="n")


def test_every_flag_reaches_the_request(request_of: RequestOf) -> None:
    made = request_of(
        *("e", "p", "--name", "n", "--data-root", "d", "--mode", "history"),
        *("--sync-mode", "detect_changes", "--runs-per-page", "7", "--timeout-seconds", "9"),
        *("--history-key", "b", "--history-key", "a", "--min-step", "1", "--max-step", "5"),
        *("--max-records", "3", "--include-metadata", "--prune", "--allow-empty"),
        *("--allow-narrower", "--host-moved", "--moved-from", "before/p"),
        *("--max-rate", "2.5", "--state", "failed", "--state", "crashed", "--tag", "t"),
        *("--group", "g", "--sweep", "s", "--run-id", "r", "--created-after", "2026-01-01"),
        *("--created-before", "2026-02-01T12:00:00+02:00", "--run-filter", '{"config.lr": 1}'),
        *("--format", "parquet", "--drop-format", "jsonl", "--with", "console", "--drop", "system"),
        *("--with", "files", "--file", "*.log", "--file", "code/*", "--no-media"),
        *("--max-file-size", "20MB"),
    )
    assert made == ExportRequest(
        entity="e",
        project="p",
        name="n",
        data_root=Path("d"),
        mode=ExportMode.HISTORY,
        sync_mode=SyncMode.DETECT_CHANGES,
        runs_per_page=7,
        timeout_seconds=9,
        history_selection=syncing.select("a", "b", min_step=1, max_step=5, max_records=3),
        include_metadata=True,
        prune=True,
        allow_empty=True,
        allow_narrower=True,
        host_moved=True,
        moved_from="before/p",
        max_rate=2.5,
        scope=RunScope(
            states=("crashed", "failed"),
            tags=("t",),
            groups=("g",),
            sweeps=("s",),
            run_ids=("r",),
            created_after="2026-01-01T00:00:00Z",
            created_before="2026-02-01T10:00:00Z",
            filters={"config.lr": 1},
        ),
        formats=("parquet",),
        drop_formats=("jsonl",),
        extra_datasets=("console", "files"),
        drop_datasets=("system",),
        files=FileChoice(patterns=("code/*", "*.log"), media=False, max_bytes=20_000_000),
    )
    default = request_of("other", "project", "--name", "another")
    fields = ExportRequest.__struct_fields__
    same = {field for field in fields if getattr(made, field) == getattr(default, field)}
    assert same == {"any_project", "follow_links", "with_everything"}, "one needs offline files"
    everything = request_of("e", "p", "--name", "n", "--with", "everything", "--drop", "system")
    assert everything == ExportRequest(
        entity="e", project="p", name="n", with_everything=True, drop_datasets=("system",)
    )
    assert everything.datasets == ("history", "console", "files")


def scope_of(**fields: Any) -> RunScope:
    return RunScope(**fields)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.flag)
def test_every_criterion_has_a_flag(request_of: RequestOf, criterion: Criterion) -> None:
    flag = f"--{criterion.flag.replace('_', '-')}"
    one, other = "2026-01-01", "2026-01-02"
    made = request_of("e", "p", "--name", "n", flag, one)
    assert made.scope == scope_of(**{criterion.field: one})
    both = ("e", "p", "--name", "n", flag, one, flag, other)
    if criterion.takes_several:
        assert request_of(*both).scope == scope_of(**{criterion.field: (one, other)})
    else:
        assert run(both) == 2


@pytest.mark.parametrize("entity", ["export", "status", "verify", "log", "diff", "doctor"])
def test_entity_may_be_called_like_a_subcommand(request_of: RequestOf, entity: str) -> None:
    made = request_of("export", entity, entity, "--name", entity)
    assert (made.entity, made.project, made.name) == (entity, entity, entity)


@pytest.mark.parametrize("entity", ["status", "verify", "log", "diff", "doctor"])
def test_command_names_the_long_form_when_an_entity_is_called_like_a_subcommand(
    entity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([entity, "p", "--name", "n"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"wandb-export export {entity} PROJECT" in said.err


MISTAKES = [
    (["e", "p", "--name", "n", "--prune", "maybe"], "maybe"),
    (["e", "p", "--name", "n", "--max-rate", "0"], "--max-rate must be above 0"),
    (["e", "p", "--name", "n", "--max-rate", "nan"], "--max-rate must be above 0"),
    (["e", "p", "--name", "n", "--state", " "], "states must not have a blank value"),
    (["e", "p", "--name", "n", "--created-after", "soon"], "--created-after must be a date"),
    (["e", "p", "--name", "n", "--run-filter", "[1]"], "must be a JSON object"),
    (["e", "p", "--name", "n", "--run-filter", "{"], "not valid JSON"),
    (["verify"], "name"),
    (["verify", "nope"], "does not exist"),
    (["verify", "..", "--json"], "name must be a folder name"),
    (["status", "nope"], "does not exist"),
    (["log", "nope"], "does not exist"),
    (["diff", "n"], "since"),
    (["doctor"], "entity"),
    (["doctor", "a\\b"], "entity must not have a path separator"),
    (["doctor", "a", "b", "--timeout-seconds", "0"], "--timeout-seconds must be 1 or more"),
    (["frobnicate"], "project"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: str(value)[:50])
def test_mistake_is_reported_in_one_or_two_lines(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) in (2, 6)
    said = capsys.readouterr()
    assert said.out == ""
    assert 1 <= len(said.err.splitlines()) <= 2
    assert words.lower() in said.err.lower()
    assert list(tmp_path.iterdir()) == []


def demo(data_root: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    place = ["--data-root", str(data_root)]
    source = ["--mode", "history", "--source", f"replay:{RECORDING}", "--quiet", "--json"]
    assert run(["demo-lab", "tiny-vision", "--name", "demo", *source, *place]) == 0
    capsys.readouterr()
    return place


def test_status_shows_what_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = demo(tmp_path, capsys)
    assert run(["status", *place]) == 0
    table = capsys.readouterr().out
    assert "demo-lab/tiny-vision" in table
    assert run(["status", "demo", *place]) == 0
    assert "2115" in capsys.readouterr().out.replace(",", "")
    assert run(["status", "demo", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out)["entity"] == "demo-lab"


def test_verify_ends_with_zero_or_a_list_of_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = demo(tmp_path, capsys)
    assert run(["verify", "demo", *place]) == 0
    sound = capsys.readouterr().out
    history = tmp_path / "demo" / "history.jsonl"
    history.write_bytes(history.read_bytes().replace(b'"step":1000', b'"step":1001', 1))
    assert run(["verify", "demo", *place]) == 6
    damaged = capsys.readouterr().out
    assert "history.jsonl" in damaged
    assert damaged != sound
    assert run(["verify", "demo", "--json", *place]) == 6
    assert json.loads(capsys.readouterr().out)["findings"]


def test_quick_check_says_so_and_what_it_did_not_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = demo(tmp_path, capsys)
    assert run(["verify", "demo", "--quick", *place]) == 0
    verdict, note = capsys.readouterr().out.splitlines()
    assert verdict.startswith("demo (demo-lab/tiny-vision) is sound as far as a quick check looks:")
    assert note.startswith("note: a quick check: that each line reads, ")
    assert run(["verify", "demo", "--quick", "--json", *place]) == 0
    assert [one["kind"] for one in json.loads(capsys.readouterr().out)["notes"]] == ["quick"]
    path = tmp_path / "demo" / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert run(["verify", "demo", "--quick", *place]) == 6
    assert "demo (demo-lab/tiny-vision) is not sound: " in capsys.readouterr().out


def test_quick_check_cannot_be_compared_with_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "demo", "--quick", "--against-server"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "--quick cannot be combined with --against-server, which needs the full check\n"
    )


def test_verify_against_a_recording_of_the_same_project_finds_it_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = demo(tmp_path, capsys)
    against = ["verify", "demo", "--against-server", "--source", f"replay:{RECORDING}", *place]
    code = run(against)
    said = capsys.readouterr().out
    assert code == 3, said  # one run is still alive
    assert "live0001" in said
    assert "artifacts" in said


def test_log_and_diff_speak_of_the_same_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = MemorySource()
    source.add_run("a\u202eb", tags=["x"])
    syncing.sync(source, tmp_path)
    source.update("a\u202eb", tags=["y"], notes="n" * 500)
    source.advance(60)
    syncing.sync(source, tmp_path)
    place = ["--data-root", str(tmp_path)]
    assert run(["log", NAME, *place]) == 0
    short = capsys.readouterr().out.splitlines()
    assert run(["log", NAME, "--verbose", *place]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert short == [line for line in told if not line.startswith(" ")]
    assert told[1] == "  new: 'a\\u202eb'"
    assert told[3] == '  changed: \'a\\u202eb\': notes (large); tags ["x"] -> ["y"]'
    assert run(["diff", NAME, "--since", "2020-01-01", *place]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "since 2020-01-01T00:00:00Z  1 new"


def test_log_is_folded_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = MemorySource()
    source.add_run("a")
    for tag in "xyz":
        source.update("a", tags=[tag])
        syncing.sync(source, tmp_path)
        source.advance(60)
    capsys.readouterr()
    fold = ["log", NAME, "--compact-before", "2999-01-01", "--data-root", str(tmp_path)]
    assert run(fold) == 0
    assert capsys.readouterr().out == (
        "folded 3 lines into one: 3 lines, 242 bytes before; 1 line, 42 bytes now\n"
    )
    assert run(fold) == 0
    assert capsys.readouterr().out == (
        "nothing to fold: fewer than two lines are from before that time (1 line, 42 bytes)\n"
    )
    assert run([*fold, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folded"] == 0


ENDS = """
import atexit, sys, threading, time
from dr_wandb.cli import command
atexit.register(print, "late")
def run():
    if len(sys.argv) > 1:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    print("told")
    return 5
command.run = run
command.main()
"""


@pytest.mark.parametrize("goes_on", [False, True])
def test_command_ends_with_its_exit_code_while_other_work_goes_on(goes_on: bool) -> None:
    """Arrow aborts a process that ends below one of its threads: the code would be lost."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS, *["thread"] * goes_on],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (5, "")
    assert done.stdout == ("told\n" if goes_on else "told\nlate\n")


THREADS = """
import os
from dr_wandb.cli import command
def run():
    import numpy
    print(os.environ["OPENBLAS_NUM_THREADS"])
    return 0
command.run = run
command.main()
"""


@pytest.mark.parametrize(("chosen", "used"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_command_starts_no_threads_of_numpy_unless_they_are_chosen(
    chosen: dict[str, str], used: str
) -> None:
    """They kept a core busy while the SDK was imported, and did nothing."""
    rest = {name: value for name, value in os.environ.items() if "BLAS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", THREADS], env=rest | chosen, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{used}\n", "")


POOL = """
from dr_wandb.cli import command
def run():
    import pyarrow
    print(pyarrow.default_memory_pool().backend_name)
    return 0
command.run = run
command.main()
"""


@pytest.mark.parametrize("chosen", ["", "mimalloc"])
def test_arrow_has_its_memory_from_the_system_unless_it_is_chosen(chosen: str) -> None:
    """Its own allocator kept memory for each thread that had used some."""
    name = "ARROW_DEFAULT_MEMORY_POOL"
    rest = {one: value for one, value in os.environ.items() if one != name}
    environment = rest | ({name: chosen} if chosen else {})
    done = subprocess.run(
        [sys.executable, "-c", POOL], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{chosen or 'system'}\n"


def test_help_has_every_flag_in_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    groups = re.findall(r"^(\w.*):$", shown, re.MULTILINE)
    assert groups == [
        "Commands",
        "Arguments",
        "What to export",
        "Which rows",
        "Which files",
        "Which runs",
        "Source",
        "What a sync may do",
        "Requests",
        "Output",
        "Examples",
        "Environment",
        "Exit codes",
    ]
    arguments = command.app.assemble_argument_collection()
    for name in (name for argument in arguments if argument.show for name in argument.names):
        assert re.search(rf"^  (?:\S+, )?{name}\b", shown, re.MULTILINE), name
    codes = {*EXIT_CODES.values(), EXIT_OK, EXIT_BUG, EXIT_PARTIAL, EXIT_UNREADY}
    _, _, listed = shown.partition("Exit codes:\n")
    assert {int(code) for code in re.findall(r"^  (\d+) +\w", listed, re.MULTILINE)} == codes


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["--help"], "wandb-export ENTITY PROJECT --name NAME"),
        (["my-team/moe", "--name", "n", "-h"], "wandb-export ENTITY PROJECT --name NAME"),
        (["--version", "--help"], "wandb-export ENTITY PROJECT --name NAME"),
        (["-h", "sync"], "wandb-export sync [NAME] [FLAGS]"),
        (["sync", "moe", "--quiet", "--help"], "wandb-export sync [NAME] [FLAGS]"),
        (["doctor", "--help"], "wandb-export doctor ENTITY [PROJECT] [FLAGS]"),
        (["diff", "--help"], "wandb-export diff NAME --since STR [FLAGS]"),
    ],
)
def test_help_is_about_the_command_that_is_named(
    arguments: list[str], about: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {about}")


def test_word_after_two_hyphens_asks_for_no_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--data-root", str(tmp_path), "--", "--help"]) != 0
    assert capsys.readouterr().out == ""


def test_help_is_as_wide_as_the_terminal_and_has_no_codes_for_it() -> None:
    """The environment is given: readline, which pytest imports, adds COLUMNS below os.environ."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 44, 0, 0))
    command = [sys.executable, "-m", "dr_wandb", "status", "--help"]
    subprocess.run(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, timeout=60, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "\x1b" not in shown
    assert 34 < max(map(len, shown.splitlines())) <= 44


@pytest.mark.parametrize("columns", ["0", "", "-5", "wide"])
def test_width_is_80_if_nothing_says_another(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def size(stream: int) -> os.terminal_size:
        if stream == 2:
            return os.terminal_size((0, 0))  # a terminal that does not know it
        raise OSError(stream)

    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("os.get_terminal_size", size)
    assert terminal_width() == 80


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]])
def test_help_that_cannot_be_printed_ends_with_a_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without arguments it was a traceback."""
    with monkeypatch.context() as context:
        context.setattr("sys.stdout", None)
        code = run(arguments)
    assert (code, capsys.readouterr().err) == (1, "cannot print to stdout: it is closed\n")


@pytest.mark.parametrize("spelled", ["detect_changes", "detect-changes"])
def test_modes_are_spelled_in_the_help_as_in_the_documents(
    spelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sync", "--help"]) == 0
    assert "detect_changes" in capsys.readouterr().out
    recording = ["--source", f"replay:{RECORDING}", "--data-root", str(tmp_path), "--json"]
    arguments = ["demo-lab", "tiny-vision", "--name", "n", "--sync-mode", spelled, *recording]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["sync_mode"] == "detect_changes"


def test_completion_is_installed_for_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["--install-completion", "--shell", "bash"]) == 0
    assert capsys.readouterr().out.startswith(f"installed in {tmp_path}")
    (script,) = tmp_path.rglob("completions/wandb-export")
    assert "--allow-narrower" in script.read_text()


def test_end_at_once_needs_no_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is None once it could not be written."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("threading.active_count", lambda: 2)
    monkeypatch.setattr("threading.enumerate", list)
    monkeypatch.setattr("os._exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        command._end(3)
    assert ended.value.code == 3
