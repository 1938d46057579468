"""Decode the lines of a data file into records.

Rules
- Records are given one at a time, and memory is that of a few lines.
- Many lines are decoded at once, and one by one if that fails for one of them. The error names the
  file, the line, and what to do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Generic, NamedTuple, TypeVar

from returns.pipeline import is_successful
from returns.result import Result

from dr_wandb.core.contract.codec import decode_row, decode_rows, decode_snapshot, decode_snapshots
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import (
    ConsoleLine,
    HistoryRow,
    Record,
    RunFile,
    RunSnapshot,
    SystemSample,
)
from dr_wandb.core.contract.row_forms import (
    decode_console_line,
    decode_console_lines,
    decode_run_file,
    decode_run_files,
    decode_sample,
    decode_samples,
)
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.guards import require_visible_file

_R = TypeVar("_R", bound=Record)

_BUFFER_BYTES = 1 << 17
_DECODED_BYTES = 1 << 13
"""How many bytes are decoded at once: records still in the processor's cache are used faster."""

RESTORE_LINE = "restore the file, or delete that line and sync again to read its run again"


class Decoders(NamedTuple, Generic[_R]):
    """How to decode many lines, giving None if one of them does not read, and a single line."""

    many: Callable[[Iterable[bytes]], Sequence[_R] | None]
    one: Callable[[bytes], Result[_R, str]]


ROWS: Decoders[HistoryRow] = Decoders(decode_rows, decode_row)
SAMPLES: Decoders[SystemSample] = Decoders(decode_samples, decode_sample)
LINES: Decoders[ConsoleLine] = Decoders(decode_console_lines, decode_console_line)
RUN_FILES: Decoders[RunFile] = Decoders(decode_run_files, decode_run_file)
SNAPSHOTS: Decoders[RunSnapshot] = Decoders(decode_snapshots, decode_snapshot)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a data file. Raises DrWandbError if it is missing or cannot be read."""
    with disk_refusals(path):
        require_visible_file(path)
        if not path.exists():
            remedy = "restore it, or sync again"
            failure = DamagedFile(path=str(path), reason="the file is missing", remedy=remedy)
            raise DrWandbError(failure)
        with path.open("rb", buffering=_BUFFER_BYTES) as stream:
            yield stream


def decode_file(path: Path, decoders: Decoders[_R]) -> Iterator[_R]:
    """Decode all lines of a data file."""
    with opened(path) as stream:
        yield from decode_stream(stream, path, decoders)


def decode_stream(stream: IO[bytes], path: Path, decoders: Decoders[_R]) -> Iterator[_R]:
    """Decode all lines of an open data file."""
    number = 0
    while lines := stream.readlines(_DECODED_BYTES):
        records = decoders.many(lines)
        yield from one_by_one(lines, path, decoders, number) if records is None else records
        number += len(lines)


def decode_range(
    stream: IO[bytes], path: Path, decoders: Decoders[_R], byte_range: ByteRange
) -> Iterator[_R]:
    """Decode the lines of a byte range of an open data file, which has whole lines."""
    offset = byte_range.offset
    for lines in _together(disk.read_lines(stream, offset, byte_range.length)):
        records = decoders.many(lines)
        if records is None:
            with path.open("rb") as again:
                before = sum(chunk.count(b"\n") for chunk in disk.read_range(again, 0, offset))
            yield from one_by_one(lines, path, decoders, before)
        else:
            yield from records
        offset += sum(map(len, lines))


def _together(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Gather the lines that are decoded at once."""
    together: list[bytes] = []
    size = 0
    for line in lines:
        together.append(line)
        size += len(line)
        if size >= _DECODED_BYTES:
            yield together
            together, size = [], 0
    if together:
        yield together


def one_by_one(
    lines: Sequence[bytes], path: Path, decoders: Decoders[_R], lines_before: int
) -> Iterator[_R]:
    """Decode lines of a file one by one. Raises DrWandbError for one that does not read."""
    numbered = enumerate(lines, start=lines_before + 1)
    return (decoded(decoders.one(line), path, number) for number, line in numbered)


def decoded(result: Result[_R, str], path: Path, number: int, remedy: str = RESTORE_LINE) -> _R:
    """Return a decoded line; raise DrWandbError that names the file and the line."""
    if is_successful(result):
        return result.unwrap()
    raise DrWandbError(
        DamagedFile(path=str(path), line=number, reason=result.failure(), remedy=remedy)
    )
