"""Fetch runs, each into its own segment, and read again if an answer failed or was short.

Rules
- A failed run never affects another run, and a failed metadata file never affects the history.
- A run whose answer is an error, or excludes held rows, is tried three times within about ten
  seconds; then it has failed, with its reason. The source itself has waited for trouble that may
  pass.
- After a short answer the run is read once more, more carefully; the better answer counts.
- If a tail cannot be judged by itself, the whole run is read, once.
- A segment that an earlier, interrupted sync left is used if it answers the same question.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TypeVar, cast

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from returns.pipeline import is_successful
from returns.result import Failure, Result, Success

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.identity import holds_another_run
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import PartTracking
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.plan_kinds import FetchKind
from dr_wandb.core.sync.row_pairs import compare_rows
from dr_wandb.core.sync.verdict import Judged, ReadWhole, Rejected, Verdict
from dr_wandb.shell.progress import DECISION, LOGGER, log_wait
from dr_wandb.shell.sources import (
    EncodableRows,
    FileBatch,
    HistoryBatch,
    HistoryFiles,
    RowBatch,
    Source,
    SourceError,
    as_file_source,
)
from dr_wandb.shell.sources.datasets import find_reader
from dr_wandb.shell.store import disk
from dr_wandb.shell.sync.column_segments import find_column_segment
from dr_wandb.shell.sync.fetch_job import (
    Fetched,
    FetchFailure,
    FetchJob,
    FetchResult,
    Metadata,
    PartResult,
)
from dr_wandb.shell.sync.file_contents import FileContents, held_files
from dr_wandb.shell.sync.file_segments import FileSegments
from dr_wandb.shell.sync.judging import AnswerJudge
from dr_wandb.shell.sync.listing import ATTEMPTS, Pause, pause
from dr_wandb.shell.sync.segment_writer import SegmentWriter
from dr_wandb.shell.sync.segments import Segment, SegmentHeader, find_segment
from dr_wandb.shell.sync.stored_parts import StoredParts

SEEN_AGAIN = (FetchKind.AGAIN, FetchKind.LOOK)
"""Kinds of fetches that check whether rows are still as they were some time before."""

NEVER_TRIED = RunFailure(kind=RunFailureKind.INTERRUPTED, reason="never tried")
"""The failure of a fetch that starts only after the sync has ended."""

T = TypeVar("T")


class Fetcher:
    """Fetches the runs of one sync into a staging folder, until it is closed.

    stored: the rows that the export has. now: the time of this sync. use_earlier: whether segments
    of an interrupted sync may be used; a recording needs every answer of the source. files: makes
    the segments of runs whose rows are all in files; by default here, and as lines. contents:
    fetches the bytes of files that are rows; None if no such dataset is requested.
    """

    def __init__(
        self,
        source: Source,
        request: ExportRequest,
        folder: Path,
        *,
        stored: StoredParts,
        now: str,
        wait: Pause = pause,
        use_earlier: bool = True,
        files: FileSegments | None = None,
        contents: FileContents | None = None,
    ) -> None:
        self._source = source
        self._request = request
        self._folder = folder
        self._wait = wait
        self._stored = stored
        self._judge = AnswerJudge(stored, source.kind, now)
        self._use_earlier = use_earlier
        self._files = files or FileSegments(folder, (), None)
        self._contents = contents
        self._file_source = as_file_source(source)
        self._stopped = threading.Event()

    def close(self) -> None:
        """Let fetches under way end with their next batch, and start no further attempt.

        Closing the source ends the fetches that wait for their turn.
        """
        self._stopped.set()
        self._files.close()
        if self._contents is not None:
            self._contents.close()

    def fetch(self, job: FetchJob) -> FetchResult:
        """Fetch the parts of one run that its plan names. Never raises for errors of this run."""
        metadata = self._fetch_metadata(job) if job.plan.metadata else None
        parts = {
            dataset: self._fetch_part(job, dataset, fetch)
            for dataset, fetch in job.plan.fetches.items()
        }
        return FetchResult(parts=parts, metadata=metadata)

    def _fetch_part(self, job: FetchJob, dataset: str, fetch: PartFetch) -> PartResult:
        try:
            return self._try(job, lambda attempt: self._read_part(job, dataset, fetch, attempt))
        finally:
            if DATASETS[dataset].has_content and self._contents is not None:
                self._contents.forget(job.listing)

    def _fetch_metadata(self, job: FetchJob) -> Metadata:
        def read(attempt: int) -> Result[Metadata, FetchFailure]:
            return Success(Metadata(content=self._source.read_metadata(job.listing)))

        answer = self._try(job, read)
        if is_successful(answer):
            return answer.unwrap()
        return Metadata(failure=answer.failure().failure)

    def _try(
        self, job: FetchJob, read: Callable[[int], Result[T, FetchFailure]]
    ) -> Result[T, FetchFailure]:
        """Read a part of one run, and again if it fails. read: takes the attempts made."""
        failure = FetchFailure(failure=NEVER_TRIED)
        for attempt in range(ATTEMPTS):
            if attempt and not self._stopped.is_set():
                log_wait(f"run {job.listing.run_id!r}: {failure.failure.reason}", attempt)
                self._wait(attempt)
            if self._stopped.is_set():
                break
            try:
                result = read(attempt)
            except SourceError as error:
                failure = FetchFailure(failure=error.failure)
                if not error.retryable:
                    break
                continue
            except (DrWandbError, OSError, MemoryError):
                raise
            except Exception as error:
                # An unexpected error of a source fails this run only.
                LOGGER.debug("run %r", job.listing.run_id, exc_info=True)
                reason = f"{type(error).__name__}: {error}"
                unexpected = RunFailure(kind=RunFailureKind.UNEXPECTED, reason=reason)
                failure = FetchFailure(failure=unexpected)
                continue
            match result:
                case Success(_):
                    return result
                case Failure(judged):
                    failure = judged
        return Failure(failure)

    def _read_part(self, job: FetchJob, dataset: str, fetch: PartFetch, attempt: int) -> PartResult:
        part, verdict = self._read_and_judge(job, dataset, fetch, attempt)
        if isinstance(verdict, ReadWhole):
            reason = verdict.reason
            LOGGER.log(DECISION, "run %r is read in full: %s", job.listing.run_id, reason)
            fetch = PartFetch(
                window=WHOLE_RUN,
                kind=verdict.kind,
                reason=verdict.reason,
                selection=fetch.selection,
            )
            part, verdict = self._read_and_judge(job, dataset, fetch, attempt)
        match verdict:
            case Judged():
                return Success(replace(part, judged=verdict))
            case Rejected(failure=failure, evidence=evidence):
                if part.segment is not None:
                    disk.remove(Path(part.segment.path))
                return Failure(FetchFailure(failure=failure, evidence=evidence))
            case ReadWhole():
                raise AssertionError("the whole run was read")

    def _read_and_judge(
        self, job: FetchJob, dataset: str, fetch: PartFetch, attempt: int
    ) -> tuple[Fetched, Verdict]:
        """Read the rows of a window, twice if they are fewer than the listing says.

        While recording they are read once: a recording keeps one answer for each window.
        """
        segment = self._read_segment(job, dataset, fetch, attempt)
        part, verdict = self._judge.judge(job, dataset, fetch, segment)
        short = isinstance(verdict, Judged) and verdict.standing == Standing.SHORT
        if not short or not self._use_earlier:
            return part, verdict
        try:
            again = self._read_segment(job, dataset, fetch, attempt + 1, again=True)
        except (DrWandbError, OSError, MemoryError):
            raise
        except Exception:
            LOGGER.debug("run %r, read again", job.listing.run_id, exc_info=True)
            return part, verdict
        with closing(segment.lines()) as first, closing(again.lines()) as second:
            more = compare_rows(first, second)
        brought = again.received.rows - again.received.wanting
        before = segment.received.rows - segment.received.wanting
        if more.missing_rows or not (more.adds or brought > before):
            return part, verdict
        better = self._judge.judge(job, dataset, fetch, again)
        return better if isinstance(better[1], Judged) else (part, verdict)

    def _read_segment(
        self, job: FetchJob, dataset: str, fetch: PartFetch, attempt: int, *, again: bool = False
    ) -> Segment:
        """Read the rows of a window into a segment.

        A segment of an earlier sync is not used if the rows are to be checked once more.
        """
        window = fetch.window
        header = SegmentHeader(
            run=job.listing,
            window=window,
            selection=fetch.selection,
            source=self._source.kind,
            mark=_mark_of(job.part(dataset)),
            again=again,
            dataset=dataset,
            contents=self._contents_wanted(dataset),
        )
        serves = self._use_earlier and fetch.kind not in SEEN_AGAIN
        earlier = self._find_earlier(header) if serves else None
        if earlier is not None and not self._still_held(earlier, dataset):
            earlier = None
        if earlier is not None:
            LOGGER.log(DECISION, "run %r: the rows fetched earlier are used", job.listing.run_id)
            return earlier
        parts = self._batches(dataset, _as_far_as_held(job, dataset), window, attempt)
        if DATASETS[dataset].has_content:
            parts = self._filled(job, dataset, cast("Iterator[HistoryBatch]", parts))
        first = next(parts, None)
        if isinstance(first, HistoryFiles):  # then it is the only one
            return self._files.write(header, first, self._read)
        with SegmentWriter(self._folder, header) as writer:
            batches = cast("Iterator[EncodableRows]", parts)
            for batch in () if first is None else chain([first], batches):
                self._require_running()
                writer.add(batch)
            return writer.finish()

    def _find_earlier(self, header: SegmentHeader) -> Segment | None:
        return find_column_segment(self._folder, header) or find_segment(self._folder, header)

    def _contents_wanted(self, dataset: str) -> FileChoice | UnsetType:
        return self._request.contents_of(dataset) if DATASETS[dataset].has_content else UNSET

    def _still_held(self, segment: Segment, dataset: str) -> bool:
        """Say whether the bytes that the rows of a segment name are there."""
        if not DATASETS[dataset].has_content:
            return True
        assert self._contents is not None
        return self._contents.proves(segment)

    def _filled(
        self, job: FetchJob, dataset: str, batches: Iterator[HistoryBatch]
    ) -> Iterator[EncodableRows | HistoryFiles]:
        """Fetch the bytes of listed files, batch by batch."""
        assert self._contents is not None
        held = self._held_files(job, dataset)
        for batch in batches:
            self._require_running()
            rows = self._contents.fill(job.listing, batch.rows, held)
            yield RowBatch(rows=rows, live=batch.live, file=batch.file)

    def _held_files(self, job: FetchJob, dataset: str) -> Mapping[str, RunFile]:
        """Return the stored rows of the same run whose bytes are held, by path."""
        before, part = job.before, job.part(dataset)
        if before is None or part.stored is None:
            return {}
        if holds_another_run(before, dataset, job.listing, self._source.kind):
            return {}
        with self._stored.lines(dataset, job.listing.run_id, part.stored) as lines:
            return held_files(lines)

    def _batches(
        self, dataset: str, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[EncodableRows | HistoryFiles]:
        if dataset == HISTORY and self._file_source is not None:
            return self._file_source.read_history_or_files(run, window, attempt)
        read = find_reader(self._source, dataset)
        assert read is not None, dataset
        return read(run, window, attempt)

    def _read(self, files: HistoryFiles) -> Generator[FileBatch]:
        assert self._file_source is not None
        self._require_running()
        for batch in self._file_source.read_history_files(files):
            self._require_running()
            yield batch

    def _require_running(self) -> None:
        if self._stopped.is_set():
            raise SourceError("the sync has ended", RunFailureKind.INTERRUPTED, retryable=False)


def _as_far_as_held(job: FetchJob, dataset: str) -> RunListing:
    """Return the listing, with the last held step if it lists an earlier one.

    Live rows are requested up to the last step. A listing may be old: held rows beyond it that are
    not requested would seem to be gone.
    """
    held = job.part(dataset).rows
    listed = job.listing.last_step
    if dataset != HISTORY:
        return job.listing
    if held is None or held.last_step is None or (listed is not None and listed >= held.last_step):
        return job.listing
    return replace(job.listing, last_step=held.last_step)


def _mark_of(part: PartTracking) -> int | None:
    """Return the last step of the listing that a run has to reach."""
    evidence = part.evidence
    return evidence.target.last_step if evidence is not None and evidence.target else None
