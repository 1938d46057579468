"""Laws of the deadlines: what trickles ends, what is only large or slow does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.sync.deadline import (
    LEAST_BYTES_PER_SECOND,
    SLOW_TIMEOUTS,
    begin_progress,
    note_bytes,
    reason_to_give_up,
    request_seconds,
)

timeouts = st.integers(1, 3600)
starts = st.floats(0, 1e6)


def end_of(
    began: float, timeout: float, gaps: list[float], bytes_each: list[int]
) -> tuple[str | None, float]:
    """Look at a download before and after each piece; return why and when it was given up."""
    progress, now, received = begin_progress(began), began, 0
    for gap, more in zip(gaps, bytes_each, strict=True):
        now += gap
        if reason := reason_to_give_up(progress, now, timeout):
            return reason, now
        received += more
        progress = note_bytes(progress, received, now)
        if reason := reason_to_give_up(progress, now, timeout):
            return reason, now
    return None, now


@given(starts, timeouts, st.lists(st.floats(0.01, 1.0), min_size=1, max_size=60), st.data())
def test_download_at_the_least_rate_is_never_given_up(
    began: float, timeout: int, parts: list[float], data: st.DataObject
) -> None:
    """Pieces that come before the timeout, each at least as large as the rate asks."""
    gaps = [part * timeout * 0.99 for part in parts]
    pieces = [
        int(LEAST_BYTES_PER_SECOND * gap) + 1 + data.draw(st.integers(0, 1 << 20)) for gap in gaps
    ]
    progress, now, received = begin_progress(began), began, 0
    for gap, piece in zip(gaps, pieces, strict=True):
        now, received = now + gap, received + piece
        progress = note_bytes(progress, received, now)
        assert reason_to_give_up(progress, now, timeout) is None


@given(starts, timeouts, st.integers(1, LEAST_BYTES_PER_SECOND - 1), st.floats(0.05, 0.9))
def test_download_that_trickles_ends_after_a_stated_time(
    began: float, timeout: int, rate: int, part: float
) -> None:
    gap = part * timeout
    count = int(SLOW_TIMEOUTS / part) + 3
    each = max(1, int(rate * gap))
    reason, ended = end_of(began, timeout, [gap] * count, [each] * count)
    if each >= LEAST_BYTES_PER_SECOND * gap:  # a byte in less than a 4096th of a second
        assert reason is None
        return
    assert reason is not None
    assert "bytes came in" in reason
    assert SLOW_TIMEOUTS * timeout - 1e-3 < ended - began <= SLOW_TIMEOUTS * timeout + gap + 1e-3


@given(starts, timeouts, st.lists(st.integers(0, 1 << 30), max_size=5), st.floats(0.01, 100))
def test_download_without_progress_ends_after_the_timeout(
    began: float, timeout: int, pieces: list[int], more: float
) -> None:
    progress = begin_progress(began)
    for piece in pieces:
        progress = note_bytes(progress, progress.received + piece, began)
    assert reason_to_give_up(progress, began + timeout * 0.999, timeout) is None
    reason = reason_to_give_up(progress, began + timeout + more, timeout)
    assert reason == f"no progress for {timeout} s while downloading"


@given(timeouts)
def test_request_may_take_half_a_minute_or_a_part_of_the_timeout(timeout: int) -> None:
    seconds = request_seconds(timeout)
    assert min(timeout, 30) <= seconds <= timeout
    assert seconds <= 30 or seconds == timeout / 4
