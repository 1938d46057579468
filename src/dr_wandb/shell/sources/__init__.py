"""Sources of runs: one protocol, several implementations, one contract suite.

datasets.py beside this has what a source may give besides runs and their history.

A source answers three questions and translates its own errors: `SourceError` if one call failed,
`DrWandbError` if the sync has to end. It normalizes nothing and keeps nothing: rows come in batches
of any form, and each batch can encode itself.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, cast

import msgspec

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.encoded_rows import EncodedRows, SelectedRows
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.values import clean_text
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.store.rows_file import WrittenRows

if TYPE_CHECKING:
    from dr_wandb.core.columnar.cells import CellBatch

WORKERS = 16
"""How many runs are fetched at once: eight for each of two sessions. wandb-core takes at most 10
requests at a time for one `Api` (wandb 0.31.0), and a second one is opened if the first is full."""

RawRun = Mapping[str, Any]
"""A run as a GraphQL node: `name` is its id, `id` its storage id, JSON texts are not decoded."""

RawRow = Mapping[str, Any]
"""A history row as it was logged: `_step`, `_timestamp`, ... beside the metrics."""


class RunPage(Record, frozen=True, kw_only=True):
    """One page of a listing.

    `matching` is the source's count of the runs that match the query, `total` its count of all runs
    of the project; None if it does not count. `disturbed`: the listing changed while it was read,
    so that runs may have been skipped. `unread`: why a listed run could not be read, by its id.
    `left_out`: the fields that the source does not know, see core/sync/left_out.py; the same on
    all pages of an answer.
    """

    runs: Sequence[RawRun]
    unread: Mapping[str, RunFailure] = msgspec.field(default_factory=dict)
    matching: int | None = None
    total: int | None = None
    disturbed: bool = False
    left_out: tuple[str, ...] = ()


class EncodableRows(Protocol):
    """Some rows of one run, in any order, that can be encoded as lines."""

    @property
    def live(self) -> bool:
        """Say whether the rows are not from the exported Parquet files."""
        ...

    @property
    def file(self) -> int:
        """Return a number for the exported file of the rows; it has no meaning for live rows."""
        ...

    def encode(self, run_id: str) -> EncodedRows:
        """Return the rows as lines."""
        ...


class HistoryBatch(EncodableRows, Protocol):
    """Some rows of one run, in any order, as they came from a source."""

    @property
    def rows(self) -> Sequence[RawRow]:
        """Return the rows as they came."""
        ...


class FileBatch(HistoryBatch, Protocol):
    """Some rows of an exported file, which can be selected before they are encoded."""

    def select(self, run_id: str, selection: HistorySelection) -> SelectedRows:
        """Return the rows that a selection admits, as lines."""
        ...


class CellsBatch(FileBatch, Protocol):
    """Some rows of an exported file in columns, which can become cells without being lines."""

    def rising_steps(self, after: int | None) -> Sequence[int] | None:
        """Return the steps, None unless they are sure to rise from row to row, beyond `after`."""
        ...

    def last_line(self, run_id: str) -> bytes:
        """Return the last row as a line, which may have no more than its step and its time."""
        ...

    def cells(self, run_id: str, first: int) -> "CellBatch":
        """Return the rows as cells. first: the number of the first row in its run."""
        ...


@dataclass(frozen=True, kw_only=True)
class HistoryFiles(ABC):
    """All rows of an answer, in files that any process can read. It can be pickled.

    in_columns: they are Parquet files, whose batches are CellsBatch. written: all of these rows as
    lines, unselected and in order, if they were written already. The caller takes the file, if it
    still exists.
    """

    paths: Sequence[Path]
    window: FetchWindow
    written: WrittenRows | None = None
    in_columns: ClassVar[bool] = False

    def in_order(self) -> Sequence[Path]:
        """Return the files in the order of their rows."""
        return self.paths

    def wide_batches(self) -> Generator[FileBatch]:
        """Read the rows as `batches` does, for one of few threads that only read files."""
        return self.batches()

    @abstractmethod
    def batches(self) -> Generator[FileBatch]:
        """Read the rows that may be in the window. Raises SourceError if they do not read."""


class SourceError(Exception):
    """One call failed; the message is the reason, for people. Another try may succeed.

    kind: a call that was refused is not tried again. answered: the source was reached, but its
    answer cannot be used.
    """

    def __init__(
        self,
        reason: str,
        kind: RunFailureKind,
        *,
        retryable: bool = True,
        answered: bool = False,
    ) -> None:
        super().__init__(reason)
        self.failure = RunFailure(kind=kind, reason=reason)
        self.retryable = retryable and not self.refused
        self.answered = answered or self.refused

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it picklable by any executor, although its constructor takes more than a text."""
        return BaseException.__new__, (type(self), *self.args), vars(self)

    @property
    def refused(self) -> bool:
        """Say whether the source was reached, but refuses this to the user."""
        return self.failure.refused


class Source(Protocol):
    """The methods that the engine needs. They may be called from several threads at once."""

    @property
    def kind(self) -> str:
        """Return the kind. A run of another kind of source is never missing because of this one."""
        ...

    @property
    def lists_at_once(self) -> bool:
        """Say whether listing all runs costs no more than some: then every sync lists them all."""
        ...

    @property
    def address(self) -> str:
        """Return the name of the source for people: a host or a folder."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return texts that must not be recorded, such as the API key in use."""
        ...

    @property
    def recorded_at(self) -> str | None:
        """Return the time at which a recording was made, None for a source that is not recorded."""
        ...

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query, page by page, oldest first. A query without runs gives an empty page."""
        ...

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read the rows of a run whose step is in the window, in batches, with all their keys.

        A window without a start, or from step 0, includes the rows without a step. Copies of a
        row, live and exported, may both come. attempt: 0 the first time; a source may read more
        carefully after that.
        """
        ...

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Read `wandb-metadata.json`; None if the run has none. Raises SourceError on failure."""
        ...

    def close(self) -> None:
        """Release the resources of the source."""
        ...


class FileSource(Source, Protocol):
    """A source whose rows may be in files, so that they can be read in another process."""

    def read_history_or_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch | HistoryFiles]:
        """Read as `read_history` does, but yield only the files if they hold the whole answer."""
        ...

    def read_history_files(self, files: HistoryFiles) -> Generator[FileBatch]:
        """Read the rows of such files in this process, within the source's limit of memory."""
        ...


def as_file_source(source: Source) -> FileSource | None:
    """Return a source as one that may yield files, None if it never does."""
    return cast("FileSource", source) if hasattr(source, "read_history_or_files") else None


def listing_mark(source: Source) -> str:
    """Return a text that changes if anything that a source lists changes; "" for none."""
    return getattr(source, "listing_mark", "")


def host_of(source: Source) -> str:
    """Return the scheme, host and port of the W&B server that a source asks; "" for none."""
    return getattr(source, "host", "")


def requests_of(source: Source) -> int:
    """Return how many requests a source has sent to a W&B server so far."""
    sent: int = getattr(source, "requests", 0)
    return sent


def name_of(source: Source, export: Path) -> str:
    """Return the name of a source as `--source` takes it, with a path relative to an export."""
    if source.kind not in ("replay", "offline"):
        return source.kind
    path = os.path.realpath(Path(source.address).expanduser())
    with suppress(ValueError):  # on another drive
        path = os.path.relpath(path, os.path.realpath(export))
    return f"{source.kind}:{clean_text(Path(path).as_posix())}"


def source_beside(name: str, export: Path) -> str:
    """Return the name of a source with an absolute path. name: made by `name_of`."""
    kind, separator, path = name.partition(":")
    return f"{kind}:{os.path.normpath(Path(os.path.realpath(export), path))}" if separator else kind


def tails_at_once(source: Source) -> int:
    """Return how many threads may fetch tails at once, 0 for the usual number.

    A source that requests several tails together has an attribute `tails_at_once`.
    """
    return getattr(source, "tails_at_once", 0)


class EarlyRows(NamedTuple):
    """The folder for rows of a source that reads them while it lists its runs.

    A source that does not may still get ready meanwhile to read those of new runs.

    folder: created when it is needed, removed with the sync. held: the runs that are in the export
    already: they may not be fetched.
    """

    folder: Path
    held: Collection[str]

    def folder_for(self, run_id: str) -> Path | None:
        """Return the folder for the rows of a run, None if they may not be needed."""
        return None if run_id in self.held else self.folder


def lend(source: Source, executor: SharedExecutor, early: EarlyRows | None = None) -> None:
    """Let a source that reads many files read them with an executor, until that is closed.

    early: the folder for rows written meanwhile, None if they may not be needed.
    """
    if hasattr(source, "executor"):
        source.executor = executor
    if hasattr(source, "early"):
        source.early = early


__all__ = [
    "WORKERS",
    "EarlyRows",
    "EncodableRows",
    "FileBatch",
    "FileSource",
    "HistoryBatch",
    "HistoryFiles",
    "RawRow",
    "RawRun",
    "RowBatch",
    "RunPage",
    "Source",
    "SourceError",
    "as_file_source",
    "lend",
    "listing_mark",
    "tails_at_once",
]
