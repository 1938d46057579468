"""When a second `wandb.Api` is opened, and which requests go to it."""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from dr_wandb.shell.sources.api.sdk_handles import FULL, OFTEN, SdkHandles

SOON = 10.0


class Opener:
    """Opens what stands for a `wandb.Api`, once it may; remembers how often."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may = threading.Event()
        self.started = threading.Event()
        self.ended = threading.Event()
        self.count = 0
        self._error = error

    def __call__(self) -> Any:
        self.count += 1
        self.started.set()
        self.may.wait(SOON)
        try:
            if self._error is not None:
                raise self._error
            return SimpleNamespace(_service_api=f"service {self.count + 1}")
        finally:
            self.ended.set()


def services_with(open_another: Callable[[], Any]) -> SdkHandles:
    return SdkHandles(SimpleNamespace(_service_api="service 1"), open_another)


def borrow(services: SdkHandles, count: int, stack: ExitStack) -> Counter[str]:
    return Counter(stack.enter_context(services.borrow()) for _ in range(count))


def wait_for_two(services: SdkHandles) -> None:
    limit = threading.Event()
    for _ in range(1000):
        if services.count == 2:
            return
        limit.wait(SOON / 1000)
    pytest.fail("there is no second one")


def test_few_requests_at_a_time_open_no_second_session() -> None:
    """A small project would pay for a request that it does not need."""
    opener = Opener()
    services = services_with(opener)
    for _ in range(100):
        with ExitStack() as stack:
            assert borrow(services, FULL, stack) == {"service 1": FULL}
    with ExitStack() as stack:
        borrow(services, FULL + OFTEN - 1, stack)
    assert (opener.count, services.count) == (0, 1)


def test_many_requests_at_a_time_open_a_second_session_and_share_both() -> None:
    opener = Opener()
    services = services_with(opener)
    with ExitStack() as stack:
        first = borrow(services, FULL + OFTEN, stack)
        assert first == {"service 1": FULL + OFTEN}, "nobody waits for the second"
        assert opener.started.wait(SOON)
        opener.may.set()
        wait_for_two(services)
        assert borrow(services, 5, stack) == {"service 2": 5}
    with ExitStack() as stack:
        both = borrow(services, 2 * FULL, stack)
        assert both == {"service 1": FULL, "service 2": FULL}
        borrow(services, 2 * OFTEN, stack)
    assert (opener.count, services.count) == (1, 2)


def test_second_session_is_opened_before_many_requests_that_are_expected() -> None:
    """The first quarter of a second of a first export had only half of its requests under way."""
    opener = Opener()
    opener.may.set()
    services = services_with(opener)
    services.expect(FULL + OFTEN - 1)
    assert opener.count == 0, "so few would not open one"
    services.expect(FULL + OFTEN)
    wait_for_two(services)
    services.expect(FULL + OFTEN)
    with ExitStack() as stack:
        borrow(services, 2 * FULL + 2 * OFTEN, stack)
    assert (opener.count, services.count) == (1, 2)


def test_second_session_that_could_not_be_opened_is_not_expected_again() -> None:
    opener = Opener(OSError("refused"))
    opener.may.set()
    services = services_with(opener)
    services.expect(FULL + OFTEN)
    assert opener.ended.wait(SOON)
    services.expect(FULL + OFTEN)
    services.close()
    assert (opener.count, services.count) == (1, 1)


def test_requests_go_on_when_no_second_session_is_to_be_had() -> None:
    opener = Opener(OSError("refused"))
    opener.may.set()
    services = services_with(opener)
    with ExitStack() as stack:
        borrow(services, FULL + OFTEN, stack)
        assert opener.ended.wait(SOON)
        assert borrow(services, 2 * OFTEN, stack) == {"service 1": 2 * OFTEN}
    services.close()
    assert (opener.count, services.count) == (1, 1)


def test_request_that_fails_no_longer_counts_as_waiting() -> None:
    opener = Opener()
    services = services_with(opener)
    for _ in range(10 * FULL * OFTEN):
        with pytest.raises(OSError, match="broken"), services.borrow():
            raise OSError("broken")
    assert opener.count == 0


def test_end_of_a_session_waits_for_one_that_is_being_opened() -> None:
    """wandb-core was started once more by it, and stayed."""
    opener = Opener()
    services = services_with(opener)
    with ExitStack() as stack:
        borrow(services, FULL + OFTEN, stack)
    assert opener.started.wait(SOON)
    threading.Timer(0.2, opener.may.set).start()
    services.close()
    assert opener.ended.is_set()


def test_session_that_has_ended_opens_no_other() -> None:
    opener = Opener()
    services = services_with(opener)
    services.close()
    with ExitStack() as stack:
        borrow(services, FULL + 2 * OFTEN, stack)
    assert opener.count == 0
