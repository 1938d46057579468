"""Bring the Parquet files of the history up to date with its rows.

Rules
- The files are a function of the runs and their rows alone. A file without a changed run is not
  read.
- A file that is missing or does not have the digest in the manifest is made again from the rows.
- Packs are written by as many threads as there are cores, if there is much to write: Arrow lets
  other threads run while it encodes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import is_parquet_history
from dr_wandb.core.contract.known_runs import ChangedRuns
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.executor import count_cores
from dr_wandb.shell.store.arrow_memory import trim_memory
from dr_wandb.shell.store.checked_files import find_changed
from dr_wandb.shell.store.parquet_folder import ParquetFiles, find_parquet
from dr_wandb.shell.sync.parquet_packs import NewRows, Pack, PackWriter, RunRows

ROWS_PER_THREAD = 20_000
"""A thread writes this many rows of eleven columns in about 50 ms."""


def _rows_in(runs: Mapping[str, RunTracking], run_id: str) -> RunRows | None:
    run = runs.get(run_id)
    stored = None if run is None else run.part(HISTORY).stored
    return None if run is None or stored is None else RunRows(run_id, run.created_at, stored)


class ParquetHistory:
    """Writes the Parquet files of an export into the staging folder.

    before: the files that the manifest names, by their paths; other than Parquet files of the
    history are passed over. rows: those of the runs that changed.
    """

    def __init__(
        self, folder: Path, before: Mapping[str, DataFile], rows: NewRows, staging: Path
    ) -> None:
        self._folder = folder
        self._before = {name: file for name, file in before.items() if is_parquet_history(name)}
        self._lost = find_changed(
            folder, {name: file.sha256 for name, file in self._before.items()}
        )
        self._rows = rows
        self._staging = staging

    def write(
        self, changes: ChangedRuns, runs: Mapping[str, RunTracking], *, everything: bool = False
    ) -> ParquetFiles:
        """Write the files that differ.

        changes: of the runs since the files were made. runs: all runs now, with the byte ranges of
        their lines. everything: the changes are not known, so each run is looked at.
        """
        was: dict[str, RunRows | None] = {}
        if everything:
            self._rows = self._rows._replace(kept={})
            now = {run_id: _rows_in(runs, run_id) for run_id in runs}
        else:
            moved = {*changes.changed, *changes.gone}
            was = {run_id: _rows_in(changes.before, run_id) for run_id in moved}
            now = {run_id: _rows_in(runs, run_id) for run_id in moved}
            now = {
                run_id: rows
                for run_id, rows in now.items()
                if not _same(was[run_id], rows, rows=run_id in self._rows.same)
            }
            if self._lost:
                now |= self._of_lost_files(runs)
        packs: dict[str, set[str]] = {}
        for run_id in now:
            for rows in (was.get(run_id), now[run_id]):
                if rows is not None:
                    packs.setdefault(rows.pack, set()).add(run_id)
        files: dict[str, DataFile] = {}
        if not everything:
            looked_at = (*now.values(), *(was.get(run_id) for run_id in now))
            lost = {_first_part(name) for name in self._lost}
            own = {rows.first_part for rows in looked_at if rows is not None}
            files = {
                name: file
                for name, file in self._before.items()
                if name not in packs and _first_part(name) not in own | lost
            }
        members = _members(runs, packs) if packs else {}
        staged: dict[str, Path] = {}
        digests: dict[str, str] = {}
        for writer in self._write_packs(
            Pack(
                pack,
                None if everything or pack in self._lost else self._before.get(pack),
                [(run_id, was.get(run_id), now[run_id]) for run_id in sorted(run_ids)],
                members.get(pack, []),
            )
            for pack, run_ids in sorted(packs.items())
        ):
            files |= writer.files
            staged |= writer.staged
            digests |= writer.digests
        there = filter(is_parquet_history, find_parquet(self._folder))
        gone = frozenset({*there, *self._before} - files.keys())
        return ParquetFiles(files, staged, gone, digests)

    def _write_packs(self, packs: Iterable[Pack]) -> Iterable[PackWriter]:
        """Write packs, each with a writer of its own; return the writers."""
        trim_memory()  # of the threads that fetched
        found = sorted(packs, key=lambda pack: pack.rows, reverse=True)  # the last ones are short
        threads = min(
            count_cores(), len(found), sum(pack.rows for pack in found) // ROWS_PER_THREAD
        )
        if threads < 2:
            return map(self._write_pack, found)
        return [writer for _, writer in in_lanes([(found, threads)], self._write_pack)]

    def _write_pack(self, pack: Pack) -> PackWriter:
        writer = PackWriter(self._folder, self._before, self._lost, self._rows, self._staging)
        writer.write(pack)
        trim_memory()
        return writer

    def _of_lost_files(self, runs: Mapping[str, RunTracking]) -> dict[str, RunRows | None]:
        """Return the runs in files that are missing or changed."""
        lost = {_first_part(name) for name in self._lost}
        found: dict[str, RunRows | None] = {}
        for run_id in runs:
            rows = _rows_in(runs, run_id)
            if rows is not None:
                holder = rows.first_part if rows.first_part in self._before else rows.pack
                if holder in lost:
                    found[run_id] = rows
        return found


def _same(was: RunRows | None, now: RunRows | None, *, rows: bool) -> bool:
    return was is now if now is None else now.same(was, rows=rows)


def _first_part(name: str) -> str:
    """Return the first of the own files of the run that one of them is of; a pack as it is."""
    stem, _, number = name.removesuffix(".parquet").rpartition("-")
    return f"{stem}-0000.parquet" if "-run-" in stem and number else name


def _members(
    runs: Mapping[str, RunTracking], packs: Mapping[str, set[str]]
) -> dict[str, list[RunRows]]:
    """Return the runs of some packs, by run id; those with files of their own are among them."""
    found: dict[str, list[RunRows]] = {pack: [] for pack in packs}
    for run_id in sorted(runs):
        rows = _rows_in(runs, run_id)
        if rows is not None and rows.pack in found:
            found[rows.pack].append(rows)
    return found
