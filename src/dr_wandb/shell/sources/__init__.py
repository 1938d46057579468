"""Where runs come from: one protocol, several implementations, one contract suite.

A source answers three questions and translates its own errors: `SourceError` for what concerns one
call, `DrWandbError` for what ends the sync. It normalizes nothing and keeps nothing: rows come in
batches of whatever form they have, and a batch knows how it is encoded.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.encoded_rows import EncodedRows, SelectedRows
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import HistorySelection
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.store.rows_file import WrittenRows

WORKERS = 16
"""How many runs are asked for at once: eight for each of two sessions. wandb-core takes at most 10
requests at a time for one `Api` (wandb 0.31.0), and a second one is opened if the first is full."""

RawRun = Mapping[str, Any]
"""A run as a GraphQL node: `name` is its id, `id` its storage id, JSON texts undecoded."""

RawRow = Mapping[str, Any]
"""A history row as it was logged: `_step`, `_timestamp`, ... beside the metrics."""


class RunPage(Record, frozen=True, kw_only=True):
    """One page of a listing.

    `matching` is the source's count of the runs that the query asks for, `total` its count of all
    runs of the project; None where it does not count. `disturbed`: the listing changed while it
    was read, so that runs may have been skipped. `unread`: why a run that is there could not be
    read, by its id. `left_out`: the fields that the source does not know, see
    core/sync/left_out.py; the same on all pages of an answer.
    """

    runs: Sequence[RawRun]
    unread: Mapping[str, RunFailure] = msgspec.field(default_factory=dict)
    matching: int | None = None
    total: int | None = None
    disturbed: bool = False
    left_out: tuple[str, ...] = ()


class EncodableRows(Protocol):
    """Some rows of one run, in any order, that can be had as lines."""

    @property
    def live(self) -> bool:
        """Say whether the rows are not from the exported Parquet files."""
        ...

    @property
    def file(self) -> int:
        """Tell apart the exported files that rows are from; says nothing of live rows."""
        ...

    def encode(self, run_id: str) -> EncodedRows:
        """Return the rows as lines."""
        ...


class HistoryBatch(EncodableRows, Protocol):
    """Some rows of one run, in any order, as a source gives them."""

    @property
    def rows(self) -> Sequence[RawRow]:
        """Return the rows as they came."""
        ...


class FileBatch(HistoryBatch, Protocol):
    """Some rows of an exported file, which can be selected from before they are encoded."""

    def select(self, run_id: str, selection: HistorySelection) -> SelectedRows:
        """Return what a selection admits of the rows, as lines."""
        ...


@dataclass(frozen=True, kw_only=True)
class HistoryFiles(ABC):
    """All rows of an answer, in files that any process can read. It can be pickled.

    written: all of these rows as lines, whole and in order, if they were written already. Who asks
    takes the file, if it is still there.
    """

    paths: Sequence[Path]
    window: FetchWindow
    written: WrittenRows | None = None

    @abstractmethod
    def batches(self) -> Generator[FileBatch]:
        """Read the rows that may lie in the window. Raises SourceError if they do not read."""


class SourceError(Exception):
    """One call failed; the message is the reason, for people. It may be worth another try.

    kind: what is refused is not worth another try. answered: the source is there, and said
    something that is of no use.
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
        """Let it be pickled, by whatever executor, although it is made of more than a text."""
        return BaseException.__new__, (type(self), *self.args), vars(self)

    @property
    def refused(self) -> bool:
        """Say whether the source is there, but does not give this to whoever asks."""
        return self.failure.refused


class Source(Protocol):
    """What the engine needs of a source. Methods may be called from several threads at once."""

    @property
    def kind(self) -> str:
        """Name the kind: runs of another kind of source are never missing because of this one."""
        ...

    @property
    def lists_at_once(self) -> bool:
        """Say whether listing every run costs no more than some: then every sync lists them all."""
        ...

    @property
    def address(self) -> str:
        """Return what people know the source by: a host or a folder."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return texts that must not be recorded, such as the API key in use."""
        ...

    @property
    def recorded_at(self) -> str | None:
        """Return the time that a recording was made at, None where there is a present."""
        ...

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query, page by page, oldest first. A query without runs gives an empty page."""
        ...

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Read the rows of a run whose step lies in the window, in batches, with all their keys.

        A window without a start, or from step 0, includes the rows without a step. Copies of a
        row, live and exported, may both come. attempt: 0 the first time; a source may read in a
        more careful way after that.
        """
        ...

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Read `wandb-metadata.json`; None where the run has none, an error where it fails."""
        ...

    def close(self) -> None:
        """Give back what the source holds."""
        ...


class FileSource(Source, Protocol):
    """A source whose rows may lie in files, so that they can be read in another process."""

    def read_history_or_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch | HistoryFiles]:
        """Do as `read_history`, but give nothing but the files where they hold the whole answer."""
        ...

    def read_files(self, files: HistoryFiles) -> Generator[FileBatch]:
        """Read the rows of such files here, in the memory that the source may take."""
        ...


def as_file_source(source: Source) -> FileSource | None:
    """Return a source as one that may give files, None where it never does."""
    return cast("FileSource", source) if hasattr(source, "read_history_or_files") else None


def listing_mark(source: Source) -> str:
    """Return a text that stays the same as long as all that a source lists does; "" for none."""
    return getattr(source, "listing_mark", "")


class ReadRows(Protocol):
    """Reads the rows of one dataset of a run, as `Source.read_history` does."""

    def __call__(
        self, run: RunListing, window: FetchWindow, attempt: int, /
    ) -> Iterator[HistoryBatch]:
        """Give the rows in batches."""
        ...


def find_reader(source: Source, dataset: str) -> ReadRows | None:
    """Return what reads the rows of a dataset, None if the source does not have it.

    It is the method `read_<dataset>`, or what `reader_of` returns if a source has what another one
    has.
    """
    reader: ReadRows | None = getattr(source, f"read_{dataset}", None)
    if reader is None and hasattr(source, "reader_of"):
        reader = source.reader_of(dataset)
    return reader


def require_datasets(source: Source, names: Iterable[str]) -> None:
    """Raise InvalidRequestError if a source does not have all of these datasets."""
    missing = [name for name in names if find_reader(source, name) is None]
    if missing:
        raise InvalidRequestError([f"{source.address} has no {name}" for name in missing])


def tails_at_once(source: Source) -> int:
    """Return how many threads may ask for tails, 0 if as many as ask for anything else.

    A source that asks for several tails in one request says so in `tails_at_once`.
    """
    return getattr(source, "tails_at_once", 0)


class EarlyRows(NamedTuple):
    """Where rows may be written by a source that reads them to list its runs.

    folder: made when it is needed; it goes with the sync. held: the runs that are in the export
    already, so that they are not sure to be fetched.
    """

    folder: Path
    held: Collection[str]

    def folder_for(self, run_id: str) -> Path | None:
        """Return where to write the rows of a run, None if they may not be asked for."""
        return None if run_id in self.held else self.folder


def lend(source: Source, executor: SharedExecutor, early: EarlyRows | None = None) -> None:
    """Let a source that reads many files read them with an executor, until that is closed.

    early: where it may write rows meanwhile, None if it is not known whether they are asked for.
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
    "ReadRows",
    "RowBatch",
    "RunPage",
    "Source",
    "SourceError",
    "as_file_source",
    "find_reader",
    "lend",
    "listing_mark",
    "require_datasets",
    "tails_at_once",
]
