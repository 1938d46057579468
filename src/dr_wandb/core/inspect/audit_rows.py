"""Check the data file of a dataset line by line, in one pass.

Rules
- Of each row only what judging the next one needs is kept, and one value per run.
- A line that cannot be read is reported, and counts with the run before it.
"""

import hashlib
from collections.abc import Container, Mapping

from returns.pipeline import is_successful

from dr_wandb.core.contract.codec import RowKey, decode_row, row_key
from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.encoded_rows import ReceivedRow
from dr_wandb.core.contract.export_files import RUNS_FILE
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import HistoryRow, Record
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.inspect.audit import NOT_CANONICAL
from dr_wandb.core.inspect.spelling import row_is_canonical
from dr_wandb.core.inspect.verify import FindingKind, Findings
from dr_wandb.core.sync.merge import Tally


class StoredPart(Record, frozen=True, kw_only=True):
    """The rows of one run in a data file: their byte range, and their counts as if fetched."""

    line: int
    byte_range: ByteRange
    received: Received


class RowsAudit:
    """Checks the file of a dataset. strict: as for the runs. row_shape: the version that rows have.

    run_ids: the runs that rows may belong to. selections: the selection under which each run was
    read.
    """

    def __init__(
        self,
        dataset: str,
        findings: Findings,
        run_ids: Container[str],
        selections: Mapping[str, HistorySelection],
        strict: bool,
        row_shape: int = ROW_SHAPE,
    ) -> None:
        self._file = DATASETS[dataset].file
        self._findings = findings
        self._row_shape = row_shape
        self._run_ids = run_ids
        self._selections = selections
        self._strict = strict
        self._previous: tuple[str, RowKey, bytes] | None = None
        self._group: _Group | None = None
        self._offset = 0
        self._number = 0
        self.runs: dict[str, StoredPart] = {}

    def add(self, line: bytes) -> None:
        """Check the next line."""
        self._number += 1
        result = decode_row(line)
        if not is_successful(result):
            if line.endswith(b"\n"):  # a torn line is reported as such
                self._say(FindingKind.LINE, f"cannot be read: {result.failure()}")
            if self._group is not None:
                self._group.add(line)
        else:
            row = result.unwrap()
            key = row_key(row.step, row.timestamp)
            if self._strict:
                self._check(line, row, key)
            if self._group is None or self._group.run_id != row.run_id:
                self.finish()
                self._group = _Group(row.run_id, self._number, self._offset)
            self._group.add(line, ReceivedRow(key, False, 0, line, row.timestamp))
        self._offset += len(line)

    def finish(self) -> None:
        """End the rows of the current run."""
        group, self._group = self._group, None
        if group is None:
            return
        if group.run_id not in self._run_ids:
            problem = f"run {group.run_id!r} of these {group.rows:,} rows is not in {RUNS_FILE}"
            self._findings.add(FindingKind.NO_RUN, self._file, problem, group.line)
        self.runs[group.run_id] = group.stored

    def _check(self, line: bytes, row: HistoryRow, key: RowKey) -> None:
        if line.endswith(b"\n") and not row_is_canonical(line, row, key, self._row_shape):
            self._say(FindingKind.FORM, NOT_CANONICAL)
        sort_key = (row.run_id, key, line)
        if self._previous is not None:
            before_run, before, before_line = self._previous
            by_key = self._row_shape < 2 and not key[0] and not key[2]
            same = key == before if by_key else line == before_line and self._admits_all(row)
            if row.run_id == before_run and same:
                self._say(FindingKind.FORM, f"{_name(row)} appears twice")
            elif sort_key < self._previous:
                self._say(
                    FindingKind.FORM, f"out of order: {_name(row)} belongs before the row above"
                )
        self._previous = sort_key
        if self._row_shape >= 2 and select_row(row, self._selection(row)) != row:
            self._say(FindingKind.FORM, f"{_name(row)} has members its selection does not admit")

    def _selection(self, row: HistoryRow) -> HistorySelection:
        return self._selections.get(row.run_id, EVERYTHING)

    def _admits_all(self, row: HistoryRow) -> bool:
        """Say whether rows of this run are whole: selected parts of different rows may be equal."""
        return self._selection(row).admits_whole_rows

    def _say(self, kind: FindingKind, problem: str) -> None:
        self._findings.add(kind, self._file, problem, self._number)


class _Group:
    """The rows of one run so far."""

    def __init__(self, run_id: str, line: int, offset: int) -> None:
        self.run_id = run_id
        self.line = line
        self.rows = 0
        self._offset = offset
        self._length = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._tally = Tally()

    def add(self, line: bytes, row: ReceivedRow | None = None) -> None:
        self.rows += 1
        self._length += len(line)
        self._digest.update(line)
        if row is not None:
            self._tally.add(row)

    @property
    def stored(self) -> StoredPart:
        byte_range = ByteRange(
            offset=self._offset,
            length=self._length,
            rows=self.rows,
            digest=self._digest.hexdigest(),
        )
        return StoredPart(line=self.line, byte_range=byte_range, received=self._tally.received())


def _name(row: HistoryRow) -> str:
    step = "without a step" if row.step is None else f"of step {row.step}"
    return f"the row {step} of run {row.run_id!r}"
