"""Check the data files of an export line by line, in one pass.

Rules
- Of each line only what judging the next one needs is kept, and one value per run.
- A line that cannot be read is reported, and the check goes on.
- The check of a line does not depend on digests: those are compared at the end of the file.
"""

import hashlib
from collections.abc import Collection
from typing import TypeVar

from returns.pipeline import is_successful

from dr_wandb.core.contract.codec import decode_changes, decode_snapshot
from dr_wandb.core.contract.export_files import CHANGES_FILE, RUNS_FILE
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import Record, RunSnapshot
from dr_wandb.core.inspect.spelling import line_is_canonical, snapshot_is_canonical
from dr_wandb.core.inspect.verify import FindingKind, Findings

_R = TypeVar("_R", bound=Record)

NOT_CANONICAL = "not spelled as docs/format.md says"


class StoredRun(Record, frozen=True, kw_only=True):
    """One line of `runs.jsonl`: its run, its line number and its byte range."""

    run_id: str
    created_at: str | None
    display_name: str | None
    line: int
    byte_range: ByteRange


class FileTally:
    """Counts the lines and bytes of a file as they pass, and digests them."""

    def __init__(self) -> None:
        self.lines = 0
        self.bytes = 0
        self.torn = False
        self._sha256 = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Add the next line; one without a newline is the last."""
        self.lines += 1
        self.bytes += len(line)
        self.torn = not line.endswith(b"\n")
        self._sha256.update(line)

    @property
    def file(self) -> DataFile:
        """Return the lines, bytes and digest so far."""
        return DataFile(lines=self.lines, bytes=self.bytes, sha256=self._sha256.hexdigest())


class RunsAudit:
    """Checks `runs.jsonl`. strict: it is in our form; one of 3.0.3 only has to be readable.

    addresses: those that the project has and had, ENTITY/PROJECT; none if they are not known.
    """

    def __init__(self, findings: Findings, addresses: Collection[str], strict: bool) -> None:
        self._findings = findings
        self._addresses = addresses
        self._strict = strict
        self._previous: tuple[str, str] | None = None
        self._offset = 0
        self._number = 0
        self.runs: dict[str, StoredRun] = {}

    def add(self, line: bytes) -> None:
        """Check the next line."""
        self._number += 1
        start, self._offset = self._offset, self._offset + len(line)
        result = decode_snapshot(line)
        if not is_successful(result):
            if line.endswith(b"\n"):  # a torn line is reported as such
                self._say(FindingKind.LINE, f"cannot be read: {result.failure()}")
            return
        snapshot = result.unwrap()
        self._check(line, snapshot)
        run = snapshot.run
        own = hashlib.blake2b(line, digest_size=16).hexdigest()
        self.runs[run.run_id] = StoredRun(
            run_id=run.run_id,
            created_at=run.created_at,
            display_name=run.display_name,
            line=self._number,
            byte_range=ByteRange(offset=start, length=len(line), rows=1, digest=own),
        )

    def finish(self) -> None:
        """End the check."""

    def _check(self, line: bytes, snapshot: RunSnapshot) -> None:
        run = snapshot.run
        if self._addresses and f"{run.entity}/{run.project}" not in self._addresses:
            self._say(
                FindingKind.STRANGER, f"run {run.run_id!r} belongs to {run.entity}/{run.project}"
            )
        if run.run_id in self.runs:
            self._say(FindingKind.FORM, f"run {run.run_id!r} appears twice")
        if not self._strict:
            return
        if line.endswith(b"\n") and not snapshot_is_canonical(line, snapshot):
            self._say(FindingKind.FORM, NOT_CANONICAL)
        if self._previous is not None and snapshot.sort_key > self._previous:
            self._say(
                FindingKind.FORM, f"out of order: run {run.run_id!r} is newer than the one above"
            )
        self._previous = snapshot.sort_key

    def _say(self, kind: FindingKind, problem: str) -> None:
        self._findings.add(kind, RUNS_FILE, problem, self._number)


class ChangesAudit:
    """Checks `changes.jsonl`. Lines whose time goes back are in `backwards`: clocks differ."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._previous: str | None = None
        self._number = 0
        self.backwards: list[int] = []

    def add(self, line: bytes) -> None:
        """Check the next line."""
        self._number += 1
        result = decode_changes(line)
        if not is_successful(result):
            if line.endswith(b"\n"):
                self._say(f"cannot be read: {result.failure()}")
            return
        if line.endswith(b"\n") and not line_is_canonical(line):
            self._say(NOT_CANONICAL)
        at, before = instant(result.unwrap().at), instant(self._previous)
        if at is None:
            self._say(f"its time {result.unwrap().at!r} is not a time")
        elif before is not None and at < before:
            self.backwards.append(self._number)
        self._previous = result.unwrap().at

    def finish(self) -> None:
        """End the check."""

    def _say(self, problem: str) -> None:
        self._findings.add(FindingKind.LOG, CHANGES_FILE, problem, self._number)
