"""Rows that are written while their file is read: those of a fetch, or none."""

import errno
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.run import RunFold
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.sources import EarlyRows
from dr_wandb.shell.sources.offline import reader
from dr_wandb.shell.sources.offline.discovery import discover
from dr_wandb.shell.sources.offline.early_rows import EarlyRowsWriter
from dr_wandb.shell.sources.offline.index import INDEX_FILE
from dr_wandb.shell.sources.offline.reader import Look, look_at_alone
from dr_wandb.shell.sources.offline.runs import look_into
from dr_wandb.shell.sources.offline.source import RunFiles
from dr_wandb.shell.sources.offline.wanted import ANY
from dr_wandb.shell.store.rows_file import RowsFile, is_there
from dr_wandb.shell.sync import file_segments
from dr_wandb.shell.sync.engine import ExportEngine
from dr_wandb.shell.sync.segment_writer import write_segment_of_files
from dr_wandb.shell.sync.segments import Segment, SegmentHeader, make_segment
from tests.support.asking import list_all
from tests.support.inline_executor import InlineExecutor
from tests.support.offline_folders import (
    NOW,
    NOW_NS,
    open_folder,
    put,
    sync_folder,
    whole_run,
)
from tests.support.old_run import rows_of as old_rows
from tests.support.old_run import write_old_run
from tests.support.syncing import export, request_for, rows_in, select, visible
from tests.support.wandb_file import (
    exit_record,
    file_of,
    header_record,
    row_record,
    rows_of,
    run_record,
)

RUNS = 4


def header_for(run_id: str) -> SegmentHeader:
    run = RunListing(run_id=run_id)
    return SegmentHeader(run=run, window=WHOLE_RUN, selection=EVERYTHING, source="offline")


def look(folder: Path, early: Path) -> Look:
    (file,), _, _ = discover(folder)
    return look_at_alone(file, None, ANY, early)


def fetched(folder: Path, seen: Look, place: Path) -> Segment:
    """Write the rows of a file as a fetch does."""
    (file,), _, _ = discover(folder)
    assert seen.known is not None
    files = RunFiles(
        paths=[Path(file.location)], window=WHOLE_RUN, parts=((file, seen.known.reading),)
    )
    return write_segment_of_files(place, header_for("run"), files)


@pytest.fixture
def early(tmp_path: Path) -> Path:
    folder = tmp_path / "early"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write runs that are one file each."""
    folder = tmp_path / "wandb"
    for number in range(RUNS):
        put(folder, f"run{number}", whole_run(f"run{number}", range(10 + number)))
    return folder


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the runs whose rows were written early."""
    runs: list[str] = []
    real = EarlyRowsWriter.__init__

    def note(self: EarlyRowsWriter, folder: Path, run_id: str) -> None:
        runs.append(run_id)
        real(self, folder, run_id)

    monkeypatch.setattr(EarlyRowsWriter, "__init__", note)
    return runs


def odd_rows(steps: Sequence[int]) -> list[bytes]:
    """Return rows of which each has a key of its own, so that they make no columns."""
    return [row_record({"_step": step, f"key-{step}": {"x": step}}) for step in steps]


@pytest.mark.parametrize(
    "rows",
    [
        rows_of(range(7)),
        rows_of(range(0, 30_000, 3), loss=0.5),
        odd_rows(range(300)),
        [row_record({"loss": 1.5}) for _ in range(5)],
        rows_of([-3, 0, 2]),
    ],
    ids=["few", "many", "odd", "without steps", "a step below 0"],
)
def test_rows_written_early_are_those_of_a_fetch(
    rows: list[bytes], tmp_path: Path, early: Path
) -> None:
    put(tmp_path / "wandb", "run", [run_record(), *rows, exit_record()])
    seen = look(tmp_path / "wandb", early)
    assert seen.rows is not None
    assert [str(path) for path in early.iterdir()] == [seen.rows.path]
    segment = fetched(tmp_path / "wandb", seen, tmp_path)
    named = make_segment(seen.rows, early, header_for("run"))
    assert Path(named.path).read_bytes() == Path(segment.path).read_bytes()
    assert named.received == segment.received
    assert seen == look(tmp_path / "wandb", early)._replace(rows=seen.rows)


DAMAGED = bytearray(file_of([header_record(), *whole_run(steps=range(2000))]))
DAMAGED[40_000] ^= 1


@pytest.mark.parametrize(
    "content",
    [
        [run_record(), *rows_of([0, 1, 1]), exit_record()],
        [run_record(), *rows_of([0, 2, 1]), exit_record()],
        [run_record(), *rows_of(range(9_000)), *rows_of([5])],
        [run_record(), exit_record()],
        file_of([header_record(), *whole_run()])[:-1],
        bytes(DAMAGED),
        b"no run",
    ],
    ids=["one step twice", "falling", "falling later", "no row", "torn", "damaged", "no run"],
)
def test_rows_that_a_fetch_has_to_look_at_are_not_written_early(
    content: Any, tmp_path: Path, early: Path
) -> None:
    put(tmp_path / "wandb", "run", content)
    seen = look(tmp_path / "wandb", early)
    assert seen.rows is None
    assert list(early.iterdir()) == []
    (file,), _, _ = discover(tmp_path / "wandb")
    assert seen == look_at_alone(file, None, ANY, None)


@pytest.mark.parametrize("run_id", ["../../outside", "/outside", "a\0b", ".."])
def test_run_id_does_not_choose_the_folder_of_its_rows(
    run_id: str, tmp_path: Path, early: Path
) -> None:
    put(tmp_path / "wandb", "run", whole_run(run_id))
    seen = look(tmp_path / "wandb", early)
    assert seen.rows is not None
    written_to = Path(seen.rows.path)
    assert written_to.parent == early
    assert re.fullmatch(r"[0-9a-f]{32}\.part", written_to.name)
    assert {path.name for path in tmp_path.iterdir()} == {"early", "wandb"}


def test_rows_of_an_old_folder_are_not_written_early(tmp_path: Path, early: Path) -> None:
    write_old_run(tmp_path / "wandb", "old", old_rows(range(6)))
    assert look(tmp_path / "wandb", early).rows is None
    assert list(early.iterdir()) == []


@pytest.mark.parametrize("method", ["__init__", "write", "finish"])
def test_full_disk_leaves_no_rows_and_costs_no_reading(
    method: str, folder: Path, early: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (file, *_), _, _ = discover(folder)
    monkeypatch.setattr(RowsFile, method, refuse)
    seen = look_at_alone(file, None, ANY, early)
    assert list(early.iterdir()) == []
    assert seen == look_at_alone(file, None, ANY, None)


def test_rows_that_were_written_are_given_for_a_whole_run_alone(folder: Path, early: Path) -> None:
    source = open_folder(folder)
    with ThreadPoolExecutor(2) as threads:
        source.executor, source.early = SharedExecutor(threads), EarlyRows(early, ["run1"])
        runs = list_all(source)

    def given(run_id: str, window: FetchWindow = WHOLE_RUN) -> Any:
        (files,) = source.read_history_or_files(runs[run_id], window, 0)
        return files.written

    assert given("run0").received.rows == 10
    assert given("run0", FetchWindow(start=3)) is None
    assert given("run1") is None


def test_rows_of_a_run_that_has_another_file_are_not_given(tmp_path: Path, early: Path) -> None:
    """Each file is called like a run of its own, and read by itself at first."""
    for name, started, steps in (("one", "00:00", range(3)), ("two", "00:10", range(3, 7))):
        records = whole_run("run", steps, started=f"2026-01-01T{started}:00Z")
        put(tmp_path / "wandb", name, records)
    source = open_folder(tmp_path / "wandb")
    source.executor = SharedExecutor(InlineExecutor())
    source.early = EarlyRows(early, ())
    run = list_all(source)["run"]
    assert len(list(early.iterdir())) == 2
    (files,) = source.read_history_or_files(run, WHOLE_RUN, 0)
    assert (len(files.paths), files.written) == (2, None)
    sync_folder(tmp_path / "wandb", tmp_path / "data", executor=InlineExecutor())
    assert len(rows_in(tmp_path / "data" / "export")["run"]) == 7


def test_rows_count_only_if_they_are_as_many_as_the_file_has(early: Path) -> None:
    reading = FileReading(fold=RunFold(rows=2))
    batch = RowBatch(rows=[{"_step": 0}])
    with EarlyRowsWriter(early, "run") as writer:
        writer.add(batch)
        assert writer.finish(reading) is None
    assert list(early.iterdir()) == []


def test_rows_are_there_until_they_are_named_and_as_long_as_they_were(
    folder: Path, early: Path
) -> None:
    files, _, _ = discover(folder)
    looks = [look_at_alone(file, None, ANY, early) for file in files]
    first, second, third, fourth = (look.rows for look in looks if look.rows is not None)
    assert is_there(first)
    make_segment(first, early, header_for("run0"))
    assert not is_there(first)
    with Path(second.path).open("ab") as stream:
        stream.write(b"more")
    assert not is_there(second)
    Path(third.path).unlink()
    Path(third.path).symlink_to("x" * third.length)
    assert not is_there(third)
    Path(fourth.path).unlink()
    with pytest.raises(FileNotFoundError):
        make_segment(fourth, early, header_for("run3"))


def test_rows_on_a_disk_that_only_the_worker_sees_are_read_here(
    folder: Path, tmp_path: Path, written: list[str]
) -> None:
    class Elsewhere(InlineExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            if fn is look_at_alone:
                Path(future.result().rows.path).unlink()
            return future

    sync_folder(folder, tmp_path / "export", executor=Elsewhere())
    assert len(written) == RUNS
    sync_folder(folder, tmp_path / "alone")
    assert visible(tmp_path / "export" / "export") == visible(tmp_path / "alone" / "export")


def test_source_that_is_used_again_after_an_interrupt_gives_the_rows_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written early has gone with the first sync."""
    source = open_folder(folder)
    request = request_for(tmp_path / "export")
    with monkeypatch.context() as patch:

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(file_segments, "make_segment", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(source, request, executor=InlineExecutor(), now=NOW)
    export(source, request, executor=InlineExecutor(), now=NOW)
    export(open_folder(folder), request_for(tmp_path / "alone"), now=NOW)
    assert visible(tmp_path / "export" / "export") == visible(tmp_path / "alone" / "export")


def sync_with_threads(folder: Path, data_root: Path, **fields: Any) -> None:
    with ThreadPoolExecutor(2) as threads:
        sync_folder(folder, data_root, executor=threads, **fields)


def test_first_export_reads_each_file_once(
    folder: Path, tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_folder(folder, tmp_path / "alone")
    assert written == []
    monkeypatch.setattr(RunFiles, "batches", lambda self: pytest.fail("read again"))
    sync_with_threads(folder, tmp_path / "export")
    assert sorted(written) == [f"run{number}" for number in range(RUNS)]
    assert visible(tmp_path / "export" / "export") == visible(tmp_path / "alone" / "export")


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "metadata"},
        {"scope": RunScope(run_ids=("run1",))},
        {"history_selection": select("loss")},
        {"history_selection": select(min_step=1)},
    ],
    ids=["metadata", "some runs", "some metrics", "some steps"],
)
def test_rows_that_may_not_be_asked_for_are_not_written_early(
    fields: dict[str, Any], folder: Path, tmp_path: Path, written: list[str]
) -> None:
    sync_with_threads(folder, tmp_path, **fields)
    assert written == []


def test_last_rows_of_a_run_are_taken_of_those_written_early(
    folder: Path, tmp_path: Path, written: list[str]
) -> None:
    selection: HistorySelection = select(max_records=2)
    sync_with_threads(folder, tmp_path / "export", history_selection=selection)
    sync_folder(folder, tmp_path / "alone", history_selection=selection)
    assert len(written) == RUNS
    exported, alone = (rows_in(tmp_path / name / "export") for name in ("export", "alone"))
    assert exported == alone
    assert {len(rows) for rows in exported.values()} == {2}


def test_rows_of_runs_that_are_held_are_not_written_early(
    folder: Path, tmp_path: Path, written: list[str]
) -> None:
    sync_folder(folder, tmp_path)
    (tmp_path / "export" / INDEX_FILE).unlink()
    put(folder, "new", whole_run("new"))
    sync_with_threads(folder, tmp_path)
    assert written == ["new"]
    sync_with_threads(folder, tmp_path)
    assert written == ["new"]


def test_scan_and_plan_and_a_recording_write_no_rows_early(
    folder: Path, tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(2) as threads:
        source = open_folder(folder)
        request = request_for(tmp_path / "data")
        engine = ExportEngine(request, source=source, executor=threads)
        assert len(engine.plan().runs) == RUNS
        recording = tmp_path / "recording"
        ExportEngine(
            request, source=open_folder(folder), executor=threads, record=recording
        ).export()
    processes_for_any_file(monkeypatch)
    assert len(look_into(folder, NOW_NS).runs) == RUNS
    assert written == []


def processes_for_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BYTES_PER_PROCESS", 1)
    monkeypatch.setattr(reader, "count_cores", lambda: 2)


def test_rows_that_a_killed_sync_wrote_early_are_gone_after_the_next(
    folder: Path, tmp_path: Path
) -> None:
    left = tmp_path / "export" / ".staging" / "early"
    left.mkdir(parents=True)
    (left / "0123.part").write_bytes(b"half a row")
    sync_folder(folder, tmp_path)
    assert not left.exists()
    assert len(rows_in(tmp_path / "export")) == RUNS
