"""Recording: pass on the answers of a source, and write them down on the way.

Guarantees
- The caller gets exactly what is written, JSON-safe and without secrets, so that an export made
  while recording and one made from the recording have the same bytes.
- The bytes of a recording depend on queries and answers, not on threads or timing. Rows are in the
  order of the source.
- A folder is a recording only after `close()`: until then everything is in a hidden folder beside
  it, and `abort()` leaves nothing. A sync that was killed leaves that hidden folder, `.recording-`
  and a number; it is safe to delete.
- No history and no run is held in memory: only the id of each listed run, and a byte range.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing
from dr_wandb.core.contract.manifest_entries import as_contents
from dr_wandb.core.contract.row_shape import flatten_row
from dr_wandb.core.contract.values import clean_text, json_safe
from dr_wandb.core.sync.scrub import scrub, scrub_text, spell_secrets
from dr_wandb.shell.sources import HistoryBatch, RowBatch, RunPage, Source, SourceError
from dr_wandb.shell.sources.contents import Contents, contents_of
from dr_wandb.shell.sources.datasets import (
    NOTHING_KNOWN,
    Known,
    ListRecords,
    RawNode,
    ReadRows,
    RecordPage,
    find_lister,
    find_reader,
)
from dr_wandb.shell.sources.recording.format import (
    MetadataAnswer,
    RecordingHead,
    RecordsAnswer,
    RowLine,
    RowsAnswer,
    encode_record,
    lines_of_page,
    name_of,
    with_failure,
)
from dr_wandb.shell.sources.recording.writer import KeptListing, RecordingWriter
from dr_wandb.shell.store.divided_lines import records_in

_IDENTITY = ("name", "id")
"""Members of a node by which it is requested again: changed only to be valid text."""


class Recorder:
    """A source that passes on another one, and makes `folder` a recording of it at `close()`.

    recorded_at: the clock of the sync, which a replay uses. secrets: texts that must not be
    recorded, such as the API key in use; they are removed from the answers too. As a context
    manager it closes at the end, and aborts on an exception. Closing, aborting and constructing
    raise DrWandbError if the folder is neither empty nor a recording, or cannot be written.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        *,
        recorded_at: str,
        entity: str,
        project: str,
        mode: str,
        secrets: Iterable[str] = (),
    ) -> None:
        self._source = source
        self._secrets = spell_secrets(secrets)
        self._head = RecordingHead(
            entity=entity,
            project=project,
            source=source.kind,
            recorded_at=recorded_at,
            mode=mode,
        )
        self._listing_numbers = itertools.count()
        self._datasets: set[str] = set()
        self._open = True
        self._writer = RecordingWriter(folder)

    @property
    def kind(self) -> str:
        """Return the kind of the recorded source."""
        return self._source.kind

    @property
    def lists_at_once(self) -> bool:
        """Return the value of the recorded source."""
        return self._source.lists_at_once

    @property
    def address(self) -> str:
        """Return the address of the recorded source."""
        return self._source.address

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return nothing: the answers have no secrets left."""
        return ()

    @property
    def contents(self) -> Contents | None:
        """Return what gives the bytes of files; they are not recorded."""
        return contents_of(self._source)

    @property
    def recorded_at(self) -> str | None:
        """Return the value of the recorded source."""
        return self._source.recorded_at

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Pass on an answer; it is recorded after its last page."""
        return self._list_runs(query, next(self._listing_numbers))

    def _list_runs(self, query: ListingQuery, number: int) -> Iterator[RunPage]:
        runs = {}
        matching = total = None
        left_out: set[str] = set()
        try:
            for page in self._source.list_runs(query):
                clean_runs = [self._clean_run(raw_run) for raw_run in page.runs]
                runs.update({name_of(run): self._writer.add_run(run) for run in clean_runs})
                matching = page.matching if page.matching is not None else matching
                total = page.total if page.total is not None else total
                left_out.update(page.left_out)
                yield replace(page, runs=clean_runs)
        except SourceError as error:
            raise self._clean_error(error) from None
        kept = KeptListing(query, matching, total, runs, frozenset(left_out))
        self._writer.keep_listing(number, kept)

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        """Pass on rows; they are recorded after the last one, in place of earlier ones."""
        return self._read_rows(HISTORY, self._source.read_history, run, window, attempt)

    def reader_of(self, dataset: str) -> ReadRows | None:
        """Return a reader that passes on a dataset's rows, None if the source does not have it."""
        read = find_reader(self._source, dataset)
        if read is not None:
            self._datasets.add(dataset)
        return None if read is None else partial(self._read_rows, dataset, read)

    def lister_of(self, dataset: str) -> ListRecords | None:
        """Return a function that lists and records a dataset of the project, None if none does."""
        listed = find_lister(self._source, dataset)
        if listed is not None:
            self._datasets.add(dataset)
        return None if listed is None else partial(self._list_records, dataset, listed)

    def _list_records(
        self, dataset: str, listed: ListRecords, known: Known = NOTHING_KNOWN
    ) -> Iterator[RecordPage]:
        """Pass on the records of an answer; they are recorded after the last page."""
        answer, spans = RecordsAnswer(dataset=dataset), []
        try:
            for page in listed(known):
                clean = self._clean_page(page)
                spans += [self._writer.add_node(line) for line in lines_of_page(clean)]
                answer = replace(answer, total=page.total, nulls=answer.nulls + page.nulls)
                yield clean
        except SourceError as error:
            failure = self._clean_error(error)
            self._writer.keep_records(with_failure(answer, failure), [])
            raise failure from None
        self._writer.keep_records(replace(answer, nodes=len(spans)), spans)

    def _clean_page(self, page: RecordPage) -> RecordPage:
        def clean(node: Mapping[str, Any]) -> dict[str, Any]:
            cleaned: dict[str, Any] = self._clean(json_safe(node))
            return cleaned

        unread = {
            one: replace(why, reason=scrub_text(clean_text(why.reason), self._secrets))
            for one, why in page.unread.items()
        }
        return replace(
            page,
            contents={},
            nodes=[clean(_with_manifest(node, page)) for node in page.nodes],
            beside=[clean(node) for node in page.beside],
            links={run_id: clean(links) for run_id, links in page.links.items()},
            unread=unread,
        )

    def _read_rows(
        self, dataset: str, read: ReadRows, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch]:
        answer = RowsAnswer(
            run_id=clean_text(run.run_id),
            dataset=msgspec.UNSET if dataset == HISTORY else dataset,
            storage_id=run.storage_id,
            window=window,
        )
        with self._writer.open_rows() as part:
            try:
                for batch in read(run, window, attempt):
                    rows = [self._clean(flatten_row(row)) for row in batch.rows]
                    line = RowLine(live=batch.live, file=batch.file, row={})
                    part.write(encode_record(replace(line, row=row)) for row in rows)
                    yield RowBatch(rows=rows, live=batch.live, file=batch.file)
            except SourceError as error:
                failure = self._clean_error(error)
                self._writer.keep_rows(with_failure(answer, failure), None)
                raise failure from None
            self._writer.keep_rows(answer, part)

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Pass on and record the metadata."""
        answer = MetadataAnswer(run_id=clean_text(run.run_id), storage_id=run.storage_id)
        try:
            metadata = self._source.read_metadata(run)
        except SourceError as error:
            failure = self._clean_error(error)
            self._writer.keep_metadata(with_failure(answer, failure))
            raise failure from None
        if metadata is not None:
            answer = replace(answer, metadata=self._clean(json_safe(metadata)))
        self._writer.keep_metadata(answer)
        return answer.metadata

    def close(self) -> None:
        """Make the folder a recording, and close the source. Further calls do nothing."""
        if self._open:
            self._open = False
            try:
                datasets = tuple(sorted(self._datasets)) or msgspec.UNSET
                self._writer.finish(replace(self._head, datasets=datasets))
            finally:
                self._source.close()

    def abort(self) -> None:
        """Leave the folder as it was, and close the source. Does nothing after `close()`."""
        if self._open:
            self._open = False
            try:
                self._writer.discard()
            finally:
                self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _clean(self, value: Any) -> Any:
        return scrub(value, self._secrets)

    def _clean_run(self, raw_run: Mapping[str, Any]) -> dict[str, Any]:
        safe = json_safe(raw_run)
        return {**self._clean(safe), **{name: safe[name] for name in _IDENTITY if name in safe}}

    def _clean_error(self, error: SourceError) -> SourceError:
        reason = scrub_text(clean_text(str(error)), self._secrets)
        return SourceError(reason, error.failure.kind, retryable=error.retryable)


def _with_manifest(node: RawNode, page: RecordPage) -> RawNode:
    """Return a node with its content, which a recording has as one line."""
    content = page.contents.get(str((node.get("artifact") or {}).get("id")))
    if content is None:
        return node
    entries = itertools.chain.from_iterable(records_in(content, WandbArtifact))
    return {**node, "manifest": {"contents": as_contents(entries)}}
