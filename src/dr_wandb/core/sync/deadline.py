"""How long one request or download may take.

Rules
- A download ends if nothing more came for `timeout` seconds.
- After `SLOW_TIMEOUTS` times as long it also ends if it was slower on average than
  `LEAST_BYTES_PER_SECOND`: a connection that only trickles makes progress for ever.
- So n bytes take at most max(`SLOW_TIMEOUTS` * timeout, n / `LEAST_BYTES_PER_SECOND`). A download
  that is never slower on average and never pauses for `timeout` seconds is never ended, however
  large it is.
- An answer of the API is one text: it has to be complete within `request_seconds`.

Times are seconds of any clock that does not go back. Everything here is total and pure.
"""

from dr_wandb.core.contract.records import Record

SLOW_TIMEOUTS = 10

LEAST_BYTES_PER_SECOND = 4_096
"""Eight downloads at a time share a connection; together they need only 256 kbit/s."""

SHORTEST_REQUEST_SECONDS = 30.0
REQUEST_PART = 0.25
"""The share of the timeout that one attempt of a request may take, so that others can follow."""


class Progress(Record, frozen=True, kw_only=True):
    """A download so far. moved_at: when bytes came last."""

    began: float
    moved_at: float
    received: int = 0


def begin_progress(now: float) -> Progress:
    """Start to watch a download."""
    return Progress(began=now, moved_at=now)


def note_bytes(progress: Progress, received: int, now: float) -> Progress:
    """Record the number of bytes received so far."""
    if received == progress.received:
        return progress
    return Progress(began=progress.began, moved_at=now, received=received)


def reason_to_give_up(progress: Progress, now: float, timeout: float) -> str | None:
    """Return why to stop waiting for a download, None to go on."""
    if now - progress.moved_at > timeout:
        return f"no progress for {timeout:g} s while downloading"
    taken = now - progress.began
    if taken > SLOW_TIMEOUTS * timeout and progress.received < LEAST_BYTES_PER_SECOND * taken:
        return (
            f"only {progress.received:,} bytes came in {taken:.0f} s while downloading; "
            "--timeout-seconds sets how long a slow download may take"
        )
    return None


def request_seconds(timeout: float) -> float:
    """Return how long one attempt of a request may take until its answer is complete."""
    return min(timeout, max(SHORTEST_REQUEST_SECONDS, REQUEST_PART * timeout))
