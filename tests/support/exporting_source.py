"""An in-memory project whose exported rows come as Parquet files, as those of the W&B API do."""

import weakref
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.shell.sources import FileBatch, HistoryBatch, HistoryFiles, RowBatch
from dr_wandb.shell.sources.api.parquet import ParquetFiles
from tests.support.memory_source import MemorySource
from tests.support.server.parquet import encode_parquet, split_rows


class ExportingSource(MemorySource):
    """Answers with files if all rows that it would give are exported.

    folder: for the files, a temporary one by default. parts: into how many files the rows of a run
    are divided. tables: files of runs, instead of those that are made of their rows.
    """

    def __init__(self, folder: Path | None = None, *, parts: int = 1) -> None:
        super().__init__()
        self._is_temporary = folder is None
        self.folder = folder or Path(mkdtemp())
        if folder is None:
            weakref.finalize(self, rmtree, self.folder)  # not the one that tests watch
        self.parts = parts
        self.tables: dict[str, list[pa.Table]] = {}
        self.answered_with_files: list[str] = []

    def without_runs(self) -> "ExportingSource":
        """Return a source of the same kind, for a project that is empty."""
        other = ExportingSource(None if self._is_temporary else self.folder, parts=self.parts)
        other.now = self.now
        return other

    def read_history_or_files(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[HistoryBatch | HistoryFiles]:
        """Give the rows, as files if they are all exported."""
        if run.run_id in self.tables:
            self.answered_with_files.append(run.run_id)
            yield self._files(self.tables[run.run_id], window)
            return
        batches = list(self.read_history(run, window, attempt))
        if not batches or any(batch.live for batch in batches):
            yield from batches
            return
        self.answered_with_files.append(run.run_id)
        yield self._files(map(_table, split_rows(_rows(batches), self.parts)), window)

    def read_history_files(self, files: HistoryFiles) -> Generator[FileBatch]:
        """Read the rows of files."""
        yield from files.batches()

    def _files(self, tables: Iterable[pa.Table], window: FetchWindow) -> ParquetFiles:
        place = Path(mkdtemp(dir=self.folder))
        paths = []
        for number, table in enumerate(tables):
            paths.append(place / f"{number:04d}.parquet")
            pq.write_table(table, paths[-1])
        return ParquetFiles(paths=paths, window=window)


def _rows(batches: Iterable[RowBatch]) -> list[dict[str, object]]:
    return [dict(row) for batch in batches for row in batch.rows]


def _table(rows: list[dict[str, object]]) -> pa.Table:
    return pq.read_table(pa.BufferReader(encode_parquet("", rows).content))
