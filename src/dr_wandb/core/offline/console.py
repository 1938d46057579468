r"""Assemble the lines of a run's console from the text that its process wrote.

Rules (measured with wandb 0.31.0, whose `output.log` has these lines)
- Standard output and standard error each have a terminal of 32 rows; both add lines to one list.
- A line is added when the first character is written to its row: a row that stays empty below the
  last one is no line. Only the last 32 lines of the list can change; what is written to an earlier
  one is dropped.
- `\n` goes to the beginning of the next row, `\r` to that of this one, without erasing it. `ESC[A`
  goes up a row, `ESC[B` down a row. All else, colors included, is kept as it is.
- A blank behind all else in a line is no change, until something after it or before it changes.
- A line has at most 4096 characters; the rest is dropped.
- Text of `run.write_logs` is split into lines of their own, which are not cut.
- Text may be split anywhere, also inside a character or an escape.
"""

import codecs
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from dr_wandb.core.contract.console import ERROR
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.host import time_of
from dr_wandb.core.offline.records import ConsoleText, HeaderRecord, Stream
from dr_wandb.core.offline.timeline import records_until_exit

MOST_ROWS = 32
MOST_COLUMNS = 4096

LINES_AT_ONCE = 4096

_TOKENS = re.compile(
    r"(?P<text>(?:[^\n\r\x1b]+|\x1b[^\[]|\x1b\[[^AB])+)"
    r"|(?P<feed>\n)|(?P<back>\r)|(?P<up>\x1b\[A)|(?P<down>\x1b\[B)|(?P<start>\x1b\[?)\Z",
    re.DOTALL,
)
"""A character after an escape that is not known is text, whatever it is."""


class Line:
    """A line that may still change. time: of the text that began it, as (seconds, nanos).

    `shown` is what W&B has of it: `text` after the last character that changed it.
    """

    __slots__ = ("level", "number", "shown", "text", "time")

    def __init__(self, number: int, level: str | None, time: tuple[int, int] | None) -> None:
        self.number = number
        self.level = level
        self.time = time
        self.text = self.shown = ""

    def put(self, text: str, at: int) -> None:
        """Write over what is there from a column on. A blank at the end changes nothing yet."""
        before = self.text.ljust(at)
        end = at + len(text)
        self.text = before[:at] + text + before[end:]
        was = before.ljust(end)
        while end > at and was[end - 1] == self.text[end - 1]:
            end -= 1
        if end > at:
            self.shown = self.text[: max(len(before), end)]

    @property
    def row(self) -> dict[str, Any]:
        """Return the line as a row of a source."""
        return {
            "_step": self.number,
            "timestamp": "" if self.time is None else time_of(*self.time),
            "level": self.level,
            "line": clean_text(self.shown),
        }


class _Terminal:
    """The rows of one stream, and the cursor in them. add_line: adds a line to the run's list."""

    def __init__(self, add_line: Callable[[], Line], is_open: Callable[[Line], bool]) -> None:
        self._add_line = add_line
        self._is_open = is_open
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rows: deque[Line] = deque()
        self._x = self._y = 0
        self._start = ""

    def write(self, raw: bytes) -> None:
        """Write some text. The beginning of an escape at its end waits for the next one."""
        text, self._start = self._start + self._decode(raw), ""
        for found in _TOKENS.finditer(text):
            match found.lastgroup:
                case "text":
                    self._put(found[0])
                case "feed":
                    self._x = 0
                    self._go_down()
                case "back":
                    self._x = 0
                case "up":
                    self._y = max(0, self._y - 1)
                case "down":
                    self._go_down()
                case _:
                    self._start = found[0]

    def _go_down(self) -> None:
        self._y += 1
        if self._y >= MOST_ROWS:
            if self._rows:
                self._rows.popleft()
            self._y -= 1

    def _put(self, text: str) -> None:
        """Write text without a line break at the cursor, over the text that is there."""
        while self._y >= len(self._rows):
            self._rows.append(self._add_line())
        line, x = self._rows[self._y], self._x
        self._x += len(text)
        fitting = text[: max(0, MOST_COLUMNS - x)]
        if fitting and self._is_open(line):
            line.put(fitting, x)


class ConsoleAssembler:
    """Takes the text of one session in order, and gives its lines once they cannot change.

    first: the number of the first line.
    """

    def __init__(self, first: int = 0) -> None:
        self._next = first
        self._open: deque[Line] = deque()
        self._done: list[Line] = []
        self._time: tuple[int, int] | None = None
        self._terminals = {
            stream: _Terminal(partial(self._add, level), self._is_open)
            for stream, level in ((Stream.STDERR, ERROR), (Stream.STDOUT, None))
        }

    def write(self, text: ConsoleText) -> None:
        """Take the next text."""
        self._time = text.time or self._time
        if text.stream in self._terminals:
            self._terminals[text.stream].write(text.raw)
            return
        for part in text.raw.decode("utf-8", "replace").removesuffix("\n").split("\n"):
            self._add(None).shown = part

    def take(self) -> list[dict[str, Any]]:
        """Return the lines that cannot change any more and were not given yet."""
        done, self._done = self._done, []
        return [line.row for line in done]

    @property
    def waiting(self) -> int:
        """Return how many lines `take` would give."""
        return len(self._done)

    def finish(self) -> list[dict[str, Any]]:
        """Return the remaining lines."""
        self._done += self._open
        self._open.clear()
        return self.take()

    @property
    def count(self) -> int:
        """Return the number after that of the last line."""
        return self._next

    def _add(self, level: str | None) -> Line:
        line = Line(self._next, level, self._time)
        self._next += 1
        self._open.append(line)
        if len(self._open) > MOST_ROWS:
            self._done.append(self._open.popleft())
        return line

    def _is_open(self, line: Line) -> bool:
        return bool(self._open) and line.number >= self._open[0].number


def console_of(data: Buffer, end: int, first: int = 0) -> Iterator[list[dict[str, Any]]]:
    """Give the lines of one file, some at a time. first: the number of the first one.

    end: the offset at which reading stops. wandb-core writes `output` records but does not send
    them; of a file that Python wrote, they are the console.
    """
    assembler, of_core = ConsoleAssembler(first), False
    for record in records_until_exit(data, end):
        match record:
            case HeaderRecord(producer=producer):
                of_core = bool(producer)
            case ConsoleText(redirected=redirected) if not (redirected and of_core):
                assembler.write(record)
                if assembler.waiting >= LINES_AT_ONCE:
                    yield assembler.take()
            case _:
                pass
    yield assembler.finish()
