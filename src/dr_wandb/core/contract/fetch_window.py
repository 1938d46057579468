"""Which rows of a run one fetch asks for, and what it brought.

Rules
- A window has one form: one that begins at step 0 or before it has no start.
- A row without a step lies in a window as if its step was 0.
- What was received is counted before anything is selected.
"""

from msgspec.structs import force_setattr

from dr_wandb.core.contract.records import Record


class FetchWindow(Record, frozen=True, kw_only=True):
    """Steps to read: `start` inclusive, `stop` exclusive, None where it is open.

    A window without a start reads the rows without a step, and those of steps below 0, too.
    """

    start: int | None = None
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start <= 0:
            force_setattr(self, "start", None)

    @property
    def low(self) -> int:
        """Return the first step that is asked for, 0 where the window begins with the run."""
        return self.start or 0

    @property
    def whole(self) -> bool:
        """Say whether it is the whole run."""
        return self.start is None and self.stop is None

    def has(self, step: int | None) -> bool:
        """Say whether a row of this step is asked for; one without a step is, as step 0."""
        known = step or 0
        above = self.start is None or known >= self.start
        return above and (self.stop is None or known < self.stop)

    def covers(self, other: "FetchWindow") -> bool:
        """Say whether all rows of another window lie inside this one."""
        if self.start is not None and self.start > other.low:
            return False
        return self.stop is None or (other.stop is not None and other.stop <= self.stop)


WHOLE_RUN = FetchWindow()


WHOLE_RUN = FetchWindow()


class Received(Record, frozen=True, kw_only=True):
    """What a fetch brought: distinct rows, before selection.

    `last_timestamp` is that of the last row that has a step; `boundary_rows` are those of
    `last_step`, `without_step` those that have none. `rows_below` and `rows_at` count the rows
    below a step that was asked about, and those of that step.
    """

    rows: int = 0
    last_step: int | None = None
    last_timestamp: str | None = None
    boundary_rows: int = 0
    without_step: int = 0
    rows_below: int = 0
    rows_at: int = 0
