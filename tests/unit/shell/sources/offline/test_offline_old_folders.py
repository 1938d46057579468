"""Run folders from before `.wandb` files: read like any other run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import EveryRun
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.offline import lines
from dr_wandb.shell.sources.offline import old_folder_decoder, yaml_values
from dr_wandb.shell.sources.offline.index import load_index, save_index
from tests.support.asking import WINDOWS, expected_rows, list_all, read_rows
from tests.support.described_project import PROJECT, RunDescription
from tests.support.offline_folders import (
    LONG_AGO_NS,
    NOW_NS,
    nodes_of,
    notices_of,
    open_folder,
    put,
    run_of,
    scan,
    steps_of,
    sync_folder,
    whole_run,
)
from tests.support.old_run import CONFIG, json_lines_of, metadata_of, rows_of, write_old_run
from tests.support.syncing import NAME, visible

LATER = "2026-01-01T00:20:00.5"
DAY_NS = 86_400 * 10**9
EVENT = {"system.cpu": 50.0, "_wandb": True, "_timestamp": 1_767_225_610, "_runtime": 10}


def put_old(folder: Path, run_id: str = "run", history: Any = None, **fields: Any) -> Path:
    """Write a run folder that nobody has written to lately."""
    return write_old_run(folder, run_id, history, **{"modified_ns": LONG_AGO_NS} | fields)


def snapshot_in(data_root: Path) -> dict[str, Any]:
    """Return the run that an export holds."""
    snapshot: dict[str, Any] = json.loads((data_root / NAME / "runs.jsonl").read_bytes())["run"]
    return snapshot


# --- what a run becomes


def test_run_is_what_its_folder_says(folder: Path) -> None:
    put_old(
        folder,
        "a-b_c",
        rows_of(range(3)),
        metadata=metadata_of(notes="note", jobType="train", git={"commit": "abc"}),
        summary={"loss": 0.5, "best": 7, "_step": 2, "nested": {"a": 1}},
        events=json_lines_of([{**EVENT, "system.cpu": 1.0}, EVENT]),
    )
    run = run_of(open_folder(folder), "a-b_c")
    assert (run.display_name, run.notes, run.job_type) == ("nice name", "note", "train")
    assert (run.commit, run.state, run.project) == ("abc", "finished", "project")
    assert run.created_at == "2026-01-01T00:00:00Z"
    assert run.config == {"lr": 0.1, "net": {"act": "relu", "depth": 3}}
    assert run.wandb_config["_wandb"]["cli_version"] == "0.9.7"
    assert run.wandb_config["wandb_version"] == 1
    assert run.summary_metrics == {"loss": 0.5, "best": 7, "_step": 2, "nested": {"a": 1}}
    assert run.system_metrics == {"system.cpu": 50}
    assert (run.history_line_count, run.history_keys) == (3, {"lastStep": 2})
    assert steps_of(open_folder(folder), "a-b_c") == [0, 1, 2]
    assert nodes_of(open_folder(folder))["a-b_c"]["heartbeatAt"] == "2026-01-01T00:00:30Z"


def test_metadata_is_the_file_in_the_folder(folder: Path) -> None:
    put_old(folder, metadata=metadata_of(host="h"))
    source = open_folder(folder)
    metadata = source.read_metadata(list_all(source)["run"])
    assert metadata is not None
    assert metadata["host"] == "h"


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({"state": "finished", "exitcode": 0}, "finished"),
        ({"state": "failed", "exitcode": 3}, "failed"),
        ({"state": "killed", "exitcode": 255}, "failed"),
        ({"state": "failed", "exitcode": None}, "failed"),
        ({"state": "finished", "exitcode": "0"}, "finished"),
        ({"state": "running", "exitcode": None}, "crashed"),
        ({"state": ["odd"], "exitcode": True}, "crashed"),
    ],
)
def test_state_is_that_of_the_metadata(folder: Path, members: dict[str, Any], state: str) -> None:
    put_old(folder, history=rows_of([0]), metadata=metadata_of(**members))
    assert run_of(open_folder(folder)).state == state


def test_run_goes_on_while_any_of_its_files_is_written_to(folder: Path) -> None:
    running = metadata_of(state="running", exitcode=None)
    place = put_old(folder, history=rows_of([0]), metadata=running)
    os.utime(place / "wandb-metadata.json", ns=(NOW_NS, NOW_NS))
    assert run_of(open_folder(folder)).state == "running"
    assert run_of(open_folder(folder, now_ns=NOW_NS + 301 * 10**9)).state == "crashed"
    for path in place.iterdir():
        os.utime(path, ns=(NOW_NS + DAY_NS, NOW_NS + DAY_NS))
    assert run_of(open_folder(folder, now_ns=NOW_NS + DAY_NS)).state == "crashed"


def test_summary_is_that_of_the_rows_when_there_is_none(folder: Path) -> None:
    rows = [{"a": 1, "n": {"x": 1}, "_step": 0}, {"b": float("nan"), "n": {"y": 2}, "_step": 1}]
    put_old(folder, history=rows)
    summary = run_of(open_folder(folder)).summary_metrics
    assert summary == {"a": 1, "b": "NaN", "n": {"y": 2}, "_step": 1}


def test_folder_without_metadata_says_its_run_and_its_time(folder: Path) -> None:
    place = put_old(folder, "id-1", rows_of([0]), folder_time="20190203_040506")
    (place / "wandb-metadata.json").unlink()
    run = run_of(open_folder(folder), "id-1")
    assert (run.created_at, run.state, run.display_name) == (
        "2019-02-03T04:05:06Z",
        "crashed",
        None,
    )


def test_run_without_a_row_is_a_run(folder: Path) -> None:
    put_old(folder)
    run = run_of(open_folder(folder))
    assert (run.history_line_count, run.history_keys) == (0, {"lastStep": -1})
    assert notices_of(scan(folder)) == []


# --- rows


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part of a file be a few lines."""
    monkeypatch.setattr(lines, "PART_BYTES", 150)


@pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
def test_rows_are_those_that_were_logged_in_every_window(
    folder: Path, described: RunDescription, small_parts: None
) -> None:
    put_old(folder, history=described.rows)
    source = open_folder(folder)
    run = list_all(source)["run"]
    for window in (FetchWindow(), *WINDOWS):
        expected = [line.replace(described.run_id, "run") for line in _text(described, window)]
        assert [line.decode() for line in read_rows(source, run, window)] == expected
        for batch in source.read_history(run, window, 0):
            rows = [normalize_row(row, run.run_id) for row in batch.rows]
            assert batch.encode(run.run_id).lines == b"".join(map(encode_line, rows))


def _text(described: RunDescription, window: FetchWindow) -> list[str]:
    return [line.decode() for line in expected_rows(described, window)]


def test_values_that_are_no_json_of_the_standard_are_read(folder: Path, data_root: Path) -> None:
    put_old(folder, history=b'{"a": NaN, "b": -Infinity, "big": 1e400, "_step": 0}\n')
    assert sync_folder(folder, data_root).history_count == 1
    row = json.loads((data_root / NAME / "history.jsonl").read_bytes())
    assert row["metrics"] == {"a": "NaN", "b": "-Infinity", "big": "Infinity"}


ODD_LINES = {
    "garbage": b"no row\n",
    "a list": b"[1, 2]\n",
    "half a row": b'{"a": 1, "b\n',
    "not UTF-8": b"\xff\xfe\n",
    "deep": b'{"a":' * 100_000 + b"\n",
}


@pytest.mark.parametrize("kind", ODD_LINES)
def test_line_that_is_no_row_costs_no_other_one(folder: Path, data_root: Path, kind: str) -> None:
    """One line that nobody expected must not make a run fail in every sync."""
    before, behind = json_lines_of(rows_of([0, 1])), json_lines_of(rows_of([2]))
    put_old(folder, history=before + ODD_LINES[kind] * 2 + behind)
    assert steps_of(open_folder(folder)) == [0, 1, 2]
    size = 2 * len(ODD_LINES[kind])
    where = (
        f"at byte {len(before)}: this line is not a JSON object ({size} bytes: 2 records or more"
    )
    assert [
        notice.startswith(f"wandb-history.jsonl {where}") for notice in notices_of(scan(folder))
    ] == [True]
    summary = sync_folder(folder, data_root)
    assert (summary.complete, summary.history_count) == (True, 3)


def test_zeros_and_blank_lines_are_no_rows(folder: Path) -> None:
    row, other = json_lines_of(rows_of([0])), json_lines_of(rows_of([1]))
    put_old(folder, history=row + b"\n\r\n" + bytes(5000) + other + bytes(700))
    assert steps_of(open_folder(folder)) == [0, 1]
    assert notices_of(scan(folder)) == []


def test_very_long_line_is_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PART_BYTES", 1 << 10)
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 12)
    long = json_lines_of(rows_of([1], note="x" * 10_000))
    history = json_lines_of(rows_of([0])) + long + json_lines_of(rows_of([2]))
    put_old(folder, history=history)
    assert steps_of(open_folder(folder)) == [0, 2]
    (notice,) = notices_of(scan(folder))
    assert "this line is longer than" in notice
    put_old(folder, history=history[: -len(json_lines_of(rows_of([2]))) - 5])
    assert steps_of(open_folder(folder)) == [0]


def test_losses_that_are_many_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_LOST", 2)
    put_old(folder, history=(b"no\n" + json_lines_of(rows_of([0]))) * 5)
    *_, last = notices_of(scan(folder))
    assert last == "wandb-history.jsonl 3 records cannot be decoded"


# --- growth


def test_torn_last_line_is_reported_and_read_when_it_is_whole(
    folder: Path, data_root: Path
) -> None:
    history = json_lines_of(rows_of(range(4)))
    begin = len(json_lines_of(rows_of(range(3))))
    put_old(folder, history=history[:-20])
    assert sync_folder(folder, data_root).history_count == 3
    (notice,) = notices_of(scan(folder))
    assert notice.startswith(f"wandb-history.jsonl at byte {begin}: the last line is cut off")
    put_old(folder, history=history)
    summary = sync_folder(folder, data_root)
    assert (summary.complete, summary.history_count) == (True, 4)
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3]


def test_last_line_without_its_end_is_a_row(folder: Path, data_root: Path) -> None:
    put_old(folder, history=json_lines_of(rows_of(range(2)))[:-1])
    assert sync_folder(folder, data_root).history_count == 2
    put_old(folder, history=json_lines_of(rows_of(range(5))))
    assert sync_folder(folder, data_root).history_count == 5


def test_history_that_grew_is_read_on(
    folder: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    begins: list[int] = []

    def counting(data: Any, before: Any, *more: Any) -> Any:
        begins.append(before.end)
        return lines.read_lines(data, before, *more)

    monkeypatch.setattr(old_folder_decoder, "read_lines", counting)
    for end in range(1, 12):
        put_old(folder, history=rows_of(range(end)), summary={"end": end, "_step": end - 1})
        sync_folder(folder, data_root)
    assert begins == [len(json_lines_of(rows_of(range(end)))) for end in range(11)]
    (fresh, kept) = scan(folder), data_root / NAME
    assert fresh.runs[0].fold.rows == 11
    before = visible(kept)
    assert sync_folder(folder, data_root).reused_count == 1
    assert visible(kept) == before
    assert snapshot_in(data_root)["summary_metrics"] == {"end": 11, "_step": 10}


def test_run_that_ended_without_another_row_is_refreshed(folder: Path, data_root: Path) -> None:
    """The state stayed that of the sync before: only the history was looked at."""
    running = metadata_of(state="running", exitcode=None)
    put_old(folder, history=rows_of([0]), metadata=running, summary={"_step": 0})
    sync_folder(folder, data_root)
    put_old(folder, history=rows_of([0]), summary={"_step": 0, "b": 3})
    sync_folder(folder, data_root)
    run = snapshot_in(data_root)
    assert (run["state"], run["summary_metrics"]) == ("finished", {"_step": 0, "b": 3})


def test_remembered_reading_equals_the_reading(folder: Path, data_root: Path) -> None:
    put_old(
        folder,
        history=[*rows_of(range(3)), {"a": float("nan"), "t": "\ud800", "_step": 2**70}],
        metadata=metadata_of(name="\ud800", notes="\udcff"),
        config="a: {value: .nan}\nb: {value: 2020-01-01}\nc: {value: {1: !!binary aGk=}}",
        summary=b'{"x": Infinity, "y": "\\ud800"}',
        events=json_lines_of([EVENT]),
    )
    first = scan(folder)
    data_root.mkdir()
    save_index(data_root / "index", folder, first.known)
    known = load_index(data_root / "index", folder).known
    assert known == first.known
    assert scan(folder, first._replace(known=known)).runs == first.runs


@pytest.mark.parametrize("length", [100, 1 << 16, 1 << 18])
def test_last_sample_is_found_however_long_its_line_is(folder: Path, length: int) -> None:
    """The machine was unknown if the last line was longer than 64 KiB."""
    long = {**EVENT, "system.note": "x" * length}
    put_old(folder, history=rows_of([0]), events=json_lines_of([{"system.cpu": 1.0}, long]))
    assert run_of(open_folder(folder)).system_metrics == {
        "system.cpu": 50,
        "system.note": "x" * length,
    }
    assert scan(folder).notices == []


def test_sample_is_none_if_no_line_near_the_end_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_folder_decoder, "LAST_BYTES", 4)
    monkeypatch.setattr(old_folder_decoder, "MOST_LAST_BYTES", 16)
    put_old(folder, history=rows_of([0]), events=json_lines_of([EVENT]) + b"no row\n" * 9)
    assert run_of(open_folder(folder)).system_metrics is None
    (said,) = notices_of(scan(folder))
    assert said == "wandb-events.jsonl has 2 lines near its end that cannot be read"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (
            b"no row\n" + json_lines_of([EVENT]) + b"[1]\n",
            "has 2 lines near its end that cannot be read",
        ),
        (None, "cannot be read: it is not a file"),
        (json_lines_of([EVENT]) + b'{"system.cpu"', ""),
    ],
    ids=["bad lines", "pipe", "cut off"],
)
def test_events_that_do_not_read_are_a_warning(
    folder: Path, events: bytes | None, reason: str
) -> None:
    """All other files beside a history were named if they did not read."""
    place = put_old(folder, history=rows_of([0]), events=events)
    if events is None:
        os.mkfifo(place / "wandb-events.jsonl")
    expected = None if events is None else {"system.cpu": 50}
    assert run_of(open_folder(folder)).system_metrics == expected
    said = notices_of(scan(folder))
    assert [line.startswith(f"wandb-events.jsonl {reason}") for line in said] == [True] * bool(
        reason
    )
    assert all(notice.serious for notice in scan(folder).notices)


# --- several folders of one run


def resumed(folder: Path, **second: Any) -> None:
    """Write a run of two sessions, of which the second repeats the last row of the first."""
    put_old(folder, history=rows_of(range(3)), mode="run", summary={"a": 1}, config="k: {value: 1}")
    own = [{**row, "_timestamp": row["_timestamp"] + 1300} for row in rows_of(range(3, 5))]
    later = {
        "folder_time": "20260101_002000",
        "metadata": metadata_of(startedAt=LATER, name="second", exitcode=3, state="failed"),
        "summary": {"a": 2, "_step": 4},
        "config": "k: {value: 1}\nl: {value: 2}",
        "history": [*rows_of([2]), *own],
    }
    put_old(folder, mode="run", **later | second)


def test_sessions_are_joined_and_the_repeated_row_counts_once(
    folder: Path, data_root: Path
) -> None:
    """The row that the SDK repeats made the run come short of its own count in every sync."""
    resumed(folder)
    run = run_of(open_folder(folder))
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4]
    assert (run.history_line_count, run.state, run.display_name) == (5, "failed", "second")
    assert (run.summary_metrics, run.config) == ({"a": 2, "_step": 4}, {"k": 1, "l": 2})
    assert run.created_at == "2026-01-01T00:00:00Z"
    summary = sync_folder(folder, data_root)
    assert (summary.complete, summary.history_count) == (True, 5)


def test_repeated_row_counts_once_when_the_session_is_read_on(
    folder: Path, data_root: Path
) -> None:
    resumed(folder)
    sync_folder(folder, data_root)
    own = [{**row, "_timestamp": row["_timestamp"] + 1300} for row in rows_of(range(3, 9))]
    later = metadata_of(startedAt=LATER, state="running", exitcode=None)
    history = [*rows_of([2]), *own]
    put_old(folder, history=history, mode="run", folder_time="20260101_002000", metadata=later)
    assert sync_folder(folder, data_root).history_count == 9
    assert sync_folder(folder, data_root, sync_mode="full_reconcile").history_count == 9


@pytest.mark.parametrize(("first", "count"), [(2, 5), (0, 6)])
def test_repeated_row_is_that_of_the_end_when_no_file_says_the_time(
    folder: Path, first: int, count: int
) -> None:
    own = [{**row, "_timestamp": row["_timestamp"] + 1300} for row in rows_of(range(3, 5))]
    resumed(folder, metadata=b"", history=[*rows_of([first]), *own])
    assert run_of(open_folder(folder)).history_line_count == count


@pytest.mark.parametrize("blank", [b"\n", b" \r\n\n", bytes(70_000) + b"\n"])
def test_repeated_row_counts_once_behind_a_line_without_content(
    folder: Path, data_root: Path, blank: bytes
) -> None:
    """The repeated row was a row of its own behind an empty line."""
    own = [{**row, "_timestamp": row["_timestamp"] + 1300} for row in rows_of(range(3, 5))]
    resumed(folder, history=blank)
    sync_folder(folder, data_root)
    resumed(folder, history=blank + json_lines_of([*rows_of([2]), *own]))
    for before in (data_root, data_root / "fresh"):
        assert sync_folder(folder, before).history_count == 5
    assert run_of(open_folder(folder)).history_line_count == 5
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4]


def test_first_line_that_is_too_long_is_no_repeated_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "PART_BYTES", 100)
    monkeypatch.setattr(lines, "LONGEST_LINE", 200)
    long = [{**rows_of([2])[0], "note": "x" * 10_000}]
    own = [{**row, "_timestamp": row["_timestamp"] + 1300} for row in rows_of(range(3, 5))]
    resumed(folder, history=[*long, *own])
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4]
    (notice,) = notices_of(scan(folder))
    assert "at byte 0: this line is longer than" in notice


def test_first_row_stays_when_the_session_before_is_not_there(folder: Path) -> None:
    resumed(folder)
    for path in (folder / "run-20260101_000000-run").iterdir():
        path.unlink()
    assert steps_of(open_folder(folder)) == [2, 3, 4]


def test_run_that_was_started_again_keeps_all_rows(folder: Path) -> None:
    put_old(folder, history=rows_of([0, 1]), mode="run")
    own = [{**row, "_timestamp": row["_timestamp"] + 1300} for row in rows_of([0, 1])]
    later: dict[str, Any] = {
        "folder_time": "20260101_002000",
        "metadata": metadata_of(startedAt=LATER),
    }
    put_old(folder, history=own, mode="run", **later)
    assert run_of(open_folder(folder)).history_line_count == 4


def test_session_of_a_newer_sdk_goes_on_behind_an_old_one(folder: Path, data_root: Path) -> None:
    put_old(folder, history=rows_of([0, 1]), mode="run")
    put(folder, "run", whole_run(steps=[2, 3], started="2026-01-01T00:20:00Z"))
    assert sync_folder(folder, data_root).history_count == 4


def test_folder_that_is_there_twice_is_one_run(folder: Path) -> None:
    put_old(folder / "one", history=rows_of(range(3)))
    put_old(folder / "two", history=rows_of(range(2)))
    assert run_of(open_folder(folder)).history_line_count == 3
    (notice,) = scan(folder).notices
    assert "skipped: a copy of" in notice.text


def test_rows_stay_when_a_session_is_gone(folder: Path, data_root: Path) -> None:
    resumed(folder)
    sync_folder(folder, data_root)
    (folder / "run-20260101_000000-run").rename(data_root / "kept")
    summary = sync_folder(folder, data_root)
    assert "is continued by other files of this run and is missing" in summary.failures[0].reason
    assert summary.failures[0].kind == "files_missing"
    assert summary.history_count == 5


# --- which folders


def test_folder_with_a_run_file_is_read_by_that(folder: Path) -> None:
    path = put(folder, "run", whole_run(steps=[7]))
    (path.parent / "wandb-history.jsonl").write_bytes(json_lines_of(rows_of([0])))
    (path.parent / "files").mkdir()
    for place in (path.parent, path.parent / "files"):
        (place / "config.yaml").write_text(CONFIG)
        (place / "wandb-summary.json").write_text("{}")
    assert steps_of(open_folder(folder)) == [7]
    assert list(list_all(open_folder(folder))) == ["run"]


def test_one_folder_and_one_history_hold_their_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put_old(folder, "a-b", rows_of(range(3)))
    put_old(folder, "other", rows_of(range(2)))
    for chosen in (place, place / "wandb-history.jsonl"):
        assert list(list_all(open_folder(chosen))) == ["a-b"]
        assert steps_of(open_folder(chosen), "a-b") == [0, 1, 2]
    monkeypatch.chdir(place)
    assert list(list_all(open_folder(Path()))) == ["a-b"]


def test_history_in_a_folder_of_another_name_is_a_run_of_that_name(folder: Path) -> None:
    place = put_old(folder, "run", rows_of(range(3)))
    place.rename(folder / "renamed")
    assert list(list_all(open_folder(folder))) == ["renamed"]


def test_config_in_any_other_folder_is_no_run(folder: Path) -> None:
    put(folder, "run", whole_run())
    (folder / "config.yaml").write_text(CONFIG)
    assert list(list_all(open_folder(folder))) == ["run"]
    assert notices_of(scan(folder)) == []


def test_run_folders_without_a_run_file_are_reported_together(folder: Path) -> None:
    """Runs whose files were deleted to save room were passed over in silence."""
    put(folder, "run", whole_run())
    for run_id in "abc":
        (folder / f"run-20260101_000000-{run_id}" / "files").mkdir(parents=True)
    (notice,) = notices_of(scan(folder))
    assert notice == (
        "run-20260101_000000-a is a run folder without its .wandb file: there is nothing to export,"
        " like 2 more"
    )


def test_run_of_another_project_is_left_out(folder: Path) -> None:
    put_old(folder, history=rows_of([0]), metadata=metadata_of(project="other"))
    assert list_all(open_folder(folder)) == {}
    assert list(list_all(open_folder(folder, any_project=True))) == ["run"]


def test_history_that_cannot_be_opened_is_a_failed_run(folder: Path, data_root: Path) -> None:
    place = put_old(folder, "a-b", rows_of(range(3)))
    history = place / "wandb-history.jsonl"
    sync_folder(folder, data_root)
    history.unlink()
    history.symlink_to("nowhere")
    (failure,) = sync_folder(folder, data_root).failures
    assert failure.run_id == "a-b"
    history.unlink()
    history.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n")
    summary = sync_folder(folder, data_root)
    assert "is a pointer of git-lfs" in summary.failures[0].reason
    assert summary.failures[0].kind == "unreadable"
    assert (summary.failures[0].run_id, summary.history_count) == ("a-b", 3)
    history.unlink()
    os.mkfifo(history)
    (page,) = open_folder(folder).list_runs(EveryRun())
    assert page.unread["a-b"].reason.endswith(
        "is a pipe, not a file: restore the file, or delete this"
    )


# --- files beside the history


BOMB = "a: &a [" + "x, " * 99 + "x]\n"
for before, name in ("ab", "bc", "cd", "de", "ef"):
    BOMB += f"{name}: &{name} [{', '.join([f'*{before}'] * 20)}]\n"

ODD_FILES: dict[str, tuple[dict[str, Any], str]] = {
    "yaml": ({"config": "a: [1"}, "config.yaml is not valid YAML"),
    "yaml that is text": ({"config": "just text"}, "config.yaml is not a mapping"),
    "yaml with bytes": ({"config": b"a: \xff\xfe\x00"}, "config.yaml is not valid YAML"),
    "yaml that is deep": ({"config": "a: " + "[" * 100_000}, "config.yaml is not valid YAML"),
    "yaml of no number": ({"config": "a: !!int ''"}, "config.yaml is not valid YAML"),
    "yaml of no boolean": ({"config": "a: !!bool maybe"}, "config.yaml is not valid YAML"),
    "yaml of no time": ({"config": "a: !!timestamp never"}, "config.yaml is not valid YAML"),
    "yaml of no key": ({"config": "? [1]\n: {a: 1}\n? {b: 2}\n: 3"}, "config.yaml is not valid"),
    "yaml that grows": ({"config": BOMB}, "config.yaml stands for more than"),
    "yaml in itself": ({"config": "a: &a {b: *a}"}, "config.yaml stands for more than"),
    "summary": ({"summary": b'{"a": '}, "wandb-summary.json is not valid JSON"),
    "summary that is a list": ({"summary": b"[]"}, "wandb-summary.json is not an object"),
    "metadata": ({"metadata": b"\x00"}, "wandb-metadata.json is not valid JSON"),
    "metadata that is deep": ({"metadata": b"[" * 100_000}, "wandb-metadata.json is nested too"),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_file_beside_that_does_not_read_is_reported_and_costs_no_row(
    folder: Path, data_root: Path, kind: str
) -> None:
    fields, why = ODD_FILES[kind]
    put_old(folder, history=rows_of(range(3)), **fields)
    summary = sync_folder(folder, data_root)
    assert (summary.complete, summary.history_count) == (True, 3)
    (notice,) = notices_of(scan(folder))
    assert notice.startswith(why)


def test_file_beside_that_is_too_large_or_no_file_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put_old(folder, history=rows_of([0]))
    monkeypatch.setattr(
        old_folder_decoder, "MOST_BYTES", dict.fromkeys(old_folder_decoder.MOST_BYTES, 10)
    )
    (place / "wandb-summary.json").mkdir()
    (place / "wandb-metadata.json").unlink()
    assert notices_of(scan(folder)) == [
        "wandb-summary.json cannot be read: it is not a file",
        "config.yaml is larger than 10 bytes: skipped",
    ]


LONG_INTEGERS = ["0xfffffffff", "0b111111111", "0777777777", "12:34:56:12", "{0xfffffffff: 1}"]


@pytest.mark.parametrize("number", LONG_INTEGERS)
def test_yaml_integer_of_very_many_digits_is_refused(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """Python took minutes to make such a number, since only decimal ones have a limit."""
    monkeypatch.setattr(yaml_values, "MAX_DIGITS", 9)
    with pytest.raises(ValueError, match="name is not valid YAML: an integer has more than 9"):
        yaml_values.yaml_members(f"a: {number}".encode(), "name")
    assert yaml_values.yaml_members(b"a: [0xf, '0xfffffffff', 1.23456789012]", "name")


def test_yaml_that_is_nested_deep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting its values overflowed the stack, which ended the sync of a whole folder."""
    monkeypatch.setattr(yaml_values, "MOST_LEVELS", 5)
    assert yaml_values.yaml_members(b"a: [[[[[1]]]]]", "name")
    for deep in (b"a: [[[[[[1]]]]]]", b"{a: {b: {c: {d: {e: {f: {}}}}}}}"):
        with pytest.raises(ValueError, match="name is nested too deeply to read"):
            yaml_values.yaml_members(deep, "name")


def test_yaml_makes_no_object(folder: Path) -> None:
    config = (
        "call: {value: !!python/object/apply:os.system [echo]}\n"
        "name: {value: !!python/name:os.system ''}\n"
        "pair: {value: !!python/tuple [1, 2]}\n"
        "same: {value: [&x {a: 1}, *x]}\n"
        "bare: 5\n"
    )
    put_old(folder, config=config)
    assert run_of(open_folder(folder)).config == {
        "call": ["echo"],
        "name": "",
        "pair": [1, 2],
        "same": [{"a": 1}, {"a": 1}],
        "bare": 5,
    }


@pytest.mark.parametrize("run_id", ["..", "a\nb", "\x1b[31m", "x" * 200, "%s", "über"])
def test_run_may_be_called_anything(folder: Path, tmp_path: Path, run_id: str) -> None:
    put_old(folder, run_id, rows_of(range(2)), metadata=metadata_of(project="../../x"))
    summary = sync_folder(folder, tmp_path / "data", any_project=True)
    assert (summary.run_count, summary.history_count) == (1, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "wandb"]


ODD_METADATA: dict[str, list[Any]] = {
    "startedAt": ["", "never", 5, None, "9999-12-31T23:59:59.999999+00:00", "0001-01-01T00:00:00"],
    "heartbeatAt": ["", [], "2026-13-01"],
    "exitcode": [10**20, -1, 1.5, "x"],
    "name": [5, None, {}],
    "git": [5, {"commit": 5}],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in ODD_METADATA.items() for value in values]
)
def test_metadata_of_another_kind_is_passed_over(
    folder: Path, data_root: Path, key: str, value: Any
) -> None:
    put_old(folder, history=rows_of(range(2)), metadata=metadata_of(**{key: value}))
    summary = sync_folder(folder, data_root)
    assert (summary.complete, summary.history_count) == (True, 2)
    assert sync_folder(folder, data_root).reused_count == 1


@pytest.mark.parametrize("hard", [True, False], ids=["hard link", "link"])
def test_histories_of_two_runs_may_be_one_file(folder: Path, hard: bool) -> None:
    """On a disk that was freed of duplicates the second run was missing, without a word."""
    one = write_old_run(folder, "one", rows_of(range(3))) / "wandb-history.jsonl"
    two = write_old_run(folder, "two") / "wandb-history.jsonl"
    again = write_old_run(folder / "copy", "one") / "wandb-history.jsonl"
    for path in (two, again):
        path.hardlink_to(one) if hard else path.symlink_to(one)
    found = scan(folder)
    assert {run.run_id: run.fold.rows for run in found.runs} == {"one": 3, "two": 3}
    assert found.notices == []
