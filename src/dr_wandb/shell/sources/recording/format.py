"""The format of a recording: the answers of a source during one sync, as a folder of text files.

    recording.json     entity, project, clock, counts
    listing.jsonl      one line for each listing query, in the order of their last answers
    runs.jsonl         the runs in these answers
    history.jsonl      one line for each run, dataset and window that was read, in this order
    history/*.jsonl    the rows of one such window, one in each line, in the order of the source
    metadata.jsonl     one line for each run whose metadata was read, by run id
    records.jsonl      one line for each listed dataset of the project, then one for each record;
                       only if such a dataset was requested

Rules
- UTF-8, keys sorted, one value in each line, which ends with a newline. `recording.json` is
  indented.
- A listing query has the number of its line. A line of `runs.jsonl` is valid from that answer on,
  until a later line of the same run: a run that is equal in several answers has one line.
- Rows have the flat keys of row_shape.py; runs stay GraphQL nodes, and their JSON texts are not
  decoded.
- A read that failed at its last attempt is recorded with its reason. One that was interrupted, by
  the end of the sync or by the caller, is not recorded.
- No file name comes from a run id. The counts must match, so a file cut short is noticed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, NewerSchema
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.datasets import RecordPage

RECORDING_VERSION = 5
"""The newest `schema_version`; a newer one is refused. Version 4 has no records of a project. A
recording that has only rows of the history has version 3. Version 2 has no `left_out`, since each
source knew all fields. Version 1 has rows in any shape, and no numbers for the files that they are
from."""

OF_HISTORY_ALONE = 3
WITHOUT_RECORDS = 4

HEAD_FILE = "recording.json"
LISTING_FILE = "listing.jsonl"
RUNS_FILE = "runs.jsonl"
HISTORY_FILE = "history.jsonl"
HISTORY_FOLDER = "history"
METADATA_FILE = "metadata.jsonl"
RECORDS_FILE = "records.jsonl"
RECORDING_NAMES = frozenset(
    {
        HEAD_FILE,
        LISTING_FILE,
        RUNS_FILE,
        HISTORY_FILE,
        HISTORY_FOLDER,
        METADATA_FILE,
        RECORDS_FILE,
    }
)

_REMEDY = "record it again, or restore the folder from a copy"
_ENCODER = msgspec.json.Encoder(order="sorted")
_ROWS_NAME = re.compile(r"[0-9a-f]{32}\.jsonl")

_R = TypeVar("_R", bound=Record)
Answer = TypeVar("Answer", "RowsAnswer", "MetadataAnswer", "RecordsAnswer")


class RecordingHead(Record, frozen=True, kw_only=True):
    """`recording.json`. `source` is the kind of the recorded source; the numbers count lines.

    `datasets` is set if other datasets than the history were requested, and names these. `records`
    is set if one of them is of the project.
    """

    schema_version: int = OF_HISTORY_ALONE
    entity: str
    project: str
    source: str
    recorded_at: str
    mode: str
    listings: int = 0
    runs: int = 0
    histories: int = 0
    rows: int = 0
    metadata: int = 0
    datasets: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    records: int | msgspec.UnsetType = msgspec.UNSET


class ListingAnswer(Record, frozen=True, kw_only=True):
    """A line of `listing.jsonl`: the runs that a query returned, in the order of the source.

    A query that was sent again has all the runs of its answers, and the counts of the last.
    `left_out` are the fields that the source did not know.
    """

    query: ListingQuery
    matching: int | None = None
    total: int | None = None
    run_ids: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Say whether it has all the runs that its source counted."""
        return self.matching is None or len(self.run_ids) >= self.matching


class RunLine(Record, frozen=True, kw_only=True):
    """A line of `runs.jsonl`: a run as in the answer of this number, from 1, and later ones."""

    answer: int
    run: dict[str, Any]


class RowsAnswer(Record, frozen=True, kw_only=True):
    """A line of `history.jsonl`: `rows` lines in `file`, or the reason why there are none.

    `dataset` is set if they are not of the history, `refused` if the source refused them to the
    user, `kind` with every reason, except those of earlier builds.
    """

    run_id: str
    dataset: str | msgspec.UnsetType = msgspec.UNSET
    storage_id: str | None = None
    window: FetchWindow = FetchWindow()
    rows: int = 0
    file: str | None = None
    failed: str | None = None
    refused: bool | msgspec.UnsetType = msgspec.UNSET
    kind: RunFailureKind | msgspec.UnsetType = msgspec.UNSET

    @property
    def of(self) -> str:
        """Return the name of the dataset."""
        return HISTORY if self.dataset is msgspec.UNSET else self.dataset


class RowLine(Record, omit_defaults=True, frozen=True, kw_only=True):
    """A line of a file in `history/`. `file` is the number of the exported file of the row."""

    live: bool
    row: dict[str, Any]
    file: int = 0


class MetadataAnswer(Record, frozen=True, kw_only=True):
    """A line of `metadata.jsonl`: the content of the file, null if there is none, or the reason."""

    run_id: str
    storage_id: str | None = None
    metadata: dict[str, Any] | None = None
    failed: str | None = None
    refused: bool | msgspec.UnsetType = msgspec.UNSET
    kind: RunFailureKind | msgspec.UnsetType = msgspec.UNSET


class RecordsAnswer(Record, frozen=True, kw_only=True):
    """A line of `records.jsonl`: `nodes` lines with records follow, or the reason why none do."""

    dataset: str
    nodes: int = 0
    nulls: int = 0
    total: int | None = None
    failed: str | None = None
    refused: bool | msgspec.UnsetType = msgspec.UNSET
    kind: RunFailureKind | msgspec.UnsetType = msgspec.UNSET


class RecordLine(Record, omit_defaults=True, frozen=True, kw_only=True):
    """A line of `records.jsonl`: one record, as a GraphQL node.

    `beside`: the count of the listing does not include it. `links_of` and `unread_of` are ids if
    the node has the links of a run, or the reason and kind why something could not be read.
    """

    node: dict[str, Any]
    beside: bool = False
    links_of: str | None = None
    unread_of: str | None = None


def lines_of_page(page: RecordPage) -> Iterator[RecordLine]:
    """Yield the lines of a page of records."""
    yield from (RecordLine(node=dict(node)) for node in page.nodes)
    yield from (RecordLine(node=dict(node), beside=True) for node in page.beside)
    for run_id, links in page.links.items():
        yield RecordLine(node=dict(links), links_of=run_id)
    for one, why in page.unread.items():
        yield RecordLine(node={"kind": why.kind, "reason": why.reason}, unread_of=one)


def page_of_lines(lines: Iterable[RecordLine], total: int | None) -> RecordPage:
    """Return the page of some lines."""
    lines = list(lines)
    own = [line for line in lines if line.links_of is None and line.unread_of is None]
    return RecordPage(
        nodes=[line.node for line in own if not line.beside],
        total=total,
        beside=[line.node for line in own if line.beside],
        links={line.links_of: line.node for line in lines if line.links_of is not None},
        unread={
            line.unread_of: msgspec.convert(line.node, RunFailure)
            for line in lines
            if line.unread_of is not None
        },
    )


def with_failure(answer: Answer, error: SourceError) -> Answer:
    """Return an answer with the reason of a failure."""
    refused = True if error.refused else msgspec.UNSET
    return replace(answer, failed=str(error), refused=refused, kind=error.failure.kind)


def failure_of(answer: RowsAnswer | MetadataAnswer | RecordsAnswer) -> SourceError:
    """Return the error that a failed answer stands for."""
    reason = answer.failed or "no reason recorded"
    kind = RunFailureKind.REFUSED if answer.refused is True else RunFailureKind.UNKNOWN
    return SourceError(reason, answer.kind or kind, retryable=False)


def encode_record(record: Record) -> bytes:
    """Encode one line."""
    return _ENCODER.encode(record) + b"\n"


def name_of(raw_run: Mapping[str, Any]) -> str:
    """Return the run id of a JSON-safe node, always as text."""
    return str(raw_run.get("name"))


def name_rows(answer: RowsAnswer) -> str:
    """Return the name of the file for the rows of a window: the same in every recording."""
    of_dataset = () if answer.of == HISTORY else (answer.of,)
    window = answer.window
    identity = _ENCODER.encode(
        (answer.run_id, answer.storage_id, window.low, window.stop, *of_dataset)
    )
    return hashlib.blake2b(identity, digest_size=16).hexdigest() + ".jsonl"


def damaged(
    path: Path, reason: str, line: int | None = None, remedy: str = _REMEDY
) -> DrWandbError:
    """Return the error for a recording that does not read."""
    return DrWandbError(DamagedFile(path=str(path), reason=reason, remedy=remedy, line=line))


class _Version(Record, frozen=True, kw_only=True):
    schema_version: int


def read_head(folder: Path) -> RecordingHead:
    """Read and check `recording.json`."""
    path = folder / HEAD_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise damaged(path, reason, remedy="give a folder that --record has made") from None
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version > RECORDING_VERSION:
            newer = NewerSchema(path=str(path), found=version, known=RECORDING_VERSION)
            raise DrWandbError(newer)
        head = msgspec.json.decode(content, type=RecordingHead)
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from None
    if version < 1:
        raise damaged(path, f"there is no schema_version {version}")
    if instant(head.recorded_at) is None:
        raise damaged(path, f"recorded_at is not a time: {head.recorded_at!r}")
    return head


def read_lines(
    path: Path, decoder: msgspec.json.Decoder[_R], count: int
) -> Iterator[tuple[int, int, _R]]:
    """Yield the number, from 1, the offset in bytes and the value of each of `count` lines."""
    number = offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    raise damaged(path, "the line is cut short", number)
                yield number, offset, _decode(path, number, line, decoder)
                offset += len(line)
    except FileNotFoundError:
        raise damaged(path, "there is no such file") from None
    if number != count:
        raise damaged(path, f"it has {number:,} lines, but the recording names {count:,}")


def read_lines_at(
    path: Path, offsets: Iterable[int], decoder: msgspec.json.Decoder[_R]
) -> Iterator[_R]:
    """Read the lines that begin at these offsets, in this order."""
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            yield _decode(path, None, file.readline(), decoder)


def _decode(path: Path, number: int | None, line: bytes, decoder: msgspec.json.Decoder[_R]) -> _R:
    try:
        return decoder.decode(line)
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error), number) from None


def find_rows(folder: Path, answer: RowsAnswer, number: int) -> Path:
    """Return the file that holds the rows of an answer, the one on line `number`."""
    name = answer.file or ""
    if not _ROWS_NAME.fullmatch(name):
        raise damaged(folder / HISTORY_FILE, f"{name!r} is not a file of rows", number)
    path = folder / HISTORY_FOLDER / name
    if not path.is_file():
        raise damaged(path, "there is no such file")
    return path
