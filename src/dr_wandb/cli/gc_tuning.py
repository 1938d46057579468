"""When Python collects garbage, in a process that runs only the command.

Imports create a million objects and no garbage. A collection costs a tenth of a second during the
imports, and more at exit. A sync creates objects per run that live until it ends, so it looks for
garbage less often than Python's default. Nothing changes in a process that only calls the command.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_PER_COLLECTION = 50_000
"""How many more objects exist before Python looks for garbage; its default is 700."""

_own_process = False


def enable() -> None:
    """Note that this process runs only the command, and ends with it."""
    global _own_process
    _own_process = True
    gc.set_threshold(OBJECTS_PER_COLLECTION)


@contextmanager
def paused() -> Iterator[None]:
    """Collect no garbage until the block ends, and never check the objects that it created."""
    if not _own_process:
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def freeze_at_exit() -> None:
    """Let the interpreter exit without a last check of every object."""
    if _own_process:
        gc.freeze()
