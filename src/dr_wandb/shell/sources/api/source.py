"""Runs from W&B, through the real SDK.

Rows that are exported to Parquet are downloaded with the SDK's `Run.download_history_exports` and
read with pyarrow. Listings and live rows use the SDK's own GraphQL call, one level below: its
paging hides the rest of a page after a run without a user, and its scans lose rows that share a
step (wandb 0.31.0; the contract suite runs on the lowest and the newest SDK).
"""

import shutil
import threading
from collections.abc import Generator, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import TERMINAL_STATES, ListingQuery, RunListing
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.core.sync.left_out import COUNTS, LISTED
from dr_wandb.shell.background import start
from dr_wandb.shell.sources import (
    EarlyRows,
    FileBatch,
    HistoryBatch,
    HistoryFiles,
    RunPage,
    SourceError,
)
from dr_wandb.shell.sources.api.artifacts import Artifacts
from dr_wandb.shell.sources.api.batching import CALLERS, TailBatcher
from dr_wandb.shell.sources.api.console import ConsoleReader
from dr_wandb.shell.sources.api.downloads import Downloads, Exported, ask_for_file
from dr_wandb.shell.sources.api.file_bytes import FileBytes
from dr_wandb.shell.sources.api.joint_queries import JointQueries
from dr_wandb.shell.sources.api.live import BEYOND
from dr_wandb.shell.sources.api.live_history import LiveHistory, has_step
from dr_wandb.shell.sources.api.manifests import Manifests
from dr_wandb.shell.sources.api.queries import (
    EXPORTED_FILES,
    HISTORY_PAGE,
    OPTIONAL_REPORT_FIELDS,
    OPTIONAL_SWEEP_FIELDS,
    RUN_FILE,
    reports_document,
    runs_document,
    sweeps_document,
)
from dr_wandb.shell.sources.api.record_pages import RecordPages
from dr_wandb.shell.sources.api.run_files import RunFiles
from dr_wandb.shell.sources.api.run_pages import RunPages
from dr_wandb.shell.sources.api.session import ApiSession, Smaller
from dr_wandb.shell.sources.api.system import SystemReader
from dr_wandb.shell.sources.api.tail_pages import TailPage
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, RecordPage

PAGE_LIMIT = 1000
"""The largest page of runs that W&B serves, by its documentation."""

READERS = 2
"""How many of the downloaded Parquet files are read here at once: one is encoded, which only one
thread at a time can do anyway, while the other is read or written."""

NEWEST_RUNS = 20
"""The number of newest runs among which `newest_run_with_rows` looks."""

METADATA_FILE = "wandb-metadata.json"


class ApiSource:
    """One W&B project. Reads only."""

    kind = "api"
    lists_at_once = False
    recorded_at = None
    tails_at_once = CALLERS

    def __init__(self, session: ApiSession, request: ExportRequest) -> None:
        self._session = session
        self._entity = request.entity
        self._project = request.project
        self._timeout = request.timeout_seconds
        most = min(request.runs_per_page, PAGE_LIMIT - 1)
        datasets = request.extra_datasets
        self._run_pages = RunPages(session, self._entity, self._project, most, datasets)
        self._console = ConsoleReader(self._ask_run, session.host)
        self._downloads = Downloads(session, request)
        self._records = RecordPages(session, self._names())
        queries = JointQueries(session, self._names())
        self._file_bytes = FileBytes(session, request.timeout_seconds)
        manifests = Manifests(queries, self._file_bytes, session.private)
        self._artifacts = Artifacts(queries, self._records, manifests, self._names())
        self._with_email = request.include_metadata
        self._system = SystemReader(self._ask_run, self._ask, self._downloads)
        self._tails = TailBatcher(session, self._names())
        self.contents = RunFiles(self._ask_run, self._file_bytes)
        self._readers = threading.BoundedSemaphore(READERS)
        self.early: EarlyRows | None = None

    @classmethod
    def open(cls, request: ExportRequest, private: Path) -> "ApiSource":
        """Open a session for a request, with `private` as the folder for everything the SDK writes.

        Raises DrWandbError: no key, key refused, host unreachable.
        """
        session = ApiSession(private, request.timeout_seconds, max_rate=request.max_rate)
        return cls(session, request)

    @property
    def address(self) -> str:
        """Return the host."""
        return self._session.host

    @property
    def host(self) -> str:
        """Return the scheme, host and port of the server."""
        return self._session.server

    @property
    def requests(self) -> int:
        """Return how many requests were sent so far; downloads of exported files not counted."""
        return self._session.requests

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the API key in use."""
        return self._session.secrets

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query page by page, oldest first, with W&B's own counts."""
        for page in self._run_pages.read(query):
            self._prepare_for_rows(page)
            yield page

    def _prepare_for_rows(self, page: RunPage) -> None:
        """Get ready for the rows of new runs during the listing, which mostly waits for W&B.

        At least as many runs are new as match beyond those that are held.
        """
        if self.early is None:
            return
        held = self.early.held
        new = [run for run in page.runs if run.get("historyLineCount") and run["name"] not in held]
        if any(run.get("state") in TERMINAL_STATES for run in new):
            _import_arrow_early()
        if new and page.matching is not None:
            self._session.expect_requests(page.matching - len(held))

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read exported rows from Parquet, and all others from the live history."""
        for part in self.read_history_or_files(run, window, attempt):
            yield from self.read_history_files(part) if isinstance(part, HistoryFiles) else (part,)

    def read_history_files(self, files: HistoryFiles) -> Generator[FileBatch]:
        """Read the rows of some Parquet files, at most `READERS` of them at once."""
        with self._readers:
            yield from files.batches()

    def read_history_or_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch | HistoryFiles]:
        """Read as `read_history` does, but yield Parquet files unread if they hold all rows.

        A window that begins at a step is mostly the tail of a run that is alive, and not exported:
        its live rows are read first, since a Parquet file must be downloaded completely.
        """
        if window.start:
            yield from self._read_tail(run, window, attempt, window.start)
            return
        if run.terminal:
            _import_arrow_early()
        live = LiveHistory(self._ask_run)
        unnamed = [batch for batch in live.read_without_step(run) if batch.rows] if attempt else []
        exported, has_live = yield from self._read_exported(run, window, bool(unnamed) or None)
        first = live.first_step(run) if has_live and exported else 0
        if first != 0:  # else they come with all the others
            yield from unnamed
        if has_live and first is not None:
            yield from live.read(run, window, attempt, max(0, first), exported)

    def read_system(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read the samples of the machine of a run; they have no steps."""
        yield from self._system.read(run, attempt)

    def read_console(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read the lines of a console whose number is in the window."""
        yield from self._console.read(run, window, attempt)

    def read_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """List the files of a run; `contents` gives their bytes."""
        yield from self.contents.read(run, attempt)

    def _read_tail(
        self, run: RunListing, window: FetchWindow, attempt: int, start: int
    ) -> Iterator[HistoryBatch | HistoryFiles]:
        """Read live rows from a step on, and exported ones unless that step itself is live.

        W&B exports a history from its beginning on, so a live row at `start` proves that no later
        one is exported. Exported rows are requested after the live ones: a row that moves meanwhile
        comes twice instead of never.
        """
        together = self._ask_together if attempt == 0 else None
        batches = LiveHistory(self._ask_run, together).read(run, window, attempt, start)
        first = next((batch for batch in batches if batch.rows), None)
        if first is None or not has_step(first, start):
            yield from self._read_exported(run, window, has_live=first is not None)
        if first is not None:
            yield first
            yield from batches

    def _read_exported(
        self, run: RunListing, window: FetchWindow, has_live: bool | None = None
    ) -> Generator[HistoryBatch | HistoryFiles, None, tuple[int, bool]]:
        """Download a run's Parquet files and read them, or yield them if there are no live rows.

        has_live: None if only W&B's list of exports can say. Returns the number of rows in files
        that were read here, and whether there are live rows too.
        """
        folder = self._downloads.new_folder()
        try:
            paths, listed_live = self._downloads.exports(run.run_id, folder)
            has_live = (listed_live or not paths) if has_live is None else has_live
            if not paths:
                return 0, has_live
            from dr_wandb.shell.sources.api.parquet import ParquetFiles, count_rows

            files = ParquetFiles(paths=paths, window=window)
            if not has_live:
                yield files
                return 0, False
            yield from self.read_history_files(files)
            return sum(map(count_rows, paths)), True
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ask(self, document: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._session.query(document, {**self._names(), **variables})

    def _ask_run(
        self, document: str, variables: Mapping[str, Any], smaller: Smaller | None = None
    ) -> Mapping[str, Any]:
        named = {**self._names(), **variables}
        return self._run_of(self._session.query(document, named, smaller))

    def _ask_together(
        self, document: str, variables: Mapping[str, Any], smaller: Smaller, page: TailPage
    ) -> Mapping[str, Any]:
        named = {**self._names(), **variables}
        alone = self._session.attempt(document, named, smaller)
        return self._run_of(self._tails.send(page, alone))

    def list_artifacts(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        """List the versions of all artifacts of the project, and the links of some runs."""
        return self._artifacts.read(known)

    def list_sweeps(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        """List all sweeps of the project, with W&B's count."""
        return self._records.read(sweeps_document, "a sweep", OPTIONAL_SWEEP_FIELDS)

    def list_reports(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        """List all reports of the project; W&B does not count them."""
        document = partial(reports_document, with_email=self._with_email)
        return self._records.read(document, "a report", OPTIONAL_REPORT_FIELDS)

    def require_history(self, run_id: str) -> Exported:
        """Request the parts of a history that a sync reads: list of exports, live rows, a file.

        Returns whether the file can be downloaded. Raises SourceError; it is `refused` if W&B has
        the run but refuses its history.
        """
        exports = self._ask_run(EXPORTED_FILES, {"runName": run_id, "liveKeys": ["_step"]})
        page = {"run": run_id, "minStep": 0, "maxStep": BEYOND, "pageSize": 1}
        self._ask_run(HISTORY_PAGE, page)
        addresses = (exports.get("parquetHistory") or {}).get("parquetUrls")
        return ask_for_file(str(addresses[0]), self._timeout) if addresses else Exported.NONE

    def newest_run_with_rows(self, besides: str) -> str | None:
        """Return the newest run with rows besides one, None if none of the last ones has any."""
        left_out = {*LISTED, COUNTS} - {"name", "historyLineCount"}
        page = {
            **self._names(),
            "order": "-created_at",
            "filters": "{}",
            "perPage": NEWEST_RUNS,
        }
        answer = self._session.query(runs_document(left_out), page)
        edges = ((answer.get("project") or {}).get("runs") or {}).get("edges") or ()
        nodes = [edge["node"] for edge in edges if edge and edge.get("node")]
        names = (str(run["name"]) for run in nodes if run.get("historyLineCount"))
        return next((name for name in names if name != besides), None)

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Read the run's metadata file. The SDK's own property hides every error as None."""
        node = self._ask_run(RUN_FILE, {"name": run.run_id, "fileNames": [METADATA_FILE]})
        edges = (node.get("files") or {}).get("edges") or []
        entries = [edge["node"] for edge in edges if edge["node"]["name"] == METADATA_FILE]
        if not entries:
            return None
        content = self._downloads.file(entries[0])
        try:
            metadata = decode_json(content, METADATA_FILE)
        except ValueError as error:
            raise SourceError(str(error), RunFailureKind.UNREADABLE) from error
        if not isinstance(metadata, Mapping):
            raise SourceError(f"{METADATA_FILE} is not an object", RunFailureKind.UNREADABLE)
        return metadata

    def close(self) -> None:
        """End the session."""
        self._tails.close()
        self._file_bytes.close()
        self._session.close()

    def _names(self) -> dict[str, Any]:
        return {"entity": self._entity, "project": self._project}

    def _run_of(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the run in an answer. A null means missing or forbidden, never "no rows"."""
        run = (answer.get("project") or {}).get("run")
        if not isinstance(run, Mapping):
            reason = "W&B answered that there is no such run"
            raise SourceError(reason, RunFailureKind.NOT_FOUND)
        return run


@cache
def _import_arrow_early() -> None:
    """Import Arrow during the listing or the first downloads: it takes a good part of a second.

    A run that has ended is mostly exported; a sync that reads no such run does not need Arrow.
    """
    start(lambda: import_module("dr_wandb.shell.sources.api.parquet"))
