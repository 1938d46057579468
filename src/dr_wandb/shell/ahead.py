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

    An iterator that is left early makes one that nobody asks for.
    """
    following = begin(lambda: next(items, _END))
    while (item := following()) is not _END:
        following = begin(lambda: next(items, _END))
        yield item  # type: ignore[misc]
