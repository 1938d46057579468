"""Send requests at a pace that W&B admits, and again if one fails in a way that may pass.

Rules
- One pacer for all threads of a session: each request takes a turn, and a refusal of one (HTTP 429)
  holds all of them off. `core.sync.pace` decides when turns come.
- Requests to other hosts take turns too, and are held off with all others. A refusal by such a host
  holds off these alone: what it admits says nothing of W&B.
- wandb-core waits for `Retry-After` by itself. Once such a refusal is known, all other requests are
  held off as if it had been reported. While all requests under way wait there, no other one is
  tried, so that all wait as long as W&B asks. The first answer ends the hold.
- A throttled request is sent again until it passes. It fails after `PATIENCE_SECONDS`; if no
  request passed in that time, the others do not wait as long again.
- A request with other trouble that may pass is tried `ATTEMPTS` times; from the second attempt on,
  it stops once `timeout_seconds` have passed in total.
- The final error says what happened and after how long, and is not retryable.
- A wait ends at once with `close`, and in the main thread with an interrupt.
"""

import math
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.pace import Pace, note_answer, note_refusal, take_turn, wait_seconds
from dr_wandb.shell.progress import LOGGER, Wait, log_wait
from dr_wandb.shell.sources import SourceError

ATTEMPTS = 5
"""Enough for a server that restarts; one that is broken is noticed within seconds."""

LONGEST_BACKOFF_SECONDS = 30.0
"""The sum of all waits of one request, without throttling; never more than its own timeout."""

PATIENCE_SECONDS = 900.0
"""The SDK's own retries wait about as long; longer than any window W&B is known to use."""

BACKOFF_SECONDS = 0.5
"""The first wait, doubled for each further one; a random part of up to the same is added."""

LOUD_SECONDS = 5.0
REMIND_SECONDS = 60.0
"""Holds shorter than LOUD_SECONDS are reported at most once in REMIND_SECONDS."""

THROTTLED = "throttled by W&B"

SDK_RETRY_SECONDS = 1.0
SDK_ATTEMPTS = 2
"""wandb-core sends a refused request again after SDK_RETRY_SECONDS, unless `Retry-After` says
otherwise. A refusal that it reports is the last of SDK_ATTEMPTS."""

T = TypeVar("T")
WaitOn = Callable[[threading.Condition, float], object]


class PassingError(SourceError):
    """A request failed in a way that may pass: 408, 5xx, a dropped connection, a timeout."""


class LateError(PassingError):
    """A request was not answered in time."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, RunFailureKind.TIMEOUT)


class ThrottledError(SourceError):
    """A request was refused because there were too many (HTTP 429)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, RunFailureKind.THROTTLED, answered=True)


class _Trouble:
    """The failures and waits of one request so far."""

    def __init__(self) -> None:
        self.attempts = 0
        self.spent = 0.0
        self.waited = 0.0
        self.throttled_at: float | None = None
        self.reason = ""


class Pacer:
    """Sends the requests of one session.

    timeout_seconds: how long one request may go without progress. clock: seconds, monotonic.
    wait: waits on a condition for a number of seconds. chance: returns a number in [0, 1).
    `requests` is the number of requests sent so far, each further attempt counted too.
    """

    def __init__(
        self,
        *,
        max_rate: float | None = None,
        timeout_seconds: float = 120.0,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wait: WaitOn = threading.Condition.wait,
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
        self._reported_at: float | None = None
        self._on_their_way: list[float] = []
        self._refused_inside_at: float | None = None
        self._waiting_inside = 0
        self.requests = 0

    def send(self, request: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
        """Send a request when it is its turn, and again if that may help.

        request: raises PassingError or ThrottledError for trouble that may pass; its other errors
        are raised here too. Raises a SourceError that is not retryable if no attempt succeeds.
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
            raise SourceError(
                f"{THROTTLED} for {waited:.0f} s",
                error.failure.kind,
                retryable=False,
                answered=True,
            ) from error
        except PassingError as error:
            often = "once" if trouble.attempts == 1 else f"{trouble.attempts} times"
            raise SourceError(
                f"{error} (tried {often} in {trouble.spent:.0f} s)",
                error.failure.kind,
                retryable=False,
                answered=error.answered,
            ) from error

    def send_among(self, others: "Pacer", request: Callable[[], T]) -> T:
        """Send a request that also takes its turn with those of another pacer.

        A refusal of it holds off the requests of this one, and none of the other.
        """

        def in_turn() -> T:
            others.wait_for_turn()
            return request()

        return self.send(in_turn)

    def wait_for_turn(self) -> None:
        """Wait for the turn of a request that another pacer sends, and count it."""
        self._take_turn()
        with self._changed:
            self.requests += 1

    def refused_inside(self, refusals: int) -> None:
        """Note refusals that wandb-core waits out, and log again if the wait takes minutes.

        refusals: how many there were since the last call.
        """
        with self._changed:
            now = self._clock()
            if not self._on_their_way:
                return
            if refusals:
                self._refused_inside_at = now
                self._waiting_inside += refusals
                self._note_refusal(max(self._on_their_way), now + SDK_RETRY_SECONDS, inside=True)
            since, reported_at = self._refused_since, self._reported_at
            if (
                since is not None
                and reported_at is not None
                and now - reported_at >= REMIND_SECONDS
            ):
                self._reported_at = now
                LOGGER.warning("%s, still waiting after %.0f s", THROTTLED, now - since)

    def close(self) -> None:
        """End every wait; waiting and later requests get a SourceError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _send_once(self, request: Callable[[], T], trouble: _Trouble) -> T:
        sent = self._take_turn()
        try:
            answer, sent = self._request(request, sent)
        except ThrottledError:
            with self._changed:
                self._note_refusal(sent, self._clock())
            if trouble.throttled_at is None:
                trouble.throttled_at = self._clock()
            raise
        except PassingError as error:
            trouble.reason = str(error)
            trouble.attempts += 1
            trouble.spent += self._clock() - sent
            raise
        except SourceError:
            self._answered(sent)
            raise
        self._answered(sent)
        return answer

    def _request(self, request: Callable[[], T], sent: float) -> tuple[T, float]:
        """Send a request, which is under way from `sent` on.

        Returns the answer and the time it was last sent: inf if wandb-core sent it after a wait.
        """
        with self._changed:
            self.requests += 1
            self._on_their_way.append(sent)
        refusals, last_sent = 0, sent
        try:
            answer = request()
            with self._changed:
                if self._all_wait_inside():
                    refusals, last_sent = 1, math.inf
            return answer, last_sent
        except LateError as error:
            inside = self._refused_inside_at
            if inside is not None and inside >= sent:
                raise ThrottledError(THROTTLED) from error
            raise
        except ThrottledError:
            refusals = SDK_ATTEMPTS
            raise
        finally:
            with self._changed:
                self._on_their_way.remove(sent)
                self._waiting_inside -= refusals
                if not self._on_their_way:
                    self._waiting_inside = 0
                self._changed.notify_all()

    def _all_wait_inside(self) -> bool:
        """Say whether all requests under way are known to wait in wandb-core."""
        return 0 < len(self._on_their_way) <= self._waiting_inside

    def _take_turn(self) -> float:
        """Wait for a turn, one thread at a time, and return its time."""
        with self._line, self._changed:
            while True:
                self._check_open()
                now = self._clock()
                seconds = wait_seconds(self._pace, now)
                if seconds <= 0 and not self._all_wait_inside():
                    self._pace = take_turn(self._pace, now)
                    return now
                if self._hopeless(now):
                    raise ThrottledError(THROTTLED)
                self._wait(self._changed, max(seconds, 0.0) or SDK_RETRY_SECONDS)

    def _note_refusal(self, sent: float, at: float, *, inside: bool = False) -> None:
        """Hold off after a refusal. at: now, or when wandb-core sends the request again."""
        now = self._clock()
        before = self._pace
        self._pace = note_refusal(before, sent, at, self._chance())
        if self._refused_since is None:
            self._refused_since = now
        if self._pace.held_at != before.held_at:
            self._report(now, " or as long as it asks" if inside else "")

    def _answered(self, sent: float) -> None:
        with self._changed:
            self._pace = note_answer(self._pace, sent, self._clock())
            self._refused_since = None
            self._changed.notify_all()

    def _report(self, now: float, more: str) -> None:
        """Log that all requests wait: once for a hold, and at most once a minute for short ones."""
        recently = self._reported_at is not None and now - self._reported_at < REMIND_SECONDS
        seconds = math.ceil(wait_seconds(self._pace, now))
        if self._pace.hold < LOUD_SECONDS and recently:
            log_wait(THROTTLED, seconds)
            return
        self._reported_at = now
        wait = {"wait": Wait(THROTTLED, seconds)}
        LOGGER.warning("%s, waiting %s s%s", THROTTLED, seconds, more, extra=wait)

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
        """Return how long to wait before a further attempt; 0 for a hold: its turn waits."""
        if isinstance(_error_of(state), ThrottledError):
            return 0.0
        left = min(LONGEST_BACKOFF_SECONDS, self._timeout) - trouble.waited
        doubled = BACKOFF_SECONDS * 2.0 ** (trouble.attempts - 1)
        return max(0.0, min(left, doubled * (1 + self._chance())))

    def _rest(self, trouble: _Trouble, seconds: float) -> None:
        """Wait before a further attempt of one request; the others continue."""
        if seconds:
            log_wait(trouble.reason, seconds)
        trouble.waited += seconds
        trouble.spent += seconds
        with self._changed:
            until = self._clock() + seconds
            while (left := until - self._clock()) > 0:
                self._check_open()
                self._wait(self._changed, left)

    def _check_open(self) -> None:
        if self._closed:
            raise SourceError("the session has ended", RunFailureKind.INTERRUPTED, retryable=False)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
