"""Fetch many runs at once, each into its own segment, and judge what came.

Rules
- One run's failure never touches another's success.
- A run whose answer is an error, or excludes what is held, is tried three times within about ten
  seconds; then it has failed, with its reason. What may pass by waiting, the source has waited for
  itself.
- A short answer is asked for once more, in a more careful way; the better of the two counts.
- A tail that cannot be judged by itself is read whole, once.
- A segment that an earlier, interrupted sync left is used if it answers the same question.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import EVERYTHING, ExportRequest
from dr_wandb.core.contract.state import HistoryPosition, RunTracking, holds_another_run
from dr_wandb.core.sync.case import Answer
from dr_wandb.core.sync.judge import judge
from dr_wandb.core.sync.plan import FetchKind, HistoryFetch, RunPlan
from dr_wandb.core.sync.row_pairs import Comparison, compare_rows
from dr_wandb.core.sync.verdict import Judged, Keep, ReadWhole, Rejected, Verdict
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import (
    FileBatch,
    HistoryBatch,
    HistoryFiles,
    Source,
    SourceError,
    with_files,
)
from dr_wandb.shell.store import disk
from dr_wandb.shell.sync.listing import ATTEMPTS, Pause, pause
from dr_wandb.shell.sync.processes import Processes, count_cores
from dr_wandb.shell.sync.segment_writer import (
    SegmentWriter,
    write_segment,
    write_segment_of_files,
)
from dr_wandb.shell.sync.segments import Segment, SegmentHeader, find_segment, move_segment
from dr_wandb.shell.sync.stored_histories import StoredHistories

WORKERS = 16
"""Eight for each of two sessions: wandb-core takes at most 10 requests at a time for one `Api`
(wandb 0.31.0), and a second one is opened where the first is full."""

SEEN_AGAIN = (FetchKind.AGAIN, FetchKind.LOOK)
"""Reads that say that rows are as they were some time before."""

ROWS_PER_PROCESS = 100_000
"""So many rows of eleven columns take a core about as long as the start of a process, 0.4 s."""

MOST_PROCESSES = 3
"""This process fetches and puts together what that many write."""

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


class FetchJob(Record, frozen=True, kw_only=True):
    """One run that needs a request: its plan, its listing, and what is known of it."""

    plan: RunPlan
    listing: RunListing
    before: RunTracking | None


class FetchFailure(Record, frozen=True, kw_only=True):
    """Why a run could not be fetched.

    `evidence` is there if its answers were judged. `refused`: W&B lists it, but gives no history.
    """

    reason: str
    evidence: Evidence | None = None
    refused: bool = False


class Fetched(Record, frozen=True, kw_only=True):
    """What one run's fetch brought: the rows of `window`, and its metadata where it was read.

    `judged` says which of them, and of the stored ones, are to be held; `added` of them were not.
    """

    segment: Segment | None = None
    window: FetchWindow = WHOLE_RUN
    judged: Judged | None = None
    added: int = 0
    metadata: Mapping[str, Any] | None = None
    metadata_read: bool = False

    @property
    def keeps_rows(self) -> bool:
        """Say whether any of the rows are to be held."""
        return self.judged is not None and self.judged.keep != Keep.HELD


FetchResult = Result[Fetched, FetchFailure]


class Fetcher:
    """Fetches the runs of one sync into a staging folder, until it is closed.

    stored: the rows that the export has. now: the time of this sync. use_earlier: whether segments
    of an interrupted sync serve; a recording needs every answer of the source. processes: write the
    segments of runs whose rows are all in files, while this one goes on fetching.
    """

    def __init__(
        self,
        source: Source,
        request: ExportRequest,
        folder: Path,
        *,
        stored: StoredHistories,
        now: str,
        wait: Pause = pause,
        use_earlier: bool = True,
        processes: Processes | None = None,
    ) -> None:
        self._source = source
        self._request = request
        self._folder = folder
        self._wait = wait
        self._stored = stored
        self._now = now
        self._use_earlier = use_earlier
        self._processes = processes or Processes(0)
        self._with_files = with_files(source)
        self._stopped = threading.Event()

    def close(self) -> None:
        """Let fetches that are under way end with their next batch, and begin no other attempt.

        Closing the source ends those that wait for their turn.
        """
        self._stopped.set()

    def fetch(self, job: FetchJob) -> FetchResult:
        """Fetch what the plan of one run asks for. Never raises for what concerns this run."""
        failure = FetchFailure(reason="never tried")
        for attempt in range(ATTEMPTS):
            if attempt:
                self._wait(attempt)
            if self._stopped.is_set():
                break
            try:
                result = self._attempt(job, attempt)
            except SourceError as error:
                failure = FetchFailure(reason=str(error), refused=error.refused)
                if not error.retryable:
                    break
                continue
            except (DrWandbError, OSError, MemoryError):
                raise
            except Exception as error:
                # What a source did not foresee concerns this run alone, whatever it is.
                LOGGER.debug("run %r", job.listing.run_id, exc_info=True)
                failure = FetchFailure(reason=f"{type(error).__name__}: {error}")
                continue
            match result:
                case Success(_):
                    return result
                case Failure(reason):
                    failure = reason
        return Failure(failure)

    def _attempt(self, job: FetchJob, attempt: int) -> FetchResult:
        metadata = self._source.read_metadata(job.listing) if job.plan.metadata else None
        fetched: FetchResult = Success(Fetched())
        if job.plan.history is not None:
            fetched = self._read_history(job, job.plan.history, attempt)
        return fetched.map(
            lambda part: replace(part, metadata=metadata, metadata_read=job.plan.metadata)
        )

    def _read_history(self, job: FetchJob, fetch: HistoryFetch, attempt: int) -> FetchResult:
        part, verdict = self._read_and_judge(job, fetch, attempt)
        if isinstance(verdict, ReadWhole):
            LOGGER.debug("run %r is read whole: %s", job.listing.run_id, verdict.reason)
            fetch = HistoryFetch(window=WHOLE_RUN, kind=fetch.kind, reason=verdict.reason)
            part, verdict = self._read_and_judge(job, fetch, attempt)
        match verdict:
            case Judged():
                return Success(replace(part, judged=verdict))
            case Rejected(reason=reason, evidence=evidence):
                if part.segment is not None:
                    disk.remove(Path(part.segment.path))
                return Failure(FetchFailure(reason=reason, evidence=evidence))
            case ReadWhole():
                raise AssertionError("the whole run was read")

    def _read_and_judge(
        self, job: FetchJob, fetch: HistoryFetch, attempt: int
    ) -> tuple[Fetched, Verdict]:
        """Read the rows of a window, twice if they are fewer than the listing says.

        A recording keeps one answer for each window, so what it hears is read once.
        """
        segment = self._read_segment(job, fetch, attempt)
        part, verdict = self._judge(job, fetch, segment)
        short = isinstance(verdict, Judged) and verdict.standing == Standing.SHORT
        if not short or not self._use_earlier:
            return part, verdict
        try:
            again = self._read_segment(job, fetch, attempt + 1, again=True)
        except (DrWandbError, OSError, MemoryError):
            raise
        except Exception:
            LOGGER.debug("run %r, read again", job.listing.run_id, exc_info=True)
            return part, verdict
        with closing(segment.lines()) as first, closing(again.lines()) as second:
            more = compare_rows(first, second)
        if more.missing_rows or not more.adds:
            return part, verdict
        better = self._judge(job, fetch, again)
        return better if isinstance(better[1], Judged) else (part, verdict)

    def _judge(
        self, job: FetchJob, fetch: HistoryFetch, segment: Segment
    ) -> tuple[Fetched, Verdict]:
        before = job.before
        evidence = before.evidence if before is not None else None
        comparison = self._compare(job, fetch, segment)
        answer = Answer(
            window=fetch.window,
            tail=fetch.tail,
            received=segment.received,
            rows=segment.rows,
            digest=segment.digest,
            begins_as_before=evidence is not None
            and segment.begins_with(evidence.answer_rows, evidence.answer_digest),
            comparison=comparison,
            stored=self._describe_stored(job),
        )
        added = comparison.adds if comparison is not None else segment.rows
        part = Fetched(segment=segment, window=fetch.window, added=added)
        return part, judge(
            job.listing,
            answer,
            before,
            selection=self._request.selection,
            source=self._source.kind,
            now=self._now,
        )

    def _compare(self, job: FetchJob, fetch: HistoryFetch, segment: Segment) -> Comparison | None:
        """Compare what came with what is stored, if that is of the same run and selection."""
        before = job.before
        if before is None or before.history is None:
            return Comparison(adds=segment.rows) if fetch.tail else None
        if holds_another_run(before, job.listing, self._source.kind):
            return None
        selection = self._request.selection
        return self._stored.compare(
            job.listing.run_id,
            before.history,
            segment,
            under=before.rows.selection if before.rows is not None else EVERYTHING,
            selection=selection,
            start=fetch.window.start if fetch.tail else None,
            last_step=job.listing.last_step,
        )

    def _describe_stored(self, job: FetchJob) -> HistoryPosition | None:
        """Describe stored rows of which the state does not, such as those of 3.0.3."""
        before = job.before
        if before is None or before.history is None or before.rows is not None:
            return None
        return self._stored.describe(job.listing.run_id, before.history)

    def _read_segment(
        self, job: FetchJob, fetch: HistoryFetch, attempt: int, *, again: bool = False
    ) -> Segment:
        """Read the rows of a window into a segment.

        One that an earlier sync left says nothing of rows that are to be looked at once more.
        """
        window = fetch.window
        header = SegmentHeader(
            run=job.listing,
            window=window,
            selection=self._request.selection,
            source=self._source.kind,
            mark=_mark_of(job),
            again=again,
        )
        serves = self._use_earlier and fetch.kind not in SEEN_AGAIN
        earlier = find_segment(self._folder, header) if serves else None
        if earlier is not None:
            return earlier
        parts = self._parts(job.listing, window, attempt)
        with SegmentWriter(self._folder, header) as writer:
            for part in parts:
                if isinstance(part, HistoryFiles):  # then it is the only one
                    return self._write_files(header, part)
                self._require_going_on()
                writer.add(part)
            return writer.finish()

    def _parts(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch | HistoryFiles]:
        if self._with_files is not None:
            return self._with_files.read_history_or_files(run, window, attempt)
        return self._source.read_history(run, window, attempt)

    def _write_files(self, header: SegmentHeader, files: HistoryFiles) -> Segment:
        """Have another process write a segment, or write it here if none has an answer.

        It has a folder of its own: one that outlives this process leaves nothing that is found.
        """
        if self._processes:
            with TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as private:
                place = Path(private)
                made = self._processes.ask(write_segment_of_files, place, header, files)
                if made is not None:
                    return move_segment(made, self._folder)
        return write_segment(self._folder, header, lambda: self._read(files))

    def _read(self, files: HistoryFiles) -> Generator[FileBatch]:
        assert self._with_files is not None
        self._require_going_on()
        for batch in self._with_files.read_files(files):
            self._require_going_on()
            yield batch

    def _require_going_on(self) -> None:
        if self._stopped.is_set():
            raise SourceError("the sync has ended", retryable=False)


def _mark_of(job: FetchJob) -> int | None:
    """Return the last step of the listing that a run is to catch up with."""
    evidence = job.before.evidence if job.before is not None else None
    return evidence.target.last_step if evidence is not None and evidence.target else None


def processes_for(source: Source, jobs: Iterable[FetchJob]) -> int:
    """Return how many processes pay for these jobs, by what the listing says of their rows."""
    cores = count_cores()
    if cores == 1 or with_files(source) is None:
        return 0
    counts = [
        job.listing.history_line_count or 0
        for job in jobs
        if job.plan.history is not None and job.listing.terminal
    ]
    return min(cores, MOST_PROCESSES, len(counts), sum(counts) // ROWS_PER_PROCESS)


def in_threads(
    jobs: Iterable[Job], work: Callable[[Job], Outcome], workers: int = WORKERS
) -> Iterator[tuple[Job, Outcome]]:
    """Do the work of all jobs on a few threads; give each answer as it comes.

    The threads are daemons: an interrupt does not wait for them. An exception in `work` ends the
    iteration with it.
    """
    waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Job, Outcome | None, BaseException | None]] = queue.SimpleQueue()
    count = 0
    for job in jobs:
        waiting.put(job)
        count += 1

    def serve() -> None:
        while (job := waiting.get()) is not None:
            try:
                done.put((job, work(job), None))
            except BaseException as error:
                done.put((job, None, error))

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(workers, count))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(count):
            job, answer, error = done.get()
            if error is not None:
                raise error
            yield job, answer  # type: ignore[misc]
    finally:
        while not waiting.empty():
            waiting.get()
        for _ in threads:
            waiting.put(None)
