"""Damaged `.wandb` files: what can be read is kept, and what is lost is told."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.shell.sources import SourceError
from tests.support.asking import list_all
from tests.support.offline_folders import (
    LATER,
    NOW_NS,
    let_rest,
    notices_of,
    open_folder,
    put,
    run_of,
    scan,
    steps_of,
    sync_folder,
    whole_run,
)
from tests.support.wandb_file import (
    BLOCK,
    HEAD,
    HEADER,
    console_record,
    exit_record,
    file_of,
    header_record,
    history_record,
    item,
    places_of,
    record,
    row_record,
    rows_of,
    run_record,
    summary_record,
    wire_field,
)

LONG_NOTE = "x" * 20_000


def found_steps(folder: Path) -> list[int | None]:
    return steps_of(open_folder(folder))


# --- the end of a file


@pytest.mark.parametrize("left", [1, 6, 7, 30])
def test_torn_end_costs_the_last_record_only(folder: Path, left: int) -> None:
    payloads = [run_record(), *rows_of(range(4))]
    begin = places_of(payloads)[-1].begin
    put(folder, "run", file_of(payloads)[: begin + left])
    assert found_steps(folder) == [0, 1, 2]
    assert run_of(open_folder(folder)).state == "crashed"
    (notice,) = notices_of(scan(folder))
    assert notice.startswith(f"run-run.wandb at byte {begin}: the last record is cut off ({left} b")


def test_torn_end_of_a_record_of_many_blocks_is_reported_from_its_first_byte(folder: Path) -> None:
    payloads = [run_record(), *rows_of([0]), row_record({"_step": 1, "note": "x" * 100_000})]
    begin = places_of(payloads)[-1].begin
    put(folder, "run", file_of(payloads)[:-1])
    assert found_steps(folder) == [0]
    (notice,) = notices_of(scan(folder))
    assert f"at byte {begin}: the last record is cut off" in notice


def test_file_without_an_exit_record_is_whole(folder: Path) -> None:
    put(folder, "run", [run_record(), *rows_of(range(4))])
    (run,) = scan(folder).runs
    assert run.whole
    assert notices_of(scan(folder)) == []


@pytest.mark.parametrize("count", [1, 6, 7, 100, 4_096, 3 * BLOCK])
def test_zeros_at_the_end_cost_nothing(folder: Path, count: int) -> None:
    """A machine that lost its power leaves zeros where bytes were not written yet."""
    put(folder, "run", file_of([run_record(), *rows_of(range(4))]) + bytes(count))
    assert found_steps(folder) == [0, 1, 2, 3]
    notices = notices_of(scan(folder))
    assert notices
    assert not any("lost" in notice for notice in notices if count >= HEAD)


def test_records_behind_zeros_are_read(folder: Path) -> None:
    before = file_of([run_record(), *rows_of(range(4))])
    behind = file_of([b"x" * (BLOCK - len(HEADER) - HEAD), *rows_of([4, 5])])[BLOCK:]
    put(folder, "run", before + bytes(2 * BLOCK - len(before)) + behind)
    assert found_steps(folder) == [0, 1, 2, 3, 4, 5]
    assert any("zeros instead of records" in notice for notice in notices_of(scan(folder)))


# --- files that are none


NO_RUNS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "header cut": (HEADER[:3], "ends within its header of 7 bytes"),
    "header cut by one": (HEADER[:6], "ends within its header of 7 bytes"),
    "header only": (HEADER, "holds no record: there is nothing to export"),
    "text": (b"not a run at all\n" * 100, "is not a .wandb file"),
    "one byte": (b"\x00", "is not a .wandb file"),
    "zeros": (bytes(70_000), "is not a .wandb file"),
    "header and zeros": (HEADER + bytes(70_000), "holds no record: there is nothing to export"),
    "header and garbage": (HEADER + b"\xa5" * 70_000, "holds no record: there is nothing"),
    "torn first record": (file_of([run_record()])[:-1], "holds no record: there is nothing"),
}


@pytest.mark.parametrize("kind", NO_RUNS)
def test_file_without_a_record_is_reported_and_costs_no_other_run(
    folder: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One file of seven bytes beside a hundred runs must not stop the export of these."""
    content, why = NO_RUNS[kind]
    put(folder, "bad", content)
    put(folder, "good", whole_run("good"))
    with caplog.at_level(logging.WARNING):
        summary = sync_folder(folder, tmp_path / "data")
    assert summary.complete
    assert (summary.run_count, summary.history_count) == (1, 5)
    assert any("run-bad.wandb" in line and why in line for line in caplog.messages)
    assert not any("run-good.wandb" in line for line in caplog.messages)


def test_run_that_had_rows_keeps_them_when_its_file_is_emptied(
    folder: Path, tmp_path: Path
) -> None:
    put(folder, "run", whole_run())
    put(folder, "other", whole_run("other"))
    sync_folder(folder, tmp_path)
    put(folder, "run", HEADER)
    summary = sync_folder(folder, tmp_path)
    assert [failed.run_id for failed in summary.failures] == ["run"]
    assert (summary.run_count, summary.history_count, summary.missing_count) == (2, 10, 0)


# --- the middle of a file


def spoilt(payloads: list[bytes], at: int, content: bytes) -> bytes:
    data = bytearray(file_of(payloads))
    data[at : at + len(content)] = content
    return bytes(data)


def long_rows(count: int) -> list[bytes]:
    """Return rows of which one or two fill a block, and many go over its border."""
    return [row_record({"_step": step, "note": LONG_NOTE}) for step in range(count)]


@pytest.mark.parametrize(
    "garbage", [b"\xa5" * 100, bytes(100), b"\xff" * 6 + b"\x01"], ids=["text", "zeros", "head"]
)
def test_garbage_in_the_middle_costs_no_record_of_another_block(
    folder: Path, garbage: bytes
) -> None:
    payloads = [run_record(), *long_rows(10), exit_record()]
    at = 3 * BLOCK + 500
    put(folder, "run", spoilt(payloads, at, garbage))
    places = places_of(payloads)[1:-1]
    touched = {n for n, one in enumerate(places) if one.end > at and one.begin < 4 * BLOCK}
    assert len(touched) == 3
    assert found_steps(folder) == [step for step in range(10) if step not in touched]
    (run,) = scan(folder).runs
    assert not run.whole
    assert run_of(open_folder(folder)).state == "finished"
    assert any("at byte" in notice and "lost" in notice for notice in notices_of(scan(folder)))


def test_damage_in_the_first_block_leaves_a_run_that_is_called_as_its_file(folder: Path) -> None:
    payloads = [run_record("inside", project="elsewhere"), *long_rows(4), exit_record()]
    put(folder, "outside", spoilt(payloads, 20, b"\xff"))
    source = open_folder(folder)
    assert list(list_all(source)) == ["outside"]
    assert steps_of(source, "outside") == [2, 3]


def test_damaged_run_is_no_failure_and_is_not_read_again_and_again(
    folder: Path, tmp_path: Path
) -> None:
    put(folder, "run", spoilt([run_record(), *long_rows(10), exit_record()], 3 * BLOCK, b"\xff"))
    first = sync_folder(folder, tmp_path)
    assert first.complete
    assert first.history_count == 7
    assert sync_folder(folder, tmp_path).reused_count == 1


# --- records that do not read, or that nobody knows


def test_records_of_unknown_kinds_are_passed_over(folder: Path) -> None:
    new = [record(), wire_field(150, b"new kind"), record(1) + wire_field(990, b"x"), b""]
    put(folder, "run", [*new, run_record(), *rows_of(range(3)), *new, exit_record()])
    assert found_steps(folder) == [0, 1, 2]
    assert notices_of(scan(folder)) == []


def test_records_that_do_not_decode_are_counted(folder: Path) -> None:
    put(folder, "run", [run_record(), b"\xff", *rows_of(range(3)), b"\x08", exit_record()])
    assert found_steps(folder) == [0, 1, 2]
    assert notices_of(scan(folder)) == ["run-run.wandb 2 records cannot be decoded"]


def test_records_that_do_not_decode_are_reported_for_their_own_file(folder: Path) -> None:
    put(folder, "run", [run_record(), b"\xff", *rows_of([0])])
    second = [run_record(started=LATER), *rows_of([1]), exit_record()]
    put(folder, "run", second, folder_time="20260102_000000")
    assert notices_of(scan(folder)) == ["run-run.wandb 1 record cannot be decoded"]


ODD_ROWS: dict[str, list[tuple[str | tuple[str, ...], str]]] = {
    "a time that no double holds": [("_timestamp", "1" + "0" * 400)],
    "a step that no integer of 64 bits holds": [("_step", "1" + "0" * 400)],
    "a step that is no integer": [("_step", "1e300")],
    "a step that is an object": [(("_step", "inner"), "1")],
    "a value that is no JSON": [("loss", "nope"), ("_step", "7")],
    "a step that is text": [("_step", '"seven"')],
    "nothing": [],
}


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("odd", ODD_ROWS)
def test_odd_row_costs_no_other_one(folder: Path, tmp_path: Path, odd: str, last: bool) -> None:
    """One row that nobody expected must not make a run fail in every sync."""
    row = history_record([item(key, text) for key, text in ODD_ROWS[odd]])
    usual = [] if last and odd == ALONE else [*rows_of([0, 1])]
    behind = [] if last else rows_of([8, 9])
    put(folder, "run", [run_record(), *usual, row, *behind, exit_record()])
    put(folder, "other", whole_run("other"))
    summary = sync_folder(folder, tmp_path)
    assert summary.failures == ()
    assert summary.history_count == 5 + len(usual) + 1 + len(behind)
    assert sync_folder(folder, tmp_path).reused_count == 2


ALONE = "a step that is an object"
"""Beside other rows it does not show that it has no step of its own."""


# --- files that cannot be opened, or change while they are read


def refuse(patch: pytest.MonkeyPatch, path: Path) -> None:
    """Let a file be one that cannot be opened. (Whoever is root may open any.)"""
    opens: Any = os.open
    path.chmod(0o600)

    def opened(place: Any, *arguments: Any, **options: Any) -> Any:
        if place == str(path):
            raise PermissionError(13, "Permission denied", place)
        return opens(place, *arguments, **options)

    patch.setattr(os, "open", opened)


def test_file_that_cannot_be_opened_is_a_failed_run_that_keeps_its_rows(
    folder: Path, tmp_path: Path
) -> None:
    """A run must not vanish because its file could not be opened for a moment."""
    path = put(folder, "run", whole_run())
    put(folder, "other", whole_run("other"))
    sync_folder(folder, tmp_path)
    put(folder, "other", whole_run("other", range(7)))
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, path)
        summary = sync_folder(folder, tmp_path)
    assert [failed.run_id for failed in summary.failures] == ["run"]
    assert "Permission denied" in summary.failures[0].reason
    assert str(path) in summary.failures[0].reason
    assert (summary.history_count, summary.missing_count) == (12, 0)
    assert sync_folder(folder, tmp_path).failures == ()


def test_file_that_cannot_be_opened_is_a_failed_run_when_it_was_never_read(
    folder: Path, tmp_path: Path
) -> None:
    path = put(folder, "run", whole_run())
    put(folder, "other", whole_run("other"))
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, path)
        summary = sync_folder(folder, tmp_path)
    assert [failed.run_id for failed in summary.failures] == ["run"]
    assert (summary.run_count, summary.history_count) == (1, 5)
    assert sync_folder(folder, tmp_path).history_count == 10


def test_resumed_run_is_not_exported_by_half_when_one_of_its_files_cannot_be_opened(
    folder: Path, tmp_path: Path
) -> None:
    put(folder, "run", whole_run(steps=range(5)))
    later = whole_run(steps=range(5, 9), started=LATER)
    path = put(folder, "run", later, folder_time="20260102_000000")
    sync_folder(folder, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, path)
        summary = sync_folder(folder, tmp_path)
    assert len(summary.failures) == 1
    assert summary.history_count == 9


@pytest.mark.parametrize("change", ["gone", "shorter"])
def test_file_that_goes_while_it_is_read_is_an_error(folder: Path, change: str) -> None:
    """Rows that are not there any more must not look like a run without rows."""
    path = put(folder, "run", whole_run())
    source = open_folder(folder)
    run = list_all(source)["run"]
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(SourceError):
        list(source.read_history(run, FetchWindow(), 0))


def test_rows_that_come_while_a_file_is_read_belong_to_the_next_sync(folder: Path) -> None:
    payloads = [run_record(), *rows_of(range(5))]
    path = put(folder, "run", payloads)
    source = open_folder(folder)
    run = list_all(source)["run"]
    path.write_bytes(file_of([*payloads, *rows_of([5, 6]), console_record("more")]))
    let_rest(path)
    assert len(list(source.read_history(run, FetchWindow(), 0))) > 0
    assert steps_of(source) == [0, 1, 2, 3, 4]
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4, 5, 6]


# --- what a review found


def test_summary_is_merged_when_the_header_is_lost(folder: Path) -> None:
    """A damaged first record made the file one of an old SDK, and each change all there was."""
    records = [
        run_record(),
        summary_record({"early": 1}),
        *rows_of([0]),
        summary_record({"best": 2}),
    ]
    put(folder, "run", file_of(records))
    assert run_of(open_folder(folder)).summary_metrics == {"early": 1, "best": 2, "_step": 0}


def test_damaged_copy_of_a_whole_file_is_left_out(folder: Path) -> None:
    """One backup with a flipped bit kept the run from being exported at all."""
    put(folder / "whole", "run", whole_run(steps=range(3000)))
    (content,) = [path.read_bytes() for path in folder.rglob("*.wandb")]
    put(folder / "backup", "run", content[:60] + b"\xff" + content[61:])
    source = open_folder(folder)
    assert steps_of(source) == list(range(3000))
    assert run_of(source).history_line_count == 3000


def test_folder_whose_name_is_not_utf_8_is_read(folder: Path, tmp_path: Path) -> None:
    """The whole sync ended in a traceback."""
    odd = folder / os.fsdecode(b"w\xffx")
    put(odd, "run", whole_run())
    assert sync_folder(odd, tmp_path / "data").history_count == 5
    assert sync_folder(folder, tmp_path / "data").history_count == 5


def test_many_zeros_are_one_loss(folder: Path) -> None:
    """A crash that left a hundred megabytes of zeros gave a warning for each block."""
    whole = file_of([header_record(), *whole_run()])
    put(folder, "run", whole + bytes((1 << 20) + 5))
    assert len(scan(folder).notices) <= 3


def test_rows_of_very_many_keys_are_read(folder: Path) -> None:
    """A file with a few thousand keys a row took minutes."""
    wide = {f"key {number}": number for number in range(3000)}
    put(folder, "run", [run_record(), *rows_of(range(3), **wide), exit_record()])
    assert steps_of(open_folder(folder)) == [0, 1, 2]


def test_run_of_a_file_from_the_future_is_not_running_forever(folder: Path) -> None:
    put(folder, "run", [run_record(), *rows_of([0])], modified_ns=NOW_NS + 3600 * 10**9)
    assert run_of(open_folder(folder)).state == "crashed"
