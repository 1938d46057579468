"""Work on threads: what it gives, what it raises, and that nobody waits for it in vain."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor

import pytest

from dr_wandb.shell.background import DaemonThreads, InOrder, in_lanes, prefetch_next, start

SOON = 10.0
"""Seconds after which a test gives up."""


def test_work_gives_its_result_when_it_is_asked_for() -> None:
    assert start(lambda: 7).result() == 7


def test_work_raises_when_its_result_is_asked_for() -> None:
    future = start(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        future.result()


def test_work_goes_on_while_the_caller_does_something_else() -> None:
    begun = threading.Event()
    future = start(begun.set)
    assert begun.wait(SOON)
    future.result()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_prefetched_iterator_gives_the_same_in_the_same_order(count: int) -> None:
    assert list(prefetch_next(iter(range(count)))) == list(range(count))


def test_next_one_is_made_while_the_last_one_is_worked_on() -> None:
    """Listings took the time of W&B and ours one after the other."""
    made = [threading.Event() for _ in range(4)]

    def pages() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = prefetch_next(pages())
    for number in range(3):
        assert next(ahead) == number
        assert made[number + 1].wait(SOON)
        assert not any(event.is_set() for event in made[number + 2 :]), "more than one ahead"


def test_one_thread_makes_all_of_an_iterator_and_then_ends() -> None:
    """Each page had a thread of its own, and the memory of one is not used by the next."""
    makers: list[threading.Thread] = []

    def pages() -> Iterator[int]:
        for number in range(5):
            makers.append(threading.current_thread())
            yield number

    assert list(prefetch_next(pages())) == [0, 1, 2, 3, 4]
    assert len({*makers}) == 1
    makers[0].join(SOON)
    assert not makers[0].is_alive()


def test_thread_ends_when_the_iterator_is_left_early() -> None:
    makers: list[threading.Thread] = []

    def pages() -> Iterator[int]:
        makers.append(threading.current_thread())
        yield from range(5)

    ahead = prefetch_next(pages())
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    makers[0].join(SOON)
    assert not makers[0].is_alive()


def test_error_comes_after_all_that_was_given_before_it() -> None:
    def pages() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    ahead = prefetch_next(pages())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_iterator_that_is_left_early_lets_nobody_wait() -> None:
    """An interrupt would hang until W&B answered."""
    answered = threading.Event()

    def pages() -> Iterator[int]:
        yield 1
        answered.wait(SOON)
        yield 2

    ahead = prefetch_next(pages())
    assert next(ahead) == 1
    started = time.monotonic()
    ahead.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < SOON / 2
    answered.set()


def test_threads_are_an_executor() -> None:
    with DaemonThreads(2) as threads:
        assert isinstance(threads, Executor)
        assert sorted(threads.map(str, range(50))) == sorted(map(str, range(50)))
        assert threads.submit(int, "101", base=2).result(SOON) == 5
    with pytest.raises(RuntimeError):
        threads.submit(int)


def test_shutdown_waits_for_work_unless_asked_not_to() -> None:
    ended = threading.Event()
    threads = DaemonThreads(1)
    under_way, waiting = threads.submit(ended.wait, SOON), threads.submit(ended.wait, SOON)
    started = time.monotonic()
    threads.shutdown(wait=False)
    assert time.monotonic() - started < SOON / 2
    threading.Timer(0.1, ended.set).start()
    threads.shutdown()
    assert under_way.done()
    assert waiting.result(0)


def test_work_that_has_not_started_is_cancelled_with_its_executor() -> None:
    started, ended = threading.Event(), threading.Event()
    threads = DaemonThreads(1)

    def work() -> bool:
        started.set()
        return ended.wait(SOON)

    under_way, waiting = threads.submit(work), threads.submit(work)
    assert started.wait(SOON)
    threads.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        waiting.result(SOON)
    ended.set()
    assert under_way.result(SOON)


def test_executor_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DaemonThreads(0)


STILL_AT_WORK = """
import time
from dr_wandb.shell.background import DaemonThreads, in_lanes, start
start(lambda: time.sleep(600))
DaemonThreads(1).submit(time.sleep, 600)
done = in_lanes([([0, 600], 2)], time.sleep)
next(done)
"""


def test_python_ends_while_work_is_running() -> None:
    """Threads of `ThreadPoolExecutor` are joined: an interrupt waited for what W&B did not say."""
    subprocess.run([sys.executable, "-c", STILL_AT_WORK], check=True, timeout=6 * SOON)


INTERRUPTED = """
import os, signal, sys, threading, time
import polars
from dr_wandb.shell.background import DaemonThreads, in_lanes, prefetch_next, result_of
from dr_wandb.shell.executor import answer_of

def made():
    time.sleep(600)
    yield

asleep = DaemonThreads(1).submit(time.sleep, 600)
waits = {
    "result": lambda: result_of(asleep),
    "answer": lambda: answer_of(asleep),
    "lanes": lambda: next(in_lanes([([600], 1)], time.sleep)),
    "items": lambda: next(prefetch_next(made())),
}
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    waits[sys.argv[1]]()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("wait", ["result", "answer", "lanes", "items"])
def test_wait_is_interrupted_also_if_polars_is_imported(wait: str) -> None:
    """A notebook that had imported polars could not stop a sync."""
    command = [sys.executable, "-c", INTERRUPTED, wait]
    done = subprocess.run(command, check=True, timeout=6 * SOON, capture_output=True, text=True)
    assert done.stdout == "interrupted\n"


def test_lanes_have_their_own_threads_and_give_all_answers() -> None:
    met = threading.Barrier(4)

    def work(job: int) -> int:
        met.wait(SOON)
        return job * job

    lanes = [([1, 2, 3], 3), ([4], 16), ([], 5)]
    assert sorted(in_lanes(lanes, work)) == [(1, 1), (2, 4), (3, 9), (4, 16)]
    assert list(in_lanes([], work)) == []


def test_work_of_all_lanes_that_was_not_started_is_dropped_after_an_error() -> None:
    begun: list[int] = []
    ended = threading.Event()

    def work(job: int) -> None:
        begun.append(job)
        if job == 0:
            raise ValueError("broken")
        ended.wait(SOON)

    with pytest.raises(ValueError, match="broken"):
        list(in_lanes([(range(100), 1), (range(100, 200), 1)], work))
    ended.set()
    threading.Event().wait(0.05)
    assert len(begun) <= 4


def test_one_lane_gives_each_answer_with_its_job() -> None:
    assert sorted(in_lanes([(range(50), 16)], str)) == [(n, str(n)) for n in range(50)]


def test_results_come_in_the_order_of_their_jobs() -> None:
    first = threading.Event()

    def work(job: int) -> int:
        if job == 0:
            assert first.wait(10)
        elif job == 3:
            first.set()
        return job * job

    threads = DaemonThreads(4)
    try:
        assert list(InOrder(threads, work, range(10), 4)) == [job * job for job in range(10)]
        assert list(InOrder(threads, work, [], 4)) == []
    finally:
        threads.shutdown(wait=False)


def test_bounded_number_of_jobs_is_done_ahead() -> None:
    done: list[int] = []
    threads = DaemonThreads(1)
    try:
        results = InOrder(threads, done.append, range(10), 3)
        assert (done, results.exhausted) == ([], False)
        next(results)
        threads.submit(int).result(10)  # the only thread has done all that was started
        assert len(done) == 4
        for _ in range(9):
            next(results)
        assert results.exhausted
        assert sorted(done) == [*range(10)]
    finally:
        threads.shutdown(wait=False)


def test_job_that_is_inserted_comes_next() -> None:
    threads = DaemonThreads(2)
    try:
        results = InOrder(threads, str, [1, 2, 3], 2)
        assert next(results) == "1"
        results.insert(9)
        assert list(results) == ["9", "2", "3"]
    finally:
        threads.shutdown(wait=False)


def test_error_of_a_job_is_raised_when_it_is_its_turn() -> None:
    threads = DaemonThreads(2)
    try:
        results = InOrder(threads, int, ["1", "no number"], 2)
        assert next(results) == 1
        with pytest.raises(ValueError, match="no number"):
            next(results)
    finally:
        threads.shutdown(wait=False)
