"""Read `wandb-history.jsonl`, the history of a run from before `.wandb` files: one row per line.

Rules
- Reading may stop at the end of any line and continue there when the file has grown: the result is
  that of reading it at once.
- A line that is not a JSON object is counted and reported; everything else is kept. The last line
  may be cut off, and complete later. A last line that is a complete object is a row, even without
  its newline; so anything after an object in its line is read as if it were a line of its own.
- Counting and reading use the same rule for rows, so that the count is always that of the rows.
- Memory does not grow with the file: it is read a part at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.line_objects import BLANK, objects_in
from dr_wandb.core.offline.lost_bytes import LostBytes
from dr_wandb.core.offline.reading import MARKS, FileReading, Mark
from dr_wandb.core.offline.run import RunFold
from dr_wandb.core.offline.steps import moment_of, step_of
from dr_wandb.core.offline.tree import Tree

PART_BYTES = 1 << 20
"""The bytes of a file that are read at a time."""

LONGEST_LINE = 1 << 26
"""In bytes. A longer line is not a row."""

MOST_LOST = 1000
"""At most this many unreadable byte ranges are remembered; further ones are counted."""

Row = Mapping[str, Any]

NO_ROW = "this line is not a JSON object"
TOO_LONG = f"this line is longer than {LONGEST_LINE} bytes"
CUT_OFF = "the last line is cut off"


class LineRows(NamedTuple):
    """The rows of a part of a file, and its other bytes. Reading continues at `end`."""

    rows: list[dict[str, Any]]
    lost: list[LostBytes]
    end: int


def read_lines(
    data: Buffer,
    before: FileReading,
    is_repeated: Callable[[Row], bool],
    after_part: Callable[[], None] = lambda: None,
) -> FileReading:
    """Read a history, or the lines that were added since an earlier reading of it.

    is_repeated: says of the first row of the file whether it is the last of an earlier file, as the
    SDK writes it when a run is resumed. after_part: called when a part is no longer needed.
    """
    fold, lost, marks = before.fold, list(before.lost), list(before.marks)
    begin = before.end or _behind_repeated(data, is_repeated)
    torn: LostBytes | None = None
    last: dict[str, Any] = {}
    for part in line_parts(data, begin):
        if part.end > begin:  # else the rows may begin after it, see _behind_repeated
            marks.append(Mark(offset=begin, below=fold.last_step, after=fold.end_step))
        fold = _with_rows(fold, part.rows)
        for row in part.rows:
            last.update(row)
        torn = next((loss for loss in part.lost if loss.torn), None)
        for loss in part.lost:
            if len(lost) < MOST_LOST and not loss.torn:
                lost.append(loss)
            elif not loss.torn:
                fold = replace(fold, unreadable=fold.unreadable + loss.records)
        begin = part.end
        after_part()
    return replace(
        before,
        end=begin,
        fold=_with_last_values(fold, last),
        lost=tuple(lost),
        torn=torn,
        marks=(*marks[:1], *marks[1:][-MARKS:]),
    )


def _behind_repeated(data: Buffer, is_repeated: Callable[[Row], bool]) -> int:
    """Return the offset of the first row that is not repeated. Empty lines do not count."""
    begin = 0
    while begin < len(data):
        end = _end_of_line(data, begin)
        if end - begin > LONGEST_LINE:
            return 0
        line = bytes(data[begin:end]).lstrip(BLANK)
        if line:
            first = next(objects_in(line), None)
            return end - len(line) + first.end if first and is_repeated(first.row) else 0
        begin = end
    return 0


def rows_in_lines(data: Buffer, reading: FileReading, window: FetchWindow) -> Iterator[RowBatch]:
    """Read the rows counted by a reading whose step is in the window."""
    if not reading.marks:
        return
    begin = (reading.mark_before(window) or reading.marks[0]).offset
    for part in line_parts(memoryview(data)[: reading.end], begin):
        rows = [row for row in part.rows if window.has(step_of(row))]
        if rows:
            yield RowBatch(rows=rows)


def first_step(data: Buffer) -> int | None:
    """Return the step of the first row, None if there is no row or it has no step."""
    return next((step_of(row) for part in line_parts(data, 0) for row in part.rows), None)


def line_parts(data: Buffer, begin: int) -> Iterator[LineRows]:
    """Read all lines from `begin` on, a part of the file at a time."""
    view = memoryview(data)
    while begin < len(view):
        content = _whole_lines(view, begin)
        if content is None:
            part = _too_long(view, begin)
        else:
            part = _rows_in(content, begin, is_last=begin + len(content) == len(view))
        yield part
        if part.end == begin or (part.lost and part.lost[-1].torn):
            return
        begin = part.end


def _whole_lines(view: memoryview, begin: int) -> bytes | None:
    """Return as many whole lines as fit a part, or all that remain; None if one is too long."""
    size = PART_BYTES
    while True:
        content = bytes(view[begin : begin + size])
        if begin + size >= len(view) and len(content) <= LONGEST_LINE:
            return content
        end = content.rfind(b"\n") + 1
        if end:
            return content[:end]
        if size >= LONGEST_LINE:
            return None
        size *= 4


def _rows_in(content: bytes, begin: int, *, is_last: bool) -> LineRows:
    rows: list[dict[str, Any]] = []
    lost: list[LostBytes] = []
    at = 0
    while at < len(content):
        end = content.find(b"\n", at) + 1 or len(content)
        line = content[at:end].lstrip(BLANK)
        at = end - len(line)
        line = line.rstrip(BLANK)
        found = list(objects_in(line))
        rows += [row for row, _ in found]
        read = found[-1].end if found else 0
        at += read
        if read == len(line):
            at = end
            continue
        if is_last and content[end - 1] != _NEWLINE:
            lost.append(_loss(begin + at, end - at, CUT_OFF, torn=True))
            return LineRows(rows, lost, begin + at)
        _add(lost, _loss(begin + at, end - at, NO_ROW))
        at = end
    return LineRows(rows, lost, begin + len(content))


_NEWLINE = 10


def _too_long(view: memoryview, begin: int) -> LineRows:
    end = _end_of_line(view, begin)
    torn = end == len(view) and view[end - 1] != _NEWLINE
    loss = _loss(begin, end - begin, TOO_LONG, torn=torn)
    return LineRows([], [loss], begin if torn else end)


def _end_of_line(data: Buffer, begin: int) -> int:
    """Return the offset after the line that begins at an offset."""
    view = memoryview(data)
    for at in range(begin, len(view), PART_BYTES):
        found = bytes(view[at : at + PART_BYTES]).find(b"\n")
        if found >= 0:
            return at + found + 1
    return len(view)


def _loss(offset: int, length: int, reason: str, *, torn: bool = False) -> LostBytes:
    return LostBytes(offset=offset, length=length, reason=reason, torn=torn)


def _add(lost: list[LostBytes], loss: LostBytes) -> None:
    """Add a loss to those before it, joined with the last one if it continues it."""
    last = lost[-1] if lost else None
    if last is not None and last.offset + last.length == loss.offset:
        lost[-1] = replace(last, length=last.length + loss.length, records=last.records + 1)
    else:
        lost.append(loss)


def _with_rows(fold: RunFold, rows: list[dict[str, Any]]) -> RunFold:
    if not rows:
        return fold
    steps = [step for row in rows if (step := step_of(row)) is not None]
    moments = [moment for row in rows if (moment := moment_of(row)) is not None]
    return replace(
        fold,
        rows=fold.rows + len(rows),
        records=fold.records + len(rows),
        last_step=max(
            [*steps, *([] if fold.last_step is None else [fold.last_step])], default=None
        ),
        end_step=steps[-1] if steps else fold.end_step,
        moment=max([*moments, *([] if fold.moment is None else [fold.moment])], default=None),
    )


def _with_last_values(fold: RunFold, last: dict[str, Any]) -> RunFold:
    """Return a fold whose summary is updated with the last values of rows."""
    if not last:
        return fold
    summary = Tree(fold.summary_leaves)
    for key, value in plain_form(last).items():
        summary.set((key,), value)
    return replace(fold, summary_leaves=tuple(sorted(summary.leaves(), key=lambda leaf: leaf[0])))
