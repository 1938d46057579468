"""Make segments of rows that came in files: in another process, or here.

Rows in columns that need not become lines stay in their files: they are read once, here, by few
threads. Arrow lets other threads run meanwhile, so other processes would save no time.
"""

from collections.abc import Callable, Collection, Generator, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.sync.formats import goes_in_columns
from dr_wandb.shell.background import DaemonThreads
from dr_wandb.shell.executor import SharedExecutor, answer_of, count_cores
from dr_wandb.shell.sources import FileBatch, HistoryFiles, Source, as_file_source
from dr_wandb.shell.store.rows_file import is_there
from dr_wandb.shell.sync.column_segments import write_column_segment
from dr_wandb.shell.sync.fetch_job import FetchJob
from dr_wandb.shell.sync.segment_writer import write_segment, write_segment_of_files
from dr_wandb.shell.sync.segments import Segment, SegmentHeader, make_segment, move_segment

ROWS_PER_PROCESS = 100_000
"""This many rows of eleven columns take a core about as long as starting a process, 0.4 s."""

READERS = 2
"""How many threads read files whose rows stay in columns. Each keeps the memory that it used."""

MOST_PROCESSES = 3
"""This process can fetch and assemble no more than this number of processes write."""

Read = Callable[[HistoryFiles], Generator[FileBatch]]


class FileSegments:
    """Makes segments in a folder.

    formats: in which the export holds its rows. executor: writes the segments while this process
    fetches others.
    """

    def __init__(
        self, folder: Path, formats: Collection[str], executor: SharedExecutor | None
    ) -> None:
        self._folder = folder
        self._formats = formats
        self._executor = executor
        self._readers = DaemonThreads(READERS)

    def close(self) -> None:
        """Let the threads end."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def write(self, header: SegmentHeader, files: HistoryFiles, read: Read) -> Segment:
        """Let the executor write a segment, or write it here if it does not.

        Rows that were written already only become a segment, once. The executor gets a folder of
        its own, so that work which outlives this process leaves nothing that a sync would find.
        read: reads the files here.
        """
        written = files.written
        if written is not None and header.is_answered_by(files.window) and is_there(written):
            return make_segment(written, self._folder, header)
        in_columns = files.in_columns and goes_in_columns(
            self._formats, header.dataset, header.window, header.selection
        )
        if self._executor is not None and self._executor.ready:
            work = write_segment_in_columns if in_columns else write_segment_of_files
            with TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as private:
                made = answer_of(self._executor.submit(work, Path(private), header, files))
                if made is not None:
                    return move_segment(made, self._folder)
        if in_columns:
            read_here = self._readers.submit(write_column_segment, self._folder, header, files)
            if (found := read_here.result()) is not None:
                return found
        return write_segment(self._folder, header, lambda: read(files))


def write_segment_in_columns(folder: Path, header: SegmentHeader, files: HistoryFiles) -> Segment:
    """Make a segment of the files themselves if that can be done: work for another process."""
    found = write_column_segment(folder, header, files)
    return found or write_segment_of_files(folder, header, files)


def processes_for(source: Source, jobs: Iterable[FetchJob], formats: Collection[str] = ()) -> int:
    """Return how many processes save time for these jobs, by the row counts of the listing.

    formats: in which the export holds its rows.
    """
    cores = count_cores()
    if cores == 1 or as_file_source(source) is None:
        return 0
    counts = [
        job.listing.history_line_count or 0
        for job in jobs
        if HISTORY in job.plan.fetches
        and job.listing.terminal
        and not _in_columns(source, job, formats)
    ]
    return min(cores, MOST_PROCESSES, len(counts), sum(counts) // ROWS_PER_PROCESS)


def _in_columns(source: Source, job: FetchJob, formats: Collection[str]) -> bool:
    """Say whether the rows of a job are likely to stay in the columns that they come in."""
    fetch = job.plan.fetches[HISTORY]
    stay = goes_in_columns(formats, HISTORY, fetch.window, fetch.selection)
    return source.kind == "api" and stay
