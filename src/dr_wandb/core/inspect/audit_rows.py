"""Check the data file of a dataset: slices of it in any order, then put together in file order.

Rules
- However a file is cut into slices, at the ends of lines, what is found is the same.
- A slice knows nothing of what is before it. Its first readable row is checked when the slices are
  put together, and the lines before that row belong to a run of an earlier slice.
- Of each row only what judging the next one needs is kept, and one value per run.
- A line that cannot be read is reported, and counts with the run before it.
"""

import hashlib
from collections.abc import Container, Sequence

from msgspec.structs import replace
from returns.pipeline import is_successful

from dr_wandb.core.contract.codec import NO_TIME, RowKey, RowName, row_key
from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.encoded_rows import EncodedRows, ReceivedRow
from dr_wandb.core.contract.export_files import RUNS_FILE
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import ConsoleLine, Record, RunFile
from dr_wandb.core.contract.row_forms import HISTORY_FORM, StoredRow
from dr_wandb.core.inspect.row_rules import PlacedRow, RowCheck, RowRules
from dr_wandb.core.inspect.sound_other_rows import prove_other_rows
from dr_wandb.core.inspect.sound_rows import ProvenRows, halves, prove_rows
from dr_wandb.core.inspect.verify import FindingKind, Findings
from dr_wandb.core.sync.merge import Tally


class StoredPart(Record, frozen=True, kw_only=True):
    """The rows of one run in a data file: their byte range, and their counts as if fetched."""

    line: int
    byte_range: ByteRange
    received: Received


class AuditedSlice(Record, frozen=True, kw_only=True):
    """What a slice of a data file holds. Lines and offsets count from its beginning.

    `loose_lines` come before its first readable row, which is `first`, with its line number; `last`
    is its last one. `parts` are the runs in it, in the order of the file. `findings` has all
    findings but those of the form of `first`. `torn`: the last line has no newline.
    """

    lines: int
    length: int
    torn: bool
    loose_lines: int
    loose_length: int
    first: tuple[int, bytes] | None
    last: PlacedRow | None
    parts: tuple[tuple[str, StoredPart], ...]
    findings: Findings


class SliceAudit:
    """Checks a slice of the file of a dataset. file: its name, if it is another file."""

    def __init__(self, dataset: str, rules: RowRules, file: str = "") -> None:
        self._file = file or DATASETS[dataset].file
        self._rules = rules
        self._findings = Findings(None) if rules.every else Findings()
        self._check = RowCheck(rules)
        self._group: _Group | None = None
        self._first: tuple[int, bytes] | None = None
        self._parts: list[tuple[str, StoredPart]] = []
        self._loose_lines = self._loose_length = 0
        self._offset = self._number = 0
        self._torn = False

    def add(self, lines: bytes) -> None:
        """Check the next lines: whole ones, except the last line of a file."""
        self._torn = not lines.endswith(b"\n")
        prove = prove_rows if self._rules.form is HISTORY_FORM else prove_other_rows
        proven = prove(lines, self._check.previous, self._rules)
        if proven is not None:
            self._add_proven(proven)
        elif parts := halves(lines, self._rules):
            for part in parts:
                self.add(part)
        else:
            *whole, rest = lines.split(b"\n")
            for line in whole:
                self._add_line(line + b"\n")
            if rest:
                self._add_line(rest)

    def _add_proven(self, proven: Sequence[ProvenRows]) -> None:
        if self._first is None:
            self._first = (self._number + 1, proven[0].rows.first)
        for run_id, rows, rising in proven:
            self._group_of(run_id, self._number + 1).add_rows(rows, rising=rising)
            self._number += len(rows.steps)
            self._offset += len(rows.lines)
        run_id, rows, _ = proven[-1]
        key = row_key(rows.steps[-1], rows.timestamps[-1])
        self._check.previous = (run_id, key, rows.last)

    def _add_line(self, line: bytes) -> None:
        self._number += 1
        result = self._rules.form.decode(line)
        if not is_successful(result):
            if line.endswith(b"\n"):  # a torn line is reported as such
                self._say(FindingKind.LINE, f"cannot be read: {result.failure()}")
            if self._group is not None:
                self._group.add(line)
            else:
                self._loose_lines += 1
                self._loose_length += len(line)
        else:
            row = result.unwrap()
            key = self._rules.form.key(row)
            self._check_form(line, row, key)
            timestamp = _time_of(row)
            received = ReceivedRow(key, False, 0, line, timestamp)
            self._group_of(row.run_id, self._number).add(line, received)
        self._offset += len(line)

    def _check_form(self, line: bytes, row: StoredRow, key: RowKey) -> None:
        if self._first is None:
            self._first = (self._number, line)
            self._check.previous = (row.run_id, key, line)
        elif self._rules.strict:
            self._check.check(line, row, key, lambda what: self._say(FindingKind.FORM, what))

    def _group_of(self, run_id: str, number: int) -> "_Group":
        """Return the rows of the current run, which may begin at the line of this number."""
        if self._group is None or self._group.run_id != run_id:
            self._end_group()
            self._group = _Group(run_id, number, self._offset)
        return self._group

    def _end_group(self) -> None:
        if self._group is not None:
            self._parts.append((self._group.run_id, self._group.stored))

    def finish(self) -> AuditedSlice:
        """End the check, and return what was found."""
        self._end_group()
        return AuditedSlice(
            lines=self._number,
            length=self._offset,
            torn=self._torn,
            loose_lines=self._loose_lines,
            loose_length=self._loose_length,
            first=self._first,
            last=self._check.previous,
            parts=tuple(self._parts),
            findings=self._findings,
        )

    def _say(self, kind: FindingKind, problem: str) -> None:
        self._findings.add(kind, self._file, problem, self._number)


class RowsAudit:
    """Puts the slices of the file of a dataset together.

    run_ids: the runs that rows may belong to. file: as `SliceAudit` takes it. `runs` has the rows
    of each run; a part that was cut has no digest, as those of its pieces do not give it.
    """

    def __init__(
        self,
        dataset: str,
        findings: Findings,
        run_ids: Container[str],
        rules: RowRules,
        file: str = "",
    ) -> None:
        self._file = file or DATASETS[dataset].file
        self._findings = findings
        self._run_ids = run_ids
        self._rules = rules
        self._check = RowCheck(rules)
        self._open: tuple[str, StoredPart] | None = None
        self._offset = 0
        self.lines = 0
        self.torn = False
        self.runs: dict[str, StoredPart] = {}

    def add(self, found: AuditedSlice) -> None:
        """Add the next slice of the file."""
        if self._open is not None and found.loose_lines:
            run_id, part = self._open
            self._open = (run_id, _longer(part, found.loose_lines, found.loose_length))
        if found.first is not None and self._rules.strict:
            self._check_first(*found.first)
            self._check.previous = found.last
        self._findings.absorb(found.findings, self.lines)
        for run_id, part in found.parts:
            self._add_part(run_id, _shifted(part, self.lines, self._offset))
        self.lines += found.lines
        self._offset += found.length
        self.torn = found.torn

    def _check_first(self, number: int, line: bytes) -> None:
        row = self._rules.form.decode(line).unwrap()
        at = self.lines + number
        self._check.check(
            line,
            row,
            self._rules.form.key(row),
            lambda what: self._findings.add(FindingKind.FORM, self._file, what, at),
        )

    def _add_part(self, run_id: str, part: StoredPart) -> None:
        if self._open is not None and self._open[0] == run_id:
            before = self._open[1]
            longer = _longer(before, part.byte_range.rows, part.byte_range.length)
            received = _added(before.received, part.received)
            self._open = (run_id, replace(longer, received=received))
        else:
            self.finish()
            self._open = (run_id, part)

    def finish(self) -> None:
        """End the rows of the last run."""
        if self._open is None:
            return
        (run_id, part), self._open = self._open, None
        if run_id not in self._run_ids:
            problem = f"run {run_id!r} of these {part.byte_range.rows:,} rows is not in {RUNS_FILE}"
            self._findings.add(FindingKind.NO_RUN, self._file, problem, part.line)
        self.runs[run_id] = part


def _time_of(row: StoredRow) -> str | None:
    match row:
        case ConsoleLine():
            return NO_TIME
        case RunFile():
            return RowName(row.path)
        case _:
            return row.timestamp


def _shifted(part: StoredPart, lines: int, offset: int) -> StoredPart:
    byte_range = replace(part.byte_range, offset=part.byte_range.offset + offset)
    return replace(part, line=part.line + lines, byte_range=byte_range)


def _longer(part: StoredPart, lines: int, length: int) -> StoredPart:
    """Return a part with lines added at its end, and without its digest."""
    known = part.byte_range
    longer = replace(known, rows=known.rows + lines, length=known.length + length, digest="")
    return replace(part, byte_range=longer)


def _added(before: Received, after: Received) -> Received:
    """Return the counts of rows that come one after the other, as `Tally` counts them."""
    rows, without_step = before.rows + after.rows, before.without_step + after.without_step
    if after.last_step is None:
        return replace(before, rows=rows, without_step=without_step)
    goes_on = after.last_step == before.last_step and (
        after.boundary_rows == after.rows - after.without_step
    )
    at_step = after.boundary_rows + (before.boundary_rows if goes_on else 0)
    return replace(after, rows=rows, without_step=without_step, boundary_rows=at_step)


class _Group:
    """The rows of one run so far."""

    def __init__(self, run_id: str, line: int, offset: int) -> None:
        self.run_id = run_id
        self._line = line
        self._rows = 0
        self._offset = offset
        self._length = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._tally = Tally()

    def add(self, line: bytes, row: ReceivedRow | None = None) -> None:
        self._rows += 1
        self._length += len(line)
        self._digest.update(line)
        if row is not None:
            self._tally.add(row)

    def add_rows(self, rows: EncodedRows, *, rising: bool) -> None:
        self._rows += len(rows.steps)
        self._length += len(rows.lines)
        self._digest.update(rows.lines)
        if rising:
            self._tally.add_rising(rows)
        else:
            for row in rows.rows(live=False):
                self._tally.add(row)

    @property
    def stored(self) -> StoredPart:
        byte_range = ByteRange(
            offset=self._offset,
            length=self._length,
            rows=self._rows,
            digest=self._digest.hexdigest(),
        )
        return StoredPart(line=self._line, byte_range=byte_range, received=self._tally.received())
