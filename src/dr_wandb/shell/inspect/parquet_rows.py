"""Check the rows in a pack, or in the own files of a run: as cells, and then as lines."""

import hashlib
from collections.abc import Container, Mapping

from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.digest import run_digest
from dr_wandb.core.columnar.to_lines import lines_of
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.inspect.audit import StoredRun
from dr_wandb.core.inspect.audit_rows import RowsAudit, SliceAudit, StoredPart
from dr_wandb.core.inspect.cells_of_run import problem_of_cells, problem_of_home
from dr_wandb.core.inspect.columns import ColumnsPart
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.verify import FindingKind, Findings
from dr_wandb.shell.store.checked_parquet import DescribedFile

AT_ONCE_BYTES = 1 << 15
"""How many bytes of lines are checked together: their rows stay in the processor's cache."""


class RowsInColumns:
    """The rows of a pack, or of a run with files of its own, as lines."""

    def __init__(
        self,
        findings: Findings,
        runs: Mapping[str, StoredRun],
        rules: RowRules | None,
        run_ids: Container[str],
    ) -> None:
        self._findings = findings
        self._runs = runs
        self._rules = rules
        self._run_ids = run_ids
        self._audit: RowsAudit | None = None
        self._tallies: dict[str, _Tally] = {}
        self.whole = True
        self._next = 0  # the number of the part that follows; later ones follow nothing
        self.lines = 0

    def add(
        self, name: str, file: DescribedFile, run_id: str, batch: CellBatch, contents: str
    ) -> str:
        """Check the rows of a run in a file, and return the digest of its lines so far.

        contents: the digest of these cells.
        """
        tally = self._tallies.setdefault(run_id, _Tally(name))
        digest = hashlib.sha256(run_id.encode()).hexdigest()
        created_at = self._runs[run_id].created_at if run_id in self._runs else None
        problems = [
            problem_of_cells(batch) and f"run {run_id!r} {problem_of_cells(batch)}",
            run_id in self._runs and problem_of_home(name, run_id, created_at),
            not digest.startswith(file.digest or file.first_digit)
            and f"has run {run_id!r}, which belongs into a file of another digest",
            batch.first != tally.rows
            and file.number == self._next
            and f"run {run_id!r} goes on at row {batch.first:,}, not at {tally.rows:,}",
        ]
        if file.digest:
            self._next = file.number + 1
        for problem in filter(None, problems):
            self._findings.add(FindingKind.COLUMNS, name, str(problem))
        lines = lines_of(batch, run_id).lines
        tally.add(lines, batch.row_count, contents)
        self.lines += batch.row_count
        if self._rules is not None:
            self._check(name, lines, self._rules)
        return tally.digest

    def _check(self, name: str, lines: bytes, rules: RowRules) -> None:
        if self._audit is None:
            self._audit = RowsAudit(HISTORY, self._findings, self._run_ids, rules, name)
        audit = SliceAudit(HISTORY, rules, name)
        start = 0
        while start < len(lines):
            end = lines.find(b"\n", start + AT_ONCE_BYTES) + 1 or len(lines)
            audit.add(lines[start:end])
            start = end
        self._audit.add(audit.finish())

    def finish(self) -> dict[str, ColumnsPart]:
        """Return the rows of each run, at no particular offset."""
        audited: Mapping[str, StoredPart] = {}
        if self._audit is not None:
            self._audit.finish()
            audited = self._audit.runs
        return {
            run_id: ColumnsPart(
                file=tally.file,
                cells=tally.cells,
                whole=self.whole,
                part=StoredPart(
                    line=1,
                    byte_range=tally.byte_range,
                    received=audited[run_id].received if run_id in audited else Received(),
                ),
            )
            for run_id, tally in self._tallies.items()
        }


class _Tally:
    """Counts the lines of a run, and digests them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.rows = 0
        self._length = 0
        self._parts: list[str] = []
        self._hashed = hashlib.blake2b(digest_size=16)

    def add(self, lines: bytes, rows: int, contents: str) -> None:
        """Add the next lines. contents: the digest of their cells."""
        self.rows += rows
        self._parts.append(contents)
        self._length += len(lines)
        self._hashed.update(lines)

    @property
    def cells(self) -> str:
        """Return the digest of the cells so far, as the state may have it."""
        return run_digest(self._parts)

    @property
    def digest(self) -> str:
        """Return the digest so far, as the state has it."""
        return self._hashed.hexdigest()

    @property
    def byte_range(self) -> ByteRange:
        """Return the lines so far as a byte range."""
        return ByteRange(offset=0, length=self._length, rows=self.rows, digest=self.digest)
