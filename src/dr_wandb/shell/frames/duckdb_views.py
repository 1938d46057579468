"""Open an export in DuckDB: views over its Parquet files, or tables made of its JSON lines."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from dr_wandb.core.columnar.column_names import folding_names
from dr_wandb.core.columnar.long import long_rows
from dr_wandb.core.columnar.run_rows import in_order
from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.columnar.wide import wide_rows
from dr_wandb.core.contract.export_files import PARQUET_RUNS
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.shell.frames import sql
from dr_wandb.shell.frames.arrow_tables import LONG, long_table, wide_schema, wide_table
from dr_wandb.shell.frames.engines import library
from dr_wandb.shell.frames.history import History, history_in
from dr_wandb.shell.frames.loading import metrics_of
from dr_wandb.shell.frames.runs import runs_table
from dr_wandb.shell.store.checked_parquet import reading
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.one_moment import at_one_moment

RUNS, WIDE, LONG_VIEW = "runs", "history", "history_long"


def open_duckdb(
    name: str, data_root: str | PathLike[str], *, metrics: Iterable[str] | None = None
) -> Any:
    """Return a connection of DuckDB, in memory, with an export in three views.

    - `runs`: one line each, with the columns of `runs.parquet` (docs/format.md).
    - `history`: a line for each row that has at least one of the metrics, with the columns run_id,
      step, timestamp and one for each metric.
    - `history_long`: a line for each value of any key, with the columns of the Parquet files.

    metrics: those of `history`, by default all of the export, and all rows. A query is faster with
    the few that it needs.

    With Parquet, queries read the files that the manifest names. They are those of this moment:
    open the export again after a sync. Without, the JSON lines are read once, into memory.

    Raises ExportNotFoundError without an export, InvalidRequestError for a metric that it does not
    have, and ModuleNotFoundError without DuckDB.
    """
    duckdb = library("duckdb")
    chosen = metrics_of(metrics)
    store = ExportStore(name=name, data_root=Path(data_root))

    def opened(manifest: ExportManifest) -> Any:
        connection = duckdb.connect()
        try:
            if manifest.mode == ExportMode.HISTORY or chosen is not None:
                _add_history(connection, history_in(store, manifest), chosen)
            else:
                _add_tables(connection, None, {}, {}, every_row=True)
            _add_runs(connection, store, manifest)
        except BaseException:
            connection.close()
            raise
        return connection

    return at_one_moment(store, opened)


def _add_runs(connection: Any, store: ExportStore, manifest: ExportManifest) -> None:
    table = runs_table(store, manifest)  # which checks the file
    if PARQUET_RUNS in manifest.files:
        source = sql.files_in([store.export_dir / PARQUET_RUNS])
        connection.execute(f"create or replace view {RUNS} as select * from {source}")
    else:
        add_table(connection, RUNS, table)


def _add_history(connection: Any, history: History, chosen: tuple[str, ...] | None) -> None:
    types = history.types(chosen)
    names = folding_names({*history.keys(), *types})
    if not history.files:
        _add_tables(connection, history, types, names, every_row=chosen is None)
        return
    for file in history.files:
        with reading(file):
            pass
    source = sql.files_in(file.path for file in history.files)
    wide = sql.wide_query(source, types, names, every_row=chosen is None)
    connection.execute(f"create or replace view {WIDE} as {wide}")
    connection.execute(f"create or replace view {LONG_VIEW} as {sql.long_query(source)}")


def _add_tables(
    connection: Any,
    history: History | None,
    types: dict[str, ColumnType],
    names: dict[str, str],
    *,
    every_row: bool,
) -> None:
    """Make tables of the JSON lines, a piece at a time."""
    name_of = names.__getitem__
    add_table(connection, WIDE, wide_schema(types, name_of).empty_table())
    add_table(connection, LONG_VIEW, LONG.empty_table())
    for piece in () if history is None else history.pieces(None, None):
        rows = in_order([piece], from_row_0=False)
        wide = wide_table(wide_rows(rows, types, every_row=every_row), name_of)
        insert(connection, WIDE, wide)
        insert(connection, LONG_VIEW, long_table(long_rows(rows, piece.columns)))


def add_table(connection: Any, name: str, table: Any) -> None:
    """Make a table, or replace it, with the rows of one of Arrow."""
    connection.register("_rows", table)
    connection.execute(f"create or replace table {name} as select * from _rows")
    connection.unregister("_rows")


def insert(connection: Any, name: str, table: Any) -> None:
    """Append the rows of a table of Arrow."""
    connection.register("_rows", table)
    connection.execute(f"insert into {name} select * from _rows")
    connection.unregister("_rows")
