"""The history of an export as cells, from whatever form it has them in.

Rules
- The values are the same from either form. Parquet is read if the manifest names such files.
- The type of a metric follows from all its values in the export, so all of them are looked at, if
  that was not done before in this process.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, TypeVar

from dr_wandb.core.columnar.metric_types import ANY_TYPE, type_of
from dr_wandb.core.columnar.run_rows import OrderedRows, RunRows, in_order
from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.contract.export_files import HISTORY_FILE, PARQUET_HISTORY
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.nearest import did_you_mean
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.state import ExportState
from dr_wandb.shell.frames.cell_files import read_file, read_keys
from dr_wandb.shell.frames.line_file import read_lines, read_lines_at_once
from dr_wandb.shell.frames.wanted import Found, Wanted
from dr_wandb.shell.store.checked_parquet import DescribedFile, damaged, history_files
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.one_moment import at_one_moment
from dr_wandb.shell.store.parquet_history import ParquetHistory
from dr_wandb.shell.store.rows_of_runs import require_runs, runs_with_lines, usable_state

T = TypeVar("T")

MOST_THREADS = 4
"""The most files that are read at once."""

NO_RUNS: frozenset[str] = frozenset()


class Survey:
    """The types that are left for the metrics of one history, as far as they are known."""

    def __init__(self) -> None:
        self._types: dict[str, int] = {}
        self._every = False

    def knows(self, keys: Iterable[str] | None) -> bool:
        """Say whether the types of these keys are known, None for all of the history."""
        return self._every or (keys is not None and {*keys} <= self._types.keys())

    def learn(self, keys: Iterable[str] | None, found: Iterable[Mapping[str, int]]) -> None:
        """Take up the types of these keys, in all pieces of the history."""
        types = dict.fromkeys(keys or (), ANY_TYPE)
        for one in found:
            for key, left in one.items():
                types[key] = types.get(key, ANY_TYPE) & left
        self._types.update(types)
        self._every |= keys is None

    @property
    def metrics(self) -> list[str]:
        """Return all metrics, without W&B's own columns, if everything is known."""
        return sorted(key for key in self.keys if not key.startswith("_"))

    @property
    def keys(self) -> list[str]:
        """Return all keys, if everything is known."""
        return sorted(key for key, left in self._types.items() if left != ANY_TYPE)

    def has(self, key: str) -> bool:
        """Say whether a row has a key whose type is known."""
        return self._types.get(key, ANY_TYPE) != ANY_TYPE

    def type_of(self, key: str) -> ColumnType:
        """Return the type of a key's column."""
        return type_of(self._types.get(key, ANY_TYPE))


@lru_cache(maxsize=32)
def _survey_of(_folder: str, _digests: tuple[str, ...]) -> Survey:
    return Survey()


class Cells(NamedTuple):
    """Rows in order, with the cells of some keys and the types of their columns."""

    rows: OrderedRows
    types: Mapping[str, ColumnType]


class History:
    """The history of an export as its manifest describes it at one moment.

    Raises DrWandbError if the manifest names a file that cannot be one of its Parquet files.
    """

    def __init__(self, store: ExportStore, manifest: ExportManifest) -> None:
        self._store = store
        self.manifest = manifest
        self.files = history_files(store.export_dir, manifest)
        named = {HISTORY_FILE: manifest.files.get(HISTORY_FILE), **manifest.files}
        digests = [
            f"{name} {one.sha256}" if one else self._look_of_lines()
            for name, one in sorted(named.items())
            if name == HISTORY_FILE or name.startswith(PARQUET_HISTORY)
        ]
        self.survey = _survey_of(str(store.export_dir.resolve()), tuple(digests))

    def _look_of_lines(self) -> str:
        """Return what differs once a file changes that the manifest does not describe."""
        path = self._store.history_path
        if not path.exists():
            return ""
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"

    def cells(self, metrics: Sequence[str] | None, run_ids: frozenset[str] | None) -> Cells:
        """Read rows of some runs with the cells of some metrics; None for all.

        Raises InvalidRequestError for a metric that no row has, if there are any rows.
        """
        keys = None if metrics is None else frozenset(metrics)
        wanted = Wanted(keys, run_ids, types=not self.survey.knows(keys))
        found = self._read_at_once(wanted)
        self._learn(wanted, found)
        chosen = self.survey.metrics if metrics is None else [*metrics]
        self._require_metrics(chosen)
        rows = self.in_order([one.rows for one in found])
        return Cells(rows, {key: self.survey.type_of(key) for key in chosen})

    def pieces(
        self, keys: Sequence[str] | None, run_ids: frozenset[str] | None
    ) -> Iterator[RunRows]:
        """Give rows of some runs, in pieces that each hold complete parts of runs."""
        wanted = Wanted(None if keys is None else frozenset(keys), run_ids, types=False)
        for found in self._read(wanted):
            if found.rows.row_count:
                yield found.rows

    def types(self, metrics: Sequence[str] | None) -> dict[str, ColumnType]:
        """Return the types of the columns of some metrics; None for all of the export.

        Raises InvalidRequestError for a metric that no row has, if there are any rows.
        """
        keys = None if metrics is None else frozenset(metrics)
        if not self.survey.knows(keys):
            wanted = Wanted(keys, NO_RUNS, types=True)
            self._learn(wanted, self._read_at_once(wanted))
        chosen = self.survey.metrics if metrics is None else [*metrics]
        self._require_metrics(chosen)
        return {key: self.survey.type_of(key) for key in chosen}

    def keys(self) -> list[str]:
        """Return all keys of the export."""
        if not self.files or self.survey.knows(None):
            self.types(None)
            return self.survey.keys
        with self._threads() as pool:
            return sorted({key for keys in pool.map(read_keys, self.files) for key in keys})

    def in_order(self, pieces: Sequence[RunRows], *, from_row_0: bool = True) -> OrderedRows:
        """Put pieces in order. Raises DrWandbError if a run is not there exactly once.

        from_row_0: see `run_rows.in_order`.
        """
        try:
            return in_order(pieces, from_row_0=from_row_0)
        except ValueError as error:
            raise damaged(self._store.export_dir / PARQUET_HISTORY, str(error)) from None

    def require_first(self, run_id: str, first: int, rows_before: int) -> None:
        """Raise DrWandbError if rows of a run do not follow those before them."""
        if first != rows_before:
            reason = f"run {run_id!r} has {rows_before} rows before its row {first}"
            raise damaged(self._store.export_dir / PARQUET_HISTORY, reason)

    def require_runs(self, run_ids: frozenset[str] | None) -> None:
        """Raise InvalidRequestError if one of these runs is not in the export. None: all are."""
        if run_ids is None:
            return
        store = self._store
        state = usable_state(store.state_path)
        require_runs(run_ids, state, store.runs_path, self._runs_with_rows)

    def _runs_with_rows(self, state: ExportState | None) -> Set[str]:
        store = self._store
        if self.files:
            return ParquetHistory(store.export_dir, self.manifest).run_ids()
        if self.manifest.history_path is None:
            return NO_RUNS
        return runs_with_lines(store.history_path, state)

    def _learn(self, wanted: Wanted, found: Sequence[Found]) -> None:
        if wanted.types:
            self.survey.learn(wanted.keys, (one.types for one in found))

    def _require_metrics(self, metrics: Sequence[str]) -> None:
        missing = [key for key in metrics if not self.survey.has(key)]
        if not missing or not self.manifest.history_count:
            return
        self.types(None)
        name = self._store.name
        raise InvalidRequestError(
            f"no row of {name} has the metric {key!r}{did_you_mean(key, self.survey.keys)}"
            for key in missing
        )

    def _read_at_once(self, wanted: Wanted) -> list[Found]:
        if not self.files and self.manifest.history_path is not None:
            return read_lines_at_once(self._store.history_path, wanted)
        files = [file for file in self.files if _may_be_wanted(file, wanted)]
        with self._threads() as pool:
            found = pool.map(lambda file: list(read_file(file, wanted)), files)
            return [piece for pieces in found for piece in pieces]

    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))

    def _read(self, wanted: Wanted) -> Iterator[Found]:
        if self.files:
            for file in self.files:
                if _may_be_wanted(file, wanted):
                    yield from read_file(file, wanted)
        elif self.manifest.history_path is not None:
            yield from read_lines(self._store.history_path, wanted)


def _may_be_wanted(file: DescribedFile, wanted: Wanted) -> bool:
    """Say whether a file may hold wanted runs, or cells whose types are wanted."""
    if wanted.types or wanted.run_ids is None:
        return True
    digests = [hashlib.sha256(run_id.encode()).hexdigest() for run_id in wanted.run_ids]
    return any(digest.startswith(file.digest or file.first_digit) for digest in digests)


def reading_history(store: ExportStore, read: Callable[[History], T]) -> T:
    """Return what a function reads of a history.

    Raises ExportNotFoundError without an export, InvalidRequestError for one without history, and
    DrWandbError for a damaged one.
    """
    return at_one_moment(store, lambda manifest: read(history_in(store, manifest)))


def history_in(store: ExportStore, manifest: ExportManifest) -> History:
    """Return the history of an export. Raises InvalidRequestError if it has none."""
    if manifest.mode != ExportMode.HISTORY:
        problem = f"{store.name} has no history: sync it with --mode history first"
        raise InvalidRequestError([problem])
    return History(store, manifest)
