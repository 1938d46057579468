"""Send requests at a pace that W&B admits, and once more where one fails in a way that may pass.

Rules
- One pacer for all threads of a session: each request takes a turn, and a refusal of one (HTTP 429)
  holds all of them off. When turns come is decided by `core.sync.pace`.
- A throttled request is sent again until it passes. It fails after `PATIENCE_SECONDS` of its own;
  where all requests are refused for so long the others do not wait as long again.
- Any other trouble that may pass is tried `ATTEMPTS` times, and no longer than one call may go
  without progress.
- What comes out in the end says what happened and after how long, and is not retryable.
- A wait ends at once with `close`, and in the main thread with an interrupt.
"""

import math
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity

from dr_wandb.core.sync.pace import Pace, note_answer, note_refusal, take_turn, wait_seconds
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import SourceError

ATTEMPTS = 5
"""Enough for a server that restarts; one that is broken is told apart within seconds."""

LONGEST_BACKOFF_SECONDS = 30.0
"""All waits of one request together, throttling apart; never more than its own timeout."""

PATIENCE_SECONDS = 900.0
"""The SDK's own retries wait about as long; longer than any window W&B is known to use."""

BACKOFF_SECONDS = 0.5
"""The first wait, doubled for each further one; up to as much again is added by chance."""

LOUD_SECONDS = 5.0
REMIND_SECONDS = 60.0
"""Holds that are shorter than the first are told no more often than the second."""

T = TypeVar("T")
Wait = Callable[[threading.Condition, float], object]


class PassingError(SourceError):
    """A request failed in a way that may pass: 408, 5xx, a dropped connection, a timeout."""


class ThrottledError(SourceError):
    """A request was refused because there were too many (HTTP 429)."""


class _Trouble:
    """What has befallen one request so far."""

    def __init__(self) -> None:
        self.attempts = 0
        self.spent = 0.0
        self.waited = 0.0
        self.throttled_at: float | None = None


class Pacer:
    """Sends the requests of one session.

    timeout_seconds: how long one request may go without progress. clock: seconds, never back.
    wait: waits on a condition for so many seconds. chance: a number in [0, 1).
    """

    def __init__(
        self,
        *,
        max_rate: float | None = None,
        timeout_seconds: float = 120.0,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Condition.wait,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._timeout = timeout_seconds
        self._patience = patience_seconds
        self._clock = clock
        self._wait = wait
        self._chance = chance
        self._pace = Pace(max_rate=max_rate)
        self._line = threading.Lock()
        self._changed = threading.Condition()
        self._closed = False
        self._refused_since: float | None = None
        self._told_at: float | None = None

    def send(self, request: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
        """Send a request when it is its turn, and again where that may help.

        request: raises PassingError or ThrottledError for trouble that may pass. Raises what it
        raises otherwise, and SourceError that is not retryable when nothing helped.
        """
        trouble = _Trouble()
        sending = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((PassingError, ThrottledError)),
            stop=lambda state: self._enough(trouble, state, attempts),
            wait=lambda state: self._backoff(trouble, state),
            sleep=lambda seconds: self._rest(trouble, seconds),
            reraise=True,
        )
        try:
            answer: T = sending(self._send_once, request, trouble)
            return answer
        except ThrottledError as error:
            since = self._clock() if trouble.throttled_at is None else trouble.throttled_at
            waited = self._clock() - since
            raise SourceError(f"throttled by W&B for {waited:.0f} s", retryable=False) from error
        except PassingError as error:
            often = "once" if trouble.attempts == 1 else f"{trouble.attempts} times"
            raise SourceError(
                f"{error} (tried {often} in {trouble.spent:.0f} s)", retryable=False
            ) from error

    def close(self) -> None:
        """End every wait; whoever waits or asks from now on gets a SourceError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _send_once(self, request: Callable[[], T], trouble: _Trouble) -> T:
        sent = self._take_turn()
        try:
            answer = request()
        except ThrottledError:
            self._refused(sent)
            if trouble.throttled_at is None:
                trouble.throttled_at = self._clock()
            raise
        except PassingError:
            trouble.attempts += 1
            trouble.spent += self._clock() - sent
            raise
        except SourceError:
            self._answered(sent)
            raise
        self._answered(sent)
        return answer

    def _take_turn(self) -> float:
        """Wait for a turn, one thread at a time, and return when it was."""
        with self._line, self._changed:
            while True:
                self._check_open()
                now = self._clock()
                seconds = wait_seconds(self._pace, now)
                if seconds <= 0:
                    self._pace = take_turn(self._pace, now)
                    return now
                if self._hopeless(now):
                    raise ThrottledError("throttled by W&B")
                self._wait(self._changed, seconds)

    def _refused(self, sent: float) -> None:
        with self._changed:
            now = self._clock()
            before = self._pace
            self._pace = note_refusal(before, sent, now, self._chance())
            if self._refused_since is None:
                self._refused_since = now
            if self._pace.held_at != before.held_at:
                self._tell(now)

    def _answered(self, sent: float) -> None:
        with self._changed:
            self._pace = note_answer(self._pace, sent, self._clock())
            self._refused_since = None
            self._changed.notify_all()

    def _tell(self, now: float) -> None:
        """Say that all wait, once for a hold; of many short holds one a minute."""
        recently = self._told_at is not None and now - self._told_at < REMIND_SECONDS
        if self._pace.hold < LOUD_SECONDS and recently:
            return
        self._told_at = now
        seconds = math.ceil(wait_seconds(self._pace, now))
        LOGGER.warning("throttled by W&B, waiting %s s", seconds)

    def _hopeless(self, now: float) -> bool:
        since = self._refused_since
        return since is not None and now - since >= self._patience

    def _enough(self, trouble: _Trouble, state: tenacity.RetryCallState, attempts: int) -> bool:
        now = self._clock()
        if isinstance(_error_of(state), ThrottledError):
            since = now if trouble.throttled_at is None else trouble.throttled_at
            return now - since >= self._patience or self._hopeless(now)
        return trouble.attempts >= attempts or (
            trouble.attempts > 1 and trouble.spent >= self._timeout
        )

    def _backoff(self, trouble: _Trouble, state: tenacity.RetryCallState) -> float:
        """Return how long to wait before a further attempt; for a hold the turn is the wait."""
        if isinstance(_error_of(state), ThrottledError):
            return 0.0
        left = min(LONGEST_BACKOFF_SECONDS, self._timeout) - trouble.waited
        doubled = BACKOFF_SECONDS * 2.0 ** (trouble.attempts - 1)
        return max(0.0, min(left, doubled * (1 + self._chance())))

    def _rest(self, trouble: _Trouble, seconds: float) -> None:
        """Wait before a further attempt of one request; the others go on."""
        trouble.waited += seconds
        trouble.spent += seconds
        with self._changed:
            until = self._clock() + seconds
            while (left := until - self._clock()) > 0:
                self._check_open()
                self._wait(self._changed, left)

    def _check_open(self) -> None:
        if self._closed:
            raise SourceError("the session has ended", retryable=False)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
