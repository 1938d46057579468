"""Files of one run that were started at the same moment: copies, or parts of the run."""

import json
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.offline.copies import is_copy, repairs
from dr_wandb.shell.sources.offline import wandb_decoder
from dr_wandb.shell.sources.offline.index import load_index, save_index
from tests.support import old_run
from tests.support.offline_folders import (
    LATER,
    notices_of,
    open_folder,
    put,
    run_of,
    scan,
    steps_of,
    sync_folder,
    whole_run,
)
from tests.support.syncing import NAME, runs_in
from tests.support.wandb_file import (
    BLOCK,
    HEADER,
    config_record,
    environment_record,
    exit_record,
    file_of,
    header_record,
    row_record,
    rows_of,
    run_record,
)

LONG = "x" * 20_000
LONG_ROWS = [row_record({"_step": step, "note": LONG}) for step in range(10)]
WHOLE = file_of([header_record(), run_record(), *LONG_ROWS, exit_record()])


def damaged(content: bytes, *places: int) -> bytes:
    """Return a file of which a few bytes are overwritten in each of some places."""
    for at in places:
        content = content[:at] + b"\xff" * 8 + content[at + 8 :]
    return content


# --- what is a copy


@pytest.mark.parametrize(
    "part",
    [
        WHOLE,
        WHOLE[:-1],
        WHOLE[: BLOCK + 5],
        WHOLE[:60_000] + bytes(10_000),
        WHOLE[:60_000] + bytes(1 << 20),
        damaged(WHOLE, 20),
        damaged(WHOLE, 3 * BLOCK),
        damaged(damaged(WHOLE, BLOCK + 50), 3 * BLOCK),
    ],
    ids=["all", "torn", "beginning", "zeros", "many zeros", "first block", "middle", "two blocks"],
)
def test_file_without_a_record_of_its_own_is_a_copy(part: bytes) -> None:
    assert is_copy(part, WHOLE)


@pytest.mark.parametrize(
    "part",
    [
        b"",
        HEADER,
        HEADER + bytes(100),
        file_of([header_record(), run_record(), *LONG_ROWS, exit_record(1)]),
        file_of([header_record(), run_record(notes="x"), *LONG_ROWS, exit_record()]),
        WHOLE + file_of([b"", *LONG_ROWS])[len(HEADER) :],
    ],
    ids=["empty", "header", "zeros", "another end", "another beginning", "more"],
)
def test_file_with_a_record_of_its_own_is_no_copy(part: bytes) -> None:
    assert not is_copy(part, WHOLE)


def test_damaged_file_is_no_copy_of_one_without_its_records() -> None:
    assert not is_copy(damaged(WHOLE, BLOCK + 50), damaged(WHOLE, 3 * BLOCK))


# --- what becomes of a run


def of_host(host: str, steps: range) -> list[bytes]:
    """Return what one of two machines wrote that began a run in the same second."""
    return [run_record(), environment_record(host=host), *rows_of(steps), exit_record()]


def test_two_files_started_in_the_same_second_are_two_parts(folder: Path, data_root: Path) -> None:
    """The rows of the shorter file were lost: it was taken for a copy that differs."""
    put(folder / "one", "run", of_host("one", range(3)))
    put(folder / "two", "run", of_host("two", range(3, 9)))
    summary = sync_folder(folder, data_root)
    assert (summary.complete, summary.history_count) == (True, 9)
    assert steps_of(open_folder(folder)) == list(range(9))
    (notice,) = notices_of(scan(folder))
    assert "started at the same time as" in notice
    assert notice.endswith("differs: both are read")


@pytest.mark.parametrize("old", [False, True], ids=[".wandb", "old folders"])
def test_files_started_in_the_same_second_are_ordered_by_their_first_steps(
    folder: Path, data_root: Path, old: bool
) -> None:
    """The path decided: the file with the first rows gave the summary of the run."""
    metadata = {"project": "project", "startedAt": old_run.STARTED_AT}
    for name, steps in (("b", range(3)), ("c", range(3, 9)), ("a", range(9, 12))):
        if old:
            rows = old_run.rows_of(steps)
            old_run.write_old_run(folder / name, "run", rows, metadata=metadata)
        else:
            put(folder / name, "run", [run_record(), *rows_of(steps), exit_record()])
    for _ in range(2):
        assert sync_folder(folder, data_root).complete
        snapshot = runs_in(data_root / NAME)["run"]
        assert snapshot["history_line_count"] == 12
        assert snapshot["summary_metrics"]["_step"] == 11
    files = [file.file.name for file in scan(folder).runs[0].files]
    assert [name[0] for name in files] == ["b", "c", "a"]


def test_file_without_rows_comes_last_of_those_started_in_the_same_second(folder: Path) -> None:
    put(folder / "a", "run", [run_record(), config_record({"lr": 1}), exit_record()])
    put(folder / "b", "run", [run_record(resumed=True), *rows_of(range(2)), exit_record()])
    put(folder / "c", "run", [run_record(), *rows_of(range(2, 4)), exit_record()])
    (found,) = scan(folder).runs
    assert [file.file.name[0] for file in found.files] == ["c", "a", "b"]


def test_rows_of_two_damaged_copies_are_all_kept(folder: Path, data_root: Path) -> None:
    put(folder / "one", "run", damaged(WHOLE, BLOCK + 50))
    put(folder / "two", "run", damaged(WHOLE, 3 * BLOCK))
    sync_folder(folder, data_root)
    lines = (data_root / NAME / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(10))


MANY_ROWS = [row_record({"_step": step, "note": LONG}) for step in range(300)]
LONG_FILE = file_of([header_record(), run_record(), *MANY_ROWS, exit_record()])


@pytest.mark.parametrize(
    "copies",
    [
        ([BLOCK + 50], [3 * BLOCK]),
        ([3 * BLOCK], [BLOCK + 50]),
        ([BLOCK + 50], [BLOCK + 20_000, 3 * BLOCK]),
        ([BLOCK + 50], [3 * BLOCK], [5 * BLOCK + 50]),
    ],
    ids=["first", "last", "same block", "three copies"],
)
@pytest.mark.parametrize("content", [WHOLE, LONG_FILE], ids=["short", "long"])
def test_copies_that_are_damaged_at_other_bytes_are_read_as_one(
    folder: Path, data_root: Path, copies: tuple[list[int], ...], content: bytes
) -> None:
    """Both were counted, so the run was short of their sum in every sync."""
    put(folder / "whole", "run", content)
    assert sync_folder(folder, data_root / "of whole").complete
    (folder / "whole").rename(data_root / "kept")
    paths = [
        put(folder / str(number), "run", damaged(content, *places))
        for number, places in enumerate(copies)
    ]
    for _ in range(2):
        summary = sync_folder(folder, data_root)
        assert (summary.complete, summary.short, summary.failures) == (True, (), ())
        files = [data_root / place / NAME / "history.jsonl" for place in ("of whole", ".")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert run_of(open_folder(folder)).history_line_count == summary.history_count
    notices = scan(folder).notices
    assert len(notices) == len(copies) - 1
    assert all("both are read as one file" in notice.text for notice in notices)
    assert {notice.kind for notice in notices} == {"damaged_copy"}
    paths[-1].unlink()
    if len(copies) == 2:
        (failed,) = sync_folder(folder, data_root).failures
        assert "are missing" in failed.reason
        assert failed.kind == "files_missing"
        put(folder / "1", "run", damaged(content, *copies[1]))
        assert sync_folder(folder, data_root).complete


def test_damaged_files_that_differ_in_a_record_are_two_parts() -> None:
    one = [header_record(), run_record(), *LONG_ROWS, exit_record()]
    two = [header_record(), run_record(), *LONG_ROWS[:-1], LONG_ROWS[0], exit_record()]
    first, second = damaged(file_of(one), BLOCK + 50), damaged(file_of(two), 3 * BLOCK)
    assert repairs(first, second) == repairs(second, first) == ()


def test_damaged_files_that_share_little_are_two_parts() -> None:
    one = damaged(WHOLE, BLOCK + 50)
    two = damaged(WHOLE, *range(2 * BLOCK + 50, 7 * BLOCK, BLOCK))
    assert repairs(one, damaged(WHOLE, 3 * BLOCK))
    assert repairs(one, two) == repairs(two, one) == ()


@pytest.mark.parametrize("damaged_first", [True, False])
@pytest.mark.parametrize("more", [0, 1 << 20])
def test_damaged_copy_is_left_out(folder: Path, damaged_first: bool, more: int) -> None:
    """Its records were counted twice, so that the run came short in every sync."""
    copy, whole = ("one", "two") if damaged_first else ("two", "one")
    put(folder / copy, "run", damaged(WHOLE, 3 * BLOCK) + bytes(more))
    put(folder / whole, "run", WHOLE)
    assert run_of(open_folder(folder)).history_line_count == 10
    (notice,) = scan(folder).notices
    assert notice.name.startswith(copy)
    assert "skipped: a copy of" in notice.text
    assert not notice.serious


def test_header_of_a_resumed_run_is_no_copy(folder: Path) -> None:
    put(folder, "run", whole_run())
    put(folder, "run", HEADER, folder_time="later")
    (notice,) = notices_of(scan(folder))
    assert "holds no record" in notice


# --- the next sync


def test_part_that_is_gone_is_noticed_though_another_began_with_it(
    folder: Path, data_root: Path
) -> None:
    """The rows of one of two machines would have gone with its file."""
    put(folder / "one", "run", of_host("one", range(3)))
    path = put(folder / "two", "run", of_host("two", range(3, 9)))
    sync_folder(folder, data_root)
    path.rename(folder / "kept")
    summary = sync_folder(folder, data_root)
    assert "is continued by other files of this run and is missing" in summary.failures[0].reason
    assert summary.failures[0].kind == "files_missing"
    assert summary.history_count == 9
    (folder / "moved").mkdir()
    (folder / "kept").rename(folder / "moved" / "run-run.wandb")
    assert sync_folder(folder, data_root).failures == ()


def test_copy_replaces_the_file_that_is_gone(folder: Path, data_root: Path) -> None:
    path = put(folder / "one", "run", whole_run())
    put(folder / "two", "run", whole_run())
    sync_folder(folder, data_root)
    path.unlink()
    summary = sync_folder(folder, data_root)
    assert (summary.failures, summary.history_count) == ((), 5)


def test_copy_that_was_under_way_replaces_its_file(folder: Path, data_root: Path) -> None:
    """A copy that was seen with its header alone was no candidate: its file was gone for ever."""
    path = put(folder / "one", "run", whole_run())
    copy = put(folder / "two", "run", HEADER)
    sync_folder(folder, data_root)
    copy.write_bytes(path.read_bytes())
    path.unlink()
    summary = sync_folder(folder, data_root)
    assert (summary.failures, summary.history_count) == ((), 5)


def test_copy_of_another_name_is_no_part_of_its_run(folder: Path, data_root: Path) -> None:
    """The run failed for ever when a backup of its file was deleted."""
    path = put(folder, "run", whole_run())
    backup = path.with_name("backup.wandb")
    backup.write_bytes(path.read_bytes())
    for _ in range(2):
        assert sync_folder(folder, data_root).history_count == 5
    backup.unlink()
    summary = sync_folder(folder, data_root)
    assert (summary.failures, summary.reused_count) == ((), 1)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of files whose bytes are compared, from now on."""
    sizes: list[int] = []

    def counting(part: Any, *more: Any) -> bool:
        sizes.append(len(part))
        return is_copy(part, *more)

    monkeypatch.setattr(wandb_decoder, "is_copy", counting)
    return sizes


def test_files_are_compared_once(folder: Path, data_root: Path, compared: list[int]) -> None:
    """Copies of many gigabytes would be read in every sync."""
    put(folder / "copy", "a", [run_record("a"), *rows_of(range(3))])
    put(folder / "whole", "a", [run_record("a"), *rows_of(range(9))])
    put(folder / "one", "b", [run_record("b"), *rows_of(range(3))])
    put(folder / "two", "b", [run_record("b"), *rows_of(range(4, 7))])
    first = scan(folder)
    assert len(compared) == 3
    data_root.mkdir()
    save_index(data_root / "index", folder, first.known)
    known = load_index(data_root / "index", folder).known
    assert known == first.known
    assert scan(folder, first._replace(known=known)).known == known
    assert len(compared) == 3


def test_copy_is_not_compared_again_when_the_longer_file_has_grown(
    folder: Path, compared: list[int]
) -> None:
    put(folder / "copy", "run", [run_record(), *rows_of(range(3))])
    put(folder / "whole", "run", [run_record(), *rows_of(range(9))])
    first = scan(folder)
    put(folder / "whole", "run", [run_record(), *rows_of(range(12))])
    second = scan(folder, first)
    assert len(compared) == 1
    assert second.runs[0].fold.rows == 12


@pytest.mark.parametrize("which", ["copy", "whole"])
def test_file_that_is_another_one_now_is_compared_again(
    folder: Path, which: str, compared: list[int]
) -> None:
    put(folder / "copy", "run", [run_record(), *rows_of(range(3))])
    put(folder / "whole", "run", [run_record(), *rows_of(range(9))])
    first = scan(folder)
    steps = [7, 8, 9] if which == "copy" else range(20, 40)
    put(folder / which, "run", [run_record(), *rows_of(steps)])
    second = scan(folder, first)
    assert len(compared) == 3
    assert sorted(len(run.files) for run in second.runs) == [2]


def test_copies_that_were_started_at_other_moments_are_not_compared(
    folder: Path, compared: list[int]
) -> None:
    for number, started in enumerate(("2026-01-01T00:00:00Z", LATER)):
        put(folder, "run", whole_run(started=started), folder_time=str(number))
    scan(folder)
    assert compared == []
