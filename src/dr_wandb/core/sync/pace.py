"""When the next request may be sent.

Rules
- Turns are never closer than `1 / max_rate`.
- A refusal (HTTP 429) never makes the next turn earlier. It starts a hold: nobody sends, then one
  request at a time is tried. Each one that is refused too doubles the hold, up to `LONGEST_HOLD`.
- W&B counts requests in a fixed window and does not say how long it is. The time from the end of
  one hold to the next is about a window, so the answers of that time say how many it admits: that
  becomes the pace. It rises slightly with each answer, so that the window is used up shortly before
  it ends.
- Enough answers in a row without a refusal remove the pace. Sending never stops for ever.

Times are seconds of any clock that does not go back. Everything here is total and pure.
"""

from msgspec.structs import replace

from dr_wandb.core.contract.records import Record

FIRST_HOLD = 1.0
"""Seconds. Short, because a paced session is refused just before the window ends."""

LONGEST_HOLD = 6.0
"""Seconds, and the most by which a hold may miss the end of a window. A longer hold would cost a
server with a short window and few requests more than a fifth of its time; one refusal every six
seconds costs it little."""

HOLD_JITTER = 0.1
"""The share of a hold that chance adds, so that two syncs do not try at the same moments."""

TRIAL_SECONDS = 3.0
"""How long one request may be the only one after a hold; wandb-core reports a refusal about 1.2
seconds late (wandb 0.31.0), and a download may take minutes."""

DOUBLED_AFTER = 4
"""The pace doubles after `DOUBLED_AFTER` times as many answers as it was judged by."""

ENOUGH_ANSWERS = 8
"""The fewest answers that a pace is judged by: one stray refusal says nothing. Until then there are
only holds, and counting goes on across them."""

LONGEST_INTERVAL = 60.0
FREE_INTERVAL = 0.002
"""A pace with a shorter interval than this is dropped."""


class Pace(Record, frozen=True, kw_only=True):
    """How fast a session may send, and what it has learned.

    interval: seconds between turns that refusals have led to; 0 is free. trusted: answers that this
    was judged by. hold: length of the hold that is on, or being tried; 0 is none. held_at: when it
    started; requests sent before say nothing about it. counted_from: when the pace was judged last,
    or the first turn; answered: answers since then.
    """

    max_rate: float | None = None
    interval: float = 0.0
    trusted: int = 0
    last_turn: float | None = None
    next_turn: float | None = None
    hold: float = 0.0
    held_at: float | None = None
    counted_from: float | None = None
    answered: int = 0

    @property
    def gap(self) -> float:
        """Return the least number of seconds between two turns."""
        return max(self.interval, 1.0 / self.max_rate if self.max_rate else 0.0)

    @property
    def held(self) -> bool:
        """Say whether a hold is on, or being tried."""
        return self.hold > 0


def wait_seconds(pace: Pace, now: float) -> float:
    """Return how long to wait for the next turn, 0 if it may be taken."""
    return 0.0 if pace.next_turn is None else max(0.0, pace.next_turn - now)


def take_turn(pace: Pace, now: float) -> Pace:
    """Take a turn that is due."""
    gap = max(pace.gap, TRIAL_SECONDS) if pace.held else pace.gap
    since = now if pace.counted_from is None else pace.counted_from
    return replace(pace, last_turn=now, next_turn=now + gap, counted_from=since)


def note_refusal(pace: Pace, sent: float, now: float, chance: float) -> Pace:
    """Hold off after a refusal of a request sent at `sent`. `chance` is in [0, 1).

    Of the requests that were in flight when a hold started, only the first counts.
    """
    if pace.held_at is not None and sent <= pace.held_at:
        return pace
    hold = min(LONGEST_HOLD, 2 * pace.hold) if pace.held else FIRST_HOLD
    until = now + hold * (1 + HOLD_JITTER * chance)
    return replace(pace, hold=hold, held_at=now, next_turn=max(until, pace.next_turn or until))


def note_answer(pace: Pace, sent: float, now: float) -> Pace:
    """Go on after an answer to a request sent at `sent`: end the hold, or raise the pace."""
    answered = pace.answered + 1
    if pace.held and pace.held_at is not None and sent > pace.held_at:
        return _resume(replace(pace, answered=answered), now)
    interval = pace.interval * 2 ** (-1 / max(1, DOUBLED_AFTER * pace.trusted))
    if interval < FREE_INTERVAL:
        interval = 0.0
    return replace(pace, answered=answered, interval=interval)


def _resume(pace: Pace, now: float) -> Pace:
    """End a hold, and judge the pace by the answers since it was last judged."""
    gone_on = replace(pace, hold=0.0, held_at=None)
    if pace.counted_from is not None and pace.answered >= ENOUGH_ANSWERS:
        gone_on = replace(
            gone_on,
            interval=min(LONGEST_INTERVAL, (now - pace.counted_from) / pace.answered),
            trusted=pace.answered,
            counted_from=now,
            answered=0,
        )
    next_turn = now if pace.last_turn is None else pace.last_turn + gone_on.gap
    return replace(gone_on, next_turn=max(now, next_turn))
