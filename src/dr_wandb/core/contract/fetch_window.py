"""Which rows of a run one fetch asks for, and which it received.

Rules
- A window has one form: if it begins at step 0 or below, it has no start.
- A row without a step counts as step 0.
- Received rows are counted before anything is selected.
"""

from msgspec.structs import force_setattr

from dr_wandb.core.contract.records import Record


class FetchWindow(Record, frozen=True, kw_only=True):
    """The steps to read: `start` inclusive, `stop` exclusive, None if that side is open.

    A window without a start also reads the rows without a step, and those of steps below 0.
    """

    start: int | None = None
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start <= 0:
            force_setattr(self, "start", None)

    @property
    def low(self) -> int:
        """Return the first step to read, 0 if the window has no start."""
        return self.start or 0

    @property
    def whole(self) -> bool:
        """Say whether it is the whole run."""
        return self.start is None and self.stop is None

    def has(self, step: int | None) -> bool:
        """Say whether the window has a row of this step; None counts as step 0."""
        known = step or 0
        above = self.start is None or known >= self.start
        return above and (self.stop is None or known < self.stop)

    def covers(self, other: "FetchWindow") -> bool:
        """Say whether this window has all rows of another one."""
        if self.start is not None and self.start > other.low:
            return False
        return self.stop is None or (other.stop is not None and other.stop <= self.stop)


WHOLE_RUN = FetchWindow()


class Received(Record, frozen=True, kw_only=True):
    """The rows that a fetch received: distinct ones, before selection.

    `last_timestamp` is that of the last row that has a step. `boundary_rows` counts the rows of
    `last_step`, `without_step` those without a step. `rows_below` and `rows_at` count the rows
    below a step that was asked about, and at it. `left_out` counts what was listed and is no row,
    `wanting` the rows of which part did not come.
    """

    rows: int = 0
    last_step: int | None = None
    last_timestamp: str | None = None
    boundary_rows: int = 0
    without_step: int = 0
    rows_below: int = 0
    rows_at: int = 0
    left_out: int = 0
    wanting: int = 0
