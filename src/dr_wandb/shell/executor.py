"""Give work to the executor of a sync, and do without it if it fails.

Rules
- A caller may give any `concurrent.futures.Executor`. Without one, processes are started if that
  saves time, see `processes.py`.
- An executor may fail or break in any way. Then there is no answer, and the caller does the work
  itself.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from dr_wandb.shell.background import result_of
from dr_wandb.shell.progress import LOGGER

if TYPE_CHECKING:
    from dr_wandb.shell.processes import Processes

T = TypeVar("T")


class SharedExecutor:
    """The executor that the steps of one sync share, until it is closed.

    given: the caller's, who shuts it down. Without one, processes are started if that saves time.
    """

    def __init__(self, given: Executor | None = None) -> None:
        self._executor = given
        self._own: Processes | None = None
        self._asked: set[Future[Any]] = set()
        self._closed = False
        self._lock = threading.Lock()

    def start(self, count: int) -> bool:
        """Say whether there is an executor, after starting processes if there was none.

        count: the number of processes that save time, 0 for none. It has no effect once there is
        an executor.
        """
        with self._lock:
            if self._executor is None and count > 0 and not self._closed:
                from dr_wandb.shell.processes import Processes

                self._executor = self._own = Processes(count)
            return self.ready

    @property
    def ready(self) -> bool:
        """Say whether there is an executor to submit work to."""
        return self._executor is not None and not self._closed

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Submit some work. If the executor refuses it, the future raises the reason."""
        future: Future[T]
        try:
            assert self._executor is not None
            future = self._executor.submit(function, *arguments)
        except Exception as error:
            future = Future()
            future.set_exception(error)
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        if self._closed:
            future.cancel()
        return future

    def close(self) -> None:
        """Cancel work that has not started, and end the processes that were started here."""
        with self._lock:
            self._closed = True
            if self._own is not None:
                self._own.kill_workers()
        for future in tuple(self._asked):
            future.cancel()


def answer_of(future: "Future[T]") -> T | None:
    """Wait for the result of a future and return it, None if it failed or was cancelled."""
    try:
        return result_of(future)
    except Exception:
        LOGGER.debug("work on the executor failed", exc_info=True)
        return None


def count_cores() -> int:
    """Return the number of cores this process may use, 1 if no other Python can be started."""
    if not sys.executable or getattr(sys, "frozen", False):
        return 1
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1
