"""Bring the Parquet files of the history up to date with its lines.

Rules
- The files are a function of the runs and their lines alone. What is written is made of the new
  lines of runs that changed; other runs of a pack are copied as cells, and a file without a changed
  run is not read.
- A file that is missing or does not have the digest in the manifest is made again from the lines.
- A file whose contents would stay as they are stays, whatever program wrote it.
- Memory is bounded by a part of a run, and by a group of a pack.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.digest import contents_digest, pack_digest
from dr_wandb.core.columnar.files import files_of_run, pack_name, part_name
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import PARQUET_HISTORY, is_parquet_history
from dr_wandb.core.contract.known_runs import ChangedRuns
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.cell_columns import cells_as_arrow
from dr_wandb.shell.store.checked_files import find_changed
from dr_wandb.shell.store.parquet_files import WrittenCells, merge_pack, write_part
from dr_wandb.shell.store.parquet_folder import ParquetFiles, find_parquet
from dr_wandb.shell.store.parquet_lines import ParquetLines

WRITER = f"pyarrow {pa.__version__}"

STAGED_SUFFIX = ".cells"
"""A staged file is not named `.parquet`: DuckDB and Polars read hidden folders too."""


class _Rows(NamedTuple):
    """The rows of a run, wherever their lines are."""

    run_id: str
    created_at: str | None
    stored: ByteRange

    @property
    def pack(self) -> str:
        """Return the pack that holds the run, if it is small."""
        return _path_of(pack_name(self.run_id, self.created_at))

    @property
    def first_part(self) -> str:
        """Return the first of its own files, if it is large."""
        return _path_of(part_name(self.run_id, self.created_at, 0))

    def same(self, other: "_Rows | None") -> bool:
        """Say whether the files of a run with other rows would be the same."""
        return other is not None and (self.pack, self.stored.digest, self.stored.rows) == (
            other.pack,
            other.stored.digest,
            other.stored.rows,
        )


def _path_of(name: str) -> str:
    return f"{PARQUET_HISTORY}/{name}"


def _rows_in(runs: Mapping[str, RunTracking], run_id: str) -> _Rows | None:
    run = runs.get(run_id)
    stored = None if run is None else run.part(HISTORY).stored
    return None if run is None or stored is None else _Rows(run_id, run.created_at, stored)


class ParquetHistory:
    """Writes the Parquet files of an export into the staging folder.

    before: the files that the manifest names, by their paths; other than Parquet files of the
    history are passed over. lines: the file with the lines of the runs that changed. at: their byte
    ranges in it, if they are not those of the tracking. kept: of how many rows at the beginning of
    a run it is certain that they are as they were. held: the files before, if they alone have the
    lines of runs that are not in `at`.
    """

    def __init__(
        self,
        folder: Path,
        before: Mapping[str, DataFile],
        lines: Path,
        staging: Path,
        *,
        at: Mapping[str, ByteRange] | None = None,
        kept: Mapping[str, int] | None = None,
        held: ParquetLines | None = None,
    ) -> None:
        self._held = held
        self._at = at or {}
        self._kept = kept or {}
        self._folder = folder
        self._before = {name: file for name, file in before.items() if is_parquet_history(name)}
        self._lost = find_changed(
            folder, {name: file.sha256 for name, file in self._before.items()}
        )
        self._lines = lines
        self._staging = staging
        self._files: dict[str, DataFile] = {}
        self._staged: dict[str, Path] = {}

    def write(
        self, changes: ChangedRuns, runs: Mapping[str, RunTracking], *, everything: bool = False
    ) -> ParquetFiles:
        """Write the files that differ.

        changes: of the runs since the files were made. runs: all runs now, with the byte ranges of
        their lines. everything: the changes are not known, so each run is looked at.
        """
        was: dict[str, _Rows | None] = {}
        if everything:
            self._kept = {}
            now = {run_id: _rows_in(runs, run_id) for run_id in runs}
        else:
            moved = {*changes.changed, *changes.gone}
            was = {run_id: _rows_in(changes.before, run_id) for run_id in moved}
            now = {run_id: _rows_in(runs, run_id) for run_id in moved}
            now = {run_id: rows for run_id, rows in now.items() if not _same(was[run_id], rows)}
            if self._lost:
                now |= self._of_lost_files(runs)
        packs: dict[str, set[str]] = {}
        for run_id in now:
            for rows in (was.get(run_id), now[run_id]):
                if rows is not None:
                    packs.setdefault(rows.pack, set()).add(run_id)
        if not everything:
            looked_at = (*now.values(), *(was.get(run_id) for run_id in now))
            lost = {_first_part(name) for name in self._lost}
            own = {rows.first_part for rows in looked_at if rows is not None}
            self._files = {
                name: file
                for name, file in self._before.items()
                if name not in packs and _first_part(name) not in own | lost
            }
        members = _members(runs, packs) if packs else {}
        for pack, run_ids in sorted(packs.items()):
            old = None if everything or pack in self._lost else self._before.get(pack)
            changed = self._changed_runs(pack, old, sorted(run_ids), was, now)
            self._write_pack(pack, old, changed, members.get(pack, []))
        there = filter(is_parquet_history, find_parquet(self._folder))
        gone = frozenset({*there, *self._before} - self._files.keys())
        return ParquetFiles(self._files, self._staged, gone)

    def _of_lost_files(self, runs: Mapping[str, RunTracking]) -> dict[str, _Rows | None]:
        """Return the runs in files that are missing or changed."""
        lost = {_first_part(name) for name in self._lost}
        found: dict[str, _Rows | None] = {}
        for run_id in runs:
            rows = _rows_in(runs, run_id)
            if rows is not None:
                holder = rows.first_part if rows.first_part in self._before else rows.pack
                if holder in lost:
                    found[run_id] = rows
        return found

    def _write_pack(
        self,
        pack: str,
        old: DataFile | None,
        changed: Iterator[tuple[str, list[pa.RecordBatch]]],
        members: list[_Rows],
    ) -> None:
        """Write a pack that differs in some runs. members: all runs that it may hold, by id."""
        first = next(changed, None)
        if first is None:
            if old is not None:
                self._files[pack] = old
            return
        path = self._staged_path(pack)
        written = merge_pack(
            None if old is None else self._folder / pack, path, chain([first], changed)
        )
        if written is None:
            return
        held = [rows for rows in members if rows.first_part not in self._files]
        contents = pack_digest((rows.run_id, rows.stored.digest) for rows in held)
        self._take(pack, sum(rows.stored.rows for rows in held), contents, written)

    def _changed_runs(
        self,
        pack: str,
        old: DataFile | None,
        run_ids: list[str],
        was: Mapping[str, _Rows | None],
        now: Mapping[str, _Rows | None],
    ) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
        """Give the cells of runs that come into a pack, none for those that leave it.

        A run that has files of its own gets them on the way.
        """
        for run_id in run_ids:
            before, rows = was.get(run_id), now[run_id]
            small = None
            if rows is not None and rows.pack == pack:
                number, first = self._keep_parts(rows)
                with closing(self._lines_of(rows)) as lines:
                    small = self._write_parts(islice(lines, first, None), rows, number, first)
            if small is not None:
                yield run_id, [cells_as_arrow(small, run_id)]
            elif old is not None and self._was_in(pack, before):
                yield run_id, []

    def _lines_of(self, rows: _Rows) -> Generator[bytes]:
        """Give the lines of a run. They may be in Parquet alone if only its month is another."""
        if self._held is not None and rows.run_id not in self._at:
            yield from self._held.lines_of(rows.run_id)
            return
        byte_range = self._at.get(rows.run_id, rows.stored)
        with self._lines.open("rb") as stream:
            yield from disk.read_lines(stream, byte_range.offset, byte_range.length)

    def _was_in(self, pack: str, before: _Rows | None) -> bool:
        """Say whether a pack has the rows that a run had before."""
        if before is None or before.pack != pack:
            return False
        return before.first_part not in self._before

    def _write_parts(
        self, lines: Iterable[bytes], rows: _Rows, number: int, first: int
    ) -> CellBatch | None:
        """Write the own files of a run; return its cells if it has none because it is small.

        lines: those from row `first` on, with which the part of this number begins.
        """
        batches = cells_of_lines((chunk for chunk, _ in disk.gathered(lines)), first)
        for name, part in files_of_run(rows.run_id, rows.created_at, batches, number):
            path = _path_of(name)
            if path == rows.pack:
                return part
            contents, known = contents_digest(part), self._before.get(path)
            if known is not None and known.contents == contents and path not in self._lost:
                self._files[path] = known
                continue
            written = write_part(self._staged_path(path), rows.run_id, part)
            self._take(path, part.row_count, contents, written)
        return None

    def _keep_parts(self, rows: _Rows) -> tuple[int, int]:
        """Keep the parts of a run that are certain to stay; return how many, and their rows.

        A part ends before the first row that does not fit into it, so that row must stay too.
        """
        number = first = 0
        while True:
            path = _path_of(part_name(rows.run_id, rows.created_at, number))
            known = self._before.get(path)
            if known is None or path in self._lost:
                return number, first
            if first + known.lines >= self._kept.get(rows.run_id, 0):
                return number, first
            self._files[path] = known
            number, first = number + 1, first + known.lines

    def _take(self, name: str, rows: int, contents: str, written: WrittenCells) -> None:
        """Note a new file, unless the old one has the same contents."""
        known = self._before.get(name)
        if known is not None and known.contents == contents and name not in self._lost:
            self._files[name] = known
            disk.remove(self._staged_path(name))
            return
        self._files[name] = DataFile(
            lines=rows,
            bytes=written.bytes,
            sha256=written.sha256,
            contents=contents,
            writer=WRITER,
        )
        self._staged[name] = self._staged_path(name)

    def _staged_path(self, name: str) -> Path:
        return self._staging / f"{Path(name).stem}{STAGED_SUFFIX}"


def _same(was: _Rows | None, now: _Rows | None) -> bool:
    return was is now if now is None else now.same(was)


def _first_part(name: str) -> str:
    """Return the first of the own files of the run that one of them is of; a pack as it is."""
    stem, _, number = name.removesuffix(".parquet").rpartition("-")
    return f"{stem}-0000.parquet" if "-run-" in stem and number else name


def _members(
    runs: Mapping[str, RunTracking], packs: Mapping[str, set[str]]
) -> dict[str, list[_Rows]]:
    """Return the runs of some packs, by run id; those with files of their own are among them."""
    found: dict[str, list[_Rows]] = {pack: [] for pack in packs}
    for run_id in sorted(runs):
        rows = _rows_in(runs, run_id)
        if rows is not None and rows.pack in found:
            found[rows.pack].append(rows)
    return found
