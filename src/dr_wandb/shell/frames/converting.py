"""Write an export to files of other tools: CSV, Parquet, or a database of DuckDB.

Rules
- The rows are those of a wide frame, in the order of `history.jsonl`. The bytes of CSV are the same
  whether the export has JSON lines or Parquet.
- Names are those that no reader folds into one, see column_names.py.
- Memory is that of some thousand rows. Nothing in the export changes.
- Files get their names when all of them are complete and durable.
"""

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dr_wandb.core.columnar.column_names import folding_names
from dr_wandb.core.columnar.long import long_rows
from dr_wandb.core.columnar.run_rows import OrderedRows
from dr_wandb.core.columnar.wide import wide_rows
from dr_wandb.core.contract.conversion import ConvertedExport
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.nearest import did_you_mean
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.progress import Stage
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.shell.frames.arrow_tables import LONG, long_table, wide_schema, wide_table
from dr_wandb.shell.frames.duckdb_views import LONG_VIEW, RUNS, WIDE
from dr_wandb.shell.frames.engines import library
from dr_wandb.shell.frames.history import History, history_in
from dr_wandb.shell.frames.ordered import rows_in_order
from dr_wandb.shell.frames.runs import runs_table
from dr_wandb.shell.frames.writers import (
    CsvWriter,
    DuckdbWriter,
    ParquetWriter,
    TableWriter,
    open_file,
)
from dr_wandb.shell.progress import CountedProgress, ProgressCallback, say_nothing
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.converting import require_free
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.one_moment import at_one_moment

if TYPE_CHECKING:
    from dr_wandb.core.columnar.runs import ColumnType

FOLDERS: dict[str, Callable[[Path, pa.Schema], TableWriter]] = {
    "csv": CsvWriter,
    "parquet": ParquetWriter,
}
DUCKDB = "duckdb"


class Chosen(NamedTuple):
    """What of an export is written; None for all of it."""

    metrics: tuple[str, ...] | None
    run_ids: frozenset[str] | None


def convert_export(
    store: ExportStore,
    to: str,
    out: Path,
    chosen: Chosen,
    *,
    overwrite: bool = False,
    progress: ProgressCallback = say_nothing,
) -> ConvertedExport:
    """Write an export to a folder of two files, or to a file of DuckDB.

    to: `csv`, `parquet` or `duckdb`. overwrite: replace what is there of the same names.
    Raises InvalidRequestError for a path that cannot be written, for a run or a metric that the
    export does not have, and without DuckDB. Raises DrWandbError if the export is missing or
    damaged, or the disk refuses.
    """
    store.require_manifest()
    _require_library(to)
    names = None if to == DUCKDB else [f"runs.{to}", f"history.{to}"]
    require_free(store, out, overwrite=overwrite, files=names)

    def write(manifest: ExportManifest) -> ConvertedExport:
        has_history = manifest.mode == ExportMode.HISTORY
        history = None
        if has_history or chosen.metrics is not None:
            history = history_in(store, manifest)
        total = manifest.history_count if has_history else 0
        counted = CountedProgress(total, progress, stage=Stage.CONVERTING)
        with disk_refusals(out), _work_folder(out) as folder:
            writing = _Writing(history, runs_table(store, manifest), chosen, counted)
            if to == DUCKDB:
                done = writing.to_duckdb(folder / out.name)
            else:
                done = writing.to_folder(folder, to)
            require_free(store, out, overwrite=overwrite, files=names)
            size = _name_files(folder, out, whole=to != DUCKDB)
        counted.finish()
        files = tuple(names[: 1 + has_history]) if names else (out.name,)
        return ConvertedExport(name=store.name, path=str(out), bytes=size, files=files, **done)

    return at_one_moment(store, write)


def _require_known(run_ids: frozenset[str], known: set[str]) -> None:
    """Raise InvalidRequestError if there are runs that are not known."""
    problems = [
        f"there is no run {run_id!r}{did_you_mean(run_id, known)}"
        for run_id in sorted(run_ids - known)
    ]
    if problems:
        raise InvalidRequestError(problems)


def _require_library(to: str) -> None:
    if to == DUCKDB:
        try:
            library(DUCKDB)
        except ModuleNotFoundError as error:
            raise InvalidRequestError([str(error)]) from None


class _Writing:
    """One conversion."""

    def __init__(
        self,
        history: History | None,
        runs: pa.Table,
        chosen: Chosen,
        counted: CountedProgress,
    ) -> None:
        self._history = history
        self._runs = runs
        self._chosen = chosen
        self._counted = counted
        self._types: dict[str, ColumnType] = {}
        self._names: dict[str, str] = {}
        if chosen.run_ids is not None:
            self._choose_runs(chosen.run_ids)
        if history is not None:
            self._types = history.types(chosen.metrics)
            self._names = folding_names({*history.keys(), *self._types})

    def _choose_runs(self, run_ids: frozenset[str]) -> None:
        if self._history is not None:
            self._history.require_runs(run_ids)
        else:
            _require_known(run_ids, {*self._runs["run_id"].to_pylist()})
        wanted = pa.array(sorted(run_ids), pa.string())
        self._runs = self._runs.filter(pc.is_in(self._runs["run_id"], value_set=wanted))

    def to_folder(self, folder: Path, to: str) -> dict[str, int]:
        """Write a file of runs and one of rows. Returns the number of both."""
        make = FOLDERS[to]
        with closing(make(folder / f"runs.{to}", self._runs.schema)) as runs:
            runs.write(self._runs)
        if self._history is None:
            return {"runs": self._runs.num_rows, "rows": 0}
        with closing(make(folder / f"history.{to}", self._schema)) as history:
            return {"runs": self._runs.num_rows, "rows": self._write_rows(history.write)}

    def to_duckdb(self, path: Path) -> dict[str, int]:
        """Write a file of DuckDB. Returns the number of runs and of rows."""
        with closing(open_file(path)) as connection:
            DuckdbWriter(connection, RUNS, self._runs.schema).write(self._runs)
            wide = DuckdbWriter(connection, WIDE, self._schema)
            long = DuckdbWriter(connection, LONG_VIEW, LONG)
            rows = self._write_rows(wide.write, long.write)
        with path.open("rb+") as stream:
            disk.sync_file(stream)
        return {"runs": self._runs.num_rows, "rows": rows}

    @property
    def _schema(self) -> pa.Schema:
        return wide_schema(self._types, self._names.__getitem__)

    def _write_rows(
        self,
        wide: Callable[[pa.Table], None],
        long: Callable[[pa.Table], None] | None = None,
    ) -> int:
        rows = 0
        for some in self._some_rows():
            every_row = self._chosen.metrics is None
            table = wide_table(
                wide_rows(some, self._types, every_row=every_row), self._names.__getitem__
            )
            wide(table)
            if long is not None:
                long(long_table(long_rows(some, self._types)))
            rows += table.num_rows
            self._counted.add(some.row_count)
        return rows

    def _some_rows(self) -> Iterator[OrderedRows]:
        if self._history is not None:
            yield from rows_in_order(self._history, sorted(self._types), self._chosen.run_ids)


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder beside a path; it is removed in the end."""
    folder = out.with_name(f".{out.name[:100]}.{secrets.token_hex(4)}.part")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name_files(folder: Path, out: Path, *, whole: bool) -> int:
    """Give files their names; return their size. whole: `out` is the folder for them."""
    paths = sorted(folder.iterdir())
    if whole:
        disk.make_folder(out)
        for name in {path.name for path in out.iterdir()} - {path.name for path in paths}:
            disk.remove(out / name)  # such as rows of an earlier conversion
    target = out if whole else out.parent
    for path in paths:
        disk.rename(path, target / path.name)
    disk.sync_folder(target)
    return sum((target / path.name).stat().st_size for path in paths)
