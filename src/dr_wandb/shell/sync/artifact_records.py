"""Complete the artifacts that a listing brought: their links to runs, and entries that are held.

Rules
- A manifest is read once, ever: a version that is held with its entries keeps them.
- A held version whose links changed is written again, although it was not listed.
- A version of another project is a record only as long as no listed one has its artifact id.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from dr_wandb.core.contract.artifacts import WandbArtifact, normalize_artifact
from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.sync.artifact_links import Links, RunLinks, links_after
from dr_wandb.shell.sources.datasets import RawNode
from dr_wandb.shell.sync.listing import UNREADABLE
from dr_wandb.shell.sync.records_file import RecordsFile

NO_LINKS = Links()


class ArtifactRecords:
    """What is known of the held artifacts, without their entries."""

    def __init__(self) -> None:
        self.contents: dict[str, str] = {}
        self._links: dict[str, Links] = {}
        self._ids: dict[str, str] = {}

    def note_held(self, record: ProjectRecord) -> None:
        """Note a held record, and one that came."""
        assert isinstance(record, WandbArtifact)
        self._ids[record.identity] = record.artifact_id
        self._links[record.artifact_id] = Links(record.created_by, record.used_by)
        if record.entries is not None:
            self.contents[record.artifact_id] = record.identity

    def complete(
        self, file: RecordsFile, asked: Mapping[str, RunLinks], beside: Iterable[RawNode]
    ) -> None:
        """Give the records that came their links and entries, and write held ones that changed."""
        after = links_after(self._links, asked)
        there = {*self._ids.values()}
        for identity in [*file.listed]:
            record = file.listed_record(identity)
            assert isinstance(record, WandbArtifact)
            there.add(record.artifact_id)
            self._take(file, record, self._completed(file, record, after))
        for node in beside:
            try:
                record = normalize_artifact(node)
            except UNREADABLE:
                continue
            if record.artifact_id not in there or record.identity in file.held:
                self._take(file, None, self._completed(file, record, after))
        for identity, held in file.held.items():
            artifact_id = self._ids[identity]
            links = after.get(artifact_id, NO_LINKS)
            moved = links != self._links[artifact_id]
            if moved and identity not in file.listed and held.missing_since is None:
                record = file.held_record(identity)
                file.take(_with_links(record, links))

    def _completed(
        self, file: RecordsFile, record: WandbArtifact, after: Mapping[str, Links]
    ) -> WandbArtifact:
        links = after.get(record.artifact_id, NO_LINKS)
        if record.entries is None:
            holder = self.contents.get(record.artifact_id)
            held = file.kept_record(record.artifact_id)
            held = file.held_record(holder) if holder is not None else held
            if isinstance(held, WandbArtifact) and held.digest == record.digest:
                record = replace(record, entries=held.entries)
        return _with_links(record, links)

    def _take(self, file: RecordsFile, came: ProjectRecord | None, now: WandbArtifact) -> None:
        if came != now:
            file.take(now)


def _with_links(record: ProjectRecord, links: Links) -> WandbArtifact:
    assert isinstance(record, WandbArtifact)
    return replace(record, created_by=links.created_by, used_by=links.used_by)
