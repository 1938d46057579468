"""Load an export as frames: its runs, and its history."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dr_wandb.core.columnar.column_names import column_name
from dr_wandb.core.columnar.long import long_rows
from dr_wandb.core.columnar.run_rows import in_order
from dr_wandb.core.columnar.wide import wide_rows
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistoryWindow
from dr_wandb.shell.frames.arrow_tables import long_table, wide_schema, wide_table
from dr_wandb.shell.frames.engines import Engine, as_frame, library, require_engine
from dr_wandb.shell.frames.history import History, reading_history
from dr_wandb.shell.frames.runs import runs_frame
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.one_moment import at_one_moment

if TYPE_CHECKING:
    import pyarrow as pa

Texts = Iterable[str]
Root = str | PathLike[str]


def load_runs_frame(name: str, data_root: Root, *, engine: Engine = "polars") -> Any:
    """Load the runs of an export as a frame, newest first: one line each.

    The columns are those of `runs.parquet` (docs/format.md): fixed ones, and one for each key of
    config and summary, such as `config.lr`. engine: "polars", "pandas" or "arrow".

    Raises ExportNotFoundError without an export, and ModuleNotFoundError without the engine.
    """
    require_engine(engine)
    store = _store(name, data_root)
    return at_one_moment(store, lambda manifest: runs_frame(store, manifest, engine))


def load_history_frame(
    name: str,
    data_root: Root,
    *,
    metrics: Texts | None = None,
    runs: Texts | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
    wide: bool = True,
    engine: Engine = "polars",
) -> Any:
    """Load logged rows of an export as a frame, by run and row.

    wide: a line for each row that has at least one of the metrics, with the columns run_id, step,
    timestamp and one for each metric. Otherwise a line for each value, with the columns of the
    Parquet files (docs/format.md).

    metrics: by default all of the export, and all rows; W&B's own columns, such as `_runtime`, only
    if they are named. runs: ids, by default all. min_step is inclusive, max_step exclusive; a row
    without a step counts as step 0. engine: "polars", "pandas" or "arrow".

    The type of a metric's column follows from all its values in the export. Nothing is rounded: NaN
    is NaN, and a value that was not logged is null.

    Raises ExportNotFoundError without an export, InvalidRequestError for a run or a metric that it
    does not have, and ModuleNotFoundError without the engine.
    """
    require_engine(engine)
    chosen = metrics_of(metrics)
    window = _window(min_step, max_step)
    store, run_ids = _store(name, data_root), run_ids_of(runs)

    def read(history: History) -> "pa.Table":
        history.require_runs(run_ids)
        cells = history.cells(chosen, run_ids)
        if not wide:
            return long_table(long_rows(cells.rows, cells.types, window))
        rows = wide_rows(cells.rows, cells.types, window, every_row=chosen is None)
        return wide_table(rows)

    return as_frame(reading_history(store, read), engine)


def scan_history(
    name: str,
    data_root: Root,
    *,
    metrics: Texts | None = None,
    runs: Texts | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Any:
    """Return the wide rows of `load_history_frame` as a lazy frame of Polars.

    Only metrics that the query uses are read, and a bounded number of rows at a time. The rows of a
    run are in order, the runs in any. It shows the export as it was when it was called: call it
    again after a sync.
    """
    require_engine("polars")
    chosen = metrics_of(metrics)
    window = _window(min_step, max_step)
    store, run_ids = _store(name, data_root), run_ids_of(runs)

    def look(history: History) -> Any:
        history.require_runs(run_ids)
        return history, history.types(chosen)

    history, types = reading_history(store, look)
    by_name = {column_name(key): key for key in types}

    def read(
        columns: list[str] | None, predicate: Any, most: int | None, _batch: int | None
    ) -> Iterator[Any]:
        needed = types
        if chosen is None and columns is not None:
            needed = {by_name[one]: types[by_name[one]] for one in columns if one in by_name}
        # Polars 1.20 needs a frame, and takes all columns out of the one that it is given.
        yield empty.clone() if columns is None else empty.select(columns)
        left = most
        for piece in history.pieces(sorted(needed), run_ids):
            rows = in_order([piece], from_row_0=False)
            wide = wide_rows(rows, needed, window, every_row=chosen is None)
            frame = as_frame(wide_table(wide), "polars")
            if columns is not None:
                frame = frame.select(columns)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    empty = as_frame(wide_schema(types).empty_table(), "polars")
    return library("polars.io.plugins").register_io_source(read, schema=empty.schema)


def metrics_of(metrics: Texts | None) -> tuple[str, ...] | None:
    """Return the names of metrics without repetitions. Raises InvalidRequestError for no names."""
    if metrics is None:
        return None
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    if not all(isinstance(one, str) for one in names):
        raise InvalidRequestError(["metrics must be names of metrics"])
    return tuple(dict.fromkeys(names))


def run_ids_of(runs: Texts | None) -> frozenset[str] | None:
    """Return the ids of runs. Raises InvalidRequestError for a blank one."""
    if runs is None:
        return None
    return frozenset(RunScope(run_ids=(runs,) if isinstance(runs, str) else tuple(runs)).run_ids)


def _window(min_step: int | None, max_step: int | None) -> HistoryWindow | None:
    window = HistoryWindow(min_step=min_step, max_step=max_step)
    return None if window == HistoryWindow() else window


def _store(name: str, data_root: Root) -> ExportStore:
    return ExportStore(name=name, data_root=Path(data_root))
