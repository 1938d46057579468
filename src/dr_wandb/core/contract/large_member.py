"""The one member of a record that may be too large for memory, and the line around it.

Rules
- A kind of record names it in `large`: a list of records of `large_kind`, or null. A line without
  what is between the brackets of that list is its *frame*, which is a line of the same record with
  an empty list; what is between them is its *content*.
- Only a line that is spelled as this tool writes it may be divided. In such a line the first
  bytes that look like the beginning of the list are it: the members before it hold no objects, and
  a quote inside of a text is escaped. So it is with the first bytes after that that look like its
  end, since the records of the list hold no lists.
- The content is decoded in pieces: memory does not grow with its length.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.contract.records import Record

_ENCODER = msgspec.json.Encoder(order="sorted")

_K = TypeVar("_K", bound=ProjectRecord)


class Borders(NamedTuple):
    """The bytes around the list in a line, and those between two of its records.

    opening: those before the list, and before a null.
    """

    opening: bytes
    closing: bytes
    between: bytes


class Piece(NamedTuple):
    """Some of the records of a content, and the bytes that they were decoded from."""

    text: bytes
    records: Sequence[Record]

    @property
    def canonical(self) -> bool:
        """Say whether the bytes are spelled as this tool writes them."""
        return encode_content(self.records) == self.text


@cache
def borders_of(kind: type[ProjectRecord]) -> Borders | None:
    """Return the borders in the lines of a kind of record, None if it has no large member."""
    if kind.large is None:
        return None
    names = sorted(kind.__struct_fields__)
    after = names[names.index(kind.large) + 1]
    first = min(kind.large_kind.__struct_fields__)
    return Borders(
        f',"{kind.large}":'.encode(), f'],"{after}":'.encode(), f'}},{{"{first}":'.encode()
    )


def divide(line: bytes, kind: type[ProjectRecord]) -> tuple[bytes, bytes, bytes] | None:
    """Return the line before its content, the content, and the line after it; None without one."""
    borders = borders_of(kind)
    start = -1 if borders is None else find_content(line, borders)
    if borders is None or start < 0:
        return None
    end = line.find(borders.closing, start)
    return None if end < 0 else (line[:start], line[start:end], line[end:])


def find_content(line: bytes, borders: Borders) -> int:
    """Return the offset of the content in the bytes of a line so far, -1 if there is none."""
    at = line.find(borders.opening)
    start = at + len(borders.opening) + 1
    return -1 if at < 0 or line[start - 1 : start] != b"[" else start


def large_of(record: ProjectRecord) -> Sequence[Record] | None:
    """Return the large member of a record, None if it is null or there is none."""
    found: Sequence[Record] | None = None
    if record.large is not None:
        found = getattr(record, record.large)
    return found


def with_large(record: _K, members: Sequence[Record] | None) -> _K:
    """Return a record of a kind that has a large member with another one."""
    assert record.large is not None
    return replace(record, **{record.large: None if members is None else tuple(members)})


def encode_content(records: Sequence[Record]) -> bytes:
    """Encode some records of a content. Contents are joined with commas."""
    return _ENCODER.encode(records)[1:-1]


def decode_content(chunks: Iterable[bytes], kind: type[ProjectRecord]) -> Iterator[Piece]:
    """Decode a content in pieces. Raises ValueError for one that does not read."""
    borders = borders_of(kind)
    assert borders is not None
    decoder = _decoder(kind)
    rest = b""
    for chunk in chunks:
        rest += chunk
        end = rest.rfind(borders.between) + 1
        if end:
            yield Piece(rest[:end], decoder.decode(b"[%b]" % rest[:end]))
            rest = rest[end + 1 :]
    if rest:
        yield Piece(rest, decoder.decode(b"[%b]" % rest))


@cache
def _decoder(kind: type[ProjectRecord]) -> Any:
    return msgspec.json.Decoder(list[kind.large_kind])  # type: ignore[name-defined]
