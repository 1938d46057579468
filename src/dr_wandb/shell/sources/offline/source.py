"""Runs from `.wandb` files, which a training machine wrote with or without a server.

Rules
- Files are read as they were at the first query; later content belongs to the next sync. No
  network, no API key and no wandb is needed.
- A run that names another entity or project is skipped and counted, unless all are requested.
- Every loss in a file is reported: which file, which byte, and how many records.
"""

import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import CONTENT_MARK, FILES, FILES_MARK
from dr_wandb.core.contract.failures import DrWandbError, MixedRuns
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing, answers
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.values import clean_text, decode_json
from dr_wandb.core.contract.version import VERSION
from dr_wandb.core.contract.wording import count, printable
from dr_wandb.core.offline.node import as_node
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import (
    EarlyRows,
    FileBatch,
    HistoryBatch,
    HistoryFiles,
    RunPage,
    SourceError,
)
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, RecordPage
from dr_wandb.shell.sources.offline.artifacts import RunParts, list_artifacts
from dr_wandb.shell.sources.offline.beside import summary_beside
from dr_wandb.shell.sources.offline.folder_files import FolderContents
from dr_wandb.shell.sources.offline.forms import RunFile
from dr_wandb.shell.sources.offline.found import FoundRun, FoundRuns
from dr_wandb.shell.sources.offline.index import INDEX_FILE, load_index, save_index
from dr_wandb.shell.sources.offline.index import Known as KnownFiles
from dr_wandb.shell.sources.offline.other_rows import (
    WandbPart,
    read_console,
    read_samples,
    readable,
    wandb_parts,
)
from dr_wandb.shell.sources.offline.run_files import read_beside
from dr_wandb.shell.sources.offline.runs import FolderScan
from dr_wandb.shell.sources.offline.wanted import ANY, Wanted

if TYPE_CHECKING:
    from dr_wandb.shell.executor import SharedExecutor

RUNS_PER_PAGE = 500
MOST_METADATA_BYTES = 1 << 24

READERS = 2
"""How many files are decoded at once: only one thread at a time can do that work anyway."""


T = TypeVar("T")

OTHER_PROJECTS = "skipped %s of other projects (%s); --any-project exports them"


class _Listed(NamedTuple):
    """A run as it is listed."""

    found: FoundRun
    node: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunFiles(HistoryFiles):
    """The files of one run, each with its reading."""

    parts: Sequence[tuple[RunFile, FileReading]]

    def batches(self) -> Generator[FileBatch]:
        """Read the rows in the order of the files."""
        for file, reading in self.parts:
            with readable(file) as (data, release):
                for batch in file.decoder.rows(data, reading, self.window):
                    yield batch
                    release()


class OfflineSource:
    """The runs of one project below a folder. Writes nothing except the index of an export.

    index: the path of the index file, None for none. now_ns: the current time.
    """

    kind = "offline"
    lists_at_once = True
    recorded_at = None
    secrets: tuple[str, ...] = ()

    def __init__(
        self,
        folder: Path,
        request: ExportRequest,
        *,
        index: Path | None = None,
        keep: bool = False,
        now_ns: int | None = None,
    ) -> None:
        self._folder = folder
        self._request = request
        self._index = index
        self._keep = keep
        self._now_ns = time.time_ns() if now_ns is None else now_ns
        self._readers = threading.BoundedSemaphore(READERS)
        self._unread: Mapping[str, RunFailure] = {}
        self._index_digest = ""
        self.executor: SharedExecutor | None = None
        self.early: EarlyRows | None = None
        self.contents = FolderContents(lambda run: self._found(run).found, request.follow_links)

    @classmethod
    def open(cls, request: ExportRequest, folder: Path, private: Path) -> "OfflineSource":
        """Open a folder for a sync; the index is written only if the sync writes the export."""
        export = request.data_root / request.name
        keep = private.is_relative_to(export)
        return cls(folder, request, index=export / INDEX_FILE, keep=keep)

    @property
    def address(self) -> str:
        """Return the folder."""
        return clean_text(str(self._folder))

    @cached_property
    def _found_runs(self) -> FoundRuns:
        """Read the folder, once."""
        known = KnownFiles()
        if self._index is not None:
            known, self._index_digest = load_index(self._index, self._folder)
        found = FolderScan(
            self._folder,
            known,
            _wanted(self._request),
            self._now_ns,
            executor=self.executor,
            early=self.early,
        ).scan()
        if found.known != known:
            self._index_digest = ""
            if self._index is not None and self._keep:
                self._index_digest = save_index(self._index, self._folder, found.known)
        for notice in found.notices:
            log = LOGGER.warning if notice.serious else LOGGER.info
            log("%s", printable(f"{notice.name} {notice.text}"))
        if found.left_out:
            left_out = count(len(found.left_out), "run")
            owners = sorted({printable(owner) for _, owner in found.left_out})
            LOGGER.warning(OTHER_PROJECTS, left_out, ", ".join(owners))
        _require_one_project(found.runs)
        return found

    @property
    def listing_mark(self) -> str:
        """Return a text that changes if anything in the listing changes, "" for none.

        There is none if the summary of a run may come from a file beside it, or if these files are
        requested: they may change while the run's own file does not.
        """
        found = self._found_runs
        if not self._index_digest or any(run.fold.has_no_summary for run in found.runs):
            return ""
        if FILES in (request := self._request).extra_datasets:
            return ""
        states = [(run.run_id, run.state(self._now_ns)) for run in found.runs]
        asked = (request.entity, request.project, request.any_project, request.include_metadata)
        return digest(repr((VERSION, self._index_digest, asked, sorted(states))).encode())

    @cached_property
    def _listed(self) -> Mapping[str, _Listed]:
        """Return the runs by their ids, oldest first."""
        found = self._found_runs
        self._unread = found.unread
        self.contents.missing |= found.known.missing
        listed = [_Listed(run, self._node(run)) for run in found.runs]
        self._remember_missing(found)
        listed.sort(key=lambda entry: (entry.node["createdAt"] or "", entry.found.run_id))
        return {entry.found.run_id: entry for entry in listed}

    def _remember_missing(self, found: FoundRuns) -> None:
        """Note which named files are missing, so that no file is read again to know them."""
        runs = {run.run_id for run in found.runs}
        missing = {one: self.contents.missing[one] for one in self.contents.missing if one in runs}
        if missing != found.known.missing and self._index is not None and self._keep:
            known = replace(found.known, missing=missing)
            self._index_digest = save_index(self._index, self._folder, known)

    def _node(self, run: FoundRun) -> Mapping[str, Any]:
        state, with_machine = run.state(self._now_ns), self._request.include_metadata
        beside = summary_beside(run)
        node = as_node(run.run_id, run.fold, state, beside, with_machine=with_machine)
        if not self._request.extra_datasets:
            return node
        if FILES in self._request.extra_datasets:
            files, mark = self.contents.of(run).count_and_mark
            node |= {"fileCount": files, FILES_MARK: mark}
        return {**node, CONTENT_MARK: run.mark}

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query page by page, oldest first."""
        listed = self._listed
        nodes = [
            entry.node
            for run_id, entry in listed.items()
            if answers(query, run_id, entry.node["createdAt"])
        ]
        unread = {
            run_id: why for run_id, why in self._unread.items() if answers(query, run_id, None)
        }
        for start in range(0, max(1, len(nodes)), RUNS_PER_PAGE):
            yield RunPage(
                runs=nodes[start : start + RUNS_PER_PAGE],
                unread=unread if not start else {},
                matching=len(nodes) + len(unread),
                total=len(listed) + len(self._unread),
            )

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read the rows of all files of a run, as far as the listing counted them."""
        return self.read_history_files(self._run_files(run, window))

    def read_history_or_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryFiles]:
        """Yield the run's files, and its rows if they were written already."""
        yield self._run_files(run, window)

    def read_history_files(self, files: HistoryFiles) -> Generator[FileBatch]:
        """Read the rows of such files, with at most `READERS` batches decoded at once."""
        with closing(files.batches()) as batches:
            while (batch := self._next(batches)) is not None:
                yield batch

    def _run_files(self, run: RunListing, window: FetchWindow) -> "RunFiles":
        files = self._found(run).found.files
        parts = tuple((file.file, file.reading) for file in files)
        paths = [Path(file.location) for file, _ in parts]
        written = files[0].rows if len(files) == 1 and window.whole else None
        return RunFiles(paths=paths, window=window, parts=parts, written=written)

    def _next(self, batches: Iterator[T]) -> T | None:
        with self._readers:
            return next(batches, None)

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Read the `wandb-metadata.json` beside a file, else the machine's data in the files."""
        found = self._found(run).found
        for file in reversed(found.files):
            path = file.file.metadata_path
            try:
                content = read_beside(path, MOST_METADATA_BYTES)
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = clean_text(f"{path} cannot be read: {error.strerror or error}")
                raise SourceError(reason, RunFailureKind.UNREADABLE, retryable=False) from error
            if content:  # a process that was killed leaves an empty one
                return _metadata(content, path)
        return found.fold.host or None

    def read_system(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read the samples of the machine, as far as the listing counted the rows of the run."""
        return read_samples(self._wandb_files(run), self._next)

    def read_console(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read the lines that a program printed, as far as the listing counted its rows."""
        return read_console(self._wandb_files(run), window, self._next)

    def read_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """List the files in the folder of a run."""
        yield from self.contents.read(run)

    def list_artifacts(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        """List the artifacts that the files of all runs have, and the links of some runs."""
        runs = (
            RunParts(run_id, wandb_parts(listed.found), listed.found.mark)
            for run_id, listed in self._listed.items()
        )
        return list_artifacts(runs, known, f"{self._request.entity}/{self._request.project}")

    def _wandb_files(self, run: RunListing) -> list[WandbPart]:
        return wandb_parts(self._found(run).found)

    def close(self) -> None:
        """Do nothing: no file stays open between two calls."""

    def _found(self, run: RunListing) -> _Listed:
        entry = self._listed.get(run.run_id)
        if entry is None:
            reason = f"{self._folder} holds no such run"
            raise SourceError(reason, RunFailureKind.NOT_FOUND, retryable=False)
        return entry


def _wanted(request: ExportRequest) -> Wanted:
    return ANY if request.any_project else Wanted(request.entity, request.project)


def _require_one_project(runs: Sequence[FoundRun]) -> None:
    """Refuse runs with the same id in different projects."""
    called = Counter(run.run_id for run in runs)
    owners: dict[str, list[str]] = {}
    for run in runs:
        if called[run.run_id] == 1:
            continue
        owner = "/".join(filter(None, run.owner)) or "no project"
        owners.setdefault(run.run_id, []).append(printable(owner))
    for run_id, several in owners.items():
        if len(several) > 1:
            raise DrWandbError(MixedRuns(run_id=run_id, projects=tuple(sorted(several))))


def _metadata(content: bytes, path: Path) -> Mapping[str, Any]:
    try:
        metadata = decode_json(content, str(path))
    except ValueError as error:
        raise SourceError(str(error), RunFailureKind.UNREADABLE, retryable=False) from error
    if not isinstance(metadata, Mapping):
        reason = f"{path} is not an object"
        raise SourceError(reason, RunFailureKind.UNREADABLE, retryable=False)
    return metadata
