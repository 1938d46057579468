"""Write a recording: collect it in a hidden folder, sort it and move it into place at the end.

Guarantees
- The bytes depend on the answers, not on the order or the threads in which they came: listings are
  sorted by number, histories and metadata by run id. A later answer of the same key replaces the
  earlier one.
- The target folder is a complete recording or is as it was. It may be absent, empty, or another
  recording, which is replaced; anything else is refused, at the start and at the end.
- A full disk or a missing permission is `DrWandbError(DiskRefused)`.
"""

import itertools
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.listing import ListingQuery
from dr_wandb.core.contract.records import Record
from dr_wandb.shell.sources.recording.format import (
    HEAD_FILE,
    HISTORY_FILE,
    HISTORY_FOLDER,
    LISTING_FILE,
    METADATA_FILE,
    OF_HISTORY_ALONE,
    RECORDING_VERSION,
    RECORDS_FILE,
    RUNS_FILE,
    WITHOUT_RECORDS,
    ListingAnswer,
    MetadataAnswer,
    RecordingHead,
    RecordLine,
    RecordsAnswer,
    RowsAnswer,
    encode_record,
    name_rows,
)
from dr_wandb.shell.sources.recording.layout import (
    RowsPart,
    Span,
    Spool,
    move_into_place,
    require_replaceable,
)
from dr_wandb.shell.store.disk_errors import disk_refusals


class KeptListing(NamedTuple):
    """An answer: the result of `add_run` by run id, and the fields that the source did not know."""

    query: ListingQuery
    matching: int | None
    total: int | None
    runs: Mapping[str, Span]
    left_out: frozenset[str] = frozenset()


_RowsKey = tuple[str, str, str, int, float]
_MetadataKey = tuple[str, str]


class RecordingWriter:
    """Writes one recording into `folder`. Methods may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        self._target = folder.resolve()
        require_replaceable(self._target)
        self._staging = self._target.parent / f".recording-{uuid4().hex[:12]}"
        with disk_refusals(self._target):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            (self._staging / HISTORY_FOLDER).mkdir(parents=True)
            (self._staging / "parts").mkdir()
            self._runs = Spool(self._staging / "runs.spool")
            self._metadata_lines = Spool(self._staging / "metadata.spool")
            self._nodes = Spool(self._staging / "records.spool")
        self._lock = threading.Lock()
        self._over = False
        self._part_numbers = itertools.count()
        self._listings: dict[int, KeptListing] = {}
        self._rows: dict[_RowsKey, RowsAnswer] = {}
        self._metadata: dict[_MetadataKey, Span] = {}
        self._records: dict[str, tuple[RecordsAnswer, Sequence[Span]]] = {}

    def add_run(self, raw_run: Mapping[str, Any]) -> Span:
        """Write a run that is part of a later answer."""
        with disk_refusals(self._target):
            return self._runs.append(msgspec.json.encode(raw_run, order="sorted"))

    def keep_listing(self, number: int, listing: KeptListing) -> None:
        """Store an answer. number: orders the answers."""
        with self._lock:
            self._listings[number] = listing

    @contextmanager
    def open_rows(self) -> Iterator[RowsPart]:
        """Yield a file to write rows to; it is removed at the end, unless `keep_rows` moved it."""
        path = self._staging / "parts" / str(next(self._part_numbers))
        with disk_refusals(self._target), self._still_writing():
            part = RowsPart(path, self._target)
        try:
            yield part
        finally:
            part.close()
            path.unlink(missing_ok=True)

    def keep_rows(self, answer: RowsAnswer, part: RowsPart | None) -> None:
        """Store the answer for a part of a run; `part` has its rows, None if it failed."""
        name = name_rows(answer)
        path = self._staging / HISTORY_FOLDER / name
        with disk_refusals(self._target), self._still_writing():
            if part is None:
                path.unlink(missing_ok=True)
            else:
                part.flush()
                part.path.replace(path)
                answer = msgspec.structs.replace(answer, file=name, rows=part.rows)
            self._rows[_rows_key(answer)] = answer

    def keep_metadata(self, answer: MetadataAnswer) -> None:
        """Store the answer about one run's metadata."""
        with disk_refusals(self._target):
            span = self._metadata_lines.append(encode_record(answer))
        with self._lock:
            self._metadata[(answer.run_id, answer.storage_id or "")] = span

    def add_node(self, line: RecordLine) -> Span:
        """Write a line about a record of the project that is part of a later answer."""
        with disk_refusals(self._target):
            return self._nodes.append(encode_record(line))

    def keep_records(self, answer: RecordsAnswer, nodes: Sequence[Span]) -> None:
        """Store the answer about one dataset of the project. nodes: results of `add_node`."""
        with self._lock:
            self._records[answer.dataset] = answer, nodes

    def finish(self, head: RecordingHead) -> None:
        """Sort everything and move it into place. head: its counts are filled in."""
        try:
            with disk_refusals(self._target), self._still_writing():
                self._over = True
                listings = _join_answers(self._listings)
                run_count = self._write_listings(listings)
                histories = [self._rows[key] for key in sorted(self._rows)]
                self._write(HISTORY_FILE, map(encode_record, histories))
                lines = (self._metadata[key] for key in sorted(self._metadata))
                self._write(METADATA_FILE, map(self._metadata_lines.read, lines))
                records = self._write_records()
                version = WITHOUT_RECORDS if records is msgspec.UNSET else RECORDING_VERSION
                head = msgspec.structs.replace(
                    head,
                    schema_version=version if head.datasets else OF_HISTORY_ALONE,
                    records=records,
                    listings=len(listings),
                    runs=run_count,
                    histories=len(histories),
                    rows=sum(answer.rows for answer in histories),
                    metadata=len(self._metadata),
                )
                document = msgspec.json.format(encode_record(head).strip(), indent=2)
                self._write(HEAD_FILE, [document + b"\n"])
                self._drop_spools()
                shutil.rmtree(self._staging / "parts")
                require_replaceable(self._target)
                move_into_place(self._staging, self._target)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove everything that was not moved into place."""
        with self._lock:
            self._over = True
        self._runs.close()
        self._metadata_lines.close()
        self._nodes.close()
        shutil.rmtree(self._staging, ignore_errors=True)

    @contextmanager
    def _still_writing(self) -> Iterator[None]:
        """Keep threads that outlive the recording from adding to it."""
        with self._lock:
            if self._over:
                raise RuntimeError("the recording has ended")
            yield

    def _drop_spools(self) -> None:
        for spool in (self._runs, self._metadata_lines, self._nodes):
            spool.close()
            spool.path.unlink()

    def _write_listings(self, listings: Sequence[KeptListing]) -> int:
        """Write the answers, and each run that differs from its last line."""
        with (self._staging / RUNS_FILE).open("wb") as file:
            said: dict[str, str] = {}
            count = 0
            for number, listing in enumerate(listings, 1):
                for run_id, span in listing.runs.items():
                    text = self._runs.read(span)
                    if said.get(run_id) != (mark := digest(text)):
                        said[run_id] = mark
                        run = msgspec.Raw(text)
                        file.write(encode_record(_RawRunLine(answer=number, run=run)))
                        count += 1
        answers = (
            ListingAnswer(
                query=listing.query,
                matching=listing.matching,
                total=listing.total,
                run_ids=tuple(listing.runs),
                left_out=tuple(sorted(listing.left_out)),
            )
            for listing in listings
        )
        self._write(LISTING_FILE, map(encode_record, answers))
        return count

    def _write_records(self) -> int | msgspec.UnsetType:
        """Write the records of the project, if any were listed; return the number of lines."""
        if not self._records:
            return msgspec.UNSET
        answers = [self._records[dataset] for dataset in sorted(self._records)]
        lines = (
            line
            for answer, nodes in answers
            for line in (encode_record(answer), *map(self._nodes.read, nodes))
        )
        self._write(RECORDS_FILE, lines)
        return sum(1 + len(nodes) for _, nodes in answers)

    def _write(self, name: str, lines: Iterable[bytes]) -> None:
        with (self._staging / name).open("wb") as file:
            file.writelines(lines)


class _RawRunLine(Record, frozen=True, kw_only=True):
    """A `RunLine` whose run is encoded already."""

    answer: int
    run: msgspec.Raw


def _join_answers(kept: Mapping[int, KeptListing]) -> list[KeptListing]:
    """Return one answer for each query, in the order in which they were last asked.

    The listing adds up repeated answers: a query that was sent again has the runs of all its
    answers, as last seen, with the counts of the last.
    """
    joined: dict[ListingQuery, KeptListing] = {}
    for _, listing in sorted(kept.items()):
        before = joined.pop(listing.query, None)
        runs = {**before.runs, **listing.runs} if before else listing.runs
        left_out = listing.left_out | (before.left_out if before else frozenset())
        joined[listing.query] = listing._replace(runs=runs, left_out=left_out)
    return list(joined.values())


def _rows_key(answer: RowsAnswer) -> _RowsKey:
    stop = answer.window.stop
    start = answer.window.low
    dataset = "" if answer.of == HISTORY else answer.of
    return (answer.run_id, dataset, answer.storage_id or "", start, inf if stop is None else stop)
