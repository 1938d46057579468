"""Bring the tables of datasets other than the history up to date with their lines.

Rules
- A file depends on the lines of its runs alone. It is written again if these differ, or if it is
  missing or damaged.
- If the lines of a dataset did not move, only the digests of its table's files are looked at.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dr_wandb.core.columnar.table_packs import TablePack, table_packs
from dr_wandb.core.contract.dataset import TABLES
from dr_wandb.core.contract.export_files import is_table, table_folder
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_files import find_changed
from dr_wandb.shell.store.parquet_folder import ParquetFiles, find_parquet

STAGED_SUFFIX = ".rows"
"""No hidden file is called `.parquet`: DuckDB and Polars read those too."""

REMEDY = "restore the file, or delete it and sync again: its table holds the lines, if it is sound"


class TableFiles:
    """The tables of an export.

    before: the files that the manifest names, by their paths. lines: the file of each dataset that
    has any. runs: all of them, with the byte ranges of their lines in these files. moved: says
    whether a dataset may have other lines than those that its table was made of.
    """

    def __init__(
        self,
        folder: Path,
        before: Mapping[str, DataFile],
        lines: Mapping[str, Path],
        runs: Mapping[str, RunTracking],
        moved: Callable[[str], bool],
        staging: Path,
    ) -> None:
        self._folder = folder
        self._before = {name: file for name, file in before.items() if is_table(name)}
        self._lines = lines
        self._runs = runs
        self._moved = moved
        self._staging = staging
        self._files: dict[str, DataFile] = {}
        self._staged: dict[str, Path] = {}

    def write(self) -> ParquetFiles:
        """Write the files that differ."""
        stated = {name: file.sha256 for name, file in self._before.items()}
        lost = find_changed(self._folder, stated)
        sound = {name: file for name, file in self._before.items() if name not in lost}
        for dataset in filter(self._lines.__contains__, TABLES):
            inside = f"{table_folder(dataset)}/"
            held = {name: file for name, file in sound.items() if name.startswith(inside)}
            stays = held and not any(name.startswith(inside) for name in lost)
            if stays and not self._moved(dataset):
                self._files |= held
                continue
            for name, pack in table_packs(dataset, self._runs).items():
                if name in held and held[name].contents == pack.contents:
                    self._files[name] = held[name]
                else:
                    self._write(dataset, name, pack)
        there = filter(is_table, find_parquet(self._folder))
        gone = frozenset({*there, *self._before} - self._files.keys())
        return ParquetFiles(self._files, self._staged, gone)

    def _write(self, dataset: str, name: str, pack: TablePack) -> None:
        from dr_wandb.shell.store.tables import FORMS, write_table  # these need pyarrow
        from dr_wandb.shell.sync.parquet_packs import WRITER

        path = self._staging / f"{dataset}-{Path(name).stem}{STAGED_SUFFIX}"
        lines = self._lines[dataset]
        try:
            written = write_table(path, FORMS[dataset], _lines_of(lines, pack))
        except ValueError as error:
            shown = str(self._folder / lines.name)
            damaged = DamagedFile(path=shown, reason=str(error), remedy=REMEDY)
            raise DrWandbError(damaged) from None
        self._staged[name] = path
        self._files[name] = DataFile(
            lines=pack.rows,
            bytes=written.bytes,
            sha256=written.sha256,
            contents=pack.contents,
            writer=WRITER,
        )


def _lines_of(path: Path, pack: TablePack) -> Iterator[tuple[str, Iterator[bytes]]]:
    with path.open("rb") as stream:
        for run_id, at in pack.runs.items():
            yield run_id, disk.read_lines(stream, at.offset, at.length)
