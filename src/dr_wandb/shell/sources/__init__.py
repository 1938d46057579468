"""Sources of runs: one protocol, several implementations, one contract suite.

A source answers three questions and translates its own errors: `SourceError` if one call failed,
`DrWandbError` if the sync has to end. It normalizes nothing and keeps nothing: rows come in batches
of any form, and each batch can encode itself.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, cast

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.encoded_rows import EncodedRows, SelectedRows
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.values import clean_text
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.progress import LOGGER
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

    def read_files(self, files: HistoryFiles) -> Generator[FileBatch]:
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


class ReadRows(Protocol):
    """Reads the rows of one dataset of a run, as `Source.read_history` does."""

    def __call__(
        self, run: RunListing, window: FetchWindow, attempt: int, /
    ) -> Iterator[HistoryBatch]:
        """Yield the rows in batches."""
        ...


def find_reader(source: Source, dataset: str) -> ReadRows | None:
    """Return the function that reads the rows of a dataset, None if the source does not have it.

    It is the method `read_<dataset>`, or the result of `reader_of` if a source has that method.
    """
    reader: ReadRows | None = getattr(source, f"read_{dataset}", None)
    if reader is None and hasattr(source, "reader_of"):
        reader = source.reader_of(dataset)
    return reader


RawNode = Mapping[str, Any]
"""A record of a project as a GraphQL node; JSON texts are not decoded."""


class RecordPage(Record, frozen=True, kw_only=True):
    """One page of a listing of records of the project.

    `total` is the source's count of all listed records, None if it does not count. `nulls` is the
    number of records that the source gave as null; they are not in `nodes`.
    `marks` has the mark of each group, and `same` names those that were not listed because theirs
    is known. `beside` are records that the count does not include. `links` are the links of runs by
    run id: `outputs`, a list of record ids, and `inputs`, a list of objects with `id` and `usedAs`.
    `unread`: why the rest of a record, or the links of a run, could not be read, by its id.
    """

    nodes: Sequence[RawNode]
    total: int | None = None
    nulls: int = 0
    marks: Mapping[str, str] = msgspec.field(default_factory=dict)
    same: Sequence[str] = ()
    beside: Sequence[RawNode] = ()
    links: Mapping[str, RawNode] = msgspec.field(default_factory=dict)
    unread: Mapping[str, RunFailure] = msgspec.field(default_factory=dict)


class Known(Record, frozen=True, kw_only=True):
    """What a caller knows already of a dataset of the project, or wants to know.

    `marks`: those of groups that need not be listed as long as theirs is the same. `contents`: the
    ids of records whose unchangeable content is held. `runs`: those whose links are wanted.
    listing_only: no content is wanted at all.
    """

    marks: Mapping[str, str] = msgspec.field(default_factory=dict)
    contents: Collection[str] = ()
    runs: Sequence[str] = ()
    listing_only: bool = False


NOTHING_KNOWN = Known()


class ListRecords(Protocol):
    """Lists all records of one dataset of the project."""

    def __call__(self, known: Known = ..., /) -> Iterator[RecordPage]:
        """Yield the pages; one without nodes if there is no record. Raises SourceError."""
        ...


def find_lister(source: Source, dataset: str) -> ListRecords | None:
    """Return the function that lists a dataset of the project, None if the source has none.

    It is the method `list_<dataset>`, or the result of `lister_of` if a source has that method.
    """
    lister: ListRecords | None = getattr(source, f"list_{dataset}", None)
    if lister is None and hasattr(source, "lister_of"):
        lister = source.lister_of(dataset)
    return lister


def has_dataset(source: Source, name: str) -> bool:
    """Say whether a source has a dataset, of runs or of the project."""
    find = find_lister if name in PROJECT_DATASETS else find_reader
    return find(source, name) is not None


def require_datasets(source: Source, names: Iterable[str]) -> None:
    """Raise InvalidRequestError if a source does not have all of these datasets."""
    missing = [name for name in names if not has_dataset(source, name)]
    if missing:
        raise InvalidRequestError([f"{source.address} has no {name}" for name in missing])


def with_datasets_of(source: Source, request: ExportRequest) -> ExportRequest:
    """Return a request for everything as one for the datasets that a source has."""
    if not request.with_everything:
        return request
    missing = [name for name in request.extra_datasets if not has_dataset(source, name)]
    if missing:
        LOGGER.info("%s has no %s: what is held of it stays", source.address, ", ".join(missing))
    present = tuple(name for name in request.extra_datasets if name not in missing)
    return replace(request, with_everything=False, extra_datasets=present)


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
    "NOTHING_KNOWN",
    "WORKERS",
    "EarlyRows",
    "EncodableRows",
    "FileBatch",
    "FileSource",
    "HistoryBatch",
    "HistoryFiles",
    "Known",
    "ListRecords",
    "RawNode",
    "RawRow",
    "RawRun",
    "ReadRows",
    "RecordPage",
    "RowBatch",
    "RunPage",
    "Source",
    "SourceError",
    "as_file_source",
    "find_lister",
    "find_reader",
    "lend",
    "listing_mark",
    "require_datasets",
    "tails_at_once",
    "with_datasets_of",
]
