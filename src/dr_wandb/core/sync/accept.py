"""Whether a fetch may be believed.

Rules
- A fetch is accepted when its last row reaches the listed last step and, with what is kept, it
  accounts for the listed line count.
- It may leave fewer rows than before only where the listed count shrank.
- A tail begins at the last step received, and the rows of that step must be the ones held; if not,
  or if the count grew by another number than the rows gained, the run is read again whole.
- A bounded window that comes back empty proves nothing: the run is read whole.
- A fetch that reaches the last step but stays short three syncs in a row is accepted as short.
- A run that is not believed keeps its old data and its old position.
"""

from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import HistorySelection
from dr_wandb.core.contract.state import HistoryPosition, RunTracking

SHORT_SYNCS = 3
"""After so many syncs in a row that stay short, the server's count is taken to be wrong."""


class Accepted(Record, tag_field="verdict", tag="accepted", frozen=True, kw_only=True):
    """The fetch holds; `notice` is for the log, where something is worth saying aloud."""

    position: HistoryPosition
    notice: str | None = None


class Rejected(Record, tag_field="verdict", tag="rejected", frozen=True, kw_only=True):
    """The fetch cannot be true; `short` where only the line count speaks against it."""

    reason: str
    short: bool = False


class ReadWhole(Record, tag_field="verdict", tag="read_whole", frozen=True, kw_only=True):
    """The fetch cannot be judged by itself: read the whole run."""

    reason: str


Verdict = Accepted | Rejected | ReadWhole


def judge(
    window: FetchWindow,
    listing: RunListing,
    received: Received,
    *,
    tail: bool,
    selection: HistorySelection,
    before: RunTracking | None,
    same_source: bool = True,
) -> Verdict:
    """Decide whether what a fetch of `window` received may be believed.

    tail: the window begins at the last step of the position in `before`, which is kept below it.
    same_source: the rows that are held came from this kind of source too. Another one does not
    prove by a smaller count that rows are gone.
    """
    if reason := _falls_short_of_last_step(window, listing, received):
        return ReadWhole(reason=reason) if tail else Rejected(reason=reason)
    position = before.position if before is not None else None
    if tail:
        if position is None:
            return ReadWhole(reason="no position to continue from")
        return _judge_tail(listing, received, selection, position)
    if window.whole:
        return _judge_whole(listing, received, selection, before, same_source)
    return _judge_window(window, listing, received, selection, before)


def _falls_short_of_last_step(
    window: FetchWindow, listing: RunListing, received: Received
) -> str | None:
    last = listing.last_step
    if last is None or last < window.low:
        return None
    if window.stop is not None and last >= window.stop:
        return None
    reached = 0 if received.rows and received.last_step is None else received.last_step
    if reached is not None and reached >= last:
        return None
    got = "no rows" if not received.rows else f"rows up to step {received.last_step}"
    return f"received {got}, but step {last} is listed"


def _judge_tail(
    listing: RunListing,
    received: Received,
    selection: HistorySelection,
    position: HistoryPosition,
) -> Verdict:
    if received.start_boundary != position.boundary:
        return ReadWhole(reason=f"the rows at step {position.last_step} are not the ones we hold")
    gained = received.rows - received.start_rows
    if listing.history_line_count is not None:
        known = position.expected_line_count if position.whole else position.listed.line_count or 0
        grown = listing.history_line_count - known
        if gained != grown:
            return ReadWhole(reason=f"the line count grew by {grown}, but {gained} rows came")
    return Accepted(
        position=_position(
            listing,
            received,
            selection,
            rows=position.rows + gained,
            whole=position.whole,
            short_by=position.short_by,
        )
    )


def _judge_whole(
    listing: RunListing,
    received: Received,
    selection: HistorySelection,
    before: RunTracking | None,
    same_source: bool,
) -> Verdict:
    position = before.position if before is not None else None
    count = listing.history_line_count
    if not same_source and received.rows < _rows_held(position, before):
        held = _rows_held(position, before)
        return Rejected(
            reason=f"received {received.rows} rows where {held} of another source are held: "
            "use another --name"
        )
    held = _rows_at_stake(position, before, count)
    exact = count is not None and count == received.rows
    if exact and before is not None and before.lacks_rows:
        held = 0  # what was two rows in the earlier shape may be one in this
    streak = before.short_streak if before is not None else 0
    if received.rows < held and not (exact and streak + 1 >= SHORT_SYNCS):
        lines = "it is not said how many there are" if count is None else f"{count} are listed"
        return Rejected(
            reason=f"received {received.rows} rows where {held} are held; {lines}",
            short=exact,
        )
    short_by = max(0, (count or 0) - received.rows)
    notice = None
    if short_by and not (position is not None and position.short_by == short_by):
        if before is None or before.short_streak + 1 < SHORT_SYNCS:
            return Rejected(
                reason=f"received {received.rows} rows where {count} lines are listed", short=True
            )
        notice = (
            f"accepted {short_by} rows short of the {count} lines that are listed: "
            f"{SHORT_SYNCS} syncs in a row found no more"
        )
    return Accepted(
        position=_position(
            listing,
            received,
            selection,
            rows=received.rows,
            whole=True,
            short_by=short_by - _uncounted(listing, received),
        ),
        notice=notice,
    )


def _uncounted(listing: RunListing, received: Received) -> int:
    """Return how many rows came that the line count leaves out, though none are newer than it.

    Rows beyond the listed last step were logged since, and will be counted.
    """
    if listing.history_line_count is None or received.last_step != listing.last_step:
        return 0
    return max(0, received.rows - listing.history_line_count)


def _rows_held(position: HistoryPosition | None, before: RunTracking | None) -> int:
    """Return how many rows of the run were received, as far as that is known."""
    if position is not None:
        return position.rows
    return before.history.rows if before is not None and before.history is not None else 0


def _rows_at_stake(
    position: HistoryPosition | None, before: RunTracking | None, count: int | None
) -> int:
    """Return how many rows a whole fetch has to bring, since nothing says that any are gone."""
    if position is not None:
        known = (
            position.expected_line_count
            if position.whole
            else max(position.listed.line_count or 0, position.rows)
        )
        shrank = count is not None and count < known and count != position.listed.line_count
        return 0 if shrank else position.rows
    stored = _rows_held(position, before)
    return 0 if count is not None and count < stored else stored


def _judge_window(
    window: FetchWindow,
    listing: RunListing,
    received: Received,
    selection: HistorySelection,
    before: RunTracking | None,
) -> Verdict:
    position = before.position if before is not None else None
    last = listing.last_step
    unproven = last is None or (window.stop is not None and last >= window.stop)
    if not received.rows and unproven and listing.history_line_count != 0:
        return ReadWhole(reason="the window came back empty")
    if position is not None and position.selection == selection:
        stored = before.history.rows if before is not None and before.history is not None else 0
        held = stored if position.whole else max(stored, position.rows)
        if received.rows < held and (listing.history_line_count or 0) >= (
            position.listed.line_count or 0
        ):
            return ReadWhole(reason=f"received {received.rows} rows where {held} are held")
    return Accepted(
        position=_position(listing, received, selection, rows=received.rows, whole=False)
    )


def _position(
    listing: RunListing,
    received: Received,
    selection: HistorySelection,
    *,
    rows: int,
    whole: bool,
    short_by: int = 0,
) -> HistoryPosition:
    return HistoryPosition(
        selection=selection,
        rows=rows,
        whole=whole,
        last_step=received.last_step,
        last_timestamp=received.last_timestamp,
        boundary=received.boundary,
        boundary_rows=received.boundary_rows,
        listed=listing.counts,
        short_by=short_by,
    )
