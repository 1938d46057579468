"""Records without their large members, the lines that these are in, and comparing the bytes.

A line is put together from its frame and its content, see core/contract/large_member.py.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import NamedTuple

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.large_member import divide, encode_content, large_of, with_large
from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.sync.changes import SMALL_BYTES
from dr_wandb.shell.store.divided_lines import FileRange, digest_of


class Framed(NamedTuple):
    """A record whose large member is an empty list if it is not null, and the bytes of that."""

    record: ProjectRecord
    content: FileRange | None = None


class LineParts(NamedTuple):
    """A line before its content, the content, and the line after it; only the line without one."""

    before: bytes
    inside: Iterable[bytes] = ()
    after: bytes = b""

    @property
    def all(self) -> Iterator[bytes]:
        """Yield all of it."""
        yield self.before
        yield from self.inside
        yield self.after


def parts_of(record: ProjectRecord, content: FileRange | None) -> LineParts:
    """Return the line of a record. content: the bytes of its large member, if it has none."""
    line = encode_line(record if content is None else with_large(record, ()))
    divided = divide(line, type(record))
    if divided is None:
        return LineParts(line)
    before, inside, after = divided
    return LineParts(before, (inside,) if content is None else content.chunks(), after)


def frame_of(line: FileRange, content: FileRange) -> bytes:
    """Read a line without its content."""
    end = content.offset + content.length
    before = FileRange(line.stream, line.offset, content.offset - line.offset)
    return before.whole + FileRange(line.stream, end, line.offset + line.length - end).whole


def without_large(record: ProjectRecord, instead: tuple[()] | None = ()) -> ProjectRecord:
    """Return a record with an empty list, or null, in place of its large member if it has one."""
    return record if large_of(record) is None else with_large(record, instead)


def encoded_large(record: ProjectRecord) -> FileRange | None:
    """Return the large member of a record as bytes, None if it is null."""
    members = large_of(record)
    if members is None:
        return None
    text = encode_content(members)
    return FileRange(BytesIO(text), 0, len(text))


def is_small(one: Framed) -> bool:
    """Say whether the large member is given if it changed; in JSON it has brackets, too."""
    return one.content is None or one.content.length + len("[]") <= SMALL_BYTES


def differ(one: FileRange | None, other: FileRange | None) -> bool:
    """Say whether two contents have other bytes, or only one of them is there."""
    if one is None or other is None:
        return one is not other
    if one == other:
        return False
    return one.length != other.length or digest_of(one.chunks()) != digest_of(other.chunks())
