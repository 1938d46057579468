"""A recording says what was said: nothing more, nothing less, whatever the values are."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import (
    EveryRun,
    ListingQuery,
    RunListing,
    RunsById,
    RunsCreatedSince,
)
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.values import clean_text
from dr_wandb.shell.sources import RowBatch, RunPage
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.support.asking import list_nodes, read_raw_rows
from tests.support.memory_source import MemorySource
from tests.support.recordings import record
from tests.support.strategies import clean_texts, json_values, raw_rows, steps, texts

RUN = RunListing(run_id="run", storage_id="1")


class Verbatim:
    """A source that gives just these values."""

    kind = "verbatim"
    lists_at_once = False
    address = "verbatim"
    secrets: tuple[str, ...] = ()
    recorded_at: str | None = None

    def __init__(self, **answers: Any) -> None:
        self.pages = answers.get("pages", ())
        self.batches = answers.get("batches", ())
        self.metadata: Mapping[str, Any] | None = answers.get("metadata")

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        yield from self.pages

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        yield from self.batches

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        return self.metadata

    def close(self) -> None: ...


def spell(value: Any) -> bytes:
    """Return a value as text: 1, 1.0 and True are equal, but not the same."""
    return msgspec.json.encode(value, order="sorted")


batches = st.lists(
    st.builds(
        lambda rows, live: RowBatch(rows=rows, live=live),
        st.lists(raw_rows, max_size=4),
        st.booleans(),
    ),
    max_size=4,
)
raw_runs = st.dictionaries(
    st.sampled_from(["state", "config", "summaryMetrics", "user", "createdAt", "notes"]) | texts,
    json_values,
    max_size=6,
)
node_lists = st.lists(raw_runs, max_size=6).map(
    lambda found: [{**raw_run, "name": f"run {n}"} for n, raw_run in enumerate(found)]
)
windows = st.builds(
    lambda start, width: FetchWindow(
        start=start, stop=None if width is None else (start or 0) + width
    ),
    st.none() | steps,
    st.none() | steps,
)


@given(batches)
def test_replayed_rows_are_those_that_were_passed_on(answer: list[RowBatch]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with record(Verbatim(batches=answer), Path(folder)) as recorder:
            passed_on = [
                (batch.live, row)
                for batch in recorder.read_history(RUN, FetchWindow(), 0)
                for row in batch.rows
            ]
        replayed = [
            (batch.live, row)
            for batch in RecordedSource(Path(folder)).read_history(RUN, FetchWindow(), 0)
            for row in batch.rows
        ]
    assert spell(replayed) == spell(passed_on)
    assert [live for live, _ in replayed] == [batch.live for batch in answer for _ in batch.rows]


@given(st.lists(raw_rows, max_size=6))
def test_recording_changes_no_row_that_is_exported(answer: list[dict[str, Any]]) -> None:
    assume(all(len({clean_text(key) for key in raw_row}) == len(raw_row) for raw_row in answer))
    with tempfile.TemporaryDirectory() as folder:
        source = Verbatim(batches=[RowBatch(rows=answer)])
        with record(source, Path(folder)) as recorder:
            list(recorder.read_history(RUN, FetchWindow(), 0))
        replayed = read_raw_rows(RecordedSource(Path(folder)), RUN)
    for raw_row, replayed_row in zip(answer, replayed, strict=True):
        direct = normalize_row(raw_row, "run")
        assert encode_line(normalize_row(replayed_row, "run")) == encode_line(direct)


@given(node_lists, st.integers(1, 3), st.none() | st.integers(0, 9))
def test_replayed_runs_are_those_that_were_passed_on(
    raw_runs: list[dict[str, Any]], size: int, count: int | None
) -> None:
    pages = [
        RunPage(runs=raw_runs[start : start + size], matching=count, total=count)
        for start in range(0, max(1, len(raw_runs)), size)
    ]
    with tempfile.TemporaryDirectory() as folder:
        with record(Verbatim(pages=pages), Path(folder)) as recorder:
            passed_on = list_nodes(recorder)
        replayed_pages = list(RecordedSource(Path(folder)).list_runs(EveryRun()))
    replayed = [dict(raw_run) for page in replayed_pages for raw_run in page.runs]
    assert spell(sorted(replayed, key=lambda node: node["name"])) == spell(passed_on)
    assert {(page.matching, page.total) for page in replayed_pages} == {(count, count)}


@given(st.none() | st.dictionaries(texts, json_values, max_size=4))
def test_replayed_metadata_is_what_was_passed_on(metadata: dict[str, Any] | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with record(Verbatim(metadata=metadata), Path(folder)) as recorder:
            passed_on = recorder.read_metadata(RUN)
        assert spell(RecordedSource(Path(folder)).read_metadata(RUN)) == spell(passed_on)
    assert (passed_on is None) == (metadata is None)


@given(windows, windows, st.none() | st.integers(-2, 20))
def test_window_that_covers_another_has_all_its_rows(
    window: FetchWindow, asked: FetchWindow, step: int | None
) -> None:
    if window.covers(asked) and asked.has(step):
        assert window.has(step)


queries = (
    st.just(EveryRun())
    | st.builds(
        lambda day: RunsCreatedSince(since=f"2026-01-{day:02}T00:00:00Z"), st.integers(1, 9)
    )
    | st.builds(
        lambda ids: RunsById(run_ids=tuple(ids)), st.lists(st.sampled_from("abcdef"), max_size=3)
    )
)


@given(
    st.dictionaries(st.sampled_from("abcde") | clean_texts, st.integers(1, 9), max_size=5),
    st.lists(queries, max_size=4),
    queries,
)
def test_recording_answers_as_the_source_would_have(
    days: dict[str, int], asked: list[ListingQuery], query: ListingQuery
) -> None:
    source = MemorySource()
    for run_id, day in days.items():
        source.add_run(run_id, created_at=f"2026-01-{day:02}T00:00:00")
    with tempfile.TemporaryDirectory() as folder:
        with record(source, Path(folder)) as recorder:
            for one in asked:
                list_nodes(recorder, one)
        replayed = RecordedSource(Path(folder))
        if query not in asked and EveryRun() not in asked:
            try:
                pages = list(replayed.list_runs(query))
            except DrWandbError:
                return
        else:
            pages = list(replayed.list_runs(query))
    assert [dict(raw_run) for page in pages for raw_run in page.runs] == list_nodes(source, query)
    for page in pages:
        assert page.matching == len(list_nodes(source, query))
        assert page.total in (len(days), None)
