"""The console of runs in `.wandb` files, as an export holds it."""

from pathlib import Path
from typing import Any

import pytest

from dr_wandb import iter_console_lines
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.shell.sources.offline.source import OfflineSource
from tests.support.asking import list_all
from tests.support.offline_folders import open_folder, put, sync_folder
from tests.support.old_run import write_old_run
from tests.support.syncing import NAME, visible
from tests.support.wandb_file import (
    console_record,
    exit_record,
    file_of,
    header_record,
    logger_record,
    rows_of,
    run_record,
)

CONSOLE: dict[str, Any] = {"extra_datasets": ("console",)}


def contents(data_root: Path, run_id: str = "run") -> list[str]:
    lines = list(iter_console_lines(NAME, data_root, run_ids=[run_id]))
    assert [line.number for line in lines] == list(range(len(lines)))
    return [line.content for line in lines]


def test_lines_are_exported_with_stream_and_time(folder: Path, data_root: Path) -> None:
    payloads = [
        run_record(),
        console_record("a\n", seconds=1_767_225_600),
        *rows_of(range(3)),
        console_record("b\n", seconds=1_767_225_601, error=True),
        logger_record("c\n"),
        exit_record(),
        console_record("late\n"),
    ]
    put(folder, "run", payloads)
    assert sync_folder(folder, data_root, **CONSOLE).complete
    lines = [
        (line.number, line.timestamp, line.level, line.label, line.content)
        for line in iter_console_lines(NAME, data_root)
    ]
    assert lines == [
        (0, "2026-01-01T00:00:00Z", None, None, "a"),
        (1, "2026-01-01T00:00:01Z", "error", None, "b"),
        (2, "2026-01-01T00:00:01Z", None, None, "c"),
    ]


def test_file_that_did_not_change_is_not_read_again(
    folder: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "run", [run_record(), console_record("a\n")])
    sync_folder(folder, data_root, **CONSOLE)
    before = visible(data_root / NAME)

    def read(*_: object) -> None:
        raise AssertionError("the file is read again")

    monkeypatch.setattr(OfflineSource, "read_console", read)
    assert sync_folder(folder, data_root, now="2026-01-01T02:00:00Z", **CONSOLE).complete
    after = visible(data_root / NAME)
    assert {name for name in after if after[name] != before[name]} <= {"state.json"}


def test_lines_of_a_file_that_grows_are_written_on(folder: Path, data_root: Path) -> None:
    payloads = [header_record(), run_record(), console_record("10 %")]
    put(folder, "run", file_of(payloads))
    sync_folder(folder, data_root, **CONSOLE)
    assert contents(data_root) == ["10 %"]
    put(folder, "run", file_of([*payloads, console_record("\r100 %\nend"), exit_record()]))
    assert sync_folder(folder, data_root, **CONSOLE).complete
    assert contents(data_root) == ["100 %", "end"]


def test_console_that_is_wanted_later_is_read_then(folder: Path, data_root: Path) -> None:
    put(folder, "run", [run_record(), console_record("a\n"), *rows_of(range(3)), exit_record()])
    sync_folder(folder, data_root)
    assert not (data_root / NAME / "console.jsonl").exists()
    assert sync_folder(folder, data_root, **CONSOLE).complete
    assert contents(data_root) == ["a"]
    sync_folder(folder, data_root)
    assert contents(data_root) == ["a"]


def test_session_that_resumes_counts_on_and_another_one_writes_over(
    folder: Path, data_root: Path
) -> None:
    first = [run_record(), console_record("1\n2\n3\n"), exit_record(1)]
    late = "2026-01-01T00:20:00Z"
    cases: list[tuple[str, dict[str, Any]]] = [("on", {"resumed": True}), ("over", {})]
    for run_id, fields in cases:
        named = [run_record(run_id), *first[1:]]
        put(folder, run_id, named)
        again = [run_record(run_id, started=late, **fields), console_record("4\n"), exit_record()]
        put(folder, run_id, again, folder_time="20260101_002000")
    assert sync_folder(folder, data_root, **CONSOLE).complete
    assert contents(data_root, "on") == ["1", "2", "3", "4"]
    assert contents(data_root, "over") == ["4", "2", "3"]


def test_run_from_before_wandb_files_has_no_console(folder: Path, data_root: Path) -> None:
    write_old_run(folder, "run")
    summary = sync_folder(folder, data_root, any_project=True, **CONSOLE)
    assert summary.complete
    assert list(iter_console_lines(NAME, data_root)) == []


def test_lines_outside_the_window_are_left_out(folder: Path) -> None:
    put(folder, "run", [run_record(), console_record("a\nb\nc\n")])
    source = open_folder(folder, **CONSOLE)
    batches = source.read_console(list_all(source)["run"], FetchWindow(start=1, stop=2), 0)
    assert [row["line"] for batch in batches for row in batch.rows] == ["b"]
