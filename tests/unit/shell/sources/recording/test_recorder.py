"""What is written while a source is recorded, and when a folder becomes a recording."""

import json
import random
import re
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.failures import DiskRefused, DrWandbError, InvalidRequest
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import (
    EveryRun,
    ListingQuery,
    RunListing,
    RunsById,
    RunsCreatedSince,
)
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources import RowBatch, RunPage, Source, SourceError
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.support.asking import WHOLE, list_all, list_nodes, read_raw_rows
from tests.support.build_memory import build_memory
from tests.support.described_project import HOSTILE_PROJECT, PROJECT
from tests.support.memory_source import MemorySource
from tests.support.recordings import CLOCK, ask_all, ask_run, record
from tests.support.syncing import files_below

KEY = "0123456789abcdef0123456789abcdef01234567"
SIGNED = "https://storage.googleapis.com/b/f.parquet?Expires=19&Signature=c2VjcmV0"


class SlowSource(MemorySource):
    """Answers after a short wait that is different each time."""

    waits = random.Random(5)

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        for batch in super().read_history(run, window, attempt):
            time.sleep(self.waits.random() / 500)
            yield batch

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        time.sleep(self.waits.random() / 500)
        return super().read_metadata(run)


def slow_project() -> SlowSource:
    source = SlowSource()
    for number in range(12):
        run_id = f"run {number}"
        source.add_run(run_id, metadata={"number": number} if number % 3 else None)
        for _ in range(number):
            source.log(run_id, {"loss": number / 7})
    source.fail_history("run 5", times=99)
    source.fail_metadata("run 6", times=99)
    return source


def test_recording_is_the_same_bytes_whatever_the_threads_do(tmp_path: Path) -> None:
    trees = []
    for turn in range(4):
        folder = tmp_path / str(turn)
        with record(slow_project(), folder) as recorder:
            runs = list(list_all(recorder).values())
            random.Random(turn).shuffle(runs)
            with ThreadPoolExecutor(8 if turn else 1) as threads:
                list(threads.map(lambda run: ask_run(recorder, run), runs))
        trees.append(files_below(folder))
    assert trees[0] == trees[1] == trees[2] == trees[3]


def test_file_names_say_nothing_of_the_run_ids(tmp_path: Path) -> None:
    with record(build_memory(HOSTILE_PROJECT), tmp_path / "recording") as recorder:
        ask_all(recorder)
    names = set(files_below(tmp_path))
    stated = {"history.jsonl", "listing.jsonl", "metadata.jsonl", "recording.json", "runs.jsonl"}
    histories = names - {f"recording/{name}" for name in stated}
    assert len(histories) == len(HOSTILE_PROJECT.runs)
    assert all(re.fullmatch(r"recording/history/[0-9a-f]{32}\.jsonl", name) for name in histories)


def test_head_says_what_was_recorded(tmp_path: Path) -> None:
    with record(build_memory(PROJECT), tmp_path / "new" / "recording") as recorder:
        ask_all(recorder)
    assert json.loads((tmp_path / "new" / "recording" / "recording.json").read_text()) == {
        "schema_version": 3,
        "entity": "entity",
        "project": "project",
        "source": "memory",
        "recorded_at": CLOCK,
        "mode": "history",
        "listings": 1,
        "runs": 7,
        "histories": 7,
        "rows": 7 + 10 + 5 + 8 + 1,
        "metadata": 7,
    }


def test_run_is_written_again_only_if_an_answer_shows_it_otherwise(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("still")
    source.add_run("moving")
    with record(source, tmp_path / "recording") as recorder:
        list_nodes(recorder, RunsCreatedSince(since="2020-01-01T00:00:00Z"))
        source.log("moving", {"loss": 1})
        list_nodes(recorder, RunsById(run_ids=("still", "moving")))
    lines = (tmp_path / "recording" / "runs.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    assert [(line["answer"], line["run"]["name"]) for line in said] == [
        (1, "moving"),
        (1, "still"),
        (2, "moving"),
    ]


# --- when a folder is a recording


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    recorder = record(build_memory(PROJECT), tmp_path / "recording")
    ask_all(recorder)
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["recording"]


def ask_all_and_fail(source: Source) -> None:
    ask_all(source)
    raise ZeroDivisionError


@pytest.mark.parametrize("existing", [False, True])
def test_aborted_recording_leaves_the_folder_as_it_was(tmp_path: Path, existing: bool) -> None:
    if existing:
        with record(build_memory(PROJECT), tmp_path / "recording") as recorder:
            ask_all(recorder)
    before = files_below(tmp_path)
    source = build_memory(HOSTILE_PROJECT)
    recorder = record(source, tmp_path / "recording")
    with pytest.raises(ZeroDivisionError), recorder:
        ask_all_and_fail(recorder)
    assert files_below(tmp_path) == before
    assert source.closed == 1
    recorder.close()
    assert files_below(tmp_path) == before
    assert source.closed == 1


def test_recording_replaces_another_as_a_whole(tmp_path: Path) -> None:
    for described in (HOSTILE_PROJECT, PROJECT):
        with record(build_memory(described), tmp_path / "recording") as recorder:
            ask_all(recorder)
    with record(build_memory(PROJECT), tmp_path / "fresh") as recorder:
        ask_all(recorder)
    assert files_below(tmp_path / "recording") == files_below(tmp_path / "fresh")
    assert {path.name for path in tmp_path.iterdir()} == {"recording", "fresh"}


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    source = build_memory(PROJECT)
    recorder = record(source, tmp_path / "recording")
    recorder.close()
    before = files_below(tmp_path)
    recorder.close()
    recorder.abort()
    assert files_below(tmp_path) == before
    assert source.closed == 1


def test_empty_folder_becomes_the_recording(tmp_path: Path) -> None:
    (tmp_path / "recording").mkdir()
    with record(build_memory(PROJECT), tmp_path / "recording") as recorder:
        ask_all(recorder)
    assert RecordedSource(tmp_path / "recording").entity == "entity"


def test_folder_of_something_else_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DrWandbError) as refused:
        record(MemorySource(), tmp_path)
    assert isinstance(refused.value.failure, InvalidRequest)
    with pytest.raises(DrWandbError) as refused:
        record(MemorySource(), tmp_path / "notes.txt")
    assert isinstance(refused.value.failure, InvalidRequest)
    assert files_below(tmp_path) == {"notes.txt": b"mine"}


def test_folder_that_was_filled_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    recorder = record(build_memory(PROJECT), folder)
    ask_all(recorder)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(DrWandbError):
        recorder.close()
    assert files_below(tmp_path) == {"recording/notes.txt": b"mine"}


def test_folder_that_cannot_be_made_is_a_refusal_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DrWandbError) as refused:
        record(MemorySource(), tmp_path / "file" / "recording")
    assert isinstance(refused.value.failure, DiskRefused)


def test_thread_that_outlives_the_recording_adds_nothing(tmp_path: Path) -> None:
    recorder = record(build_memory(PROJECT), tmp_path / "recording")
    run = list_all(recorder)["plain"]
    batches = recorder.read_history(run, WHOLE, 0)
    next(batches)
    recorder.abort()
    with pytest.raises(RuntimeError, match="ended"):
        list(batches)
    with pytest.raises(RuntimeError, match="ended"):
        read_raw_rows(recorder, run)
    assert list(tmp_path.iterdir()) == []


# --- secrets


def test_secrets_are_neither_recorded_nor_passed_on(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run(
        "run",
        config={"env": f"KEY={KEY}", "data": SIGNED},
        metadata={"args": [KEY, SIGNED]},
        notes=f"see {SIGNED}",
    )
    source.log("run", {"path": SIGNED, "nested": {"key": KEY}})
    with record(source, tmp_path / "recording", secrets=[KEY]) as recorder:
        run = list_all(recorder)["run"]
        passed_on = (
            list_nodes(recorder),
            read_raw_rows(recorder, run),
            recorder.read_metadata(run),
        )
    written = b"".join(files_below(tmp_path).values())
    for secret in (KEY, "c2VjcmV0"):
        assert secret.encode() not in written
        assert secret not in repr(passed_on)
    replayed = RecordedSource(tmp_path / "recording")
    assert (
        list_nodes(replayed),
        read_raw_rows(replayed, run),
        replayed.read_metadata(run),
    ) == passed_on


class Leaky(MemorySource):
    """Says secrets where it fails."""

    leak = SourceError(f"403 for {SIGNED} with {KEY}", RunFailureKind.SERVER_ERROR, retryable=False)

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        yield from super().list_runs(query)
        if query != EveryRun():
            raise self.leak

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        yield from ()
        raise self.leak

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        raise self.leak


def test_reasons_of_failures_are_scrubbed(tmp_path: Path) -> None:
    reason = "403 for https://storage.googleapis.com/b/f.parquet with [removed]"
    source = Leaky()
    source.add_run("run")
    with record(source, tmp_path / "recording", secrets=[KEY]) as recorder:
        run = list_all(recorder)["run"]
        for question in (
            lambda: recorder.read_metadata(run),
            lambda: read_raw_rows(recorder, run),
            lambda: list_nodes(recorder, RunsById(run_ids=("run",))),
        ):
            with pytest.raises(SourceError) as failed:
                question()
            assert str(failed.value) == reason
            assert not failed.value.retryable
            assert failed.value.__cause__ is None
    replayed = RecordedSource(tmp_path / "recording")
    for question in (lambda: replayed.read_metadata(run), lambda: read_raw_rows(replayed, run)):
        with pytest.raises(SourceError, match=re.escape(reason)):
            question()


def test_identity_of_a_run_is_never_changed(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run(KEY)
    source.log(KEY)
    with record(source, tmp_path / "recording", secrets=[KEY]) as recorder:
        assert len(read_raw_rows(recorder, list_all(recorder)[KEY])) == 1


# --- memory


class LongHistory(MemorySource):
    """A run with a history that is never in memory as a whole."""

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        for start in range(0, 40_000, 100):
            yield RowBatch(rows=[{"_step": start + n, "text": "x" * 200} for n in range(100)])


def test_memory_does_not_grow_with_a_history(tmp_path: Path) -> None:
    source = LongHistory()
    source.add_run("run")
    folder = tmp_path / "recording"
    tracemalloc.start()
    try:
        with record(source, folder) as recorder:
            run = list_all(recorder)["run"]
            for _ in recorder.read_history(run, WHOLE, 0):
                pass
        replayed = RecordedSource(folder)
        count = sum(len(batch.rows) for batch in replayed.read_history(run, WHOLE, 0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 40_000
    assert sum(len(content) for content in files_below(folder).values()) > 8_000_000
    assert peak < 4_000_000


def test_answers_to_several_threads_do_not_mix(tmp_path: Path) -> None:
    """One run is read by two threads at once: each has a file of its own, one answer is kept."""
    source = build_memory(PROJECT)
    with record(source, tmp_path / "recording") as recorder:
        run = list_all(recorder)["odd"]
        barrier = threading.Barrier(4, timeout=20)

        def read(_: int) -> int:
            barrier.wait()
            return len(read_raw_rows(recorder, run))

        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(read, range(4))) == {8}
    assert len(read_raw_rows(RecordedSource(tmp_path / "recording"), run)) == 8
