"""Which history rows to keep, and which of their metrics.

Rules
- Two selections that admit the same rows compare equal: keys are sorted and unique, a selection
  that admits everything is `EVERYTHING`.
- A selection covers another one if it surely admits every row and value that the other admits.
"""

import math
from collections.abc import Iterable

from msgspec.structs import force_setattr, replace

from dr_wandb.core.contract.problems import InvalidRequestError, is_count
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import clean_text


class HistoryWindow(Record, frozen=True, kw_only=True):
    """Bounds on history: `min_step` inclusive, `max_step` exclusive, `max_records` per run.

    The bounds are those of `Run.scan_history` (wandb 0.31.0). A row without a step counts as
    step 0. `max_records` keeps the last rows in the order of `history.jsonl`.
    """

    min_step: int | None = None
    max_step: int | None = None
    max_records: int | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be {least} or more, not {value!r}"
            for name, value, least in (
                ("min_step", self.min_step, 0),
                ("max_step", self.max_step, 0),
                ("max_records", self.max_records, 1),
            )
            if value is not None and not is_count(value, least)
        ]
        backwards = (
            not problems
            and self.max_step is not None
            and not (self.min_step is None or self.min_step <= self.max_step)
        )
        if backwards:
            problems.append(f"min_step {self.min_step} is beyond max_step {self.max_step}")
        if problems:
            raise InvalidRequestError(problems)

    @property
    def contradiction(self) -> str | None:
        """Say why no step at all can be admitted, None if one can.

        A stored window may be one: such a request was taken by earlier builds.
        """
        if self.max_step is None or (self.min_step or 0) < self.max_step:
            return None
        low = "" if self.min_step is None else f"min_step {self.min_step} to "
        return f"{low}max_step {self.max_step} admits no step: max_step is exclusive"

    def admits_step(self, step: int | None) -> bool:
        """Say whether a row of this step is inside the window."""
        known = 0 if step is None else step
        return (self.min_step is None or known >= self.min_step) and (
            self.max_step is None or known < self.max_step
        )


OPEN_WINDOW = HistoryWindow()


class HistorySelection(Record, frozen=True, kw_only=True):
    """Which history rows and metrics to keep.

    `keys` keeps the rows that have at least one of them, with just those metrics. A key is an
    exact name, or a dotted path into a nested value. None keeps everything.
    """

    keys: tuple[str, ...] | None = None
    window: HistoryWindow | None = None

    def __post_init__(self) -> None:
        if isinstance(self.keys, str):
            force_setattr(self, "keys", (self.keys,))
        if self.keys is not None:
            if not all(isinstance(key, str) and key.strip() for key in self.keys):
                raise InvalidRequestError(["a history key must not be blank"])
            keys = {clean_text(key) for key in self.keys}
            force_setattr(self, "keys", tuple(sorted(keys)) or None)
        if self.window == OPEN_WINDOW:
            force_setattr(self, "window", None)

    @property
    def admits_all(self) -> bool:
        """Say whether all rows are admitted with all metrics; `max_records` may still drop some."""
        return self.keys is None and (self.bounds.min_step, self.bounds.max_step) == (None, None)

    def covers(self, other: "HistorySelection") -> bool:
        """Say whether it surely admits everything that another selection admits, of any run."""
        if self == other:
            return True
        mine, others = self.bounds, other.bounds
        if mine.max_records is not None:
            same = replace(self, window=replace(mine, max_records=others.max_records)) == other
            return same and (others.max_records or math.inf) <= mine.max_records
        keys = self.keys is None or (other.keys is not None and {*other.keys} <= {*self.keys})
        low, other_low = (
            -math.inf if one.min_step is None else one.min_step for one in (mine, others)
        )
        high, other_high = (
            math.inf if one.max_step is None else one.max_step for one in (mine, others)
        )
        return keys and low <= other_low and other_high <= high

    @property
    def admits_whole_rows(self) -> bool:
        """Say whether rows keep all their metrics and steps; `max_records` may still drop some."""
        return self.keys is None and self.bounds.min_step is None and self.bounds.max_step is None

    @property
    def without_limit(self) -> "HistorySelection":
        """Return the selection without its `max_records`."""
        return replace(self, window=replace(self.bounds, max_records=None))

    @property
    def bounds(self) -> HistoryWindow:
        """Return the window, an open one if there is none."""
        return self.window or OPEN_WINDOW


EVERYTHING = HistorySelection()
"""The selection that admits every row with all its metrics."""


def selection_in_words(selection: HistorySelection) -> str:
    """Describe a selection in words."""
    bounds = selection.bounds
    parts = [f"keys {', '.join(selection.keys)}"] if selection.keys else []
    parts.extend(
        f"{name.replace('_', ' ')} {value}"
        for name, value in (
            ("min_step", bounds.min_step),
            ("max_step", bounds.max_step),
            ("max_records", bounds.max_records),
        )
        if value is not None
    )
    return "; ".join(parts) or "everything"


def build_selection(
    *,
    keys: Iterable[str] | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
    max_records: int | None = None,
) -> HistorySelection | None:
    """Make a selection from the flags of the command line, None if none is given."""
    selection = HistorySelection(
        keys=tuple(keys) if keys is not None else None,
        window=HistoryWindow(min_step=min_step, max_step=max_step, max_records=max_records),
    )
    return None if selection == EVERYTHING else selection
