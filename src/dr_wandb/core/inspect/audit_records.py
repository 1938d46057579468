"""Check the data files of a project's datasets line by line, in one pass."""

from returns.pipeline import is_successful

from dr_wandb.core.contract.artifacts import WandbArtifact, has_its_digest
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.project_record import ProjectRecord, SortKey
from dr_wandb.core.contract.project_records import (
    KINDS,
    decode_record,
    listing_digest,
)
from dr_wandb.core.contract.records import Record
from dr_wandb.core.inspect.audit import NOT_CANONICAL
from dr_wandb.core.inspect.spelling import line_is_canonical
from dr_wandb.core.inspect.verify import FindingKind, Findings


class StoredRecord(Record, frozen=True, kw_only=True):
    """One record of a file: a digest of what a listing says of it, and since when it is gone.

    of_project: a listing of the project shows it.
    """

    digest: str
    missing_since: str | None = None
    of_project: bool = True


class RecordsAudit:
    """Checks the data file of one dataset of the project. `records` are those found so far."""

    def __init__(self, dataset: str, findings: Findings) -> None:
        self._findings = findings
        self._file = PROJECT_DATASETS[dataset].file
        self._kind = KINDS[dataset]
        self._previous: tuple[SortKey, str] | None = None
        self._number = 0
        self.records: dict[str, StoredRecord] = {}

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
        self.records[record.identity] = StoredRecord(
            digest=listing_digest(record),
            missing_since=record.missing_since,
            of_project=record.of_project,
        )

    def finish(self) -> None:
        """End the check."""

    def _check_form(self, line: bytes, record: ProjectRecord) -> None:
        if encode_line(record) != line and not line_is_canonical(line):
            self._say(FindingKind.FORM, NOT_CANONICAL)
        key = (record.sort_key, record.identity)
        if record.identity in self.records:
            self._say(FindingKind.FORM, f"{record.identity!r} appears twice")
        elif self._previous is not None and key < self._previous:
            self._say(FindingKind.FORM, f"out of order: {record.identity!r} belongs further up")
        self._previous = key
        if isinstance(record, WandbArtifact) and not has_its_digest(record):
            problem = f"the entries of {record.identity!r} do not have the digest of the version"
            self._say(FindingKind.CONTENT, problem)

    def _say(self, kind: FindingKind, problem: str) -> None:
        self._findings.add(kind, self._file, problem, self._number)
