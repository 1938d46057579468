"""Check the data files of a project's datasets line by line, in one pass."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from returns.pipeline import is_successful

from dr_wandb.core.contract.artifacts import WandbArtifact, has_its_digest
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.large_member import decode_content
from dr_wandb.core.contract.manifest_entries import XXH128
from dr_wandb.core.contract.project_record import (
    NO_HASHES,
    Hashes,
    LinkedRecord,
    ProjectRecord,
    SortKey,
)
from dr_wandb.core.contract.project_records import (
    KINDS,
    decode_record,
    listing_digest,
)
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.wording import count
from dr_wandb.core.inspect.audit import NOT_CANONICAL
from dr_wandb.core.inspect.spelling import line_is_canonical
from dr_wandb.core.inspect.verify import FindingKind, Findings, NoteKind
from dr_wandb.core.sync.record_links import Links

UNCHECKED = "were not checked: the package xxhash is not installed"


class StoredRecord(Record, frozen=True, kw_only=True):
    """One record of a file: a digest of what a listing says of it, and since when it is gone.

    of_project: a listing of the project shows it. source_id: the id by which a source knows it.
    links: the runs that made and used it, None if its dataset is not linked.
    """

    digest: str
    missing_since: str | None = None
    of_project: bool = True
    source_id: str = ""
    links: Links | None = None


def links_of(record: ProjectRecord) -> Links | None:
    """Return the runs that made and used a record, None if its dataset is not linked."""
    if isinstance(record, LinkedRecord):
        return Links(record.created_by, record.used_by)
    return None


class RecordsAudit:
    """Checks the data file of one dataset of the project. `records` are those found so far.

    hashes: for digests that `hashlib` does not make. Versions that need another one are counted.
    """

    def __init__(self, dataset: str, findings: Findings, hashes: Hashes = NO_HASHES) -> None:
        self._findings = findings
        self._hashes = hashes
        self._unchecked = 0
        self._file = PROJECT_DATASETS[dataset].file
        self._kind = self.kind = KINDS[dataset]
        self._previous: tuple[SortKey, str] | None = None
        self._number = 0
        self.records: dict[str, StoredRecord] = {}

    def add_divided(self, frame: bytes, content: Iterable[bytes]) -> bool:
        """Check the next line without having it in memory; False if it has to be given whole.

        frame, content: see large_member.py.
        """
        result = decode_record(frame, self._kind)
        if not is_successful(result) or encode_line(result.unwrap()) != frame:
            return False
        record, canonical = result.unwrap(), True

        def pieces() -> Iterator[Sequence[Any]]:
            nonlocal canonical
            for piece in decode_content(content, self._kind):
                canonical = canonical and piece.canonical
                yield piece.records

        try:
            lasts = record.lasts(pieces(), self._hashes)
        except ValueError:
            return False
        if not canonical:
            return False
        self._number += 1
        self._check_order(record)
        if not lasts:
            self._say_wrong_content(record)
        self._note(record)
        return True

    def add(self, line: bytes) -> None:
        """Check the next line."""
        self._number += 1
        result = decode_record(line, self._kind)
        if not is_successful(result):
            if line.endswith(b"\n"):  # a torn line is reported as such
                self._say(FindingKind.LINE, f"cannot be read: {result.failure()}")
            return
        record = result.unwrap()
        if line.endswith(b"\n"):
            self._check_form(line, record)
        self._note(record)

    def _note(self, record: ProjectRecord) -> None:
        if isinstance(record, WandbArtifact) and record.entries is not None:
            unknown = record.digest_algorithm == XXH128 and XXH128 not in self._hashes
            self._unchecked += unknown
        self.records[record.identity] = StoredRecord(
            digest=listing_digest(record),
            missing_since=record.missing_since,
            of_project=record.of_project,
            source_id=record.source_id,
            links=links_of(record),
        )

    def finish(self) -> None:
        """End the check."""
        if self._unchecked:
            versions = count(self._unchecked, "version")
            self._findings.note(NoteKind.UNCHECKED, f"the entries of {versions} {UNCHECKED}")

    def _check_form(self, line: bytes, record: ProjectRecord) -> None:
        if encode_line(record) != line and not line_is_canonical(line):
            self._say(FindingKind.FORM, NOT_CANONICAL)
        self._check_order(record)
        if isinstance(record, WandbArtifact) and not has_its_digest(record, hashes=self._hashes):
            self._say_wrong_content(record)

    def _check_order(self, record: ProjectRecord) -> None:
        key = (record.sort_key, record.identity)
        if record.identity in self.records:
            self._say(FindingKind.FORM, f"{record.identity!r} appears twice")
        elif self._previous is not None and key < self._previous:
            self._say(FindingKind.FORM, f"out of order: {record.identity!r} belongs further up")
        self._previous = key

    def _say_wrong_content(self, record: ProjectRecord) -> None:
        problem = f"the entries of {record.identity!r} do not have the digest of the version"
        self._say(FindingKind.CONTENT, problem)

    def _say(self, kind: FindingKind, problem: str) -> None:
        self._findings.add(kind, self._file, problem, self._number)
