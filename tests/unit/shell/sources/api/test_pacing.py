"""Requests take turns, wait together where W&B refuses them, and are sent again in reason."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.pace import LONGEST_HOLD
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.pacing import (
    ATTEMPTS,
    LateError,
    Pacer,
    PassingError,
    ThrottledError,
)
from dr_wandb.shell.sources.api.sdk_errors import Trouble, reason_of, trouble_of_text

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that only waiting and working moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def passing(reason: str) -> PassingError:
    return PassingError(reason, RunFailureKind.SERVER_ERROR)


FINAL = [SourceError("no such run", RunFailureKind.NOT_FOUND), ValueError("a bug")]


def pacer_of(clock: Clock, **more: Any) -> Pacer:
    return Pacer(clock=clock, wait=clock.wait, chance=lambda: 0.0, **more)


def failing(
    times: int, error: Exception, clock: Clock | None = None, seconds: float = 0.0
) -> tuple[Callable[[], str], list[int]]:
    """Return a request that fails so many times, and the list of its calls."""
    calls: list[int] = []

    def request() -> str:
        calls.append(len(calls))
        if clock is not None:
            clock.now += seconds
        if len(calls) <= times:
            raise error
        return "answer"

    return request, calls


def test_refusal_by_another_host_holds_off_requests_to_such_hosts_alone(clock: Clock) -> None:
    """A storage that refused one file stopped every request to W&B too, and slowed them down."""
    storages, pacer = pacer_of(clock), pacer_of(clock)
    request, calls = failing(9, ThrottledError("HTTP 429: no"))
    waited: list[float] = []

    def ask_w_and_b() -> str:
        before = clock.now
        assert pacer.send(lambda: "answer") == "answer"
        waited.append(clock.now - before)
        return request()

    assert storages.send_among(pacer, ask_w_and_b) == "answer"
    assert len(calls) == 10
    assert {*waited} == {0.0}
    assert pacer.requests == 2 * len(calls)


def test_request_to_another_host_waits_while_w_and_b_refuses(clock: Clock) -> None:
    storages, pacer = pacer_of(clock), pacer_of(clock)
    request, _ = failing(9999, ThrottledError("HTTP 429: no"))
    with pytest.raises(SourceError, match="throttled"):
        pacer.send(request)
    before = clock.now
    assert storages.send_among(pacer, clock) > before


@pytest.mark.parametrize(
    "error",
    [passing("HTTP 503: no"), ThrottledError("HTTP 429: no")],
)
def test_trouble_that_passes_is_healed(clock: Clock, error: SourceError) -> None:
    request, calls = failing(ATTEMPTS - 1, error)
    assert pacer_of(clock).send(request) == "answer"
    assert len(calls) == ATTEMPTS


def test_trouble_that_stays_is_reported_once_and_not_tried_again_by_others(clock: Clock) -> None:
    request, calls = failing(99, passing("HTTP 503: no"), clock, 1.0)
    started = clock.now
    with pytest.raises(SourceError) as caught:
        pacer_of(clock).send(request)
    assert len(calls) == ATTEMPTS
    assert clock.now - started == 5 * 1.0 + 0.5 + 1 + 2 + 4
    assert str(caught.value) == "HTTP 503: no (tried 5 times in 12 s)"
    assert not caught.value.retryable


def test_request_that_times_out_is_sent_once_more_and_not_for_ever(clock: Clock) -> None:
    request, calls = failing(99, passing("no answer"), clock, 120.0)
    with pytest.raises(SourceError):
        pacer_of(clock, timeout_seconds=120).send(request)
    assert len(calls) == 2


@pytest.mark.parametrize("timeout", [1, 3])
def test_waits_are_shorter_than_the_timeout(clock: Clock, timeout: int) -> None:
    """`--timeout-seconds 1` means that a call without an answer is over soon."""
    request, _ = failing(99, passing("HTTP 503: no"))
    started = clock.now
    with pytest.raises(SourceError):
        pacer_of(clock, timeout_seconds=timeout).send(request)
    assert 0 < clock.now - started <= timeout


@pytest.mark.parametrize("error", FINAL)
def test_final_trouble_is_not_tried_again(clock: Clock, error: Exception) -> None:
    request, calls = failing(99, error)
    with pytest.raises(type(error)) as caught:
        pacer_of(clock).send(request)
    assert caught.value is error
    assert len(calls) == 1


def test_throttled_request_is_sent_again_for_minutes(clock: Clock) -> None:
    """A window of W&B may last minutes: five tries within seconds would lose every run."""
    started = clock.now

    def request() -> str:
        if clock.now < started + 600:
            raise ThrottledError("HTTP 429: no")
        return "answer"

    assert pacer_of(clock).send(request) == "answer"
    assert 600 <= clock.now - started <= 625


def test_throttled_request_ends_after_patience_and_the_next_ones_at_once(clock: Clock) -> None:
    """Each of a thousand runs would wait a quarter of an hour, one after the other."""
    pacer = pacer_of(clock, patience_seconds=900)
    request, calls = failing(9999, ThrottledError("HTTP 429: no"))
    started = clock.now
    with pytest.raises(SourceError, match="throttled by W&B for 9") as caught:
        pacer.send(request)
    assert not caught.value.retryable
    assert 900 <= clock.now - started <= 935
    assert len(calls) < 900 / LONGEST_HOLD + 10
    gave_up_at = clock.now
    for _ in range(100):
        with pytest.raises(SourceError, match="throttled by W&B"):
            pacer.send(request)
    assert clock.now == gave_up_at
    clock.now += 60
    request, _ = failing(0, ThrottledError(""))
    assert pacer.send(request) == "answer"


def test_one_request_that_is_always_refused_ends_while_others_pass(clock: Clock) -> None:
    pacer = pacer_of(clock, patience_seconds=100)
    other, _ = failing(0, ThrottledError(""))

    def request() -> str:
        clock.now += 1
        pacer.send(other)
        raise ThrottledError("HTTP 429: no")

    started = clock.now
    with pytest.raises(SourceError, match="throttled by W&B"):
        pacer.send(request)
    assert 100 <= clock.now - started <= 140
    assert pacer.send(other) == "answer"


def test_hold_is_reported_once_with_its_length(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("dr_wandb"), "propagate", True)
    pacer = pacer_of(clock)
    request, calls = failing(6, ThrottledError("HTTP 429: no"))
    pacer.send(request)
    assert [record.getMessage() for record in caplog.records] == [
        f"throttled by W&B, waiting {seconds} s" for seconds in (1, 6, 6, 6)
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert len(calls) == 7


def test_all_threads_wait_when_one_is_refused() -> None:
    pacer = Pacer()
    first = threading.Event()
    sent: list[float] = []
    lock = threading.Lock()

    def request() -> float:
        if not first.is_set():
            first.set()
            raise ThrottledError("HTTP 429: no")
        with lock:
            sent.append(time.monotonic())
        return sent[-1]

    threads = [threading.Thread(target=pacer.send, args=(request,)) for _ in range(8)]
    refused = threads.pop()
    refused.start()
    first.wait()
    time.sleep(0.05)
    refused_at = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused.join()
    assert len(sent) == 8
    assert min(sent) - refused_at > 0.8
    assert max(sent) - refused_at < 3


@pytest.mark.parametrize(
    "error",
    [passing("HTTP 503: no"), ThrottledError("HTTP 429: no")],
)
def test_closing_ends_every_wait(error: SourceError) -> None:
    pacer = Pacer(chance=lambda: 0.9)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            pacer.send(failing(9999, error)[0])
        except SourceError as ending:
            ended.append(ending)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    closed_at = time.monotonic()
    pacer.close()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - closed_at < 0.5
    assert [str(one) for one in ended] == ["the session has ended"] * 8
    assert not any(one.retryable for one in ended if isinstance(one, SourceError))


GAVE_UP = "POST http://127.0.0.1:1/graphql giving up after 2 attempt(s)"


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        (f"{GAVE_UP}\nwhile retrying: HTTP 429: too many", Trouble.THROTTLED),
        (f"{GAVE_UP}\nwhile retrying: HTTP 503: HTTP 429: no", Trouble.PASSING),
        (f'{GAVE_UP}: Post "http://127.0.0.1:1/graphql": EOF', Trouble.PASSING),
        (
            f"{GAVE_UP}: unexpected HTTP status 500\nwhile retrying: unexpected HTTP status 500 X",
            Trouble.PASSING,
        ),
        ("GET http://127.0.0.1:1/files/1 giving up after 2 attempt(s)", Trouble.PASSING),
        ("file transfer: download: failed to download: status: 408 X: body: ", Trouble.PASSING),
        ("file transfer: download: failed to download: status: 403 X: body: ", Trouble.FINAL),
        ("unexpected EOF", Trouble.PASSING),
        ("context deadline exceeded", Trouble.PASSING),
        (
            "net/http: request canceled"
            " (Client.Timeout or context cancellation while reading body)",
            Trouble.PASSING,
        ),
        ("input: context deadline exceeded in column x", Trouble.FINAL),
        (
            "Failed to execute API request: the service process is busy and did not respond"
            " in time.",
            Trouble.PASSING,
        ),
        ("input: rate limit: HTTP 429: column does not exist", Trouble.FINAL),
        ("returned error 404: {}", Trouble.FINAL),
    ],
)
def test_trouble_is_recognized_by_the_words_of_wandb_core(text: str, trouble: Trouble) -> None:
    assert trouble_of_text(text) is trouble


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{GAVE_UP}\nwhile retrying: HTTP 503: no", "HTTP 503: no"),
        (
            f'{GAVE_UP}: Post "http://127.0.0.1:1/graphql": EOF\nwhile retrying: Post "x": EOF',
            'Post "http://127.0.0.1:1/graphql": EOF',
        ),
        (GAVE_UP, "giving up after 2 attempt(s)"),
    ],
)
def test_reason_says_what_happened_once(text: str, reason: str) -> None:
    assert reason_of(OSError(text)) == reason


# --- refusals that wandb-core waits out by itself


class Inside:
    """Requests that wandb-core is refused, waits for and sends again, on a clock of their own.

    Time goes on in the thread of the test alone, by `answer`.
    """

    def __init__(self, clock: Clock, pacer: Pacer) -> None:
        self.clock = clock
        self.pacer = pacer
        self.at_work = threading.Semaphore(0)
        self.answers = threading.Semaphore(0)
        self.sent: list[float] = []

    def request(self) -> str:
        self.sent.append(self.clock.now)
        self.at_work.release()
        self.answers.acquire()
        return "answer"

    def begin(self) -> threading.Thread:
        """Send a request, and return its thread once it is on its way."""
        thread = threading.Thread(target=self.pacer.send, args=(self.request,), daemon=True)
        thread.start()
        assert self.at_work.acquire(timeout=10)
        return thread


def waiting_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "throttled" in line]


def test_refusal_inside_holds_off_the_others_until_it_is_answered(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight threads were refused in turn, one a window each, and nothing was said of it."""
    held = threading.Event()

    def wait(changed: threading.Condition, seconds: float) -> None:
        clock.now += seconds
        if clock.now > 1010:
            held.set()
            changed.wait(0.01)

    pacer = Pacer(clock=clock, wait=wait, chance=lambda: 0.0)
    inside = Inside(clock, pacer)
    first = inside.begin()
    clock.now += 0.2
    with caplog.at_level(logging.WARNING):
        pacer.refused_inside(1)
        pacer.refused_inside(0)
    assert waiting_lines(caplog) == ["throttled by W&B, waiting 2 s or as long as it asks"]
    second = threading.Thread(target=pacer.send, args=(inside.request,), daemon=True)
    second.start()
    assert held.wait(10)
    assert len(inside.sent) == 1, "it is held for longer than any hold of our own begins with"
    inside.answers.release()
    first.join(10)
    assert inside.at_work.acquire(timeout=10)
    inside.answers.release()
    second.join(10)
    assert len(inside.sent) == 2
    assert len(waiting_lines(caplog)) == 1


def test_request_that_was_not_refused_itself_holds_nobody_off_for_longer_than_a_hold(
    clock: Clock,
) -> None:
    """A download may take minutes: beside it one refusal says little."""
    pacer = pacer_of(clock)
    inside = Inside(clock, pacer)
    download, refused = inside.begin(), inside.begin()
    pacer.refused_inside(1)
    refused_at = clock.now
    other, calls = failing(0, ValueError())
    assert pacer.send(other) == "answer"
    assert len(calls) == 1
    assert 2 <= clock.now - refused_at < 3
    inside.answers.release(2)
    download.join(10)
    refused.join(10)


def test_refusal_that_came_up_is_not_counted_as_waiting(clock: Clock) -> None:
    """What wandb-core gives up it was refused twice: nobody waits there any more."""
    pacer = pacer_of(clock)
    inside = Inside(clock, pacer)
    download = inside.begin()
    calls: list[float] = []

    def request() -> str:
        calls.append(clock.now)
        if len(calls) == 1:
            pacer.refused_inside(1)
            clock.now += 1
            pacer.refused_inside(1)
            raise ThrottledError("HTTP 429: no")
        return "answer"

    assert pacer.send(request) == "answer"
    assert calls[1] - calls[0] < LONGEST_HOLD
    inside.answers.release()
    download.join(10)


def test_request_that_waits_inside_for_too_long_is_throttled_not_broken(clock: Clock) -> None:
    """`Retry-After: 300` ended two tries of 120 s as if nobody had answered, and the run failed."""
    pacer = pacer_of(clock, timeout_seconds=120)
    started = clock.now

    def request() -> str:
        if clock.now < started + 300:
            pacer.refused_inside(1)
            clock.now += 120
            raise LateError("no whole answer in time")
        return "answer"

    assert pacer.send(request) == "answer"


def test_wait_of_minutes_inside_wandb_core_is_reported_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pacer = pacer_of(clock)

    def request() -> str:
        pacer.refused_inside(1)
        for _ in range(130):
            clock.now += 1
            pacer.refused_inside(0)
        return "answer"

    with caplog.at_level(logging.WARNING):
        pacer.send(request)
        pacer.refused_inside(5)
    assert waiting_lines(caplog) == [
        "throttled by W&B, waiting 2 s or as long as it asks",
        "throttled by W&B, still waiting after 60 s",
        "throttled by W&B, still waiting after 120 s",
    ]
