"""The output of the command: results on stdout, everything else on stderr."""

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dr_wandb.core.contract.records import Record

LOG_LEVEL_VARIABLE = "DR_WANDB_LOG_LEVEL"


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


def print_error(line: str) -> None:
    """Write a line to stderr, if anybody still reads it."""
    from dr_wandb.shell.progress import write_stderr

    write_stderr(line)


def print_lines(lines: Iterable[str]) -> None:
    """Write lines of text to stdout."""
    print_result("\n".join((*lines, "")))


def print_json(record: "Record") -> None:
    """Write a JSON document to stdout."""
    from dr_wandb.core.contract.codec import encode_document

    print_result(encode_document(record).decode())


class StdoutError(Exception):
    """The result could not be printed."""


def configure_logging(quiet: bool, about: str = "") -> None:
    """Send the log to stderr, at the level that the environment variable names.

    about: written before each line, if the command does several things.
    """
    from dr_wandb.shell.progress import LOGGER, StderrHandler

    if not LOGGER.handlers:
        LOGGER.addHandler(StderrHandler())
    shown = f"{about.replace('%', '%%')}%(message)s"
    LOGGER.handlers[0].setFormatter(logging.Formatter(shown))
    wanted = os.environ.get(LOG_LEVEL_VARIABLE, "INFO").strip().upper()
    level = logging.getLevelNamesMapping().get(wanted, logging.INFO)
    LOGGER.setLevel(max(level, logging.WARNING) if quiet else level)
    LOGGER.propagate = False
