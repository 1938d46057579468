"""Complete the records of a linked dataset that a listing brought: links to runs, and held content.

Rules
- Content that never changes is read once, ever: a record that is held with it keeps it.
- A held record whose links changed is written again, although it was not listed. One that is gone
  upstream keeps its last links.
- Links to a record without a line that is there wait until it comes.
- A record beside the listing, such as a version of another project, is one only as long as no
  listed record has its id.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from dr_wandb.core.contract.project_part import WaitingLinks
from dr_wandb.core.contract.project_record import LinkedRecord, ProjectRecord
from dr_wandb.core.contract.project_records import NORMALIZERS
from dr_wandb.core.sync.record_links import (
    NO_LINKS,
    HeldLinks,
    Links,
    RunLinks,
    links_after,
    links_by_id,
    waiting_links,
)
from dr_wandb.shell.sources.datasets import RawNode
from dr_wandb.shell.sync.framed_records import Framed
from dr_wandb.shell.sync.listing import UNREADABLE
from dr_wandb.shell.sync.records_file import RecordsFile


class LinkedRecords:
    """What is known of the held records of a linked dataset, without their content.

    `contents` has the identity of a record with the content of each `content_id`. `waiting` are the
    links to records that are not there: those of the sync before, until `complete` was called.
    """

    def __init__(self, dataset: str, waiting: Mapping[str, WaitingLinks]) -> None:
        self.waiting = waiting
        self._normalize = NORMALIZERS[dataset]
        self.contents: dict[str, str] = {}
        self._held: dict[str, HeldLinks] = {}
        self._beside: set[str] = set()

    def note_held(self, record: ProjectRecord) -> None:
        """Note a held record."""
        assert isinstance(record, LinkedRecord)
        links = Links(record.created_by, record.used_by)
        held = HeldLinks(record.source_id, links, record.missing_since)
        self._held[record.identity] = held
        if not record.of_project:
            self._beside.add(record.identity)
        if record.has_content:
            self.contents[record.content_id] = record.identity

    def complete(
        self,
        file: RecordsFile,
        asked: Mapping[str, RunLinks],
        beside: Iterable[RawNode],
        gone: Collection[str] = (),
    ) -> None:
        """Give the records that came their links and content, and write held ones that changed.

        gone: held records that the listing shows to be gone.
        """
        held_links = links_by_id(self._held.values())
        waiting = {one: Links(w.created_by, w.used_by) for one, w in self.waiting.items()}
        after = links_after({**held_links, **waiting}, asked)
        there = {held.source_id for held in self._held.values()}
        stays = {
            identity
            for identity, held in self._held.items()
            if held.missing_since is None and identity not in gone
        }
        for identity in [*file.listed]:
            came = file.listed_record(identity)
            assert isinstance(came.record, LinkedRecord)
            there.add(came.record.source_id)
            self._take(file, came.record, self._completed(file, came, after))
        for node in beside:
            try:
                record = self._normalize(node)
            except UNREADABLE:
                continue
            assert isinstance(record, LinkedRecord)
            if record.source_id not in there or record.identity in self._beside:
                self._take(file, None, self._completed(file, Framed(record), after))
        for identity, held in self._held.items():
            links = after.get(held.source_id, NO_LINKS)
            if identity in stays and identity not in file.listed and links != held.links:
                record, content = file.held_record(identity)
                file.take(_with_links(record, links), content)
        present = {file.ids[identity] for identity in {*stays, *file.listed}}
        self.waiting = waiting_links(after, present, held_links)

    def _completed(self, file: RecordsFile, came: Framed, after: Mapping[str, Links]) -> Framed:
        record, content = came
        assert isinstance(record, LinkedRecord)
        if not record.has_content:
            holder = self.contents.get(record.content_id)
            held = file.kept_record(record.content_id)
            held = file.held_record(holder) if holder is not None else held
            if held is not None and isinstance(held.record, LinkedRecord):
                record = record.with_content_of(held.record)
                content = held.content if record.has_content else None
        return Framed(_with_links(record, after.get(record.source_id, NO_LINKS)), content)

    def _take(self, file: RecordsFile, came: ProjectRecord | None, now: Framed) -> None:
        if came != now.record:
            file.take(*now)


def _with_links(record: ProjectRecord, links: Links) -> LinkedRecord:
    assert isinstance(record, LinkedRecord)
    return replace(record, created_by=links.created_by, used_by=links.used_by)
