"""How far a file was read, and what was found: all that is remembered of it between syncs.

Rules
- A sync that finds nothing new decodes no file, and should not wait 0.14 s for NumPy and protobuf.
  So this module and all that it imports import neither; `wandb_file.py` and `lines.py` do.
"""

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.records import Record
from dr_wandb.core.offline.header import HEADER
from dr_wandb.core.offline.lost_bytes import LostBytes
from dr_wandb.core.offline.run import RunFold

MARKS = 8
"""The number of offsets of a file that are remembered to continue from, beside its beginning."""


class Mark(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An offset between two records.

    below: the highest step before it; after: the step of the row before it; None without one.
    stepless: the number of rows before it in the file without a step of their own.
    """

    offset: int
    below: int | None
    after: int | None
    stepless: int = 0


class FileReading(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How far a file was read, and what was found so far.

    end: where reading continues. fold: the run up to here. lost: bytes that are not read again.
    torn: bytes at the end that could not be read, but may be complete once the file has grown.
    numbered_on: the rows get steps after those of the file before, since they resume it. remarks:
    reports about files beside it, each beginning with the name of one.
    """

    end: int = len(HEADER)
    fold: RunFold = RunFold()
    lost: tuple[LostBytes, ...] = ()
    torn: LostBytes | None = None
    marks: tuple[Mark, ...] = ()
    numbered_on: bool = False
    remarks: tuple[str, ...] = ()

    def mark_before(self, window: FetchWindow) -> Mark | None:
        """Return the last mark before the rows of a window, None if they may begin anywhere.

        A window without a start also has the rows of steps below 0.
        """
        if window.start is None:
            return None
        marks = reversed(self.marks)
        return next((m for m in marks if m.below is not None and m.below < window.start), None)
