"""Check a data file in slices, on several processors if that saves time.

Rules
- A slice begins and ends at the end of a line, whatever runs it cuts.
- This process reads the whole file once, in order, for its SHA-256. It also checks the slices for
  which no other process is free, and those that another process did not finish.
- So bytes are read twice, to digest and to check them. A file that changes in between has another
  look afterwards, and is read again (see verify.py).
- Slices are put together in the order of the file, as soon as those before them are there.
- An executor may be on another machine. What it checked counts only if it opened the same file, by
  size, times and inode.
"""

import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from io import SEEK_END
from pathlib import Path
from typing import IO, NamedTuple

from msgspec.structs import replace

from dr_wandb.core.inspect.audit_rows import AuditedSlice, RowsAudit, SliceAudit
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.slicing import next_cut
from dr_wandb.shell.executor import SharedExecutor, answer_of, count_cores
from dr_wandb.shell.inspect.reading import Look, ReadFile, look_at
from dr_wandb.shell.store import disk

SLICE_BYTES = 8_000_000
"""How long a slice is at most, unless a line is longer."""

AT_ONCE_BYTES = 1 << 15
"""How many bytes of lines are checked together: their rows stay in the processor's cache."""

BYTES_PER_PROCESS = 1 << 26
"""How long a file is for each process that is started: one takes as long to start as to read a
part of it."""

MOST_OTHERS = 7
"""The most processes that are started: this one digests a file as fast as eight check it."""

SLICES_AHEAD = 2
"""How many slices wait for each other process, so that none runs out of work."""


class SlicedFile:
    """The data file of a dataset, which is checked in slices.

    ends: the offsets at which runs are said to end, in ascending order. arrived: called with the
    number of bytes of each slice that was checked.
    """

    def __init__(
        self,
        path: Path,
        dataset: str,
        rules: RowRules,
        ends: Sequence[int],
        executor: SharedExecutor,
        arrived: Callable[[int], None],
    ) -> None:
        self._path = path
        self._dataset = dataset
        self._rules = rules
        self._ends = ends
        self._executor = executor
        self._arrived = arrived
        self._waiting: deque[_Slice] = deque()
        self._look: Look = ()

    def check(self, audit: RowsAudit) -> ReadFile:
        """Check the whole file, and return what it is. Raises OSError if it cannot be read."""
        sha256 = hashlib.sha256()
        with self._path.open("rb") as stream:
            self._look = look_at(os.fstat(stream.fileno()))
            size = stream.seek(0, SEEK_END)
            room = self._start_others(size)
            for start, end in self._cut(stream, size):
                for chunk in disk.read_range(stream, start, end - start):
                    sha256.update(chunk)
                busy = sum(not piece.work.done() for piece in self._waiting)
                self._waiting.append(self._begin(start, end, elsewhere=busy < room))
                while self._waiting and self._waiting[0].work.done():
                    self._put_together(audit)
            while self._waiting:
                self._put_together(audit)
            audit.finish()
            _digest_cut_runs(stream, audit)
        return ReadFile(audit.lines, size, sha256.hexdigest(), audit.torn)

    def _start_others(self, size: int) -> int:
        """Return how many slices other processes may have at a time, none if that saves no time."""
        others = min(count_cores() - 1, MOST_OTHERS, size // BYTES_PER_PROCESS)
        if size < BYTES_PER_PROCESS or not self._executor.start(others):
            return 0
        return SLICES_AHEAD * max(1, others)

    def _cut(self, stream: IO[bytes], size: int) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each slice."""
        start = 0
        while start < size:
            stream.seek(next_cut(start, size, self._ends, SLICE_BYTES) - 1)
            stream.readline()  # to the end of the line, a newline alone if that is here
            end = min(stream.tell(), size)
            yield start, end
            start = end

    def _begin(self, start: int, end: int, *, elsewhere: bool) -> "_Slice":
        if elsewhere:
            arguments = (self._path, start, end, self._dataset, self._rules)
            return _Slice(start, end, self._executor.submit(audit_slice, *arguments))
        done: Future[tuple[Look, AuditedSlice]] = Future()
        done.set_result(self._check_here(start, end))
        return _Slice(start, end, done)

    def _check_here(self, start: int, end: int) -> tuple[Look, AuditedSlice]:
        return audit_slice(self._path, start, end, self._dataset, self._rules)

    def _put_together(self, audit: RowsAudit) -> None:
        """Add the first slice that waits, and check it here if that failed elsewhere."""
        piece = self._waiting.popleft()
        look, found = answer_of(piece.work) or ((), None)
        if found is None or look != self._look:
            _, found = self._check_here(piece.start, piece.end)
        audit.add(found)
        self._arrived(piece.end - piece.start)


class _Slice(NamedTuple):
    start: int
    end: int
    work: "Future[tuple[Look, AuditedSlice]]"


def audit_slice(
    path: Path, start: int, end: int, dataset: str, rules: RowRules
) -> tuple[Look, AuditedSlice]:
    """Check a slice of a data file, and say which file that was. Raises OSError if it cannot."""
    audit = SliceAudit(dataset, rules)
    with path.open("rb") as stream:
        look = look_at(os.fstat(stream.fileno()))
        stream.seek(start)
        while start < end:
            lines = stream.read(min(AT_ONCE_BYTES, end - start))
            if not lines:
                raise OSError(errno.EIO, "the file is shorter than it was", str(path))
            if not lines.endswith(b"\n"):
                lines += stream.readline()
            audit.add(lines)
            start += len(lines)
    return look, audit.finish()


def _digest_cut_runs(stream: IO[bytes], audit: RowsAudit) -> None:
    """Digest the runs that are in several slices, which no slice could do."""
    for run_id, part in audit.runs.items():
        known = part.byte_range
        if not known.digest:
            hashed = hashlib.blake2b(digest_size=16)
            for chunk in disk.read_range(stream, known.offset, known.length):
                hashed.update(chunk)
            digested = replace(known, digest=hashed.hexdigest())
            audit.runs[run_id] = replace(part, byte_range=digested)
