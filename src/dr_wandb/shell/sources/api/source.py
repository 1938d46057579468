"""Runs from W&B, through the real SDK.

What is exported to Parquet is downloaded with the SDK's `Run.download_history_exports` and read
with pyarrow. Listings and live rows go one level down, to the SDK's own GraphQL call: its paging
hides the rest of a page behind a run without a user, and its scans lose rows that share a step
(wandb 0.31.0; the contract suite runs on the lowest and the newest SDK).
"""

import shutil
import threading
from collections.abc import Generator, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing
from dr_wandb.core.contract.normalize import whole_step
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.values import decode_json
from dr_wandb.shell.ahead import begin
from dr_wandb.shell.sources import FileBatch, HistoryBatch, HistoryFiles, RunPage, SourceError
from dr_wandb.shell.sources.api.downloads import Downloads
from dr_wandb.shell.sources.api.live import BEYOND, MOST_ROWS, LiveReader
from dr_wandb.shell.sources.api.queries import EXPORTS, HISTORY_PAGE, LIVE_STEPS, RUN_FILE
from dr_wandb.shell.sources.api.run_pages import RunPages
from dr_wandb.shell.sources.api.session import ApiSession

PAGE_LIMIT = 1000
"""The most runs that W&B is documented to serve in a page."""

CAREFUL_ROWS = (MOST_ROWS, 1_000, 250)
"""Most rows in a page of live history, by attempt: a server may cap answers without a word."""

READERS = 2
"""Parquet files that are read here at once, of all that are downloaded: one is encoded, which is
work for one thread at a time anyway, while the other is read or written."""

METADATA_FILE = "wandb-metadata.json"


class ApiSource:
    """One W&B project. Reads only."""

    kind = "api"
    lists_at_once = False
    recorded_at = None

    def __init__(self, session: ApiSession, request: ExportRequest) -> None:
        self._session = session
        self._entity = request.entity
        self._project = request.project
        most = min(request.runs_per_page, PAGE_LIMIT - 1)
        self._run_pages = RunPages(session, self._entity, self._project, most)
        self._downloads = Downloads(session, request)
        self._readers = threading.BoundedSemaphore(READERS)

    @classmethod
    def open(cls, request: ExportRequest, private: Path) -> "ApiSource":
        """Open a session for a request, with `private` as the folder for all that the SDK writes.

        Raises DrWandbError: no key, key refused, host unreachable.
        """
        session = ApiSession(private, request.timeout_seconds, max_rate=request.max_rate)
        return cls(session, request)

    @property
    def address(self) -> str:
        """Return the host."""
        return self._session.host

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the API key in use."""
        return self._session.secrets

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query page by page, oldest first, with W&B's own counts."""
        return self._run_pages.read(query)

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read exported rows from Parquet, the others from the live history."""
        for part in self.read_history_or_files(run, window, attempt):
            yield from self.read_files(part) if isinstance(part, HistoryFiles) else (part,)

    def read_files(self, files: HistoryFiles) -> Generator[FileBatch]:
        """Read the rows of some Parquet files, of few at once."""
        with self._readers:
            yield from files.batches()

    def read_history_or_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch | HistoryFiles]:
        """Read as `read_history` does, but leave Parquet that holds all rows to be read.

        A window that begins at a step is mostly the tail of a run that is alive, and not exported:
        that is asked first, since a Parquet file can only be had as a whole.
        """
        if window.start and self._is_live_from(run, window.start):
            yield from self._read_live(run, window, attempt, window.start, 0)
            return
        if run.terminal:
            _import_arrow_ahead()
        folder = self._downloads.new_folder()
        try:
            paths, has_live = self._downloads.exports(run.run_id, folder)
            exported = 0
            if paths:
                from dr_wandb.shell.sources.api.parquet import ParquetFiles, count_rows

                files = ParquetFiles(paths=paths, window=window)
                if not has_live:
                    yield files
                    return
                exported = sum(map(count_rows, paths))
                yield from self.read_files(files)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        first_live = self._first_live_step(run) if exported else 0
        start = max(first_live, window.low)
        yield from self._read_live(run, window, attempt, start, exported)

    def _read_live(
        self, run: RunListing, window: FetchWindow, attempt: int, start: int, exported: int
    ) -> Iterator[HistoryBatch]:
        count = run.history_line_count
        expected = None if count is None else max(0, count - exported)
        last = BEYOND - 1 if run.last_step is None else run.last_step
        stop = last + 1 if window.stop is None else min(window.stop, last + 1)
        reader = LiveReader(
            lambda low, high, rows: self._read_page(run.run_id, low, high, rows),
            most_rows=CAREFUL_ROWS[min(attempt, len(CAREFUL_ROWS) - 1)],
        )
        yield from reader.read(start, stop, None if window.start else expected)
        end = BEYOND if window.stop is None else window.stop
        lacking = expected is not None and reader.rows < expected
        if last + 1 < end and (lacking or not window.whole):
            yield from reader.read(last + 1, end, None)

    def _read_page(self, run_id: str, low: int, high: int, rows: int) -> list[str]:
        variables = {
            **self._names(),
            "run": run_id,
            "minStep": low,
            "maxStep": high,
            "pageSize": rows,
        }
        page = self._run_of(self._session.query(HISTORY_PAGE, variables)).get("history")
        if page is None:
            raise SourceError("W&B answered without a history")
        return list(page)

    def _is_live_from(self, run: RunListing, start: int) -> bool:
        """Say whether no row of this step or a later one is exported, as far as one can tell.

        Should one be, too few rows come, and the run is read whole.
        """
        if not self._ask_exports(run, EXPORTS).get("parquetUrls"):
            return True
        return 0 < self._first_live_step(run) <= start

    def _first_live_step(self, run: RunListing) -> int:
        """Return the smallest step that is not exported. Rows without a step count as step 0."""
        steps = map(_step_of, self._ask_exports(run, LIVE_STEPS).get("liveData") or ())
        return min(steps, default=0)

    def _ask_exports(self, run: RunListing, document: str) -> Mapping[str, Any]:
        variables = {**self._names(), "runName": run.run_id, "liveKeys": ["_step"]}
        exports = self._run_of(self._session.query(document, variables)).get("parquetHistory")
        if not isinstance(exports, Mapping):
            raise SourceError("W&B answered without a list of exports")
        return exports

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Read the run's metadata file. The SDK's own property hides every error as None."""
        variables = {**self._names(), "name": run.run_id, "fileNames": [METADATA_FILE]}
        node = self._run_of(self._session.query(RUN_FILE, variables))
        edges = (node.get("files") or {}).get("edges") or []
        entries = [edge["node"] for edge in edges if edge["node"]["name"] == METADATA_FILE]
        if not entries:
            return None
        content = self._downloads.file(entries[0])
        try:
            metadata = decode_json(content, METADATA_FILE)
        except ValueError as error:
            raise SourceError(str(error)) from error
        if not isinstance(metadata, Mapping):
            raise SourceError(f"{METADATA_FILE} is not an object")
        return metadata

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _names(self) -> dict[str, Any]:
        return {"entity": self._entity, "project": self._project}

    def _run_of(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the run in an answer. A null means gone or forbidden, never "no rows"."""
        run = (answer.get("project") or {}).get("run")
        if not isinstance(run, Mapping):
            raise SourceError("W&B answered that there is no such run")
        return run


@cache
def _import_arrow_ahead() -> None:
    """Import Arrow beside the first downloads: it takes a good part of a second.

    A run that has ended is mostly exported; a sync that reads none does without Arrow.
    """
    begin(lambda: import_module("dr_wandb.shell.sources.api.parquet"))


def _step_of(entry: Any) -> int:
    row = decode_json(entry, "a live row") if isinstance(entry, str) else entry
    step = row.get("_step") if isinstance(row, Mapping) else None
    return whole_step(step) or 0
