"""Whole syncs of folders of `.wandb` files."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dr_wandb import ExportEngine
from dr_wandb.cli.command import run
from dr_wandb.core.contract.failures import DrWandbError, RunsVanished
from dr_wandb.core.contract.progress import Progress
from dr_wandb.shell.sources.offline.index import INDEX_FILE
from tests.support.memory_source import MemorySource
from tests.support.offline_folders import (
    LATER,
    NOW_NS,
    days_later,
    put,
    sync_folder,
    whole_run,
)
from tests.support.syncing import (
    DATA_FILES,
    NAME,
    request_for,
    rows_in,
    runs_in,
    select,
    visible,
    without_fsync,
)
from tests.support.wandb_file import (
    config_record,
    exit_record,
    file_of,
    history_record,
    item,
    places_of,
    row_record,
    rows_of,
    run_record,
    summary_record,
)

DAY = timedelta(days=1)


def data_files(data_root: Path) -> dict[str, bytes | None]:
    """Return what an export holds, without the tool's own files."""
    files = visible(data_root / NAME)
    return {name: files.get(name) for name in DATA_FILES}


def fresh(folder: Path, **fields: Any) -> dict[str, bytes | None]:
    """Return what a first export of the folder would hold."""
    with TemporaryDirectory() as place:
        assert sync_folder(folder, Path(place), **fields).complete
        return data_files(Path(place))


def without_exported_at(files: dict[str, bytes | None]) -> dict[str, Any]:
    runs = [json.loads(line) for line in (files["runs.jsonl"] or b"").splitlines()]
    return files | {"runs.jsonl": [run | {"exported_at": None} for run in runs]}


# --- nothing new, and a little at a time


def test_sync_that_finds_nothing_new_changes_no_byte(folder: Path, data_root: Path) -> None:
    put(folder, "a", whole_run("a"))
    put(folder, "b", whole_run("b", steps=[]))
    put(folder, "c", [run_record("c"), *rows_of(range(3))])
    put(folder, "d", [run_record("d"), *rows_of(range(3))], modified_ns=NOW_NS)
    sync_folder(folder, data_root)
    before = visible(data_root / NAME)
    for later in ({}, days_later(0.001), {"sync_mode": "full_reconcile"}):
        assert sync_folder(folder, data_root, **later).complete
        for name in ("runs.jsonl", "history.jsonl", "manifest.json"):
            assert visible(data_root / NAME)[name] == before[name]


@st.composite
def growing_runs(draw: Any, *, rising: bool = True) -> list[bytes]:
    """Records of a run; rising: its steps do not go back, and each row has one."""
    steps = draw(st.lists(st.integers(0, 6), max_size=8))
    payloads = [run_record(config={"lr": 0.1})]
    for place, step in enumerate(sorted(steps) if rising else steps):
        row = {"_step": step, "_timestamp": 1_767_225_600.5 + place, "loss": place / 3}
        if not rising and draw(st.integers(0, 4)) == 0:
            del row["_step"]
        note = draw(st.sampled_from(["", "", "y" * 5_000, "z" * 33_000]))
        payloads.append(row_record(row | ({"note": note} if note else {}), seed=place))
        payloads += draw(st.sampled_from([[], [config_record({"lr": place})], [b"\xff"]]))
        payloads += draw(st.sampled_from([[], [summary_record({"loss": place})]]))
    return [*payloads, exit_record(draw(st.integers(0, 1)))]


selections = st.sampled_from(
    [None, select(min_step=3), select(max_step=4), select(max_records=2), select("note")]
)


@settings(max_examples=20)
@given(growing_runs(), selections, st.data())
def test_growth_in_steps_is_one_sync_of_the_whole(
    payloads: list[bytes], selection: Any, data: st.DataObject
) -> None:
    assert_as_at_once(payloads, selection, data)


@settings(max_examples=20)
@given(growing_runs(rising=False), selections, st.data())
def test_growth_in_steps_is_one_sync_of_the_whole_when_steps_go_back(
    payloads: list[bytes], selection: Any, data: st.DataObject
) -> None:
    assert_as_at_once(payloads, selection, data)


def assert_as_at_once(payloads: list[bytes], selection: Any, data: st.DataObject) -> None:
    """Sync a file that grows, with pauses wherever it is cut, and compare with one sync."""
    content = file_of(payloads)
    ends = [place.end for place in places_of(payloads)]
    lengths = st.sampled_from(ends) | st.integers(0, len(content))
    cuts = [*sorted(data.draw(st.lists(lengths, max_size=4))), len(content)]
    with without_fsync(), TemporaryDirectory() as place:
        folder, data_root = Path(place, "wandb"), Path(place, "data")
        put(folder, "other", whole_run("other"))
        for cut in cuts:
            put(folder, "run", content[:cut], modified_ns=NOW_NS if cut < len(content) else None)
            summary = sync_folder(folder, data_root, history_selection=selection)
            assert summary.failures == ()
        assert data_files(data_root) == fresh(folder, history_selection=selection)


def test_run_that_is_resumed_in_another_folder_gets_its_rows(folder: Path, data_root: Path) -> None:
    put(folder, "run", whole_run())
    put(folder, "other", whole_run("other"))
    sync_folder(folder, data_root)
    resumed = [run_record(started=LATER, tags=["x"]), *rows_of(range(5, 8)), exit_record(1)]
    put(folder, "run", resumed, folder_time="later")
    assert sync_folder(folder, data_root).history_count == 13
    assert runs_in(data_root / NAME)["run"]["state"] == "failed"
    assert data_files(data_root) == fresh(folder)


def test_metadata_mode_keeps_rows_and_takes_the_snapshot(folder: Path, data_root: Path) -> None:
    payloads = [run_record(), *rows_of(range(3))]
    put(folder, "run", payloads)
    sync_folder(folder, data_root)
    history = data_files(data_root)["history.jsonl"]
    put(folder, "run", [*payloads, *rows_of([3]), exit_record()])
    sync_folder(folder, data_root, mode="metadata")
    assert data_files(data_root)["history.jsonl"] == history
    assert runs_in(data_root / NAME)["run"]["state"] == "finished"
    sync_folder(folder, data_root)
    assert data_files(data_root) == fresh(folder)


# --- states


def test_run_is_running_until_five_minutes_pass_and_finished_when_it_says_so(
    folder: Path, data_root: Path
) -> None:
    payloads = [run_record(), *rows_of(range(3))]
    put(folder, "run", payloads, modified_ns=NOW_NS - 299 * 10**9)
    put(folder, "other", whole_run("other"))

    def state_after(now_ns: int) -> Any:
        sync_folder(folder, data_root, now_ns=now_ns)
        return runs_in(data_root / NAME)["run"]["state"]

    assert state_after(NOW_NS) == "running"
    assert state_after(NOW_NS + 10**9) == "crashed"
    put(folder, "run", [*payloads, *rows_of([3])], modified_ns=NOW_NS + 2 * 10**9)
    assert state_after(NOW_NS + 2 * 10**9) == "running"
    put(folder, "run", [*payloads, *rows_of([3]), exit_record()], modified_ns=NOW_NS + 3 * 10**9)
    assert state_after(NOW_NS + 3 * 10**9) == "finished"
    assert len(rows_in(data_root / NAME)["run"]) == 4


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (1, "failed"), (255, "failed")])
def test_state_is_that_of_the_exit_code_whenever_the_file_was_written(
    folder: Path, data_root: Path, code: int, state: str
) -> None:
    put(folder, "run", [run_record(), exit_record(code)], modified_ns=NOW_NS)
    sync_folder(folder, data_root)
    assert runs_in(data_root / NAME)["run"]["state"] == state


# --- what goes, and what comes late


def test_run_whose_file_vanished_is_kept(folder: Path, data_root: Path) -> None:
    for name in "abc":
        path = put(folder, name, whole_run(name))
    sync_folder(folder, data_root)
    before = data_files(data_root)
    shutil.rmtree(path.parent)
    summary = sync_folder(folder, data_root)
    assert (summary.run_count, summary.missing_count, summary.failures) == (3, 1, ())
    assert data_files(data_root)["history.jsonl"] == before["history.jsonl"]
    assert without_exported_at(data_files(data_root))["runs.jsonl"]
    put(folder, "c", whole_run("c"))
    sync_folder(folder, data_root)
    assert without_exported_at(data_files(data_root)) == without_exported_at(fresh(folder))


@pytest.mark.parametrize("mode", ["incremental", "full_reconcile"])
def test_rows_of_an_earlier_file_go_by_two_reads_when_another_folder_is_exported(
    folder: Path, data_root: Path, mode: str
) -> None:
    """An export of one of the run's folders took the rows of all others out in one sync."""
    resumed = [run_record(started="2026-01-01T00:10:00Z"), *rows_of(range(5, 9)), exit_record()]
    put(folder / "first", "run", whole_run())
    put(folder / "second", "run", resumed)
    assert sync_folder(folder, data_root).history_count == 9
    before = data_files(data_root)
    for minutes in (0, 9):
        (data_root / NAME / INDEX_FILE).unlink(missing_ok=True)
        summary = sync_folder(
            folder / "second", data_root, sync_mode=mode, **days_later(minutes / 1440)
        )
        (waiting,) = summary.waiting
        assert (waiting.run_id, waiting.kind, waiting.missing_rows) == ("run", "begins_later", 9)
        assert not summary.complete
        assert data_files(data_root) == before
    summary = sync_folder(folder / "second", data_root, sync_mode=mode, **days_later(10 / 1440))
    assert (summary.waiting, summary.history_count) == ((), 4)
    assert without_exported_at(data_files(data_root)) == without_exported_at(
        fresh(folder / "second", **days_later(10 / 1440))
    )


def test_run_is_as_it_was_when_all_its_files_are_seen_again(folder: Path, data_root: Path) -> None:
    resumed = [run_record(started="2026-01-01T00:10:00Z"), *rows_of(range(5, 9)), exit_record()]
    put(folder / "first", "run", whole_run())
    put(folder / "second", "run", resumed)
    sync_folder(folder, data_root)
    before = data_files(data_root)
    assert sync_folder(folder / "second", data_root).waiting
    assert sync_folder(folder, data_root, **days_later(1)).complete
    assert data_files(data_root)["history.jsonl"] == before["history.jsonl"]
    assert sync_folder(folder / "second", data_root, **days_later(2)).waiting
    assert data_files(data_root)["history.jsonl"] == before["history.jsonl"]


def test_rows_of_an_earlier_file_wait_also_after_a_sync_in_metadata_mode(
    folder: Path, data_root: Path
) -> None:
    resumed = [run_record(started="2026-01-01T00:10:00Z"), *rows_of(range(5, 9)), exit_record()]
    put(folder / "first", "run", whole_run())
    put(folder / "second", "run", resumed)
    sync_folder(folder, data_root)
    sync_folder(folder / "second", data_root, mode="metadata")
    (waiting,) = sync_folder(folder / "second", data_root).waiting
    assert (waiting.kind, waiting.missing_rows) == ("begins_later", 9)
    summary = sync_folder(folder / "second", data_root, **days_later(1))
    assert (summary.waiting, summary.history_count) == ((), 4)


def test_folder_that_is_emptied_is_refused(folder: Path, data_root: Path) -> None:
    """A disk that was not mounted must not make all runs vanish."""
    for name in "abcde":
        put(folder, name, whole_run(name))
    sync_folder(folder, data_root)
    before = visible(data_root / NAME)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(DrWandbError) as error:
        sync_folder(folder, data_root, sync_mode="full_reconcile")
    assert isinstance(error.value.failure, RunsVanished)
    assert visible(data_root / NAME) == before


def test_run_that_was_never_held_is_forgotten_when_its_file_goes(
    folder: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unreadable files that somebody removed were named as gone upstream, kept, for ever."""
    put(folder, "kept", whole_run("kept"))
    path = put(folder, "never", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n")
    status = ["status", NAME, "--data-root", str(data_root), "--json"]
    assert sync_folder(folder, data_root).failed_count == 1
    run(status)
    said = json.loads(capsys.readouterr().out)
    assert (list(said["failed"]), said["alive"], said["behind"]) == (["never"], [], {})
    path.unlink()
    summary = sync_folder(folder, data_root)
    assert summary.complete
    assert (summary.run_count, summary.missing_count, summary.pruned_count) == (1, 0, 0)
    run(status)
    said = json.loads(capsys.readouterr().out)
    assert (said["failed"], said["missing"]) == ({}, {})
    assert "never" not in json.loads((data_root / NAME / "state.json").read_text())["runs"]
    put(folder, "never", whole_run("never"))
    assert sync_folder(folder, data_root).run_count == 2


def test_old_run_that_is_copied_in_later_is_exported(folder: Path, data_root: Path) -> None:
    """The machine without network sends its folders long after the runs were started."""
    put(folder, "new", whole_run("new", started="2026-01-09T00:00:00Z"))
    sync_folder(folder, data_root, **days_later(20))
    put(folder, "old", whole_run("old"))
    summary = sync_folder(folder, data_root, **days_later(21))
    assert summary.run_count == 2
    assert without_exported_at(data_files(data_root)) == without_exported_at(fresh(folder))


def test_old_run_that_is_copied_in_when_another_goes_is_exported(
    folder: Path, data_root: Path
) -> None:
    """Somebody moved last year's folders away and this year's in: those were never read."""
    for name in "abc":
        path = put(folder, name, whole_run(name, started="2026-01-09T00:00:00Z"))
    sync_folder(folder, data_root, **days_later(20))
    sync_folder(folder, data_root, **days_later(21))
    shutil.rmtree(path.parent)
    put(folder, "old", whole_run("old"))
    sync_folder(folder, data_root, **days_later(22))
    assert "old" in runs_in(data_root / NAME)


def test_run_without_a_time_is_exported_when_it_comes_later(folder: Path, data_root: Path) -> None:
    put(folder, "new", whole_run("new"))
    sync_folder(folder, data_root)
    put(folder, "nameless", [*rows_of(range(4)), exit_record()])
    assert sync_folder(folder, data_root).history_count == 9


def test_run_goes_on_when_its_folder_is_moved(folder: Path, data_root: Path) -> None:
    path = put(folder, "run", [run_record(), *rows_of(range(3))])
    sync_folder(folder, data_root)
    path.parent.rename(folder / "moved")
    put(folder / "x", "run", [run_record(), *rows_of(range(5)), exit_record()])
    assert sync_folder(folder, data_root).history_count == 5
    assert data_files(data_root) == fresh(folder)


# --- what is in the way


class PulledPlugError(Exception):
    """The end of a sync, in its middle."""


def pull_the_plug(progress: Progress) -> None:
    if progress.done == 2:
        raise PulledPlugError


def test_interrupted_sync_is_made_up_for_by_the_next_one(folder: Path, data_root: Path) -> None:
    for name in "abc":
        put(folder, name, whole_run(name))
    sync_folder(folder, data_root)
    for name in "abcd":
        put(folder, name, whole_run(name, range(8)))
    before = visible(data_root / NAME)
    with pytest.raises(PulledPlugError):
        sync_folder(folder, data_root, progress=pull_the_plug)
    assert visible(data_root / NAME) == before
    assert sync_folder(folder, data_root).history_count == 32
    assert data_files(data_root) == fresh(folder)


def test_index_of_a_sync_that_did_not_end_loses_no_rows(folder: Path, data_root: Path) -> None:
    """The index tells what is in a file, never what an export holds of it."""
    payloads = [run_record(), *rows_of(range(3))]
    put(folder, "run", payloads)
    sync_folder(folder, data_root)
    index = data_root / NAME / INDEX_FILE
    put(folder, "run", [*payloads, *rows_of(range(3, 9)), exit_record()])
    with TemporaryDirectory() as place:
        sync_folder(folder, Path(place))
        shutil.copy(Path(place) / NAME / INDEX_FILE, index)
    assert sync_folder(folder, data_root).history_count == 9
    assert data_files(data_root) == fresh(folder)


def test_values_survive_a_sync_of_a_file(folder: Path, data_root: Path) -> None:
    texts = {
        "huge": str(2**70),
        "nan": "NaN",
        "minus": "-Infinity",
        "tiny": "5e-324",
        "whole": "4.0",
        "zero": "-0.0",
        "text": '"ü\\ud800"',
        "null": "null",
        "list": "[1,null,NaN]",
        "flag": "false",
    }
    row = history_record([item("_step", "0"), *(item(key, text) for key, text in texts.items())])
    put(folder, "run", [run_record(), row, exit_record()])
    sync_folder(folder, data_root)
    (line,) = rows_in(data_root / NAME)["run"]
    assert json.loads(line)["metrics"] == {
        "huge": 2**70,
        "nan": "NaN",
        "minus": "-Infinity",
        "tiny": 5e-324,
        "whole": 4,
        "zero": 0,
        "text": "ü\\ud800",
        "list": [1, None, "NaN"],
        "flag": False,
    }


def test_rows_from_elsewhere_stay_when_a_file_has_fewer(folder: Path, data_root: Path) -> None:
    """A torn file took the place of a history that had come from W&B."""
    described = MemorySource()
    described.add_run(
        "run",
        rows=[
            {"_step": step, "_timestamp": 1_767_225_600.5 + step, "loss": step / 4}
            for step in range(10)
        ],
    )
    request = request_for(data_root)
    ExportEngine(request, source=described).export()
    put(folder, "run", [run_record(), *rows_of(range(4))])
    sync_folder(folder, data_root, mode="metadata")  # says nothing of where the rows came from
    for _ in range(4):
        summary = sync_folder(folder, data_root)
        assert "10 from another source are held" in summary.failures[0].reason
        assert summary.history_count == 10
    assert ExportEngine(request, source=described).export().complete
    put(folder, "run", [run_record(), *rows_of(range(12)), exit_record()])
    assert sync_folder(folder, data_root).history_count == 12
