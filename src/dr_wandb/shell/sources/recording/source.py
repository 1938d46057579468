"""Replaying: a source that answers from a recording, offline.

Guarantees
- A recorded query is answered as it was then. Another one is answered from an answer that contains
  all of it, or refused as not recorded. Nothing is guessed, and no answer is combined from
  histories that were read at different times.
- `kind` is "replay"; the time is the recording's.
- Histories are streamed. Only the id and the line offsets of each run are held in memory.
- Opening checks every line except those of the histories, which are checked as they are read.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.failures import DrWandbError, NotRecorded
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing
from dr_wandb.core.contract.normalize import whole_step
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources import RowBatch, RunPage
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, ListRecords, ReadRows, RecordPage
from dr_wandb.shell.sources.recording.format import (
    HISTORY_FILE,
    METADATA_FILE,
    RECORDS_FILE,
    MetadataAnswer,
    RecordLine,
    RecordsAnswer,
    RowLine,
    RowsAnswer,
    damaged,
    failure_of,
    find_rows,
    page_of_lines,
    read_head,
    read_lines,
    read_lines_at,
)
from dr_wandb.shell.sources.recording.listing import RecordedListing

RUNS_PER_PAGE = 500


class _AnyLine(Record, frozen=True, kw_only=True):
    """Any line of `records.jsonl`. `node` is not decoded."""

    dataset: str | None = None
    node: msgspec.Raw = msgspec.Raw()
    nodes: int = 0
    nulls: int = 0
    total: int | None = None
    failed: str | None = None
    refused: bool | msgspec.UnsetType = msgspec.UNSET
    kind: RunFailureKind | msgspec.UnsetType = msgspec.UNSET


ROWS_PER_BATCH = 1000

_ROWS = msgspec.json.Decoder(RowsAnswer)
_METADATA = msgspec.json.Decoder(MetadataAnswer)
_ROW = msgspec.json.Decoder(RowLine)
_NODE = msgspec.json.Decoder(RecordLine)
_RECORDS = msgspec.json.Decoder(_AnyLine)


class RecordedSource:
    """A source that answers from the recording in `folder`.

    `entity`, `project` and `mode` are the recorded ones; the caller must check them. Raises
    DrWandbError if the folder is not a recording, is damaged or comes from a later version.
    """

    kind = "replay"
    lists_at_once = False
    secrets: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        head = read_head(folder)
        self.entity = head.entity
        self.project = head.project
        self.mode = head.mode
        self.address = str(folder)
        self.recorded_at = head.recorded_at
        self._folder = folder
        self._listing = RecordedListing(folder, head)
        self._rows: dict[tuple[str, str], list[tuple[Path | None, RowsAnswer]]] = {}
        self._datasets = head.datasets or ()
        self._metadata: dict[str, list[tuple[int, str | None]]] = {}
        for number, _, answer in read_lines(folder / HISTORY_FILE, _ROWS, head.histories):
            path = None if answer.failed is not None else find_rows(folder, answer, number)
            self._rows.setdefault((answer.of, answer.run_id), []).append((path, answer))
        for _, offset, metadata in read_lines(folder / METADATA_FILE, _METADATA, head.metadata):
            self._metadata.setdefault(metadata.run_id, []).append((offset, metadata.storage_id))
        self._records: dict[str, tuple[RecordsAnswer, list[int]]] = {}
        if head.records is not msgspec.UNSET:
            self._read_records(head.records)

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query, oldest first, if the recording contains all of the answer."""
        found = self._listing.answer(query)
        empty = RunPage(runs=(), matching=found.matching, total=found.total)
        if not found.runs:
            yield empty
        for left_out, alike in groupby(found.runs, key=lambda said: said.left_out):
            while said := list(islice(alike, RUNS_PER_PAGE)):
                yield replace(empty, runs=self._listing.read_runs(said), left_out=left_out)

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        """Read the rows of a window, from its own answer or else from that of the widest one."""
        return self._read_rows(HISTORY, run, window)

    def reader_of(self, dataset: str) -> ReadRows | None:
        """Return the reader of a dataset's rows, None if they were not recorded."""
        if dataset not in self._datasets:
            return None
        return lambda run, window, attempt: self._read_rows(dataset, run, window)

    def lister_of(self, dataset: str) -> ListRecords | None:
        """Return the function that lists a dataset of the project, None if it was not recorded."""
        return partial(self._list_records, dataset) if dataset in self._records else None

    def _list_records(self, dataset: str, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        answer, offsets = self._records[dataset]
        if answer.failed is not None:
            raise failure_of(answer)
        lines = read_lines_at(self._folder / RECORDS_FILE, offsets, _NODE)
        yield RecordPage(nodes=(), total=answer.total, nulls=answer.nulls)
        while some := list(islice(lines, RUNS_PER_PAGE)):
            yield page_of_lines(some, answer.total)

    def _read_records(self, count: int) -> None:
        """Find the records of each dataset of the project."""
        path, rest = self._folder / RECORDS_FILE, 0
        offsets: list[int] = []
        for number, offset, line in read_lines(path, _RECORDS, count):
            if rest:
                if not bytes(line.node):
                    raise damaged(path, "it is no record", number)
                offsets.append(offset)
                rest -= 1
            elif line.dataset is None:
                raise damaged(path, "it names no dataset", number)
            else:
                offsets, rest = [], line.nodes
                answer = RecordsAnswer(
                    dataset=line.dataset,
                    nodes=line.nodes,
                    nulls=line.nulls,
                    total=line.total,
                    failed=line.failed,
                    refused=line.refused,
                    kind=line.kind,
                )
                self._records[line.dataset] = answer, offsets
        if rest:
            raise damaged(path, f"{rest:,} records are missing at its end")

    def _read_rows(self, dataset: str, run: RunListing, window: FetchWindow) -> Iterator[RowBatch]:
        path, answer = self._find_rows(dataset, run, window)
        if path is None:
            raise failure_of(answer)
        exact = answer.window == window
        rows: list[Mapping[str, Any]] = []
        live, file = True, 0
        for _, _, line in read_lines(path, _ROW, answer.rows):
            if not exact and not window.has(whole_step(line.row.get("_step"))):
                continue
            if rows and ((line.live, line.file) != (live, file) or len(rows) == ROWS_PER_BATCH):
                yield RowBatch(rows=rows, live=live, file=file)
                rows = []
            live, file = line.live, line.file
            rows.append(line.row)
        if rows:
            yield RowBatch(rows=rows, live=live, file=file)

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Read the metadata, if it was requested when the recording was made."""
        for offset, storage_id in self._metadata.get(run.run_id, ()):
            if _same_run(run.storage_id, storage_id):
                (answer,) = read_lines_at(self._folder / METADATA_FILE, [offset], _METADATA)
                if answer.failed is not None:
                    raise failure_of(answer)
                return answer.metadata
        raise self._not_recorded(f"the metadata of run {run.run_id!r}")

    def close(self) -> None:
        """Do nothing: no file stays open between two calls."""

    def _find_rows(
        self, dataset: str, run: RunListing, window: FetchWindow
    ) -> tuple[Path | None, RowsAnswer]:
        known = [
            (path, answer)
            for path, answer in self._rows.get((dataset, run.run_id), ())
            if _same_run(run.storage_id, answer.storage_id) and answer.window.covers(window)
        ]
        for path, answer in known:
            if answer.window == window:
                return path, answer
        if not known:
            raise self._not_recorded(f"the {dataset} of run {run.run_id!r}{_words(window)}")
        return max(known, key=lambda found: (found[0] is not None, *_width(found[1].window)))

    def _not_recorded(self, question: str) -> DrWandbError:
        return DrWandbError(NotRecorded(path=str(self._folder), question=question))


def _same_run(asked: str | None, recorded: str | None) -> bool:
    """Compare storage ids: a run made again under the same id is another run."""
    return asked is None or recorded is None or asked == recorded


def _width(window: FetchWindow) -> tuple[int, bool, int]:
    """Order windows that all cover one: by their first step, then by their last."""
    return (-window.low, window.stop is None, window.stop or 0)


def _words(window: FetchWindow) -> str:
    start = f" from step {window.start}" if window.start else ""
    return start + (f" below step {window.stop}" if window.stop is not None else "")
