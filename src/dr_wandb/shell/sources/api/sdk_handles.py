"""The handles for requests to wandb-core, one for each `wandb.Api`.

Rules
- wandb-core takes at most 10 requests at a time for one `Api`; further ones wait, and their time
  counts (wandb 0.31.0). So a second `Api` is opened once the first has often been full, or before
  if many requests are expected.
- It is opened while requests continue. If it cannot be opened, they continue with the first.
- Each request goes to the `Api` with the fewest requests under way.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dr_wandb.shell.background import start
from dr_wandb.shell.progress import LOGGER

FULL = 8
"""Requests at a time that one `Api` takes without a wait."""

OFTEN = 16
"""How many requests must find all slots taken before another `Api` saves time: opening one is a
request of its own."""

MOST = 2

CLOSING_SECONDS = 3.0
"""How long the end of a session waits for an `Api` that is just being opened."""


class _Handle:
    """One handle, and its number of requests under way."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.load = 0


class SdkHandles:
    """The handles of one session. open_another: opens a further `wandb.Api`; may raise."""

    def __init__(self, api: Any, open_another: Callable[[], Any]) -> None:
        self._handles = [_Handle(api)]
        self._open_another = open_another
        self._lock = threading.Lock()
        self._found_full = 0
        self._closed = False
        self._settled = threading.Event()
        self._settled.set()

    @property
    def count(self) -> int:
        """Return the number of handles."""
        return len(self._handles)

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        """Yield the SDK's handle to its service for one request."""
        with self._lock:
            handle = min(self._handles, key=lambda one: one.load)
            if handle.load >= FULL:
                self._note_full()
            handle.load += 1
        try:
            yield handle_of(handle.api)
        finally:
            with self._lock:
                handle.load -= 1

    def expect(self, requests: int) -> None:
        """Open another `Api` now if this number of requests, answered slowly, would open it."""
        with self._lock:
            if requests >= FULL + OFTEN and self._found_full < OFTEN:
                self._found_full = OFTEN - 1
                self._note_full()

    def _note_full(self) -> None:
        """Let another `Api` be opened, only once: a second try would hardly succeed either."""
        self._found_full += 1
        if self._found_full == OFTEN and len(self._handles) < MOST and not self._closed:
            self._settled.clear()
            start(self._add)

    def _add(self) -> None:
        try:
            if not self._closed:
                added = _Handle(self._open_another())
                with self._lock:
                    self._handles.append(added)
        except Exception as error:
            LOGGER.debug("cannot open a second session with W&B: %s", error)
        finally:
            self._settled.set()

    def close(self) -> None:
        """Open no other, and wait for one being opened: later it would start wandb-core again."""
        self._closed = True
        self._settled.wait(CLOSING_SECONDS)


def handle_of(api: Any) -> Any:
    """Return the SDK's handle to its service. The same name in wandb 0.29 to 0.31."""
    return api._service_api
