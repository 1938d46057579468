"""Send the pages of several runs' tails in one request, as databases do in a group commit.

Rules
- No caller waits on purpose. If fewer than `IN_FLIGHT` requests are under way, a caller becomes a
  leader and sends at once, otherwise it waits. When a leader's turn with the pacer comes, it takes
  along the callers that wait by then: a throttled session sends the largest batches.
- A batch has at most `MOST_RUNS` runs and asks for at most as many rows as the first page of one
  run. It asks for fewer once rows turn out to be large, so that an answer stays in `PAGE_BYTES`.
- A leader without followers sends its own request, as if there were no batches.
- If a batch fails, or any part of its answer is unexpected, each of its runs is requested alone. So
  is a run whose page may be cut off. After `MOST_FAILURES` failed batches no more are sent.
- A refused key, and requests that were throttled to the end, fail all runs of a batch alike.
- A leader that gets no answer holds others back for `HELD_BACK_SECONDS`; one that dies, not at all.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.live_pages import FIRST_CAP, IN_FLIGHT, MOST_RUNS
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api import tail_pages
from dr_wandb.shell.sources.api.pacing import ThrottledError
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.api.tail_pages import Answer, Request, TailPage

CALLERS = IN_FLIGHT * MOST_RUNS
"""The number of threads that fill all requests under way."""

MOST_FAILURES = 2
HELD_BACK_SECONDS = 5.0
"""A healthy server answers such a page within a second or two."""


class _BatchFailedError(Exception):
    """A request for several runs failed, so that each of them has to be requested alone."""


class _Caller:
    """A requested page. Once settled it has an answer, an error, or neither: then it asks alone."""

    def __init__(self, page: TailPage, alone: Request) -> None:
        self.page = page
        self.alone = alone
        self.settled = False
        self.answer: Answer | None = None
        self.error: BaseException | None = None

    def settle(self, answer: Answer | None = None, error: BaseException | None = None) -> None:
        if not self.settled:
            self.answer, self.error, self.settled = answer, error, True


class _Batch:
    """The callers of one request, its leader first. sent_at: None while it waits for its turn."""

    def __init__(self, leader: _Caller) -> None:
        self.callers = [leader]
        self.sent_at: float | None = None
        self.may_grow = True


class TailBatcher:
    """Sends pages of the tails of one project's runs. names: entity and project."""

    def __init__(
        self,
        session: ApiSession,
        names: Mapping[str, str],
        *,
        held_back_seconds: float = HELD_BACK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._names = names
        self._held_back_seconds = held_back_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[_Caller] = deque()
        self._out: list[_Batch] = []
        self._most_rows = FIRST_CAP
        self._failures = 0
        self._closed = False

    def send(self, page: TailPage, alone: Request) -> Answer:
        """Return the answer to `alone`, which asks for this page, or one with the same rows.

        Raises the errors of sending `alone`.
        """
        caller = _Caller(page, alone)
        if not self._given_up and page.most_rows <= self._most_rows // 2:
            batch = self._join(caller)
            if batch is not None:
                self._lead(batch)
        if caller.error is not None:
            raise caller.error
        return self._session.send(alone) if caller.answer is None else caller.answer

    def close(self) -> None:
        """End every wait; waiting callers get a SourceError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def _given_up(self) -> bool:
        return self._failures >= MOST_FAILURES

    def _join(self, caller: _Caller) -> _Batch | None:
        """Wait until a caller is settled, or has to lead the batch that is returned."""
        with self._changed:
            self._waiting.append(caller)
            while not (caller.settled or (self._given_up and caller in self._waiting)):
                if self._closed:
                    ended = "the session has ended"
                    raise SourceError(ended, RunFailureKind.INTERRUPTED, retryable=False)
                if caller in self._waiting and self._may_send():
                    self._waiting.remove(caller)
                    batch = _Batch(caller)
                    self._out.append(batch)
                    return batch
                self._changed.wait(self._held_back_seconds)
        return None

    def _may_send(self) -> bool:
        late = self._clock() - self._held_back_seconds
        return sum(one.sent_at is None or one.sent_at > late for one in self._out) < IN_FLIGHT

    def _lead(self, batch: _Batch) -> None:
        """Send a batch, and settle its callers also if it fails."""
        error: BaseException | None = None
        try:
            with suppress(_BatchFailedError):
                self._session.send(lambda: self._send_once(batch))
        except (SourceError, DrWandbError) as raised:
            error = raised
        finally:
            for caller in batch.callers:
                caller.settle(error=error)
            self._leave(batch)

    def _send_once(self, batch: _Batch) -> None:
        """Send a batch with the callers that wait by now, and settle those with an answer."""
        if batch.may_grow:
            self._take_along(batch)
        batch.sent_at = self._clock()
        together = len(batch.callers) > 1
        try:
            if together:
                self._send_together(batch.callers)
            else:
                batch.callers[0].settle(batch.callers[0].alone())
        except ThrottledError:
            batch.sent_at = None
            raise
        except SourceError as error:
            if together:
                self._note_failure(len(batch.callers), error)
                raise _BatchFailedError from error
            batch.may_grow = False
            self._leave(batch)
            raise

    def _take_along(self, batch: _Batch) -> None:
        with self._changed:
            left = self._most_rows - sum(one.page.most_rows for one in batch.callers)
            while self._waiting and len(batch.callers) < MOST_RUNS and not self._given_up:
                left -= self._waiting[0].page.most_rows
                if left < 0:
                    return
                batch.callers.append(self._waiting.popleft())

    def _send_together(self, callers: list[_Caller]) -> None:
        pages = [one.page for one in callers]
        variables = {**self._names, **tail_pages.pages_variables(pages)}
        answer = self._session.attempt(tail_pages.pages_document(len(pages)), variables)()
        answers = tail_pages.answers_of(answer, pages)
        self._most_rows = tail_pages.fitting_rows(answers) or self._most_rows
        for caller, own in zip(callers, answers, strict=True):
            caller.settle(own)

    def _note_failure(self, runs: int, error: SourceError) -> None:
        LOGGER.debug("a request for the tails of %d runs failed: %s", runs, error)
        with self._changed:
            self._failures += 1
            if self._failures == MOST_FAILURES:
                LOGGER.debug("from now on, each tail of this project gets a request of its own")

    def _leave(self, batch: _Batch) -> None:
        """Let another batch be sent."""
        with self._changed:
            self._out = [one for one in self._out if one is not batch]
            self._changed.notify_all()
