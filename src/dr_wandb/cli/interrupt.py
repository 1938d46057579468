"""What Ctrl-C and SIGTERM do: end a sync, and say what is kept and how to go on.

Rules
- The first signal interrupts the command, which cleans up and reports.
- A second one ends the process at once. A signal that comes right after the first is the same one,
  passed on by a program that started this one.
"""

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from dr_wandb.core.contract.failures import EXIT_INTERRUPTED, DrWandbError
from dr_wandb.core.contract.request import ExportRequest, SyncMode

if TYPE_CHECKING:
    from dr_wandb.shell.store.export_store import ExportStore

SAME_SIGNAL_SECONDS = 0.25

ENDED_AT_ONCE = b"\ninterrupted twice: ended at once; fetched rows are kept for the next sync\n"


class InterruptedSyncError(KeyboardInterrupt):
    """A sync was interrupted. The text says what is kept, and how to go on."""


def interrupt_on_signals() -> None:
    """Let SIGTERM do as Ctrl-C does, and a second one of either end the process at once."""
    handler = _Interrupts()
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, handler)


class _Interrupts:
    """Handles signals; the first one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self._first_at: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
            raise KeyboardInterrupt
        if now - self._first_at > SAME_SIGNAL_SECONDS:
            _end_at_once()


def _end_at_once() -> NoReturn:
    with suppress(OSError, AttributeError, ValueError):  # stderr may be closed
        os.write(sys.stderr.fileno(), ENDED_AT_ONCE)
    os._exit(EXIT_INTERRUPTED)


@contextmanager
def reported_interrupt(
    request: ExportRequest, source: str, *, command: str | None = None
) -> Iterator[None]:
    """Do a sync; raise InterruptedSyncError if it is interrupted.

    command: goes on with it, "" for the same command again, None for the shortest one.
    """
    from dr_wandb.shell.store.export_store import ExportStore

    store = ExportStore(name=request.name, data_root=request.data_root)
    before = _mark_of(store.state_path)
    try:
        yield
    except KeyboardInterrupt:
        done = _mark_of(store.state_path) != before
        raise InterruptedSyncError(_describe(store, request, source, command, done)) from None


def _describe(
    store: "ExportStore", request: ExportRequest, source: str, command: str | None, done: bool
) -> str:
    from dr_wandb.core.inspect.interruption import describe_interruption
    from dr_wandb.shell.store.presence import look_beside

    beside = look_beside(store.export_dir)
    return describe_interruption(
        store.name,
        first=beside.first,
        done=done,
        commit=beside.commit,
        parts=beside.segments,
        part_bytes=beside.segment_bytes,
        command=_shortest_command(store, request, source) if command is None else command,
    )


def sync_command(request: ExportRequest) -> str:
    """Return the `sync` command for an export."""
    words = ["wandb-export", "sync", request.name]
    if request.data_root != Path("data"):
        words += ["--data-root", str(request.data_root)]
    if request.sync_mode != SyncMode.INCREMENTAL:
        words += ["--sync-mode", str(request.sync_mode)]
    return shlex.join(words)


def _shortest_command(store: "ExportStore", request: ExportRequest, source: str) -> str:
    """Return the `sync` command if it requests just this, "" if only the same command does."""
    from dr_wandb.shell.sync.repeat import request_again

    try:
        again, from_source = request_again(
            store,
            sync_mode=request.sync_mode,
            timeout_seconds=request.timeout_seconds,
            max_rate=request.max_rate,
        )
    except DrWandbError:
        return ""
    return sync_command(request) if (again, from_source) == (request, source) else ""


def _mark_of(path: Path) -> tuple[int, ...]:
    """Return a value that changes if a commit puts another file there."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_mtime_ns, status.st_size)
