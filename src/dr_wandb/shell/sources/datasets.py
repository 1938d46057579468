"""The datasets that a source has, beside the runs: those of runs and those of the project.

Rules
- A source has a dataset if it has a method for it, or finds one when it is asked by name.
- A request for everything takes what the source has; a dataset that is named has to be there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import FILES, PROJECT_DATASETS
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import HistoryBatch, Source
from dr_wandb.shell.store.divided_lines import FileRange


class ReadRows(Protocol):
    """Reads the rows of one dataset of a run, as `Source.read_history` does."""

    def __call__(
        self, run: RunListing, window: FetchWindow, attempt: int, /
    ) -> Iterator[HistoryBatch]:
        """Yield the rows in batches."""
        ...


RawNode = Mapping[str, Any]
"""A record of a project as a GraphQL node; JSON texts are not decoded."""


class RecordPage(Record, frozen=True, kw_only=True):
    """One page of a listing of records of the project.

    `total` is the source's count of all listed records, None if it does not count. `nulls` is the
    number of records that the source gave as null; they are not in `nodes`.
    `marks` has the mark of each group, and `same` names those that were not listed because theirs
    is known. `beside` are records that the count does not include. `links` are the links of runs by
    run id: `outputs`, a list of record ids, and `inputs`, a list of objects with `id` and `usedAs`.
    `unread`: why the rest of a record, or of the links of a run, could not be read, by its id. The
    links of such a run are those that came.
    `contents` are the large members of some records by their ids, encoded as in a line, if the
    nodes are without them; they can be read until the next page is requested.
    """

    nodes: Sequence[RawNode]
    total: int | None = None
    nulls: int = 0
    marks: Mapping[str, str] = msgspec.field(default_factory=dict)
    same: Sequence[str] = ()
    beside: Sequence[RawNode] = ()
    links: Mapping[str, RawNode] = msgspec.field(default_factory=dict)
    unread: Mapping[str, RunFailure] = msgspec.field(default_factory=dict)
    contents: Mapping[str, FileRange] = msgspec.field(default_factory=dict)


class Known(Record, frozen=True, kw_only=True):
    """What a caller knows already of a dataset of the project, or wants to know.

    `marks`: those of groups that need not be listed as long as theirs is the same. `contents`: the
    unchangeable contents that are held, by their `content_id`, which may be more once some came.
    `runs`: those whose links are wanted. listing_only: no content is wanted at all.
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


def find_reader(source: Source, dataset: str) -> ReadRows | None:
    """Return the function that reads the rows of a dataset of runs, None if the source has none.

    It is the method `read_<dataset>`, or the result of `reader_of` if a source has that method.
    """
    reader: ReadRows | None = _find(source, f"read_{dataset}", "reader_of", dataset)
    return reader


def find_lister(source: Source, dataset: str) -> ListRecords | None:
    """Return the function that lists a dataset of the project, None if the source has none.

    It is the method `list_<dataset>`, or the result of `lister_of` if a source has that method.
    """
    lister: ListRecords | None = _find(source, f"list_{dataset}", "lister_of", dataset)
    return lister


def _find(source: Source, method: str, finder: str, dataset: str) -> Any:
    found = getattr(source, method, None)
    if found is None and hasattr(source, finder):
        found = getattr(source, finder)(dataset)
    return found


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
    files = request.files if FILES in present else None
    return replace(request, with_everything=False, extra_datasets=present, files=files)
