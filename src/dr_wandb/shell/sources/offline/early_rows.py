"""Write the rows of a file while it is read for the listing, so that it is read only once.

Rules
- The lines are those that a fetch of the whole run writes, if the run has only this file.
- If rows do not rise, the file is damaged or the disk is full, nothing is left: then the rows are
  read again when they are fetched. So an error here never fails a run.
"""

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.sync.merge import Tally, steps_rise
from dr_wandb.shell.sources import FileBatch
from dr_wandb.shell.store.rows_file import RowsFile, WrittenRows


class EarlyRowsWriter:
    """Writes the rows of one run file into a new file. Used as a context manager.

    If it is not finished, it leaves nothing behind.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self._path = folder / f"{uuid4().hex}.part"
        self._run_id = run_id
        self._lines: RowsFile | None = None
        self._tally = Tally()
        self._last_step: int | None = None
        self._fits = True

    def __enter__(self) -> "EarlyRowsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up()

    def add(self, batch: FileBatch) -> None:
        """Write the rows of a batch, unless it has given up before."""
        if not self._fits:
            return
        rows = batch.encode(self._run_id)
        if not steps_rise(rows.steps, self._last_step):
            self._give_up()
            return
        try:
            if self._lines is None:
                self._lines = RowsFile(self._path)
            self._lines.write(rows.lines, len(rows.steps))
        except OSError:
            self._give_up()
            return
        self._tally.add_rising(rows)
        self._last_step = rows.steps[-1]

    def finish(self, reading: FileReading) -> WrittenRows | None:
        """Return the rows, None if some are missing or the file has damage."""
        received = self._tally.received()
        whole = received.rows == reading.fold.rows and not reading.lost and reading.torn is None
        if self._lines is None or not self._fits or not whole:
            return None
        try:
            written = self._lines.finish(received)
        except OSError:
            return None
        self._lines = None
        return written

    def _give_up(self) -> None:
        self._fits = False
        if self._lines is not None:
            with suppress(OSError):
                self._lines.discard()
            self._lines = None
