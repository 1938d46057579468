"""Do work on threads while the caller continues.

Rules
- The threads are daemons: neither an interrupt nor an error waits for work under way. Threads of
  `ThreadPoolExecutor` are joined before Python ends, also after
  `shutdown(wait=False, cancel_futures=True)`: work of 6 seconds kept Python 3.11 for 6 seconds.
- An error of the work is raised when its result is asked for.
- No wait is without end: `import polars` makes Python take no notice of an interrupt in a wait that
  has no timeout (polars 2.1). So all waits are in slices.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")
Job = TypeVar("Job")

_END = object()

SLICE_SECONDS = 0.5
"""The longest time until an interrupt is noticed while a result is waited for."""


class _Work(NamedTuple):
    future: "Future[Any]"
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def do(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.function(*self.arguments, **self.named)
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class DaemonThreads(Executor):
    """An executor on at most `count` threads that do not keep Python from ending."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError("count must be at least 1")
        self._count = count
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> "Future[T]":
        """Call a function on a thread; each call starts one until there are `count` of them."""
        future: Future[T] = Future()
        with self._lock:
            if self._shut:
                raise RuntimeError("no work is taken after a shutdown")
            self._waiting.put(_Work(future, fn, arguments, named))
            if len(self._threads) < self._count:
                thread = threading.Thread(target=_work_off, args=[self._waiting], daemon=True)
                thread.start()
                self._threads.append(thread)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end when all work is done, or with the work under way."""
        with self._lock:
            if cancel_futures:
                with suppress(queue.Empty):
                    while True:
                        work = self._waiting.get_nowait()
                        if work is not None:
                            work.future.cancel()
            self._shut = True
            for _ in self._threads:
                self._waiting.put(None)
        if wait:
            for thread in self._threads:
                thread.join()


def _work_off(waiting: "queue.SimpleQueue[_Work | None]") -> None:
    while (work := waiting.get()) is not None:
        work.do()
        del work  # so that its result is not held until the next work comes


def start(work: Callable[[], T]) -> "Future[T]":
    """Start some work on a thread of its own."""
    threads = DaemonThreads(1)
    future = threads.submit(work)
    threads.shutdown(wait=False)
    return future


def result_of(future: "Future[T]") -> T:
    """Wait for the result of a future, so that it can be interrupted, and return it."""
    while not future.done():
        wait((future,), SLICE_SECONDS)
    return future.result()


def in_lanes(
    lanes: Iterable[tuple[Iterable[Job], int]], work: Callable[[Job], T]
) -> Iterator[tuple[Job, T]]:
    """Do the work of all jobs, each lane on its own number of threads.

    Results come as they are ready, in any order. The first exception is raised and ends the
    iteration; work that has not started by then is dropped.
    """
    with ExitStack() as stack:
        jobs_of: dict[Future[T], Job] = {}
        done: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
        for jobs, count in lanes:
            threads = DaemonThreads(count)
            stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            jobs_of |= {threads.submit(work, job): job for job in jobs}
        for future in jobs_of:
            future.add_done_callback(done.put)
        while jobs_of:
            future = _take(done)
            yield jobs_of.pop(future), future.result()


def _take(done: "queue.SimpleQueue[T]") -> T:
    while True:
        with suppress(queue.Empty):
            return done.get(timeout=SLICE_SECONDS)


def prefetch_next(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator; the next one is made while the caller uses the last one.

    One thread makes them all, since memory that one thread gave back is not used by another. If
    the caller stops early, at most one item is made in vain.
    """
    threads = DaemonThreads(1)
    try:
        made = threads.submit(next, items, _END)
        while (item := result_of(made)) is not _END:
            made = threads.submit(next, items, _END)
            yield item  # type: ignore[misc]
            del item
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


class InOrder(Iterator[T]):
    """The results of jobs in the order of the jobs, of which some are done ahead.

    threads: does the work; it is not shut down here. ahead: the most results that may wait.
    """

    def __init__(
        self, threads: Executor, work: Callable[[Job], T], jobs: Iterable[Job], ahead: int
    ) -> None:
        self._threads = threads
        self._work: Callable[[Any], T] = work
        self._jobs: Iterator[Any] = iter(jobs)
        self._ahead = ahead
        self._started: deque[Future[T]] = deque()
        self.exhausted = False

    def start(self) -> None:
        """Start as many jobs as may be done ahead. `exhausted`: all have started then."""
        while len(self._started) < self._ahead and not self.exhausted:
            try:
                job = next(self._jobs)
            except StopIteration:
                self.exhausted = True
            else:
                self._started.append(self._threads.submit(self._work, job))

    def insert(self, job: Any) -> None:
        """Start another job, whose result is the next one."""
        self._started.appendleft(self._threads.submit(self._work, job))

    def __next__(self) -> T:
        self.start()
        if not self._started:
            raise StopIteration
        result = result_of(self._started.popleft())
        self.start()
        return result
