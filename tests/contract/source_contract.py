"""What every source must do, whatever it reads from.

A test module subclasses `SourceContract` and gives a fixture `make_source`: a function that builds
a described project and returns a source of it. The fixture closes what it made.
"""

import base64
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.file_names import spell_name
from dr_wandb.core.contract.listing import (
    EveryRun,
    ListingQuery,
    RunListing,
    RunsById,
    RunsCreatedSince,
)
from dr_wandb.core.contract.manifest_entries import entries_of
from dr_wandb.core.contract.normalize import normalize_run, normalize_time
from dr_wandb.core.contract.project_records import NORMALIZERS
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.core.contract.run_files import run_file
from dr_wandb.core.contract.system import system_sample
from dr_wandb.core.sync.record_links import RunLinks, read_run_links
from dr_wandb.shell.sources import Source, SourceError
from dr_wandb.shell.sources.contents import FileGoneError, contents_of
from dr_wandb.shell.sources.datasets import Known, find_lister
from tests.support.asking import (
    METADATA_FILE,
    WHOLE,
    WINDOWS,
    expected_rows,
    list_all,
    list_files,
    list_nodes,
    read_artifacts,
    read_console,
    read_rows,
    read_samples,
)
from tests.support.described_project import (
    HOSTILE_PROJECT,
    PROJECT,
    ProjectDescription,
    RunDescription,
)

SourceFactory = Callable[[ProjectDescription], Source]

CONSOLE_WINDOWS = (
    WHOLE,
    FetchWindow(start=1),
    FetchWindow(stop=2),
    FetchWindow(start=450),
    FetchWindow(start=500, stop=501),
)

OLDEST_FIRST = [run.run_id for run in sorted(PROJECT.runs, key=lambda r: (r.created_at, r.run_id))]


def numbered(run: RunDescription) -> RunDescription:
    """Return a run whose rows without a step are 0, 1, 2, ..."""
    numbers = itertools.count()
    rows = (row if "_step" in row else {**row, "_step": next(numbers)} for row in run.rows)
    return replace(run, rows=tuple(rows))


class SourceContract:
    """The contract.

    has_server: runs have what only a server gives them, a storage id and a user. Without one both
    are None, always. has_exports: rows that were exported are told apart from live ones. Without
    that all are live. has_stepless: rows without a step have none; else they are
    numbered.
    """

    has_server = True
    has_exports = True
    has_stepless = True

    def expected_rows(self, run: RunDescription, window: FetchWindow = WHOLE) -> list[bytes]:
        """Return the rows of a description that this source gives for a window."""
        return expected_rows(run if self.has_stepless else numbered(run), window)

    @pytest.fixture
    def source(self, make_source: SourceFactory) -> Source:
        return make_source(PROJECT)

    # --- listings

    def test_every_run_lists_each_run_once_oldest_first(self, source: Source) -> None:
        assert [node["name"] for node in list_nodes(source, EveryRun())] == OLDEST_FIRST

    def test_every_run_gives_the_same_answer_when_asked_again(self, source: Source) -> None:
        first, second = list_nodes(source, EveryRun()), list_nodes(source, EveryRun())
        assert [node["name"] for node in first] == [node["name"] for node in second]

    @pytest.mark.parametrize(
        ("since", "count"),
        [
            ("2025-01-01T00:00:00Z", 7),
            ("2026-01-02T00:00:00Z", 6),
            ("2026-01-02T00:00:01Z", 4),
            ("2026-01-03T12:30:00Z", 4),
            ("2026-01-06T00:00:00Z", 1),
            ("2026-01-06T00:00:01Z", 0),
        ],
    )
    def test_runs_created_since_includes_its_bound(
        self, source: Source, since: str, count: int
    ) -> None:
        nodes = list_nodes(source, RunsCreatedSince(since=since))
        assert [node["name"] for node in nodes] == OLDEST_FIRST[len(OLDEST_FIRST) - count :]

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (("plain",), ["plain"]),
            (("broken", "odd", "plain"), ["plain", "odd", "broken"]),
            (("plain", "plain", "no such run"), ["plain"]),
            (("no such run",), []),
            (("PLAIN",), []),
            ((), []),
        ],
    )
    def test_runs_by_id_gives_those_that_are_there(
        self, source: Source, asked: tuple[str, ...], found: list[str]
    ) -> None:
        assert [node["name"] for node in list_nodes(source, RunsById(run_ids=asked))] == found

    @pytest.mark.parametrize(
        ("query", "matching"),
        [
            (EveryRun(), 7),
            (RunsCreatedSince(since="2026-01-04T00:00:00Z"), 3),
            (RunsCreatedSince(since="2027-01-01T00:00:00Z"), 0),
            (RunsById(run_ids=("plain", "no such run")), 1),
        ],
    )
    def test_counts_are_those_of_the_query_and_the_project(
        self, source: Source, query: ListingQuery, matching: int
    ) -> None:
        pages = list(source.list_runs(query))
        assert pages, "a query without runs gives an empty page"
        assert {page.matching for page in pages} <= {matching, None}
        assert {page.total for page in pages} <= {7, None}

    def test_listing_of_an_empty_project_is_an_empty_page(self, make_source: SourceFactory) -> None:
        pages = list(make_source(ProjectDescription()).list_runs(EveryRun()))
        assert [list(page.runs) for page in pages] == [[]]

    @pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
    def test_node_has_all_that_a_snapshot_holds(
        self, source: Source, described: RunDescription
    ) -> None:
        (node,) = list_nodes(source, RunsById(run_ids=(described.run_id,)))
        run = normalize_run(node, entity="entity", project="project")
        assert _seen(run) == {
            "run_id": described.run_id,
            "name": described.display_name,
            "state": described.state,
            "created_at": normalize_time(described.created_at),
            "tags": sorted(described.tags),
            "user": described.user if self.has_server else None,
            "config": described.config,
            "lines": len(described.rows),
        }
        assert described.summary.items() <= run.summary_metrics.items()
        assert bool(run.storage_id) if self.has_server else run.storage_id is None

    def test_storage_ids_of_runs_differ(self, source: Source) -> None:
        storage_ids = Counter(run.storage_id for run in list_all(source).values())
        if self.has_server:
            assert set(storage_ids.values()) == {1}
        else:
            assert storage_ids == {None: len(PROJECT.runs)}

    # --- histories

    @pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
    @pytest.mark.parametrize("window", WINDOWS, ids=lambda w: f"{w.start}-{w.stop}")
    def test_history_is_the_rows_inside_the_window(
        self, source: Source, described: RunDescription, window: FetchWindow
    ) -> None:
        run = list_all(source)[described.run_id]
        assert read_rows(source, run, window) == self.expected_rows(described, window)

    @pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
    def test_history_is_the_same_at_a_further_attempt(
        self, source: Source, described: RunDescription
    ) -> None:
        run = list_all(source)[described.run_id]
        assert read_rows(source, run, attempt=1) == self.expected_rows(described)
        assert read_rows(source, run, attempt=2) == self.expected_rows(described)

    def test_history_says_which_rows_are_exported(self, source: Source) -> None:
        run = list_all(source)["wholly-exported"]
        live = not self.has_exports
        assert {batch.live for batch in source.read_history(run, WHOLE, 0)} == {live}
        run = list_all(source)["plain"]
        assert {batch.live for batch in source.read_history(run, WHOLE, 0)} == {True}

    def test_history_that_is_dropped_half_way_can_be_read_again(self, source: Source) -> None:
        run = list_all(source)["odd"]
        batches = source.read_history(run, WHOLE, 0)
        next(batches)
        del batches
        assert read_rows(source, run) == self.expected_rows(PROJECT.run("odd"))

    def test_history_of_a_run_that_is_not_there_fails(self, source: Source) -> None:
        gone = RunListing(run_id="no such run", storage_id="none")
        with pytest.raises((SourceError, DrWandbError)):
            list(source.read_history(gone, WHOLE, 0))

    def test_histories_are_the_same_when_eight_threads_read_them(self, source: Source) -> None:
        runs = list(list_all(source).values()) * 4
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda run: read_rows(source, run), runs))
        for run, rows in zip(runs, answers, strict=True):
            assert rows == self.expected_rows(PROJECT.run(run.run_id))

    # --- records of the project

    @pytest.mark.parametrize("dataset", ["reports", "sweeps"])
    def test_every_record_is_listed_as_it_is(
        self, make_source: SourceFactory, dataset: str
    ) -> None:
        nodes = tuple({"id": f"i{n}", "name": f"n{n}", "config": "a: 008\n"} for n in range(7))
        described = replace(PROJECT, sweeps=nodes, reports=nodes)
        source = make_source(described)
        lister = find_lister(source, dataset)
        if lister is None:
            pytest.skip(f"this source has no {dataset}")
        pages = list(lister())
        normalize = NORMALIZERS[dataset]
        records = [normalize(node) for page in pages for node in page.nodes]
        assert records == [normalize(node) for node in nodes]
        assert {page.total for page in pages} <= {None, len(nodes)}
        assert sum(page.nulls for page in pages) == 0

    def test_artifacts_have_entries_and_links(self, make_source: SourceFactory) -> None:
        contents = ({"a": {"digest": "1", "size": 2}}, {"b": {"digest": "3", "size": 4}})
        source = make_source(replace(PROJECT, artifacts={"data": contents, "model": contents[:1]}))
        lister = find_lister(source, "artifacts")
        run_id = PROJECT.runs[-1].run_id
        if lister is None or not next(iter(lister())).total:
            pytest.skip("this source has no such artifacts")
        pages, records = read_artifacts(lister(Known(runs=(run_id,))))
        assert {page.total for page in pages} == {3}
        assert [(one.collection, one.version) for one in records] == [
            *(("data", 0), ("data", 1)),
            ("model", 0),
        ]
        assert [one.entries for one in records] == [
            entries_of({"contents": one}) for one in (*contents, contents[0])
        ]
        links: dict[str, RunLinks] = {}
        for page in pages:
            links |= {one: read_run_links(raw) for one, raw in page.links.items()}
        first, last, model = (one.artifact_id for one in records)
        used = frozenset({(first, "data"), (model, "model")})
        assert links[run_id] == RunLinks(frozenset({last, model}), used)

    # --- consoles

    @pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
    @pytest.mark.parametrize("window", CONSOLE_WINDOWS, ids=lambda w: f"{w.start}-{w.stop}")
    def test_console_is_the_lines_inside_the_window(
        self, source: Source, described: RunDescription, window: FetchWindow
    ) -> None:
        run = list_all(source)[described.run_id]
        assert [
            (line.number, line.level, line.content) for line in read_console(source, run, window)
        ] == [
            (number, "error" if error else None, text)
            for number, (text, error) in enumerate(described.console)
            if window.has(number)
        ]

    def test_counts_of_consoles_fit_their_lines(self, source: Source) -> None:
        for run_id, run in list_all(source).items():
            counts = run.counts_of("console")
            assert counts.line_count in (None, len(PROJECT.run(run_id).console))
            assert counts == list_all(source)[run_id].counts_of("console")

    def test_console_of_a_run_that_is_not_there_fails(self, source: Source) -> None:
        gone = RunListing(run_id="no such run", storage_id="none")
        with pytest.raises((SourceError, DrWandbError)):
            read_console(source, gone)

    # --- samples of the machine

    @pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
    def test_samples_are_those_of_the_machine(
        self, source: Source, described: RunDescription
    ) -> None:
        run = list_all(source)[described.run_id]
        expected = [system_sample(raw, described.run_id) for raw in described.raw_samples]
        assert read_samples(source, run) == expected
        assert run.counts_of("system").line_count in (None, len(expected))

    def test_samples_of_a_run_that_is_not_there_fail(self, source: Source) -> None:
        gone = RunListing(run_id="no such run", storage_id="none")
        with pytest.raises((SourceError, DrWandbError)):
            read_samples(source, gone)

    # --- files

    @pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
    def test_files_are_listed_and_their_bytes_are_given(
        self, source: Source, described: RunDescription
    ) -> None:
        run = list_all(source)[described.run_id]
        listed = list_files(source, run)
        assert {*listed} == {*map(spell_name, described.files)}
        contents = contents_of(source)
        for named, content in described.files.items():
            name = spell_name(named)
            row = listed[name]
            assert row.size in (None, len(content))
            assert row.md5 in (None, base64.b64encode(hashlib.md5(content).digest()).decode())
            assert (row.sha256, row.absent, row.newer) == (None, None, None)
            if contents is not None:
                assert contents.fetch(run, name, b"".join) == content
                found = contents.find(run, name)
                assert found is not None
                assert run_file(found, run.run_id) == row

    def test_counts_of_files_fit_their_number(self, source: Source) -> None:
        for run_id, run in list_all(source).items():
            described = PROJECT.run(run_id)
            names = {*described.files} | (set() if described.metadata is None else {METADATA_FILE})
            assert run.counts_of("files").line_count in (None, len(described.files), len(names))
            assert run.counts_of("files") == list_all(source)[run_id].counts_of("files")

    def test_file_that_is_not_there_has_no_bytes(self, source: Source) -> None:
        run = list_all(source)[PROJECT.runs[0].run_id]
        contents = contents_of(source)
        if contents is not None:
            assert contents.find(run, "no such file") is None
            with pytest.raises(FileGoneError):
                contents.fetch(run, "no such file", b"".join)

    def test_files_of_a_run_that_is_not_there_fail(self, source: Source) -> None:
        gone = RunListing(run_id="no such run", storage_id="none")
        with pytest.raises((SourceError, DrWandbError)):
            list_files(source, gone)

    # --- metadata

    @pytest.mark.parametrize("run_id", ["plain", "empty", "anonymous"])
    def test_metadata_is_the_file_or_none(self, source: Source, run_id: str) -> None:
        assert source.read_metadata(list_all(source)[run_id]) == PROJECT.run(run_id).metadata

    def test_metadata_that_does_not_download_is_an_error(self, source: Source) -> None:
        with pytest.raises(SourceError):
            source.read_metadata(list_all(source)["broken"])

    # --- ids of any characters

    def test_run_ids_may_have_any_characters(self, make_source: SourceFactory) -> None:
        source = make_source(HOSTILE_PROJECT)
        runs = list_all(source)
        assert list(runs) == [described.run_id for described in HOSTILE_PROJECT.runs]
        for described in HOSTILE_PROJECT.runs:
            found = list_nodes(source, RunsById(run_ids=(described.run_id,)))
            assert [node["name"] for node in found] == [described.run_id]
            assert read_rows(source, runs[described.run_id]) == self.expected_rows(described)
            assert source.read_metadata(runs[described.run_id]) == described.metadata


def _seen(run: WandbRun) -> dict[str, Any]:
    user = run.user and {"name": run.user.name, "username": run.user.username}
    return {
        "run_id": run.run_id,
        "name": run.name,
        "state": run.state,
        "created_at": run.created_at,
        "tags": sorted(run.tags),
        "user": user,
        "config": run.config,
        "lines": run.history_line_count,
    }
