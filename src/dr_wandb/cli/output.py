"""The output of the command: results on stdout, everything else on stderr.

Text from W&B is escaped here, in each line for people: no command has to remember it.
"""

import logging
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dr_wandb.core.contract.wording import as_lines, printable_json

if TYPE_CHECKING:
    from dr_wandb.core.contract.records import Record

LOG_LEVEL_VARIABLE = "DR_WANDB_LOG_LEVEL"
DEFAULT_WIDTH = 80


def print_result(text: str) -> None:
    """Write to stdout in UTF-8, regardless of the terminal's encoding.

    Bytes of a path that are not text are written as escapes. A reader that has closed the pipe has
    read enough: that is no error.
    """
    if sys.stdout is None:
        raise StdoutError("it is closed")
    try:
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:
            sys.stdout.write(text)
        else:
            sys.stdout.flush()
            buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - takes all that follows
    except (OSError, ValueError) as error:
        sys.stdout = None  # else the interpreter would try to flush it again
        raise StdoutError(str(error)) from None


def reader_is_gone() -> bool:
    """Say whether the pipe that takes the result was closed: further output has no reader."""
    return sys.stdout is not None and getattr(sys.stdout, "name", None) == os.devnull


def someone_reads() -> bool:
    """Say whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def terminal_width() -> int:
    """Return how many columns a line may take: `COLUMNS`, or those of the terminal, or else 80."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    for stream in (1, 2, 0):  # a page that goes to a pager is read on the terminal, too
        with suppress(OSError):
            return os.get_terminal_size(stream).columns or DEFAULT_WIDTH
    return DEFAULT_WIDTH


def print_error(line: str) -> None:
    """Write a line to stderr, if anybody still reads it. Nothing in it can steer a terminal."""
    from dr_wandb.shell.progress import write_stderr

    write_stderr(line)


def print_words(lines: Iterable[str], about: str = "") -> None:
    """Write lines of text to stderr, broken between words if it is a terminal.

    A line that begins with a space is a command to copy: the terminal breaks it.
    about: written before each line.
    """
    from textwrap import wrap

    wide = terminal_width() if sys.stderr is not None and sys.stderr.isatty() else None
    for line in lines:
        whole = f"{about}{line}"
        if wide is None or len(whole) <= wide or line.startswith(" "):
            print_error(whole)
            continue
        for part in wrap(whole, wide, break_long_words=False, break_on_hyphens=False):
            print_error(part)


def print_lines(lines: Iterable[str], *, raw: bool = False) -> None:
    """Write lines of text to stdout, so that nothing in them can steer a terminal, unless `raw`."""
    print_result("\n".join((*as_lines(lines, raw=raw), "")))


def print_json(record: "Record") -> None:
    """Write a JSON document to stdout."""
    from dr_wandb.core.contract.codec import encode_document

    _print_json(encode_document(record))


def print_json_line(record: "Record") -> None:
    """Write a JSON document to stdout, in one line."""
    from dr_wandb.core.contract.codec import encode_line

    _print_json(encode_line(record))


def _print_json(document: bytes) -> None:
    """Write JSON: its exact bytes to a file or a pipe, and to a terminal what cannot steer it."""
    text = document.decode()
    print_result(printable_json(text) if on_terminal() else text)


def on_terminal() -> bool:
    """Say whether what is printed is seen by people."""
    try:
        return sys.stdout is not None and sys.stdout.isatty()
    except ValueError:  # it is closed: printing says so
        return False


class StdoutError(Exception):
    """The result could not be printed."""


def configure_logging(quiet: bool, about: str = "", *, verbose: int = 0) -> None:
    """Send the log to stderr, at the level of the flags or that the environment variable names.

    about: written before each line, if the command does several things. verbose: 1 for decisions
    and waits, 2 for requests too.
    """
    from dr_wandb.shell.progress import DECISION, LOGGER, StderrHandler

    if not LOGGER.handlers:
        LOGGER.addHandler(StderrHandler())
    shown = f"{about.replace('%', '%%')}%(message)s"
    LOGGER.handlers[0].setFormatter(logging.Formatter(shown))
    wanted = os.environ.get(LOG_LEVEL_VARIABLE, "INFO").strip().upper()
    level = logging.getLevelNamesMapping().get(wanted, logging.INFO)
    if verbose:
        level = min(level, DECISION if verbose == 1 else logging.DEBUG)
    level = max(level, logging.WARNING) if quiet else level
    LOGGER.setLevel(level)
    LOGGER.handlers[0].setLevel(level)  # a screen hears more than is printed
    LOGGER.propagate = False
    logging.getLogger("asyncio").addHandler(logging.NullHandler())
    # else the SDK's client complains there, on stderr, that its service has ended
