"""Read the cells of some keys and runs from `history.jsonl`.

Rules
- The file is read in slices that end at the end of a line. Of a large file another process reads
  some of them at the same time, if all is wanted at once.
- The rows of a run are counted across slices. If anything goes wrong in another process, the file
  is read here from its beginning, and errors are those of that.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from io import SEEK_END, BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO, NamedTuple

from dr_wandb.core.columnar.metric_types import types_of
from dr_wandb.core.columnar.run_rows import of_runs
from dr_wandb.core.columnar.some_keys import CellsOfKeys
from dr_wandb.core.contract.codec import decode_many_rows, decode_row
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.shell.executor import SharedExecutor, answer_of, count_cores
from dr_wandb.shell.frames.wanted import Found, Wanted
from dr_wandb.shell.store.decoding import decoded, opened

AT_ONCE_BYTES = 1 << 20
"""How many bytes of lines become one piece, roughly."""

SLICE_BYTES = 1 << 23
"""How many bytes a process reads before it is given more, roughly."""

BYTES_PER_PROCESS = 1 << 27
"""How long a file is for each process that is started: one takes as long to start as to read a
part of it."""

SLICES_AHEAD = 2
"""How many slices wait for each other process, so that none runs out of work."""

_Look = tuple[int, ...]


class _Slice(NamedTuple):
    """What was read of a slice, and which file that was."""

    look: _Look
    found: Sequence[Found]


def read_lines(path: Path, wanted: Wanted) -> Iterator[Found]:
    """Read what is wanted of a file of lines. Raises DrWandbError for one that does not read."""
    with opened(path) as stream:
        yield from _counted(_read(stream, path, wanted))


def read_lines_at_once(path: Path, wanted: Wanted) -> list[Found]:
    """Read the same, with the help of other processes if the file is large."""
    size = path.stat().st_size if path.exists() else 0
    others = min(count_cores() - 1, size // BYTES_PER_PROCESS)
    if others > 0:
        found = _read_with_others(path, wanted, others)
        if found is not None:
            return list(_counted(found))
    return list(read_lines(path, wanted))


def _read_with_others(path: Path, wanted: Wanted, others: int) -> list[Found] | None:
    """Read all slices, some of them in other processes; None if that fails."""
    with opened(path) as stream, closing(SharedExecutor()) as executor:
        look = _look_of(stream)
        executor.start(others)
        slices: list[Future[_Slice]] = []
        elsewhere: deque[Future[_Slice]] = deque()
        for start, end in _cut(stream):
            while elsewhere and elsewhere[0].done():
                elsewhere.popleft()
            if len(elsewhere) < SLICES_AHEAD * others:
                slices.append(executor.submit(read_slice, path, start, end, wanted))
                elsewhere.append(slices[-1])
            else:
                slices.append(_read_here(path, start, end, wanted))
        answers = [answer_of(one) for one in slices]
    if any(answer is None or answer.look != look for answer in answers):
        return None
    return [found for answer in answers if answer is not None for found in answer.found]


def _read_here(path: Path, start: int, end: int, wanted: Wanted) -> Future[_Slice]:
    here: Future[_Slice] = Future()
    try:
        here.set_result(read_slice(path, start, end, wanted))
    except DrWandbError as error:  # it counts lines from the beginning of the slice
        here.set_exception(error)
    return here


def read_slice(path: Path, start: int, end: int, wanted: Wanted) -> _Slice:
    """Read what is wanted of a slice. Rows are counted from its beginning."""
    with path.open("rb") as stream:
        stream.seek(start)
        lines = BytesIO(stream.read(end - start))
        return _Slice(_look_of(stream), list(_read(lines, path, wanted)))


def _read(stream: IO[bytes], path: Path, wanted: Wanted) -> Iterator[Found]:
    """Give what is wanted of lines. Each piece counts rows from its own first one."""
    lines_before = 0

    def decode(lines: bytes) -> Sequence[HistoryRow]:
        rows = decode_many_rows(lines)
        if rows is not None:
            return rows
        numbered = enumerate(BytesIO(lines), start=lines_before + 1)
        return [decoded(decode_row(line), path, number) for number, line in numbered]

    cells = CellsOfKeys(wanted.keys, decode)
    while lines := b"".join(stream.readlines(AT_ONCE_BYTES)):
        piece = cells.piece(lines)
        lines_before += piece.row_count
        columns = piece.columns.items()
        types = {key: types_of(one) for key, one in columns} if wanted.types else {}
        yield Found(of_runs(piece, wanted.has_run), types, frozenset(piece.columns))


def _counted(found: Iterable[Found]) -> Iterator[Found]:
    """Count the rows of each run across pieces."""
    counts: dict[str, int] = {}
    for one in found:
        rows = one.rows
        firsts = []
        borders = pairwise(rows.borders.tolist())
        for run_id, (start, stop) in zip(rows.run_ids, borders, strict=True):
            firsts.append(counts.get(run_id, 0))
            counts[run_id] = firsts[-1] + stop - start
        yield one._replace(rows=rows._replace(firsts=firsts))


def _cut(stream: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Give begin and end of each slice."""
    size = stream.seek(0, SEEK_END)
    start = 0
    while start < size:
        stream.seek(min(start + SLICE_BYTES, size) - 1)
        stream.readline()  # to the end of the line, a newline alone if that is here
        end = stream.tell()
        yield start, end
        start = end


def _look_of(stream: IO[bytes]) -> _Look:
    """Return what differs once another file has the name, or the file has changed."""
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ino
