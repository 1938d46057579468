"""What a check of an export found, and its description for people.

Rules
- An export is sound if there is no finding. Notes are no findings.
- One problem never hides another.
- Of many findings of one kind in one file the first are listed, the others counted.
"""

from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby

from dr_wandb.core.contract.cut_list import MOST_LISTED
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.wording import as_lines, count, size_in_words


class FindingKind(StrEnum):
    """The kind of a problem. The remedy depends on the kind alone."""

    BUSY = "busy"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    NEWER = "newer"
    DOCUMENT = "document"
    STRANGER = "stranger"
    MISSING = "missing"
    LINE = "line"
    TORN = "torn"
    CONTENT = "content"
    FORM = "form"
    NO_RUN = "no_run"
    MANIFEST = "manifest"
    STATE = "state"
    LOG = "log"
    COLUMNS = "columns"
    STRAY = "stray"
    BLOB = "blob"


REMEDIES = {
    FindingKind.BUSY: "wait until the sync has ended, and verify again",
    FindingKind.INTERRUPTED: "sync again: the next sync finishes that commit first",
    FindingKind.REFUSED: "fix the disk or its permissions, and verify again",
    FindingKind.NEWER: "install a newer version of this tool",
    FindingKind.DOCUMENT: "restore it from a copy, or remove the file and sync again",
    FindingKind.STRANGER: "restore the file: it was copied from another export, or edited",
    FindingKind.MISSING: "restore it from a copy, or sync again to fetch what W&B still has",
    FindingKind.LINE: "restore the file, or delete that line and sync again to fetch its run again",
    FindingKind.TORN: (
        "restore the file, or delete everything after the last complete line and sync again"
    ),
    FindingKind.CONTENT: (
        "restore the file from a copy, or sync again to fetch the runs that differ, if W&B "
        "still has them"
    ),
    FindingKind.FORM: "sync again with --sync-mode full_reconcile to write every run again",
    FindingKind.NO_RUN: "restore runs.jsonl, or sync again if W&B still has the run",
    FindingKind.MANIFEST: "restore it from a copy, or sync again to write a new manifest",
    FindingKind.STATE: (
        "restore it from a copy, or sync again with --sync-mode full_reconcile to fetch every run "
        "again"
    ),
    FindingKind.LOG: (
        "restore the file from a copy; the other files of the export do not depend on it"
    ),
    FindingKind.COLUMNS: (
        "restore the file from a copy, or sync again: it is made again from the JSON lines if "
        "the export has them, else its runs are read again from W&B"
    ),
    FindingKind.BLOB: (
        "restore the file from a copy, or sync again with --sync-mode full_reconcile, which "
        "fetches it again if W&B still has it"
    ),
    FindingKind.STRAY: "move the file out of the folder",
}
"""The remedy for each kind."""


class Finding(Record, frozen=True, kw_only=True):
    """One problem of a file. `line` counts from 1; None for the whole file."""

    file: str
    line: int | None = None
    kind: FindingKind
    problem: str
    remedy: str

    def describe(self) -> str:
        """Describe it in one line."""
        subject = self.file if self.line is None else f"{self.file} line {self.line}"
        return f"{subject}: {self.problem}"


class NoteKind(StrEnum):
    """The kind of a note."""

    AT_WORK = "at_work"
    OF_3_0_3 = "of_3_0_3"
    RESPELLED = "respelled"
    RENAMED = "renamed"
    CLOCKS = "clocks"
    FORGOTTEN = "forgotten"
    QUICK = "quick"
    UNNAMED = "unnamed"
    UNCHECKED = "unchecked"


class Note(Record, frozen=True, kw_only=True):
    """Something worth knowing that is not a problem: a kind for programs, a text for people."""

    kind: NoteKind
    text: str


class VerifyReport(Record, frozen=True, kw_only=True):
    """What a check of an export found.

    `name` is that of the folder. `files`: each visible file that was read, with its size and
    digest. `blobs` are right, `blob_bytes` of them. `notes` are worth knowing, but no problems.
    """

    name: str
    entity: str | None = None
    project: str | None = None
    runs: int = 0
    rows: int = 0
    files: dict[str, DataFile]
    blobs: int = 0
    blob_bytes: int = 0
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def sound(self) -> bool:
        """Say whether there is no finding."""
        return not self.findings

    @property
    def quick(self) -> bool:
        """Say whether it was a quick check; a note says what was not checked."""
        return any(note.kind == NoteKind.QUICK for note in self.notes)


class Findings:
    """Collects findings, and keeps a bounded number of each kind in each file.

    most: that number; None keeps all.
    """

    def __init__(self, most: int | None = MOST_LISTED) -> None:
        self._most = most
        self._listed: dict[tuple[str, FindingKind], list[Finding]] = {}
        self._more: dict[tuple[str, FindingKind], int] = {}
        self.notes: list[Note] = []

    def add(self, kind: FindingKind, file: str, problem: str, line: int | None = None) -> None:
        """Add one finding."""
        listed = self._listed.setdefault((file, kind), [])
        if self._most is None or len(listed) < self._most:
            remedy = REMEDIES[kind]
            listed.append(Finding(file=file, line=line, kind=kind, problem=problem, remedy=remedy))
        else:
            self._more[file, kind] = self._more.get((file, kind), 0) + 1

    def absorb(self, others: "Findings", lines_before: int) -> None:
        """Add the findings of a slice of a file that begins after a number of lines."""
        for (file, kind), listed in others._listed.items():
            for finding in listed:
                line = finding.line + lines_before if finding.line is not None else None
                self.add(kind, file, finding.problem, line)
        for of_kind, more in others._more.items():
            self._more[of_kind] = self._more.get(of_kind, 0) + more

    def note(self, kind: NoteKind, text: str) -> None:
        """Add a note: worth knowing, but no problem."""
        self.notes.append(Note(kind=kind, text=text))

    def has(self, file: str, *kinds: FindingKind) -> bool:
        """Say whether this file has a finding, of one of these kinds if any is given."""
        return any(name == file and (not kinds or kind in kinds) for name, kind in self._listed)

    def has_below(self, folder: str) -> bool:
        """Say whether a file in this folder has a finding."""
        return any(name.startswith(f"{folder}/") for name, _ in self._listed)

    def all(self) -> tuple[Finding, ...]:
        """Return the findings, those of one kind and file together."""
        return tuple(self._all())

    def _all(self) -> Iterator[Finding]:
        kinds = list(FindingKind)
        for file, kind in sorted(self._listed, key=lambda one: (kinds.index(one[1]), one[0])):
            yield from sorted(self._listed[file, kind], key=lambda finding: finding.line or 0)
            if more := self._more.get((file, kind)):
                problem = f"and {more:,} more like {'this' if more == 1 else 'these'}"
                yield Finding(file=file, kind=kind, problem=problem, remedy=REMEDIES[kind])


def describe_report(
    report: VerifyReport, *, rest: str | None = None, raw: bool = False
) -> tuple[str, ...]:
    """Describe a report in lines of text: a line that sums it up, then one per finding.

    rest: how to see the findings that a bounded check only counted, such as `--all`.
    raw: names and reasons as they are, with characters that can steer a terminal.
    """
    return as_lines(_describe(report, rest), raw=raw)


def _describe(report: VerifyReport, rest: str | None) -> Iterator[str]:
    project = f" ({report.entity}/{report.project})" if report.entity is not None else ""
    size = sum(file.bytes for file in report.files.values())
    checked = (
        f"{count(report.runs, 'run')}, {count(report.rows, 'row')}, {size_in_words(size)} in "
        f"{count(len(report.files), 'file')}"
    )
    if report.blobs:
        checked += f" and {size_in_words(report.blob_bytes)} in {count(report.blobs, 'blob')}"
    verdict = "sound" if report.sound else "not sound"
    if report.sound and report.quick:
        verdict = "sound as far as a quick check looks"
    yield f"{report.name}{project} is {verdict}: {checked} checked"
    yield from (f"note: {note.text}" for note in report.notes)
    for kind in FindingKind:
        found = [finding for finding in report.findings if finding.kind == kind]
        for _, group in groupby(found, lambda finding: finding.file):
            lines = [finding.describe() for finding in group]
            counted = rest is not None and len(lines) > MOST_LISTED  # of the last line of a file
            yield from lines[:-1]
            yield f"{lines[-1]}; {rest}" if counted else lines[-1]
        if found:
            yield f"  what to do: {found[0].remedy}"
