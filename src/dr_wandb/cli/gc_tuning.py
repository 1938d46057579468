"""When Python looks for garbage, in a process that is the command's own.

Imports make a million objects and no garbage: looking for some costs a tenth of a second while they
are made, and more at the end. A process that only calls the command is left as it is.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_own_process = False


def enable() -> None:
    """Say that this process is the command's own, and ends with it."""
    global _own_process
    _own_process = True


@contextmanager
def paused() -> Iterator[None]:
    """Look for no garbage until the block ends, and never among what it has left behind."""
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
    """Let the interpreter end without a last look at every object."""
    if _own_process:
        gc.freeze()
