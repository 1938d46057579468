"""Read run files one by one, and remember their readings.

Rules
- A file that was read before and is unchanged is not read again, nor opened if its size, times and
  inode are the same; one that has grown is read on.
- The only file of a run is opened once: it is read when it is identified. If there are many such
  files, other processes read them, if there are cores for them. They also write the rows of a file
  that is read for the first time, if these are sure to be fetched.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.wording import count
from dr_wandb.core.offline.pointers import HEAD_BYTES, out_of_reach
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.run import behind
from dr_wandb.shell.executor import SharedExecutor, answer_of, count_cores
from dr_wandb.shell.sources import EarlyRows
from dr_wandb.shell.sources.offline.early_rows import EarlyRowsWriter
from dr_wandb.shell.sources.offline.forms import RunFile, WandbFile
from dr_wandb.shell.sources.offline.found import StartedFile
from dr_wandb.shell.sources.offline.index import (
    KnownFile,
    digest_of_fold,
    digest_of_tail,
    is_as_known,
    is_untouched,
)
from dr_wandb.shell.sources.offline.run_files import mapped
from dr_wandb.shell.sources.offline.wanted import ANY, Wanted
from dr_wandb.shell.store.rows_file import WrittenRows

BYTES_PER_PROCESS = 16 << 20
"""Reading this many bytes takes a core longer than starting a process, 0.4 s."""


class RowsMissingError(OSError):
    """A file has lost rows that it had."""


class NoRun(NamedTuple):
    """Why a file is not of its form. elsewhere: why its content is elsewhere, if it is."""

    problem: str
    elsewhere: str | None


def _beginning(start: StartedFile, before: FileReading | None) -> FileReading:
    """Return the reading to start with: the fold of the run's earlier files."""
    begin = start.file.first_byte
    if before is None:
        return FileReading(end=begin)
    named = start.named
    numbered_on = named is not None and named.resumes and not named.counts_on
    return FileReading(end=begin, fold=behind(before.fold), numbered_on=numbered_on)


def _base_of(before: FileReading | None) -> str:
    return "" if before is None else digest_of_fold(before)


class Look(NamedTuple):
    """The result of identifying a file, and what is known of it if it was read.

    rows: all its rows, if they were written.
    """

    found: StartedFile | NoRun
    known: KnownFile | None
    rows: WrittenRows | None


def look_at_alone(
    file: RunFile, known: KnownFile | None, wanted: Wanted, rows_folder: Path | None
) -> Look:
    """Identify and read the only file of a run: the work given to another process.

    rows_folder: the folder for its rows, if it is read for the first time.
    """
    reader = FileReader({} if known is None else {file.name: known}, wanted, rows_folder)
    found = reader.look_at(file, alone=True)
    return Look(found, reader.known.get(file.name), reader.rows.get(file.name))


class FileReader:
    """Reads the files of one folder. known: the files that were read or kept.

    rows: their rows, if they were written. rows_folder: the folder for rows of files read here.
    """

    def __init__(
        self,
        before: Mapping[str, KnownFile],
        wanted: Wanted = ANY,
        rows_folder: Path | None = None,
    ) -> None:
        self.known: dict[str, KnownFile] = {}
        self.rows: dict[str, WrittenRows] = {}
        self._before = before
        self._wanted = wanted
        self._rows_folder = rows_folder
        self._early: dict[str, FileReading] = {}
        self._ahead: dict[str, Look] = {}

    def read_ahead(
        self, files: Iterable[RunFile], executor: SharedExecutor, early: EarlyRows | None = None
    ) -> None:
        """Let an executor read files that are alone; it is started only if that saves time.

        Files that it does not read are read here later. early: the folder for rows of files that
        are read for the first time.
        """
        unread = [file for file in files if not self._is_untouched(file)]
        pays = sum(file.size for file in unread) // BYTES_PER_PROCESS
        count = min(count_cores(), len(unread), pays)
        if not executor.start(count if count > 1 else 0):
            return
        before, wanted = self._before, self._wanted
        if early is not None:
            with suppress(OSError):  # then no rows are written
                early.folder.mkdir(exist_ok=True)
        asked = []
        for file in unread:
            folder = early.folder_for(file.run_id) if early is not None else None
            work = executor.submit(look_at_alone, file, before.get(file.name), wanted, folder)
            asked.append((file.name, work))
        for name, future in asked:
            look = answer_of(future)
            if look is not None:
                self._ahead[name] = look

    def _is_untouched(self, file: RunFile) -> bool:
        known = self._before.get(file.name)
        return known is not None and is_untouched(file, known)

    def keep(self, name: str) -> None:
        """Keep the earlier reading of a file, which does not count as read this time."""
        self.forget(name)
        if name in self._before:
            self.known[name] = self._before[name]

    def forget(self, name: str) -> None:
        """Forget the reading of a file that is not a part of its run."""
        self._early.pop(name, None)
        self.known.pop(name, None)
        self.rows.pop(name, None)

    def look_at(self, file: RunFile, *, alone: bool) -> StartedFile | NoRun:
        """Find the run of a file. Raises OSError if it cannot be read.

        alone: no other file has the name of the same run.
        """
        known = self._before.get(file.name)
        if known is not None and is_untouched(file, known):
            return StartedFile(file, known.named)
        look = self._ahead.pop(file.name, None)
        if look is not None:
            if look.known is not None:
                self.known[file.name] = look.known
                self._early[file.name] = look.known.reading
            if look.rows is not None:
                self.rows[file.name] = look.rows
            return look.found
        with mapped(file) as (data, release):
            if known is None or not is_as_known(file, data, known):
                problem = file.decoder.problem(data)
                if problem is not None:
                    return NoRun(problem, out_of_reach(bytes(data[:HEAD_BYTES])))
                named = file.decoder.identify(data)
            elif (known.size, known.beside) == (file.size, file.beside):
                named = known.named
            else:
                named = file.decoder.identify(data)
            start = StartedFile(file, named)
            if alone and self._wanted.admits(*start.owner):
                self._early[file.name] = self._read_content(start, None, data, release)
            return start

    def read(self, start: StartedFile, before: FileReading | None) -> FileReading:
        """Read a file as the continuation of the run's files that were started before it.

        Raises OSError if it cannot be read, RowsMissingError if it has lost rows that it had.
        """
        file = start.file
        early = self._early.pop(file.name, None)
        if early is not None and before is None:
            return early
        self.rows.pop(file.name, None)
        known = self._before.get(file.name)
        if known is not None and is_untouched(file, known) and known.base == _base_of(before):
            self.known[file.name] = known
            return known.reading
        with mapped(file) as (data, release):
            return self._read_content(start, before, data, release)

    def _read_content(
        self,
        start: StartedFile,
        before: FileReading | None,
        data: memoryview,
        release: Callable[[], None],
    ) -> FileReading:
        file, base = start.file, _base_of(before)
        known = self._before.get(file.name)
        mine = known is not None and known.base == base
        mine = mine and known is not None and start.named in (None, known.named)
        first = known is None and before is None
        if first and self._rows_folder is not None and isinstance(file, WandbFile):
            reading = self._read_with_rows(file, start, data, release)
        elif known is None or not mine or not is_as_known(file, data, known):
            reading = file.decoder.read(data, _beginning(start, before), release)
        elif (file.size, file.beside) == (known.size, known.beside):
            reading = known.reading
        elif known.reading.lost or known.reading.fold.unreadable:
            reading = file.decoder.read(data, _beginning(start, before), release)  # may be repaired
        else:
            reading = file.decoder.read(data, known.reading, release)
        if known is not None and mine and reading.fold.rows < known.reading.fold.rows:
            missing = known.reading.fold.rows - reading.fold.rows
            had = f"{count(missing, 'row')} that it had"
            raise RowsMissingError(f"{had} are missing; restore the file")
        self.known[file.name] = KnownFile(
            size=file.size,
            modified_ns=file.modified_ns,
            tail=digest_of_tail(data, reading.end),
            base=base,
            named=start.named,
            reading=reading,
            beside=file.beside,
            inode=file.inode,
            changed_ns=file.changed_ns,
        )
        return reading

    def _read_with_rows(
        self, file: WandbFile, start: StartedFile, data: memoryview, release: Callable[[], None]
    ) -> FileReading:
        """Read a file that is the first of its run, and write its rows."""
        assert self._rows_folder is not None
        with EarlyRowsWriter(self._rows_folder, start.run_id) as writer:
            beginning = _beginning(start, None)
            reading = file.decoder.read_with_rows(data, beginning, release, writer.add)
            rows = writer.finish(reading)
        if rows is not None:
            self.rows[file.name] = rows
        return reading
