"""Read the history of an export from the Parquet files that its manifest names.

Rules
- A file is read only if it is the one that the manifest describes, see checked_parquet.py.
- The rows come in the order of `history.jsonl`, each run once. A run that is in two files, or has a
  gap in its rows, is damage.
- Memory is bounded by a part of a run for each pack that is open. If there are more packs than may
  be open at once, their lines go through a temporary file.
"""

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import pyarrow.parquet as pq

from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.digest import contents_digest
from dr_wandb.core.columnar.files import pack_name
from dr_wandb.core.columnar.to_lines import lines_of
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_parquet import DescribedFile, damaged, history_files, reading
from dr_wandb.shell.store.decoding import ROWS, decode_stream
from dr_wandb.shell.store.parquet_files import read_cells, read_run, read_run_ids, read_runs

MOST_OPEN = 48
"""The most packs that are read at once."""


class _Run(NamedTuple):
    """A run in the files, and its lines in chunks.

    parts: the digests of the cells of its parts, once the lines were read; if they are wanted.
    """

    run_id: str
    lines: Iterator[bytes]
    parts: list[str]


class ParquetHistory:
    """The history in the Parquet files of an export.

    Raises DrWandbError if the manifest names a file that cannot be one of them.
    """

    def __init__(self, folder: Path, manifest: ExportManifest) -> None:
        self._folder = folder
        found = history_files(folder, manifest)
        self.packs = [file for file in found if not file.digest]
        self._own: dict[str, list[DescribedFile]] = {}
        for file in sorted(found, key=attrgetter("number")):
            if file.digest:
                self._own.setdefault(file.digest, []).append(file)

    def rows_of(self, run_id: str, created_at: str | None = None) -> Iterator[EncodedRows]:
        """Give the rows of one run in order, a part at a time; nothing if it has none.

        created_at: of the run, if it is known, so that fewer packs are looked at.
        """
        digest = hashlib.sha256(run_id.encode()).hexdigest()
        if parts := self._own.get(digest[:32]):
            return _rows_of_parts(run_id, parts)
        likely = pack_name(run_id, created_at)
        packs = [pack for pack in self.packs if pack.first_digit == digest[0]]
        for pack in sorted(packs, key=lambda pack: pack.path.name != likely):
            with reading(pack):
                batch = read_run(pack.path, run_id)
            if batch is not None:
                return iter([_rows_in(pack, batch, run_id)])
        return iter(())

    def runs(self, *, digests: bool = False) -> Iterator[_Run]:
        """Give all runs in the order of `history.jsonl`, each with chunks of its lines.

        The lines of a run have to be read before the next run is asked for. digests: of the cells
        are wanted too.
        """
        found = (_own_run(parts, digests=digests) for parts in self._own.values())
        own = sorted(found, key=attrgetter("run_id"))
        with _in_order(self.packs, digests=digests) as packed:
            last = None
            for run in heapq.merge(*packed, own, key=attrgetter("run_id")):
                if last is not None and run.run_id <= last:
                    reason = f"run {run.run_id!r} is there twice, or its file is not in order"
                    raise damaged(self._folder / PARQUET_HISTORY, reason)
                last = run.run_id
                yield run

    def rows(self, run_ids: Mapping[str, str | None] | None = None) -> Iterator[HistoryRow]:
        """Give the rows of some runs, or of all in the order of `history.jsonl`, as records.

        run_ids: each with the creation time of the run, if it is known.
        """
        if run_ids is None:
            chunks = (chunk for run in self.runs() for chunk in run.lines)
        else:
            found = (self.rows_of(run_id, run_ids[run_id]) for run_id in sorted(run_ids))
            chunks = (rows.lines for run in found for rows in run)
        for chunk in chunks:
            yield from decode_stream(BytesIO(chunk), self._folder / PARQUET_HISTORY, ROWS)

    def run_ids(self) -> set[str]:
        """Return the runs that have rows. Of a pack, one column is read."""
        found = {_own_run(parts).run_id for parts in self._own.values()}
        for pack in self.packs:
            with reading(pack):
                found.update(read_run_ids(pack.path))
        return found


def _own_run(parts: Sequence[DescribedFile], *, digests: bool = False) -> _Run:
    """Return the run that has these files of its own."""
    first = parts[0]
    with reading(first):
        run_id = _run_id_of(first.path)
        if hashlib.sha256(run_id.encode()).hexdigest()[:32] != first.digest:
            raise ValueError(f"it holds run {run_id!r}, which belongs into another file")
    found: list[str] = []
    rows_of_parts = _rows_of_parts(run_id, parts, digests=found if digests else None)
    return _Run(run_id, (rows.lines for rows in rows_of_parts), found)


def _run_id_of(path: Path) -> str:
    statistics = pq.read_metadata(path).row_group(0).column(0).statistics
    if statistics is not None and statistics.has_min_max:
        return str(statistics.min)
    return str(next(read_cells(path)).column("run_id")[0].as_py())


def _rows_of_parts(
    run_id: str, parts: Sequence[DescribedFile], digests: list[str] | None = None
) -> Iterator[EncodedRows]:
    """Give the rows of a run, a part at a time. digests: a list for those of the cells."""
    months = {part.path.name.partition("-run-")[0] for part in parts}
    if len(months) > 1 or [part.number for part in parts] != [*range(len(parts))]:
        raise damaged(parts[0].path, f"run {run_id!r} does not have each of its parts once")
    expected = 0
    for part in parts:
        with reading(part):
            runs = list(read_runs(part.path))
            if [found for found, _ in runs] != [run_id]:
                raise ValueError(f"it does not hold run {run_id!r} alone")
            [(_, batch)] = runs
            if batch.first != expected:
                raise ValueError(f"it begins at row {batch.first}, not at {expected}")
            expected = batch.first + batch.row_count
            if digests is not None:
                digests.append(contents_digest(batch))
            rows = lines_of(batch, run_id)
        yield rows


def _runs_of_pack(pack: DescribedFile, *, digests: bool) -> Iterator[_Run]:
    """Give the runs of a pack in order."""
    with reading(pack):
        for run_id, batch in read_runs(pack.path):
            found = [contents_digest(batch)] if digests else []
            yield _Run(run_id, _lines_in(pack, batch, run_id), found)


def _lines_in(pack: DescribedFile, batch: CellBatch, run_id: str) -> Iterator[bytes]:
    yield _rows_in(pack, batch, run_id).lines


def _rows_in(pack: DescribedFile, batch: CellBatch, run_id: str) -> EncodedRows:
    """Return the rows of a run in a pack."""
    with reading(pack):
        if batch.first:
            raise ValueError(f"run {run_id!r} begins at row {batch.first}, not at 0")
        return lines_of(batch, run_id)


@contextmanager
def _in_order(packs: Sequence[DescribedFile], *, digests: bool) -> Iterator[list[Iterator[_Run]]]:
    """Give sources of the runs in packs; each has its runs in order."""
    if len(packs) <= MOST_OPEN:
        yield [_runs_of_pack(pack, digests=digests) for pack in packs]
        return
    with TemporaryFile() as held:
        yield [_held_runs(packs, held, digests=digests)]


def _held_runs(packs: Sequence[DescribedFile], held: IO[bytes], *, digests: bool) -> Iterator[_Run]:
    """Give the runs of any number of packs in order; their lines are in a file meanwhile."""
    places = []
    for pack in packs:
        for run_id, lines, found in _runs_of_pack(pack, digests=digests):
            begin = held.tell()
            held.writelines(lines)
            places.append((run_id, begin, held.tell() - begin, found))
    for run_id, begin, length, found in sorted(places):
        yield _Run(run_id, _read_back(held, begin, length), found)


def _read_back(held: IO[bytes], begin: int, length: int) -> Iterator[bytes]:
    yield b"".join(disk.read_range(held, begin, length))
