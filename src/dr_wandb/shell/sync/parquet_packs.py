"""Write the Parquet files of the runs that one pack may hold: the pack, and their own files.

Rules
- What is written is made of the new rows of runs that changed; other runs of a pack are copied as
  cells.
- A file whose contents would stay as they are stays, whatever program wrote it.
- Memory is bounded by a part of a run, and by a group of a pack.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Set
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.digest import contents_digest, pack_digest, run_digest
from dr_wandb.core.columnar.files import files_of_run, pack_name, part_name
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.arrow_memory import trim_memory
from dr_wandb.shell.store.cell_columns import cells_as_arrow
from dr_wandb.shell.store.group_writer import WrittenFile
from dr_wandb.shell.store.parquet_files import merge_pack, read_runs, write_part
from dr_wandb.shell.store.parquet_lines import ParquetLines
from dr_wandb.shell.sync.column_segments import ColumnSegment

WRITER = f"pyarrow {pa.__version__}"

STAGED_SUFFIX = ".cells"
"""A staged file is not named `.parquet`: DuckDB and Polars read hidden folders too."""


class RunRows(NamedTuple):
    """The rows of a run, wherever they are."""

    run_id: str
    created_at: str | None
    stored: ByteRange

    @property
    def pack(self) -> str:
        """Return the pack that holds the run, if it is small."""
        return path_of(pack_name(self.run_id, self.created_at))

    @property
    def first_part(self) -> str:
        """Return the first of its own files, if it is large."""
        return path_of(part_name(self.run_id, self.created_at, 0))

    def same(self, other: "RunRows | None", *, rows: bool) -> bool:
        """Say whether the files of a run would be the same. rows: it is known that its rows are."""
        if other is None or self.pack != other.pack:
            return False
        held, before = self.stored, other.stored
        return rows or (held.digest, held.rows) == (before.digest, before.rows)


def path_of(name: str) -> str:
    """Return the path in an export of a Parquet file of the history."""
    return f"{PARQUET_HISTORY}/{name}"


class NewRows(NamedTuple):
    """The sources of the rows of runs that changed.

    lines: a file with the lines of runs. at: their byte ranges in it, if they are not those of the
    tracking. columns: those that never were lines. held: the files before, if they alone have the
    rows of runs that are in none of these. kept: of how many rows at the beginning of a run it is
    certain that they are as they were. same: runs whose rows are as they were. before: how many
    rows at the beginning of a run are in `held` alone.
    """

    lines: Path
    at: Mapping[str, ByteRange] = {}
    columns: Mapping[str, ColumnSegment] = {}
    held: ParquetLines | None = None
    kept: Mapping[str, int] = {}
    same: Collection[str] = ()
    before: Mapping[str, int] = {}

    def cells_of(self, rows: RunRows, first: int) -> Iterator[CellBatch]:
        """Give the cells of a run from a row on."""
        segment = self.columns.get(rows.run_id)
        if segment is not None:
            yield from segment.cells()
            return
        with closing(self._lines_of(rows, first)) as lines:
            chunks = disk.gathered(lines)
            yield from cells_of_lines((chunk for chunk, _ in chunks), first)

    def _lines_of(self, rows: RunRows, first: int) -> Generator[bytes]:
        """Give the lines of a run from a row on.

        They may be in Parquet alone if only its month is another; so may the first ones be.
        """
        before = self.before.get(rows.run_id, 0)
        if self.held is not None and rows.run_id not in self.at:
            yield from islice(self.held.lines_of(rows.run_id), first, None)
            return
        if self.held is not None and first < before:
            yield from islice(self.held.lines_of(rows.run_id), first, before)
        byte_range = self.at.get(rows.run_id, rows.stored)
        with self.lines.open("rb") as stream:
            lines = disk.read_lines(stream, byte_range.offset, byte_range.length)
            yield from islice(lines, max(0, first - before), None)


class Pack(NamedTuple):
    """A pack in which some runs differ.

    old: the pack before, if it is to be read. runs: those that may differ, by id, with their rows
    before and now. members: all runs that it may hold now, by id.
    """

    name: str
    old: DataFile | None
    runs: list[tuple[str, RunRows | None, RunRows | None]]
    members: list[RunRows]

    @property
    def rows(self) -> int:
        """Return about how many rows are to be written."""
        return sum(now.stored.rows for _, _, now in self.runs if now is not None)


class PackWriter:
    """Writes one pack, and the own files of its runs, into the staging folder.

    folder: the export. before: its Parquet files of the history, `lost` those that are missing or
    changed. Afterwards `files` are those of these runs, `staged` the paths of new ones, and
    `digests` those of the cells of runs that were looked at.
    """

    def __init__(
        self,
        folder: Path,
        before: Mapping[str, DataFile],
        lost: Set[str],
        rows: NewRows,
        staging: Path,
    ) -> None:
        self._folder = folder
        self._before = before
        self._lost = lost
        self._rows = rows
        self._staging = staging
        self.files: dict[str, DataFile] = {}
        self.staged: dict[str, Path] = {}
        self.digests: dict[str, str] = {}

    def write(self, pack: Pack) -> None:
        """Write the files that differ."""
        changed = self._changed_runs(pack)
        first = next(changed, None)
        if first is None:
            if pack.old is not None:
                self.files[pack.name] = pack.old
            return
        path = self._staged_path(pack.name)
        old = None if pack.old is None else self._folder / pack.name
        written = merge_pack(old, path, chain([first], changed))
        if written is None:
            return
        held = [rows for rows in pack.members if self._is_small(rows)]
        contents = pack_digest(self._digests_of(held, old))
        self._take(pack.name, sum(rows.stored.rows for rows in held), contents, written)

    def _is_small(self, rows: RunRows) -> bool:
        """Say whether a run of this pack has no files of its own."""
        if rows.run_id in self.digests:
            return rows.first_part not in self.files
        return rows.first_part not in self._before

    def _digests_of(self, held: list[RunRows], old: Path | None) -> Iterator[tuple[str, str]]:
        """Give the digest of the cells of each run, reading those of which it is not known."""
        known = {
            rows.run_id: rows.stored.digest
            for rows in held
            if rows.stored.of_cells and rows.run_id not in self.digests
        }
        known |= self.digests
        unknown = {rows.run_id for rows in held} - known.keys()
        if unknown and old is not None:
            for run_id, batch in read_runs(old):
                if run_id in unknown:
                    known[run_id] = run_digest([contents_digest(batch)])
        for rows in held:
            yield rows.run_id, known[rows.run_id]

    def _changed_runs(self, pack: Pack) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
        """Give the cells of runs that come into a pack, none for those that leave it.

        A run that has files of its own gets them on the way.
        """
        for run_id, before, rows in pack.runs:
            small = None
            if rows is not None and rows.pack == pack.name:
                small = self._write_parts(rows, *self._keep_parts(rows))
            if small is not None:
                yield run_id, [cells_as_arrow(small, run_id)]
            elif pack.old is not None and self._was_in(pack.name, before):
                yield run_id, []

    def _was_in(self, pack: str, before: RunRows | None) -> bool:
        """Say whether a pack has the rows that a run had before."""
        if before is None or before.pack != pack:
            return False
        return before.first_part not in self._before

    def _write_parts(self, rows: RunRows, kept: list[DataFile], first: int) -> CellBatch | None:
        """Write the own files of a run; return its cells if it has none because it is small.

        kept: the first parts, which stay and have the rows below `first`.
        """
        small = None
        segment = self._rows.columns.get(rows.run_id)
        parts = [file.contents for file in kept]
        batches: Iterable[CellBatch] = self._rows.cells_of(rows, first)
        for name, part in files_of_run(rows.run_id, rows.created_at, batches, len(kept)):
            path = path_of(name)
            small = part if path == rows.pack else None
            if small is not None and segment is not None:
                break  # its digest is known
            contents, known = contents_digest(part), self._before.get(path)
            parts.append(contents)
            if small is not None:
                break
            if known is not None and known.contents == contents and path not in self._lost:
                self.files[path] = known
            else:
                written = write_part(self._staged_path(path), rows.run_id, part)
                trim_memory()
                self._take(path, part.row_count, contents, written)
        self.digests[rows.run_id] = run_digest(parts) if segment is None else segment.digest
        return small

    def _keep_parts(self, rows: RunRows) -> tuple[list[DataFile], int]:
        """Keep the parts of a run that are certain to stay; return them, and their rows.

        A part ends before the first row that does not fit into it, so that row must stay too.
        """
        kept: list[DataFile] = []
        first = 0
        while True:
            path = path_of(part_name(rows.run_id, rows.created_at, len(kept)))
            known = self._before.get(path)
            if known is None or path in self._lost:
                return kept, first
            if first + known.lines >= self._rows.kept.get(rows.run_id, 0):
                return kept, first
            self.files[path] = known
            kept.append(known)
            first += known.lines

    def _take(self, name: str, rows: int, contents: str, written: WrittenFile) -> None:
        """Note a new file, unless the old one has the same contents."""
        known = self._before.get(name)
        if known is not None and known.contents == contents and name not in self._lost:
            self.files[name] = known
            disk.remove(self._staged_path(name))
            return
        self.files[name] = DataFile(
            lines=rows,
            bytes=written.bytes,
            sha256=written.sha256,
            contents=contents,
            writer=WRITER,
        )
        self.staged[name] = self._staged_path(name)

    def _staged_path(self, name: str) -> Path:
        return self._staging / f"{Path(name).stem}{STAGED_SUFFIX}"
