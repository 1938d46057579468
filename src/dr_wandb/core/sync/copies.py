"""Copies of a row in one answer: which rows are the same row, and what of them is kept.

Rules
- The same row is the same step and exact timestamp or, if either is missing, the same content.
- A row that is both exported and live is one row with the members of both. If both have a member,
  the exported value counts. Of one step and timestamp, each exported row has at most one live copy.
- Times of one step that are less than a microsecond apart are the same between an exported and a
  live row, paired in order; the exported spelling is kept.
- Rows of one step from different exported files are one row only if their timestamps are equal or
  one has none, and no member differs: files that are not compacted yet split a row by its columns.
- Rows of one kind with the same step and timestamp are one row only if no member differs: no logged
  value is dropped for another one.
- A numbered row is known by its number: of its copies the one from the last part of the answer
  counts.
- The result does not depend on the order in which rows arrive.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.codec import RowKey, encode_line
from dr_wandb.core.contract.encoded_rows import ReceivedRow
from dr_wandb.core.contract.evidence import nearly_equal
from dr_wandb.core.contract.records import HistoryRow

MOST_AT_A_STEP = 256
MOST_BYTES = 16 << 20
"""At most this many rows of one step, and bytes of them, are compared with each other. If there
are more, only rows of one timestamp are compared; if these are still more, only equal rows are
joined."""

_PARTS = ("metrics", "extra", "wandb_metadata")
_ROW = msgspec.json.Decoder(HistoryRow)
_ENCODER = msgspec.json.Encoder(order="sorted")


def arrival_order(row: ReceivedRow) -> tuple[Any, ...]:
    """Return the sort key that puts copies of one row side by side, in the stored order."""
    return (*row.key, row.content, row.live, row.file)


def joined(rows: Iterable[ReceivedRow]) -> Iterator[ReceivedRow]:
    """Join the copies among rows in `arrival_order`; gives rows by key, then by content."""
    for (step_missing, _), group in groupby(rows, key=_step_of):
        join = _unlike if step_missing else _joined_at_step
        yield from join(group)


def last_of_each(rows: Iterable[ReceivedRow]) -> Iterator[ReceivedRow]:
    """Keep one of the copies of each numbered row, which is the last; rows in `arrival_order`."""
    for _, copies in groupby(rows, key=_key_of):
        yield max(copies, key=_by_file)


def _by_file(row: ReceivedRow) -> tuple[int, bytes]:
    return row.file, row.content


def _joined_at_step(rows: Iterator[ReceivedRow]) -> Iterator[ReceivedRow]:
    few, more = _take_few(rows)
    if more:
        return _join_moments(chain(few, rows))
    return iter(few) if len(few) == 1 else _join_step(few)


def _take_few(rows: Iterator[ReceivedRow]) -> tuple[list[ReceivedRow], bool]:
    """Take few enough rows to compare with each other, and say whether there may be more."""
    few: list[ReceivedRow] = []
    size = 0
    for row in rows:
        few.append(row)
        size += len(row.content)
        if len(few) == MOST_AT_A_STEP or size > MOST_BYTES:
            return few, True
    return few, False


def _step_of(row: ReceivedRow) -> tuple[bool, int]:
    return row.key[:2]


def _unlike(rows: Iterable[ReceivedRow]) -> Iterator[ReceivedRow]:
    """Drop rows that equal the row before them."""
    previous: bytes | None = None
    for row in rows:
        if row.content != previous:
            yield row
        previous = row.content


def _join_moments(rows: Iterable[ReceivedRow]) -> Iterator[ReceivedRow]:
    """Join the rows of one step by their timestamps alone."""
    for (_, _, timestamp_missing, _), group in groupby(rows, key=_key_of):
        join = _unlike if timestamp_missing else _joined_at_moment
        yield from join(group)


def _joined_at_moment(rows: Iterator[ReceivedRow]) -> Iterator[ReceivedRow]:
    few, more = _take_few(rows)
    return _unlike(chain(few, rows)) if more else (copy.row for copy in _join_moment(few))


def _join_step(rows: Iterable[ReceivedRow]) -> Iterator[ReceivedRow]:
    """Join the rows of one step, those without a timestamp to those of other files."""
    found: list[_Copy] = []
    for (_, _, timestamp_missing, _), group in groupby(rows, key=_key_of):
        if not timestamp_missing:
            found += _join_moment(group)
            continue
        found = _join_near(found)
        for copy in _once(group):
            other = copy.exported and next((one for one in found if one.completes(copy)), None)
            if other:
                other.join(copy)
            else:
                found.append(copy)
    return _unlike(sorted((copy.row for copy in _join_near(found)), key=_by_key))


def _join_near(copies: "list[_Copy]") -> "list[_Copy]":
    """Join live rows of one step to exported ones whose times are nearly the same, in order."""
    free = [copy for copy in copies if copy.exported and not copy.live]
    left = []
    for copy in copies:
        other = None
        if not copy.exported:
            other = next((one for one in free if one.is_near(copy)), None)
        if other is None:
            left.append(copy)
        else:
            other.join(copy)
            free.remove(other)
    return left


def _join_moment(rows: Iterable[ReceivedRow]) -> "list[_Copy]":
    """Join the rows of one step and timestamp."""
    copies = sorted(_once(rows), key=_by_fullness)
    if len(copies) == 1:
        return copies
    exported = _agreeing(copy for copy in copies if copy.exported)
    live = _agreeing(copy for copy in copies if not copy.exported)
    free = list(exported)
    for fits in (_Copy.agrees, _Copy.is_any):
        for copy in tuple(live):
            other = next((one for one in free if fits(one, copy)), None)
            if other is not None:
                other.join(copy)
                free.remove(other)
                live.remove(copy)
    rows_left = {copy.row.content: copy for copy in (*live, *exported)}
    return [rows_left[content] for content in sorted(rows_left)]


def _agreeing(copies: "Iterable[_Copy]") -> "list[_Copy]":
    """Join copies in which no member differs."""
    found: list[_Copy] = []
    for copy in copies:
        other = next((one for one in found if one.agrees(copy)), None)
        if other is None:
            found.append(copy)
        else:
            other.join(copy)
    return found


def _once(rows: Iterable[ReceivedRow]) -> "list[_Copy]":
    """Take each content once, as exported if one of its rows is."""
    copies: dict[bytes, _Copy] = {}
    for row in rows:
        if row.content not in copies:
            copies[row.content] = _Copy(row)
        elif row.live:
            copies[row.content].live = True
        else:
            copies[row.content].files.add(row.file)
    return list(copies.values())


def _by_fullness(copy: "_Copy") -> tuple[int, bytes]:
    return -len(copy.row.content), copy.row.content


def _key_of(row: ReceivedRow) -> RowKey:
    return row.key


def _by_key(row: ReceivedRow) -> tuple[RowKey, bytes]:
    return row.key, row.content


class _Copy:
    """A row that may be joined with others; its own members count if both have one."""

    def __init__(self, row: ReceivedRow) -> None:
        self._row = row
        self._members: dict[tuple[str, str], Any] | None = None
        self._is_joined = False
        self.exported = not row.live
        self.live = row.live
        self.files = {row.file} if self.exported else set()

    @property
    def members(self) -> dict[tuple[str, str], Any]:
        """Return what the row holds beside its step and timestamp."""
        if self._members is None:
            row = _ROW.decode(self._row.content)
            parts = {part: getattr(row, part) for part in _PARTS}
            own = {} if row.runtime is None else {("runtime", ""): row.runtime}
            inside = {(part, key): one for part, held in parts.items() for key, one in held.items()}
            self._members = {**own, **inside}
        return self._members

    @property
    def row(self) -> ReceivedRow:
        """Return the row with all that was joined to it."""
        if not self._is_joined:
            return self._row
        row = _ROW.decode(self._row.content)
        parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        for (part, key), value in self.members.items():
            if part in parts:
                parts[part][key] = value
        runtime = self.members.get(("runtime", ""))
        content = encode_line(replace(row, runtime=runtime, **parts))
        return self._row._replace(content=content)

    def agrees(self, other: "_Copy") -> bool:
        """Say whether no member differs."""
        ours, theirs = self.members, other.members
        return all(
            _ENCODER.encode(ours[name]) == _ENCODER.encode(theirs[name])
            for name in ours.keys() & theirs.keys()
        )

    def is_any(self, other: "_Copy") -> bool:
        """Return true for every copy: members may differ."""
        return True

    def is_near(self, other: "_Copy") -> bool:
        """Say whether both have a time, the same to the microsecond."""
        (_, _, missing, time), (_, _, other_missing, other_time) = self._row.key, other.row.key
        return not (missing or other_missing) and nearly_equal(time, other_time)

    def completes(self, other: "_Copy") -> bool:
        """Say whether both are parts of one row from different exported files."""
        return self.exported and not self.files & other.files and self.agrees(other)

    def join(self, other: "_Copy") -> None:
        """Take the members of a copy."""
        self._members = {**other.members, **self.members}
        self._is_joined = True
        self.live = self.live or other.live
        self.files |= other.files
