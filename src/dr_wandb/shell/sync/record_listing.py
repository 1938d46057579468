"""List the records of a dataset of the project, and check that the listing is complete."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.contract.project_records import NORMALIZERS
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.sync.listing_plan import Answer, count_missing, judge_answer
from dr_wandb.core.sync.record_links import RunLinks, read_run_links
from dr_wandb.shell.progress import log_wait
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, ListRecords, RawNode, RecordPage
from dr_wandb.shell.store.divided_lines import FileRange
from dr_wandb.shell.sync.listing import ATTEMPTS, UNREADABLE, Pause

TakeRecord = Callable[[ProjectRecord, FileRange | None], None]
"""Is given a record, and the bytes of its large member if it is without that."""


class ListedRecords(Record, frozen=True, kw_only=True):
    """What listing a dataset came to. `unlisted` were counted, or came and do not read.

    The other members are those of the pages, see `RecordPage`; `links` are decoded.
    """

    answer: Answer
    unlisted: int = 0
    failure: RunFailure | None = None
    marks: Mapping[str, str] = {}
    same: Collection[str] = ()
    beside: Sequence[RawNode] = ()
    links: Mapping[str, RunLinks] = {}
    unread: Mapping[str, RunFailure] = {}

    @property
    def incomplete(self) -> RunFailure | None:
        """Say why not all records are known to be listed, None if they are."""
        if self.failure is not None or self.answer != Answer.INCOMPLETE:
            return self.failure
        reason = "the listing is not complete"
        return RunFailure(kind=RunFailureKind.UNUSABLE_ANSWER, reason=reason)


class _Pages:
    """The pages of one answer. take: is given each record."""

    def __init__(self, dataset: str, take: TakeRecord) -> None:
        self._normalize = NORMALIZERS[dataset]
        self._take = take
        self.counts: list[tuple[int | None, bool]] = []
        self.came: set[str] = set()
        self.lost = 0
        self.marks: dict[str, str] = {}
        self.same: list[str] = []
        self.beside: list[RawNode] = []
        self.links: dict[str, RunLinks] = {}
        self.unread: dict[str, RunFailure] = {}

    def read(self, pages: Iterator[RecordPage]) -> None:
        """Read all pages. Raises SourceError."""
        for page in pages:
            self.counts.append((page.total, False))
            self.lost += page.nulls
            for node in page.nodes:
                try:
                    record = self._normalize(node)
                except UNREADABLE:
                    self.lost += 1
                    continue
                self._take(record, page.contents.get(record.source_id))
                self.came.add(record.identity)
            self.marks |= page.marks
            self.same += page.same
            self.beside += page.beside
            self.links |= {
                run_id: read_run_links(raw, whole=run_id not in page.unread)
                for run_id, raw in page.links.items()
            }
            self.unread |= page.unread

    def listed(
        self, answer: Answer, *, unlisted: int = 0, failure: RunFailure | None = None
    ) -> ListedRecords:
        """Return what the answer came to."""
        return ListedRecords(
            answer=answer,
            unlisted=unlisted,
            failure=failure,
            marks=self.marks,
            same=self.same,
            beside=self.beside,
            links=self.links,
            unread=self.unread,
        )


def list_records(
    lister: ListRecords,
    dataset: str,
    take: TakeRecord,
    wait: Pause,
    known: Known = NOTHING_KNOWN,
) -> ListedRecords:
    """List a dataset until the answer is complete, or as often as it is tried.

    take: is given each record that came, several times if the listing is tried again.
    """
    missing = 0
    seen: set[str] = set()
    for attempt in range(1, ATTEMPTS + 1):
        pages = _Pages(dataset, take)
        try:
            pages.read(lister(known))
        except SourceError as error:
            if attempt == ATTEMPTS or not error.retryable:
                return pages.listed(Answer.INCOMPLETE, failure=error.failure)
            log_wait(str(error), attempt)
            wait(attempt)
            continue
        seen |= pages.came
        answer = judge_answer(pages.counts, len(pages.came))
        if answer != Answer.INCOMPLETE and not pages.lost:
            return pages.listed(answer)
        missing = max(count_missing(pages.counts, len(seen)), int(pages.lost > 0))
        if attempt < ATTEMPTS:
            log_wait(f"{dataset} are missing in the listing", attempt)
            wait(attempt)
    return pages.listed(Answer.INCOMPLETE, unlisted=missing)
