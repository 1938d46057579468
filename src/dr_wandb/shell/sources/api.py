"""Runs from W&B, through the real SDK.

What is exported to Parquet is downloaded with the SDK's `Run.download_history_exports` and read
with pyarrow. Listings and live rows go one level down, to the SDK's own GraphQL call: its paging
hides the rest of a page behind a run without a user, and its scans lose rows that share a step
(wandb 0.31.0; the contract suite runs on the lowest and the newest SDK).
"""

import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from wandb.apis.public import File, Run

from dr_wandb.core.accept import FetchWindow
from dr_wandb.core.failures import DrWandbError, NoProject
from dr_wandb.core.listing import EveryRun, ListingQuery, RunListing, RunsById, RunsCreatedSince
from dr_wandb.core.request import ExportRequest
from dr_wandb.core.values import decode_json
from dr_wandb.shell.sources import RowBatch, RunPage, SourceError
from dr_wandb.shell.sources.api_queries import HISTORY_PAGE, LIVE_STEPS, RUN_FILE, RUNS
from dr_wandb.shell.sources.api_session import SDK_ERRORS, ApiSession, reason_of
from dr_wandb.shell.sources.live import BEYOND, MOST_ROWS, LiveReader
from dr_wandb.shell.sources.parquet import read_parquet

PAGE_LIMIT = 1000
"""The most runs that W&B is documented to serve in a page."""

CAREFUL_ROWS = (MOST_ROWS, 1_000, 250)
"""Most rows in a page of live history, by attempt: a server may cap answers without a word."""

METADATA_FILE = "wandb-metadata.json"


class ApiSource:
    """One W&B project. Reads only."""

    kind = "api"
    recorded_at = None

    def __init__(self, session: ApiSession, request: ExportRequest) -> None:
        self._session = session
        self._entity = request.entity
        self._project = request.project
        self._per_page = min(request.runs_per_page, PAGE_LIMIT)
        self._timeout = request.timeout_seconds

    @classmethod
    def open(cls, request: ExportRequest, private: Path) -> "ApiSource":
        """Open a session for a request, with `private` as the folder for all that the SDK writes.

        Raises DrWandbError: no key, key refused, host unreachable.
        """
        return cls(ApiSession(private, request.timeout_seconds), request)

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
        variables = {
            **self._names(),
            "order": "+created_at",
            "filters": json.dumps(_filters(query)),
            "perPage": self._per_page,
            "cursor": None,
        }
        more = True
        while more:
            project = self._session.query(RUNS, variables).get("project")
            if project is None:
                raise DrWandbError(NoProject(entity=self._entity, project=self._project))
            runs = project.get("runs") or {}
            yield RunPage(
                runs=[self._with_url(edge["node"]) for edge in runs.get("edges") or ()],
                matching=project.get("matching"),
                total=project.get("total"),
            )
            page = runs.get("pageInfo") or {}
            variables["cursor"] = page.get("endCursor")
            more = bool(page.get("hasNextPage")) and variables["cursor"] is not None

    def _with_url(self, node: Mapping[str, Any]) -> dict[str, Any]:
        parts = (self._entity, self._project, "runs", str(node.get("name")))
        path = "/".join(quote(part, safe="") for part in parts)
        return {**node, "url": f"{self._session.app_url}{path}"}

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        """Read exported rows from Parquet, the others from the live history.

        A window that begins at a step is the tail of a run that is alive: only live rows are
        asked for. What has been exported meanwhile is then seen to be missing.
        """
        exported, live_from = 0, window.start or 0
        if not window.start:
            folder = Path(mkdtemp(prefix="parquet-", dir=self._session.private))
            try:
                paths, has_live = self._download_exports(run, folder)
                while paths:
                    for batch in read_parquet(paths[0]):
                        exported += len(batch.rows)
                        yield _before(batch, window.stop)
                    paths.pop(0).unlink()
                    if not paths and not has_live:
                        return
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            if exported:
                live_from = self._first_live_step(run)
        yield from self._read_live(run, window, attempt, live_from, exported)

    def _read_live(
        self, run: RunListing, window: FetchWindow, attempt: int, start: int, exported: int
    ) -> Iterator[RowBatch]:
        count = run.history_line_count
        expected = None if count is None else max(0, count - exported)
        last = BEYOND - 1 if run.last_step is None else run.last_step
        stop = last + 1 if window.stop is None else min(window.stop, last + 1)
        reader = LiveReader(
            lambda low, high, rows: self._read_page(run.run_id, low, high, rows),
            most_rows=CAREFUL_ROWS[min(attempt, len(CAREFUL_ROWS) - 1)],
        )
        yield from reader.read(start, stop, None if window.start else expected)
        lacking = not window.start and expected is not None and reader.rows < expected
        if lacking and stop == last + 1 and last + 1 < BEYOND:
            yield from reader.read(stop, window.stop or BEYOND, None)

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

    def _first_live_step(self, run: RunListing) -> int:
        """Return the smallest step that is not exported. Rows without a step count as 0."""
        variables = {**self._names(), "runName": run.run_id, "liveKeys": ["_step"]}
        node = self._run_of(self._session.query(LIVE_STEPS, variables)).get("parquetHistory")
        if node is None:
            raise SourceError("W&B answered without a list of exports")
        steps = [_step_of(entry) for entry in node.get("liveData") or ()]
        return min(steps, default=0)

    def _download_exports(self, run: RunListing, folder: Path) -> tuple[list[Path], bool]:
        """Download a run's Parquet files; say whether there are live rows beside them.

        The SDK does not raise where a file cannot be had: it names it in `errors`. It has no
        timeout either, so the time without a byte more on disk is watched here.
        """
        if "/" in run.run_id or "\\" in run.run_id:
            return [], True  # the SDK makes a file name of the id
        address = SimpleNamespace(
            entity=self._entity,
            project=self._project,
            id=run.run_id,
            _service_api=self._session.service,
        )
        result = self._watched(
            lambda: Run.download_history_exports(address, folder, require_complete_history=False),
            folder,
        )
        if result.errors:
            first = " ".join(str(next(iter(result.errors.values()))).split())
            raise SourceError(
                f"{len(result.errors)} exported Parquet files could not be downloaded: {first}"
            )
        return sorted(result.paths), bool(result.contains_live_data)

    def _watched(self, call: Any, folder: Path) -> Any:
        """Do a call of the SDK that writes into a folder; give up when nothing more comes."""
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.append(call())
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        size, since = -1, time.monotonic()
        while thread.is_alive():
            thread.join(0.05 if size < 0 else 0.5)
            now = sum(path.stat().st_size for path in folder.iterdir())
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > self._timeout:
                raise SourceError(f"no progress for {self._timeout} s while downloading")
        answer = outcome[0]
        if isinstance(answer, SDK_ERRORS):
            raise SourceError(reason_of(answer.__cause__ or answer)) from answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Read the run's metadata file. The SDK's own property hides every error as None."""
        variables = {**self._names(), "name": run.run_id, "fileNames": [METADATA_FILE]}
        node = self._run_of(self._session.query(RUN_FILE, variables))
        edges = (node.get("files") or {}).get("edges") or []
        entries = [edge["node"] for edge in edges if edge["node"]["name"] == METADATA_FILE]
        if not entries:
            return None
        folder = Path(mkdtemp(prefix="metadata-", dir=self._session.private))
        try:
            file = File(self._session.service, entries[0])
            self._watched(lambda: file.download(root=str(folder), replace=True).close(), folder)
            content = (folder / METADATA_FILE).read_bytes()
            metadata = decode_json(content, METADATA_FILE)
        except (ValueError, OSError) as error:
            raise SourceError(f"{METADATA_FILE} does not read: {reason_of(error)}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
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


def _filters(query: ListingQuery) -> dict[str, Any]:
    match query:
        case EveryRun():
            return {}
        case RunsCreatedSince(since=since):
            return {"createdAt": {"$gte": since}}
        case RunsById(run_ids=run_ids):
            return {"name": {"$in": list(run_ids)}}


def _before(batch: RowBatch, stop: int | None) -> RowBatch:
    """Leave out the rows from step `stop` on: a Parquet file holds the whole run."""
    if stop is None:
        return batch
    rows = [row for row in batch.rows if (row.get("_step") or 0) < stop]
    return RowBatch(rows=rows, live=batch.live)


def _step_of(entry: Any) -> int:
    row = decode_json(entry, "a live row") if isinstance(entry, str) else entry
    step = row.get("_step") if isinstance(row, Mapping) else None
    return step if isinstance(step, int) else 0
