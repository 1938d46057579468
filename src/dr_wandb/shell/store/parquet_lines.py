"""The lines of runs, from the Parquet files of an export that has no `history.jsonl`.

Rows of a run that did not change are not read. Of a run with files of its own, those whose rows are
all below the wanted step are not read.
"""

import hashlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.export_files import PARQUET_HISTORY, is_parquet_history
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.store.checked_files import find_changed
from dr_wandb.shell.store.writing import LineWriter

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
        from dr_wandb.core.columnar.files import pack_name, part_name

        created_at = self.runs[run_id].created_at
        names: list[str] = []
        while (name := _path_of(part_name(run_id, created_at, len(names)))) in self.files:
            names.append(name)
        if not names and (pack := _path_of(pack_name(run_id, created_at))) in self.files:
            names = [pack]
        return [self.folder / name for name in names]

    def lines_of(self, run_id: str, start: int | None = None) -> Generator[bytes]:
        """Give the lines of a run in order.

        start: a step; lines of lower steps may be missing then.
        """
        from dr_wandb.core.columnar.to_lines import lines_of
        from dr_wandb.shell.store.parquet_files import last_step_of, read_run

        for path in self.paths_of(run_id):
            if start is not None:
                last_step = last_step_of(path)
                if last_step is not None and last_step < start:
                    continue
            batch = read_run(path, run_id)
            if batch is not None:
                yield from lines_of(batch, run_id).lines.splitlines(keepends=True)

    def write_run(self, run_id: str, stored: ByteRange, target: Path) -> ByteRange:
        """Write the lines of a run into a file of their own; return their byte range in it.

        Raises DrWandbError if they are not the stored ones.
        """
        own = hashlib.blake2b(digest_size=16)
        length = 0
        with target.open("wb") as stream:
            for line in self.lines_of(run_id):
                own.update(line)
                length += stream.write(line)
        self.require_same(run_id, stored, own.hexdigest())
        return ByteRange(offset=0, length=length, rows=stored.rows, digest=stored.digest)

    def require_same(self, run_id: str, stored: ByteRange, digest: str) -> None:
        """Raise DrWandbError if the lines of a run do not have the digest in the state."""
        if digest != stored.digest:
            reason = f"the rows of run {run_id!r} in it are not those that were stored"
            path = str(next(iter(self.paths_of(run_id)), self.folder))
            remedy = "restore it from a copy, or remove the file and sync again"
            raise DrWandbError(DamagedFile(path=path, reason=reason, remedy=remedy))

    def write_all(self, target: Path) -> dict[str, ByteRange]:
        """Write the lines of all runs whose files are as they were written; return their ranges.

        Raises DrWandbError if rows of a run are lost that is gone upstream.
        """
        lost = {self.folder / name for name in self.find_lost()}
        found = {}
        with LineWriter(target) as writer:
            for run_id in sorted(self.runs):
                paths = self.paths_of(run_id)
                hurt = [path for path in paths if path in lost]
                if hurt and self.runs[run_id].missing_since is not None:
                    reason = "it is missing, or was changed after it was written"
                    remedy = RESTORE.format(run_id)
                    raise DrWandbError(DamagedFile(path=str(hurt[0]), reason=reason, remedy=remedy))
                if paths and not hurt:
                    byte_range = writer.write(self.lines_of(run_id))
                    if byte_range.rows:
                        found[run_id] = byte_range
        return found


def _path_of(name: str) -> str:
    return f"{PARQUET_HISTORY}/{name}"


def parquet_lines(
    folder: Path, manifest: ExportManifest | None, runs: Mapping[str, RunTracking]
) -> ParquetLines:
    """Return the lines in the Parquet files that a manifest names. runs: those of the state."""
    named = {} if manifest is None else manifest.files
    files = {name: file for name, file in named.items() if is_parquet_history(name)}
    return ParquetLines(folder, files, runs)
