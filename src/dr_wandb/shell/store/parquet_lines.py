"""The lines of runs, from the Parquet files of an export that has no `history.jsonl`.

Rows of a run that did not change are not read. Of a run with files of its own, those whose rows are
all below the wanted step are not read.
"""

import hashlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import PARQUET_HISTORY, is_parquet_history
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.store.checked_files import find_changed
from dr_wandb.shell.store.writing import LineWriter

if TYPE_CHECKING:
    from dr_wandb.core.columnar.cells import CellBatch

RESTORE = "restore the file from a copy: run {!r}, which is gone upstream, has rows in it"


class ParquetLines(NamedTuple):
    """The Parquet files of the history in an export, and its runs as they were written."""

    folder: Path
    files: Mapping[str, DataFile]
    runs: Mapping[str, RunTracking]

    def find_lost(self) -> frozenset[str]:
        """Return the files that are missing or not as they were written."""
        return find_changed(self.folder, {name: one.sha256 for name, one in self.files.items()})

    def paths_of(self, run_id: str) -> list[Path]:
        """Return the files that hold a run, in the order of its rows."""
        return [self.folder / name for name in self._names_of(run_id)]

    def _names_of(self, run_id: str) -> list[str]:
        from dr_wandb.core.columnar.files import pack_name, part_name

        created_at = self.runs[run_id].created_at
        names: list[str] = []
        while (name := _path_of(part_name(run_id, created_at, len(names)))) in self.files:
            names.append(name)
        if not names and (pack := _path_of(pack_name(run_id, created_at))) in self.files:
            names = [pack]
        return names

    def lines_of(self, run_id: str, start: int | None = None) -> Generator[bytes]:
        """Give the lines of a run in order.

        start: a step; lines of lower steps may be missing then.
        """
        from dr_wandb.core.columnar.to_lines import lines_of

        below = 0 if start is None else self._files_below(run_id, start)
        for batch in self._batches_of(run_id, below):
            yield from lines_of(batch, run_id).lines.splitlines(keepends=True)

    def _batches_of(self, run_id: str, first: int = 0) -> "Iterator[CellBatch]":
        """Give the cells of a run, a file at a time. first: the number of the first file."""
        from dr_wandb.shell.store.parquet_files import read_run

        for path in self.paths_of(run_id)[first:]:
            batch = read_run(path, run_id)
            if batch is not None:
                yield batch

    def _files_below(self, run_id: str, start: int) -> int:
        """Return how many of the first files of a run certainly have lower steps only."""
        from dr_wandb.shell.store.parquet_files import last_step_of

        paths = self.paths_of(run_id)
        for number, path in enumerate(paths):
            last_step = last_step_of(path)
            if last_step is None or last_step >= start:
                return number
        return len(paths)

    @property
    def size(self) -> int:
        """Return the size of the files in bytes."""
        return sum(file.bytes for file in self.files.values())

    def checked_lines(self, run_id: str, stored: ByteRange, first: int = 0) -> Generator[bytes]:
        """Give the lines of a run in order, from a file of it on.

        Raises DrWandbError at the end if its rows are not the stored ones. Of files that are not
        read, that follows from what the manifest says of them.
        """
        if not (yield from self._lines_that_are(run_id, stored, first)):
            reason = f"the rows of run {run_id!r} in it are not those that were stored"
            path = str(next(iter(self.paths_of(run_id)), self.folder))
            remedy = "restore it from a copy, or remove the file and sync again"
            raise DrWandbError(DamagedFile(path=path, reason=reason, remedy=remedy))

    def _lines_that_are(
        self, run_id: str, stored: ByteRange | None, first: int = 0
    ) -> Generator[bytes, None, bool]:
        """Give the lines of a run in order; return whether its rows are the stored ones.

        first: the number of the first file that is read.
        """
        from dr_wandb.core.columnar.digest import contents_digest, run_digest
        from dr_wandb.core.columnar.to_lines import lines_of

        of_cells = stored is not None and stored.of_cells
        own = hashlib.blake2b(digest_size=16)
        parts = [self.files[name].contents for name in self._names_of(run_id)[:first]]
        for batch in self._batches_of(run_id, first):
            lines = lines_of(batch, run_id).lines
            if of_cells:
                parts.append(contents_digest(batch))
            else:
                own.update(lines)
            yield from lines.splitlines(keepends=True)
        return stored is not None and stored.digest == (
            run_digest(parts) if of_cells else own.hexdigest()
        )

    def write_run(
        self, run_id: str, stored: ByteRange, target: Path, start: int | None = None
    ) -> tuple[ByteRange, int]:
        """Write the lines of a run into a file of their own.

        start: a step; files of the run with lower steps only are skipped, except for the last of
        these. Returns the byte range of the lines, and how many rows come before them. Raises
        DrWandbError if the rows are not the stored ones.
        """
        below = 0 if start is None or not stored.of_cells else self._files_below(run_id, start)
        first = max(0, below - 1)
        before = sum(self.files[name].lines for name in self._names_of(run_id)[:first])
        length = 0
        with target.open("wb") as stream:
            for line in self.checked_lines(run_id, stored, first):
                length += stream.write(line)
        rows = stored.rows - before
        return ByteRange(offset=0, length=length, rows=rows, digest=stored.digest), before

    def write_all(self, target: Path) -> tuple[dict[str, ByteRange], set[str]]:
        """Write the lines of all runs whose files are as they were written.

        Returns their byte ranges, and the runs that have the stored rows. Raises DrWandbError if
        rows of a run are lost that is gone upstream.
        """
        lost = {self.folder / name for name in self.find_lost()}
        found = {}
        same: set[str] = set()

        def lines_of(run_id: str) -> Generator[bytes]:
            stored = self.runs[run_id].part(HISTORY).stored
            if (yield from self._lines_that_are(run_id, stored)):
                same.add(run_id)

        with LineWriter(target) as writer:
            for run_id in sorted(self.runs):
                paths = self.paths_of(run_id)
                hurt = [path for path in paths if path in lost]
                if hurt and self.runs[run_id].missing_since is not None:
                    reason = "it is missing, or was changed after it was written"
                    remedy = RESTORE.format(run_id)
                    raise DrWandbError(DamagedFile(path=str(hurt[0]), reason=reason, remedy=remedy))
                if paths and not hurt:
                    byte_range = writer.write(lines_of(run_id))
                    if byte_range.rows:
                        found[run_id] = byte_range
        return found, same


def _path_of(name: str) -> str:
    return f"{PARQUET_HISTORY}/{name}"


def parquet_lines(
    folder: Path, manifest: ExportManifest | None, runs: Mapping[str, RunTracking]
) -> ParquetLines:
    """Return the lines in the Parquet files that a manifest names. runs: those of the state."""
    named = {} if manifest is None else manifest.files
    files = {name: file for name, file in named.items() if is_parquet_history(name)}
    return ParquetLines(folder, files, runs)
