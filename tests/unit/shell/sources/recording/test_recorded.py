"""What a recording answers, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError, NotRecorded
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import (
    EveryRun,
    ListingQuery,
    RunListing,
    RunsById,
    RunsCreatedSince,
)
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.shell.sources import RowBatch, RunPage, Source, SourceError
from dr_wandb.shell.sources.recording.source import ROWS_PER_BATCH, RUNS_PER_PAGE, RecordedSource
from tests.support.asking import WHOLE, list_all, list_nodes, read_raw_rows
from tests.support.build_memory import build_memory
from tests.support.described_project import PROJECT
from tests.support.memory_source import MemorySource
from tests.support.recordings import CLOCK, ask_all, record
from tests.support.syncing import files_below


def names(source: RecordedSource, query: ListingQuery) -> list[str]:
    return [node["name"] for node in list_nodes(source, query)]


def counts(source: RecordedSource, query: ListingQuery) -> set[tuple[int | None, int | None]]:
    return {(page.matching, page.total) for page in source.list_runs(query)}


def three_runs() -> MemorySource:
    source = MemorySource(now="2026-01-03T00:00:00+00:00")
    for day, run_id in enumerate(("first", "second", "third"), 1):
        source.add_run(run_id, created_at=f"2026-01-0{day}T00:00:00")
        for step in range(5):
            source.log(run_id, {"loss": day + step / 8})
    return source


class Failing(MemorySource):
    """Lists its runs, and fails at everything else."""

    def __init__(self, error: SourceError) -> None:
        super().__init__()
        self.error = error

    def read_history(self, *_: Any) -> Iterator[RowBatch]:
        raise self.error

    def read_metadata(self, *_: Any) -> None:
        raise self.error


def failures_of(source: Source, run: RunListing) -> list[RunFailure]:
    failures = []
    for question in (partial(read_raw_rows, source, run), partial(source.read_metadata, run)):
        with pytest.raises(SourceError) as failed:
            question()
        failures.append(failed.value.failure)
    return failures


def test_recording_has_its_kind_and_its_time(folder: Path) -> None:
    record(MemorySource(), folder).close()
    replayed = RecordedSource(folder)
    assert (replayed.kind, replayed.recorded_at) == ("replay", CLOCK)
    assert (replayed.entity, replayed.project, replayed.mode) == ("entity", "project", "history")
    assert replayed.address == str(folder)
    replayed.close()


def test_replaying_needs_neither_the_sdk_nor_arrow(folder: Path) -> None:
    with record(three_runs(), folder) as recorder:
        ask_all(recorder)
    script = f"""
import sys
from pathlib import Path
from dr_wandb.core.contract.listing import EveryRun
from dr_wandb.shell.sources.recording.source import RecordedSource
from dr_wandb.shell.sources.recording.recorder import Recorder
assert len(list(RecordedSource(Path({str(folder)!r})).list_runs(EveryRun()))) == 1
sys.exit(bool({{"wandb", "pyarrow"}} & set(sys.modules)))
"""
    subprocess.run([sys.executable, "-c", script], check=True)


# --- listings


def test_large_listing_comes_in_pages(folder: Path) -> None:
    source = MemorySource(runs_per_page=400)
    for number in range(RUNS_PER_PAGE + 1):
        source.add_run(f"run {number:04}")
    with record(source, folder) as recorder:
        list_nodes(recorder)
    pages = list(RecordedSource(folder).list_runs(EveryRun()))
    assert [len(page.runs) for page in pages] == [RUNS_PER_PAGE, 1]
    assert {(page.matching, page.total) for page in pages} == {(501, 501)}


def test_incremental_recording_answers_only_what_it_was_asked(folder: Path) -> None:
    since = RunsCreatedSince(since="2026-01-02T00:00:00Z")
    with record(three_runs(), folder) as recorder:
        runs = list_all(recorder, since)
        list_nodes(recorder, RunsById(run_ids=("first", "gone")))
        read_raw_rows(recorder, runs["third"], FetchWindow(start=2, stop=4))
    replayed = RecordedSource(folder)
    assert names(replayed, since) == ["second", "third"]
    assert names(replayed, RunsCreatedSince(since="2026-01-02T00:00:01Z")) == ["third"]
    assert names(replayed, RunsById(run_ids=("gone",))) == []
    assert names(replayed, RunsById(run_ids=("third", "first", "gone"))) == ["first", "third"]
    assert counts(replayed, RunsById(run_ids=("third", "first", "gone"))) == {(2, 3)}
    assert [
        row["_step"] for row in read_raw_rows(replayed, runs["third"], FetchWindow(start=2, stop=4))
    ] == [2, 3]
    assert [
        row["_step"] for row in read_raw_rows(replayed, runs["third"], FetchWindow(start=3, stop=4))
    ] == [3]
    refused: list[Callable[[], object]] = [
        lambda: list_nodes(replayed),
        lambda: list_nodes(replayed, RunsCreatedSince(since="2026-01-01T23:59:59Z")),
        lambda: list_nodes(replayed, RunsById(run_ids=("third", "never seen"))),
        lambda: read_raw_rows(replayed, runs["third"]),
        lambda: read_raw_rows(replayed, runs["third"], FetchWindow(start=1, stop=4)),
        lambda: read_raw_rows(replayed, runs["third"], FetchWindow(start=2)),
        lambda: read_raw_rows(replayed, runs["second"]),
        lambda: replayed.read_metadata(runs["third"]),
    ]
    for question in refused:
        with pytest.raises(DrWandbError) as error:
            question()
        assert isinstance(error.value.failure, NotRecorded)
        assert len(str(error.value).splitlines()) == 2


def test_complete_listing_answers_narrower_queries_with_their_counts(folder: Path) -> None:
    with record(three_runs(), folder) as recorder:
        list_nodes(recorder)
    replayed = RecordedSource(folder)
    assert counts(replayed, RunsCreatedSince(since="2026-01-02T00:00:00Z")) == {(2, 3)}
    assert counts(replayed, RunsCreatedSince(since="2027-01-01T00:00:00Z")) == {(0, 3)}
    assert counts(replayed, RunsById(run_ids=("first", "gone"))) == {(1, 3)}


def test_listing_with_missing_runs_answers_only_itself(folder: Path) -> None:
    """Runs that the source counted and did not show may be among those asked for."""

    class Hiding(MemorySource):
        def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
            for page in super().list_runs(query):
                yield RunPage(runs=page.runs[1:], matching=page.matching, total=page.total)

    source = Hiding()
    for run_id in ("a", "b", "c"):
        source.add_run(run_id)
    with record(source, folder) as recorder:
        list_nodes(recorder)
    replayed = RecordedSource(folder)
    assert counts(replayed, EveryRun()) == {(3, 3)}
    assert names(replayed, EveryRun()) == ["b", "c"]
    assert names(replayed, RunsById(run_ids=("b",))) == ["b"]
    with pytest.raises(DrWandbError, match="does not hold run 'a'"):
        names(replayed, RunsById(run_ids=("a",)))
    with pytest.raises(DrWandbError, match="does not hold all runs created since"):
        names(replayed, RunsCreatedSince(since="2020-01-01T00:00:00Z"))


def test_each_query_keeps_what_it_said_of_a_run(folder: Path) -> None:
    source = three_runs()
    since = RunsCreatedSince(since="2020-01-01T00:00:00Z")
    by_id = RunsById(run_ids=("first",))
    with record(source, folder) as recorder:
        before = list_nodes(recorder, since)
        source.finish("first")
        after = list_nodes(recorder, by_id)
        source.resume("first")
        source.log("first", {"loss": 0})
        every = list_nodes(recorder)
    replayed = RecordedSource(folder)
    assert list_nodes(replayed, since) == before
    assert list_nodes(replayed, by_id) == after
    assert list_nodes(replayed) == every
    assert list_nodes(replayed, RunsById(run_ids=("first", "second"))) == every[:2]


def test_query_that_was_asked_again_brings_all_its_answers(folder: Path) -> None:
    """A listing that shifts while it is paged is asked again; nobody forgets the first answer."""
    source = three_runs()
    with record(source, folder) as recorder:
        source.hide("second")
        list_nodes(recorder)
        source.hide("second", hidden=False)
        source.finish("third")
        source.hide("first")
        list_nodes(recorder)
    replayed = list_nodes(RecordedSource(folder))
    assert [node["name"] for node in replayed] == ["first", "second", "third"]
    assert replayed[2]["state"] == "finished"
    assert len((folder / "listing.jsonl").read_text().splitlines()) == 1


def test_listing_that_broke_off_is_not_recorded(folder: Path) -> None:
    source = three_runs()
    source.fail_listing()
    with record(source, folder) as recorder, pytest.raises(SourceError):
        list_nodes(recorder)
    with pytest.raises(DrWandbError, match="does not hold all runs of the project"):
        list_nodes(RecordedSource(folder))


# --- histories


def test_failure_of_the_last_attempt_is_the_answer(folder: Path) -> None:
    source = three_runs()
    source.fail_history("first", times=1)
    source.fail_history("second", times=2)
    with record(source, folder) as recorder:
        runs = list_all(recorder)
        for run_id in ("first", "second"):
            with pytest.raises(SourceError):
                read_raw_rows(recorder, runs[run_id])
        read_raw_rows(recorder, runs["first"])
        with pytest.raises(SourceError):
            read_raw_rows(recorder, runs["second"])
        read_raw_rows(recorder, runs["third"])
        source.fail_history("third")
        with pytest.raises(SourceError):
            read_raw_rows(recorder, runs["third"])
    replayed = RecordedSource(folder)
    assert len(read_raw_rows(replayed, runs["first"])) == 5
    for run_id in ("second", "third"):
        with pytest.raises(SourceError, match="the history broke off") as failed:
            read_raw_rows(replayed, runs[run_id])
        assert not failed.value.retryable
        assert failed.value.failure.kind == "unreachable"
    assert len(list((folder / "history").iterdir())) == 1


@pytest.mark.parametrize("kind", RunFailureKind)
def test_failure_replays_with_the_kind_it_had(folder: Path, kind: RunFailureKind) -> None:
    source = Failing(SourceError("why", kind))
    source.add_run("run")
    with record(source, folder) as recorder:
        run = list_all(recorder)["run"]
        passed_on = failures_of(recorder, run)
    assert failures_of(RecordedSource(folder), run) == passed_on
    assert passed_on == [RunFailure(kind=kind, reason="why")] * 2


@pytest.mark.parametrize("refused", [True, False])
def test_failure_that_was_recorded_without_its_kind_replays_as_what_is_known_of_it(
    folder: Path, refused: bool
) -> None:
    """Recordings of earlier builds say only whether it was a refusal."""
    kind = RunFailureKind.REFUSED if refused else RunFailureKind.TIMEOUT
    source = Failing(SourceError("why", kind))
    source.add_run("run")
    with record(source, folder) as recorder:
        run = list_all(recorder)["run"]
        with pytest.raises(SourceError):
            read_raw_rows(recorder, run)
    path = folder / "history.jsonl"
    (line,) = path.read_text().splitlines()
    said = json.loads(line)
    assert said.pop("kind") == kind
    assert said.pop("refused", False) == refused
    assert said["failed"] == "why"
    path.write_text(json.dumps(said | ({"refused": True} if refused else {})) + "\n")
    with pytest.raises(SourceError) as failed:
        read_raw_rows(RecordedSource(folder), run)
    known = RunFailureKind.REFUSED if refused else RunFailureKind.UNKNOWN
    assert failed.value.failure == RunFailure(kind=known, reason="why")


def test_recording_in_which_nothing_failed_speaks_of_no_kind(folder: Path) -> None:
    with record(three_runs(), folder) as recorder:
        for run in list_all(recorder).values():
            read_raw_rows(recorder, run)
            recorder.read_metadata(run)
    for name in ("history.jsonl", "metadata.jsonl"):
        assert (folder / name).stat().st_size > 0
        assert '"kind"' not in (folder / name).read_text()


def test_metadata_that_came_at_last_is_the_answer(folder: Path) -> None:
    source = three_runs()
    source.update("first", metadata={"a": 1})
    source.fail_metadata("first")
    with record(source, folder) as recorder:
        run = list_all(recorder)["first"]
        with pytest.raises(SourceError):
            recorder.read_metadata(run)
        recorder.read_metadata(run)
    assert RecordedSource(folder).read_metadata(run) == {"a": 1}


def test_history_that_was_not_read_to_its_end_is_not_recorded(folder: Path) -> None:
    with record(three_runs(), folder) as recorder:
        run = list_all(recorder)["first"]
        batches = recorder.read_history(run, WHOLE, 0)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
    with pytest.raises(DrWandbError, match="does not hold the history of run 'first'"):
        read_raw_rows(RecordedSource(folder), run)


def test_window_gets_the_rows_that_were_read_for_it_or_else_for_the_widest(folder: Path) -> None:
    """Rows of two reads are never mixed: a rewind between them would show as rows of neither."""
    source = three_runs()
    with record(source, folder) as recorder:
        run = list_all(recorder)["first"]
        read_raw_rows(recorder, run, FetchWindow(start=1))
        read_raw_rows(recorder, run, FetchWindow(start=4))
        source.rewind("first", 3)
        source.log("first", {"loss": "anew"})
        whole = read_raw_rows(recorder, run)
    replayed = RecordedSource(folder)
    assert read_raw_rows(replayed, run) == whole
    assert [row["loss"] for row in read_raw_rows(replayed, run, FetchWindow(start=4))] == [1.5]
    assert [row["loss"] for row in read_raw_rows(replayed, run, FetchWindow(start=4, stop=5))] == [
        "anew"
    ]
    assert [row["loss"] for row in read_raw_rows(replayed, run, FetchWindow(start=3))] == [
        1.375,
        "anew",
    ]


def test_rows_without_an_integer_step_are_at_the_beginning(folder: Path) -> None:
    source = MemorySource()
    source.add_run("run")
    for step in (None, "3", 3.5, True, [1], 2, 3.0, -1):
        source.log("run", {"at": repr(step)}, step=step)
    with record(source, folder) as recorder:
        run = list_all(recorder)["run"]
        read_raw_rows(recorder, run)
    replayed = RecordedSource(folder)
    stepless = ["None", "'3'", "3.5", "True", "[1]"]
    for window, found in (
        (FetchWindow(start=0), [*stepless, "2", "3.0", "-1"]),
        (FetchWindow(stop=1), [*stepless, "-1"]),
        (FetchWindow(start=1), ["2", "3.0"]),
        (FetchWindow(start=3), ["3.0"]),
    ):
        assert [row["at"] for row in read_raw_rows(replayed, run, window)] == found


def test_batches_are_bounded_and_alike(folder: Path) -> None:
    source = MemorySource(rows_per_batch=700)
    source.add_run("run")
    for _ in range(ROWS_PER_BATCH + 500):
        source.log("run")
    source.export("run", upto=ROWS_PER_BATCH + 200)
    with record(source, folder) as recorder:
        run = list_all(recorder)["run"]
        read_raw_rows(recorder, run)
    batches = RecordedSource(folder).read_history(run, WHOLE, 0)
    sizes = [(len(batch.rows), batch.live) for batch in batches]
    assert sizes == [(ROWS_PER_BATCH, False), (200, False), (300, True)]


def test_run_that_was_made_again_is_another_run(folder: Path) -> None:
    source = three_runs()
    with record(source, folder) as recorder:
        old = list_all(recorder)["first"]
        read_raw_rows(recorder, old)
        source.delete("first")
        source.add_run("first").storage_id = "another"
        new = list_all(recorder)["first"]
        assert read_raw_rows(recorder, new) == []
    replayed = RecordedSource(folder)
    assert len(read_raw_rows(replayed, old)) == 5
    assert read_raw_rows(replayed, new) == []
    with pytest.raises(DrWandbError):
        read_raw_rows(replayed, RunListing(run_id="first", storage_id="yet another"))


def test_replay_can_be_recorded_again_as_it_was(tmp_path: Path) -> None:
    with record(build_memory(PROJECT), tmp_path / "one") as recorder:
        ask_all(recorder)
    with record(RecordedSource(tmp_path / "one"), tmp_path / "two") as recorder:
        ask_all(recorder)
    one, two = files_below(tmp_path / "one"), files_below(tmp_path / "two")
    assert b'"source": "replay"' in two.pop("recording.json")
    one.pop("recording.json")
    assert one == two
