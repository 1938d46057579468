"""What the rows of a data file must be like, and the check of one row against the one before it."""

from collections.abc import Callable, Mapping

import msgspec

from dr_wandb.core.contract.codec import RowKey
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.records import ConsoleLine, HistoryRow, Record, RunFile, SystemSample
from dr_wandb.core.contract.row_forms import HISTORY_FORM, RowForm, StoredRow, form_of, is_canonical
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.inspect.audit import NOT_CANONICAL
from dr_wandb.core.inspect.spelling import row_is_canonical

PlacedRow = tuple[str, RowKey, bytes]
"""What decides the order of a row in its file: its run, its key, and the line itself."""


class RowRules(Record, frozen=True, kw_only=True):
    """What the rows of one data file must be like.

    strict: they are in our form; those of 3.0.3 only have to be readable. dataset: that of the
    rows. row_shape: the version that they have. selections: the selection under which each run was
    read, if not everything. every: all problems are kept, not a bounded number.
    """

    strict: bool
    dataset: str = HISTORY
    row_shape: int = ROW_SHAPE
    selections: Mapping[str, HistorySelection] = msgspec.field(default_factory=dict)
    every: bool = False

    @property
    def present_form(self) -> bool:
        """Say whether rows have the form and the shape of history rows of this version."""
        return self.strict and self.row_shape >= 2 and self.form is HISTORY_FORM

    @property
    def form(self) -> RowForm:
        """Return the form of the rows."""
        return form_of(self.dataset)

    def selection_of(self, run_id: str) -> HistorySelection:
        """Return the selection under which a run was read."""
        return self.selections.get(run_id, EVERYTHING)


class RowCheck:
    """Checks rows one after the other. `previous` is the last one, None before the first."""

    def __init__(self, rules: RowRules) -> None:
        self._rules = rules
        self.previous: PlacedRow | None = None

    def check(self, line: bytes, row: StoredRow, key: RowKey, say: Callable[[str], None]) -> None:
        """Check the next row, and say what is wrong with it."""
        if not isinstance(row, HistoryRow):
            self._check_other(line, row, key, say)
            return
        rules = self._rules
        if line.endswith(b"\n") and not row_is_canonical(line, row, key, rules.row_shape):
            say(NOT_CANONICAL)
        placed = (row.run_id, key, line)
        if self.previous is not None:
            before_run, before, before_line = self.previous
            by_key = rules.row_shape < 2 and not key[0] and not key[2]
            same = key == before if by_key else line == before_line and self._admits_all(row)
            if row.run_id == before_run and same:
                say(f"{_name(row)} appears twice")
            elif placed < self.previous:
                say(f"out of order: {_name(row)} belongs before the row above")
        self.previous = placed
        if rules.row_shape >= 2 and select_row(row, rules.selection_of(row.run_id)) != row:
            say(f"{_name(row)} has members its selection does not admit")

    def _check_other(
        self,
        line: bytes,
        row: SystemSample | ConsoleLine | RunFile,
        key: RowKey,
        say: Callable[[str], None],
    ) -> None:
        """Check a row in a form of its own, which has no selection."""
        if line.endswith(b"\n") and not is_canonical(self._rules.form, line):
            say(NOT_CANONICAL)
        placed = (row.run_id, key, line)
        if self.previous is not None:
            by_key = not key[0] or type(key[3]) is str
            same = self.previous[:2] == placed[:2] if by_key else self.previous == placed
            if same:
                say(f"{_name(row)} appears twice")
            elif placed < self.previous:
                say(f"out of order: {_name(row)} belongs before the row above")
        self.previous = placed

    def _admits_all(self, row: HistoryRow) -> bool:
        """Say whether rows of this run are whole: selected parts of different rows may be equal."""
        return self._rules.selection_of(row.run_id).admits_whole_rows


def _name(row: StoredRow) -> str:
    if isinstance(row, ConsoleLine):
        return f"line {row.number} of run {row.run_id!r}"
    if isinstance(row, RunFile):
        return f"file {row.path!r} of run {row.run_id!r}"
    if isinstance(row, SystemSample):
        return f"the sample at {row.timestamp} of run {row.run_id!r}"
    step = "without a step" if row.step is None else f"of step {row.step}"
    return f"the row {step} of run {row.run_id!r}"
