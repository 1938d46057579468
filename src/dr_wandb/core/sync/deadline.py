"""How long one request or download may take.

Rules
- A download is given up if nothing more came for `timeout` seconds.
- After `SLOW_TIMEOUTS` times as long it is also given up if it was slower on average than
  `LEAST_BYTES_PER_SECOND`: a connection that only trickles makes progress for ever.
- So n bytes take at most max(`SLOW_TIMEOUTS` * timeout, n / `LEAST_BYTES_PER_SECOND`), and a
  download that is never slower on average and never stops for so long is never given up, however
  large it is.
- An answer of the API is one text: it has to be whole within `request_seconds`.

Times are seconds of any clock that does not go back. Everything here is total and pure.
"""

from dr_wandb.core.contract.records import Record

SLOW_TIMEOUTS = 10

LEAST_BYTES_PER_SECOND = 4_096
"""Eight downloads at a time share a line; this leaves room for one of 256 kbit/s."""

SHORTEST_REQUEST_SECONDS = 30.0
REQUEST_PART = 0.25
"""Part of the timeout that one try of a request may take, so that others can follow."""


class Progress(Record, frozen=True, kw_only=True):
    """A download so far. moved_at: when bytes came last."""

    began: float
    moved_at: float
    received: int = 0


def begin_progress(now: float) -> Progress:
    """Begin to watch a download."""
    return Progress(began=now, moved_at=now)


def note_bytes(progress: Progress, received: int, now: float) -> Progress:
    """Note how many bytes are there now."""
    if received == progress.received:
        return progress
    return Progress(began=progress.began, moved_at=now, received=received)


def reason_to_give_up(progress: Progress, now: float, timeout: float) -> str | None:
    """Return why a download is not worth waiting for any longer, None if it is."""
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
    """Return how long one try of a request may take until its answer is whole."""
    return min(timeout, max(SHORTEST_REQUEST_SECONDS, REQUEST_PART * timeout))
