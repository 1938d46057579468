"""Let something be done while the caller goes on with other work.

Rules
- One thread for each piece of work, a daemon: neither an interrupt nor an error waits for it.
- What the work raises comes out where its result is asked for.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

_END = object()


def begin(work: Callable[[], T]) -> Callable[[], T]:
    """Begin some work; the function that comes back waits for its result, and is called once."""
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def serve() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:
            done.put((None, error))

    def result() -> T:
        answer, error = done.get()
        if error is None:
            return answer  # type: ignore[return-value]
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    threading.Thread(target=serve, daemon=True).start()
    return result


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Give what an iterator gives; the next one is made while the last one is worked on.

    One thread makes them all, since memory that one thread gave back is not used by another. An
    iterator that is left early makes one that nobody asks for.
    """
    asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
    made: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()

    def serve() -> None:
        while asked.get():
            try:
                made.put((next(items, _END), None))
            except BaseException as error:
                made.put((None, error))

    threading.Thread(target=serve, daemon=True).start()
    try:
        asked.put(True)
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is _END:
                return
            asked.put(True)
            yield item  # type: ignore[misc]
            del item
    finally:
        asked.put(False)
