"""The executor that the steps of a sync share: whatever it does, nobody waits for it in vain."""

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from dr_wandb.shell.executor import SharedExecutor, answer_of

SOON = 10.0


class Stuck(Executor):
    """Takes work and never does it."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


class Broken(Executor):
    """Takes no work."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        raise BrokenExecutor("broken")


def test_processes_start_when_they_pay_and_end_with_it() -> None:
    with closing(SharedExecutor()) as shared:
        assert not shared.start(0)
        assert not shared.ready
        assert shared.start(1)
        assert shared.start(0)
        assert answer_of(shared.submit(math.factorial, 5)) == 120
        assert answer_of(shared.submit(os.getpid)) not in (None, os.getpid())
    assert not shared.ready
    assert answer_of(shared.submit(math.factorial, 5)) is None


def test_no_process_starts_after_the_end() -> None:
    """A listing that goes on after an interrupt would leave processes in a notebook."""
    shared = SharedExecutor()
    shared.close()
    assert not shared.start(2)


def test_executor_of_the_caller_is_used_and_not_shut_down() -> None:
    with ThreadPoolExecutor(1) as given:
        with closing(SharedExecutor(given)) as shared:
            assert shared.ready
            assert shared.start(7)
            assert answer_of(shared.submit(os.getpid)) == os.getpid()
        assert given.submit(math.factorial, 5).result(SOON) == 120


@pytest.mark.parametrize("work", [lambda: 1 // 0, lambda: None])
def test_no_answer_comes_from_work_that_fails(work: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1) as given, closing(SharedExecutor(given)) as shared:
        assert answer_of(shared.submit(work)) is None


def test_no_answer_comes_from_an_executor_that_takes_no_work() -> None:
    with closing(SharedExecutor(Broken())) as shared:
        assert answer_of(shared.submit(os.getpid)) is None
    assert answer_of(SharedExecutor().submit(os.getpid)) is None


def test_closing_cancels_what_has_not_started() -> None:
    stuck = Stuck()
    shared = SharedExecutor(stuck)
    answers: list[Any] = []
    future = shared.submit(os.getpid)
    waiting = threading.Thread(target=lambda: answers.append(answer_of(future)))
    waiting.start()
    shared.close()
    waiting.join(SOON)
    assert answers == [None]
    assert shared.submit(os.getpid).cancelled()
    assert all(one.cancelled() for one in stuck.futures)
