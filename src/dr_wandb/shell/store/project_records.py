"""Load the records of a project from their data files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from returns.result import Failure, Success

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.large_member import large_of, with_large
from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.contract.project_records import decode_record
from dr_wandb.shell.store.decoding import decoded, opened
from dr_wandb.shell.store.divided_lines import DividedLine, read_divided, records_in

REMEDY = "restore the file, or delete that line and sync again"

_K = TypeVar("_K", bound=ProjectRecord)


def iter_records(path: Path, kind: type[_K], *, large: bool = True) -> Iterator[_K]:
    """Decode all lines of a data file, one at a time; none if there is no such file.

    large: with their large members; otherwise these are null, and are not read.
    Raises DrWandbError if a line does not read, naming it.
    """
    if path.exists():
        with opened(path) as stream:
            for number, line in enumerate(read_divided(stream, kind), start=1):
                record = None
                if line.content is not None and not (large and line.text is not None):
                    record = _read_divided(line, kind, large=large)
                if record is None:
                    record = decoded(decode_record(line.whole, kind), path, number, REMEDY)
                yield record if large else _without(record)


def iter_in_pieces(path: Path, kind: type[_K]) -> Iterator[tuple[_K, Iterator[Sequence[Any]]]]:
    """Decode all lines of a data file, each as a record and the pieces of its large member.

    The large member of the record is null. Raises as `iter_records` does, also for a piece.
    """
    if path.exists():
        with opened(path) as stream:
            for number, line in enumerate(read_divided(stream, kind), start=1):
                record = _read_divided(line, kind, large=False)
                if record is None:
                    whole = decoded(decode_record(line.whole, kind), path, number, REMEDY)
                    yield _without(whole), iter([large_of(whole) or ()])
                else:
                    yield _without(record), _pieces(line, kind, path, number)


def _pieces(
    line: DividedLine, kind: type[ProjectRecord], path: Path, number: int
) -> Iterator[Sequence[Any]]:
    try:
        yield from records_in(line.content, kind)
    except ValueError as error:
        decoded(Failure(str(error)), path, number, REMEDY)


def _read_divided(line: DividedLine, kind: type[_K], *, large: bool) -> _K | None:
    """Decode a line in parts, None if it has to be decoded whole."""
    result = decode_record(line.frame, kind)
    if not isinstance(result, Success) or encode_line(result.unwrap()) != line.frame:
        return None
    record: _K = result.unwrap()
    if not large:
        return record
    try:
        pieces = records_in(line.content, kind)
        return with_large(record, [one for some in pieces for one in some])
    except ValueError:
        return None


def _without(record: _K) -> _K:
    return record if record.large is None else with_large(record, None)
