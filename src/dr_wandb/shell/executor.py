"""Give work to the executor of a sync, and do without it if it fails.

Rules
- A caller may give any `concurrent.futures.Executor`. Without one, processes are started if they
  pay, see `processes.py`.
- An executor may fail in any way, or break: then there is no answer, and whoever asked does the
  work here.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from dr_wandb.shell.processes import Processes
from dr_wandb.shell.progress import LOGGER

T = TypeVar("T")


class SharedExecutor:
    """The executor that the steps of one sync share, until it is closed.

    given: the caller's, who shuts it down. Without one, processes are started when they pay.
    """

    def __init__(self, given: Executor | None = None) -> None:
        self._given = given
        self._own: Processes | None = None
        self._closed = False
        self._lock = threading.Lock()

    def get(self, count: int) -> Executor | None:
        """Return the executor, None if none was given and no process pays, or when it is closed.

        count: how many processes pay, 0 for none. It has no effect once there is an executor.
        """
        with self._lock:
            if self._closed:
                return None
            if self._given is not None:
                return self._given
            if self._own is None and count > 0:
                self._own = Processes(count)
            return self._own

    def close(self) -> None:
        """End the processes that were started here, whatever they do; none starts from then on."""
        with self._lock:
            self._closed = True
            if self._own is not None:
                self._own.kill_workers()


def submit(executor: Executor, function: Callable[..., T], *arguments: Any) -> "Future[T]":
    """Submit some work. If the executor does not take it, the future raises why."""
    try:
        return executor.submit(function, *arguments)
    except Exception as error:
        future: Future[T] = Future()
        future.set_exception(error)
        return future


def answer_of(future: "Future[T]") -> T | None:
    """Wait for what a function gives on an executor; None if that failed, or was cancelled."""
    try:
        return future.result()
    except Exception:
        LOGGER.debug("an executor did not do its work", exc_info=True)
        return None


def count_cores() -> int:
    """Return how many cores this process may use; 1 if no other Python can be started."""
    if not sys.executable or getattr(sys, "frozen", False):
        return 1
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1
