"""The store of each run's tracking: an SQLite file that is written once and never changed.

Rules
- No lock of SQLite is used and no journal is left: the file is immutable, so it can be copied at
  any time and be on any file system.
- It is opened for each look, by its path: threads may look at it, and nothing is left open. What
  every use needs, the ids of the runs above all, is read in one look.
- Callers check that it is the file that the state names (see state_files.py).
- `run` has a line for each run, in the order of their ids; `extent` the length of its records in
  each data file; `tracking` its whole tracking, as JSON; `rest` the requests under which a run
  need not be looked at.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dr_wandb.core.contract.known_runs import (
    ChangedRuns,
    KnownRuns,
    Rest,
    Total,
    byte_range_in,
    files_of,
    offsets_in,
    rest_of,
    sum_of,
    with_offsets,
)
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.state_form import StoreChanges
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.database_errors import database_errors

MANY = 200
"""After this number of single reads, all runs are read: that costs less than as many again."""

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE rest (id INTEGER PRIMARY KEY, form BLOB NOT NULL);
CREATE TABLE run (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, created_at TEXT, rest INTEGER);
CREATE TABLE tracking (id INTEGER PRIMARY KEY, form BLOB NOT NULL);
CREATE TABLE extent (
    file TEXT NOT NULL, id INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (file, id)
) WITHOUT ROWID;
BEGIN;
"""

_RUNS = "SELECT run_id, id, rest FROM run ORDER BY id"
_RESTS = "SELECT id, form FROM rest"
_TOTALS = "SELECT file, SUM(rows), SUM(bytes) FROM extent GROUP BY file"

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode_run = msgspec.json.Decoder(RunTracking).decode
_decode_rest = msgspec.json.Decoder(Rest).decode


def write_store(path: Path, runs: Mapping[str, RunTracking], last_sync_at: str | None) -> str:
    """Write a store with the tracking of some runs. Durable when it returns.

    Returns a SHA-256 of its content: that of the file depends on the version of SQLite too.
    """
    disk.remove(path)
    content = hashlib.sha256()
    rests: dict[bytes, int] = {}
    numbered = [*enumerate(map(runs.__getitem__, sorted(runs)))]

    def mark_of(run: RunTracking) -> int | None:
        rest = rest_of(run, last_sync_at)
        return None if rest is None else rests.setdefault(_encode(rest), len(rests))

    def encoded(run: RunTracking) -> bytes:
        form = _encode(run)
        content.update(form + b"\n")
        return form

    lines = ((number, run.run_id, run.created_at, mark_of(run)) for number, run in numbered)
    forms = ((number, encoded(run)) for number, run in numbered)
    extents = (
        (file, number, at.rows, at.length)
        for number, run in numbered
        for file in files_of(run)
        if (at := byte_range_in(run, file)) is not None
    )
    with database_errors(path), closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.executescript(_SCHEMA)
        store.executemany("INSERT INTO run VALUES (?, ?, ?, ?)", lines)
        store.executemany("INSERT INTO tracking VALUES (?, ?)", forms)
        store.executemany("INSERT INTO extent VALUES (?, ?, ?, ?)", extents)
        marks = ((mark, form) for form, mark in rests.items())
        store.executemany("INSERT INTO rest VALUES (?, ?)", marks)
        store.execute("COMMIT")
    with path.open("rb+") as stream:
        disk.sync_file(stream)
    return content.hexdigest()


class _Index(NamedTuple):
    """What is read of a store in one look.

    numbers: of the runs, in their order. rests: of each run the mark of its rest, None for a run
    that is awake. marks: the rests by mark. totals: by data file.
    """

    numbers: Mapping[str, int]
    rests: Sequence[int | None]
    marks: Mapping[int, Rest]
    totals: Mapping[str, Total]


class TrackedRuns(KnownRuns):
    """The runs of an export: those in a store, except for runs that changed since or are gone.

    path: of the store. changes: the differences from it.
    """

    def __init__(self, path: Path, changes: StoreChanges) -> None:
        self.changes = changes
        self.changed = changes.state.runs
        self.gone = frozenset(changes.gone)
        self._path = path
        self._read: dict[str, RunTracking] = {}
        self._whole: ChangedRuns | None = None
        self._offsets: dict[str, dict[str, int]] = {}
        self._resting: dict[frozenset[int], frozenset[str]] = {}
        self._awake: dict[frozenset[int], tuple[str, ...]] = {}
        self._totals: dict[str, Total] = {}

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        address = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
        with (
            database_errors(self._path),
            closing(sqlite3.connect(address, uri=True)) as store,
        ):
            store.execute("PRAGMA trusted_schema = OFF")
            yield store

    def _ask(self, query: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        with self._opened() as store:
            yield from store.execute(query, tuple(values))

    @cached_property
    def _index(self) -> _Index:
        numbers: dict[str, int] = {}
        rests: list[int | None] = []
        with self._opened() as store:
            for run_id, number, rest in store.execute(_RUNS):
                numbers[run_id] = number
                rests.append(rest)
            if len(numbers) != len(rests):
                raise ValueError("it has a run twice")
            marks = {mark: _decode_rest(form) for mark, form in store.execute(_RESTS)}
            totals = {file: Total(rows, length) for file, rows, length in store.execute(_TOTALS)}
        return _Index(numbers, rests, marks, totals)

    @property
    def _in_store(self) -> Mapping[str, int]:
        """Return the runs in the store, in their order, each with its number."""
        return self._index.numbers

    def __getitem__(self, run_id: str) -> RunTracking:
        if run_id in self.changed:
            return self.changed[run_id]
        if run_id in self.gone or run_id not in self._in_store:
            raise KeyError(run_id)
        if run_id not in self._read:
            if len(self._read) >= MANY:
                return self.everything()[run_id]
            self._take("WHERE id = ?", [self._in_store[run_id]])
        return self._read[run_id]

    def __contains__(self, run_id: object) -> bool:
        if run_id in self.changed:
            return True
        return run_id not in self.gone and run_id in self._in_store

    def __iter__(self) -> Iterator[str]:
        in_store, gone = self._in_store, self.gone
        yield from (run_id for run_id in in_store if run_id not in gone)
        yield from (run_id for run_id in self.changed if run_id not in in_store)

    def __len__(self) -> int:
        moved = self.changed.keys() | self.gone
        return len(self._in_store) - len(moved & self._in_store.keys()) + len(self.changed)

    def _take(self, which: str, values: Iterable[Any] = ()) -> tuple[str, ...]:
        """Read some runs of the store; return the ids of those that did not change since."""
        query = f"SELECT run_id, form FROM run JOIN tracking USING (id) {which}"
        taken = []
        for run_id, form in self._ask(query, values):
            if run_id in self.changed or run_id in self.gone:
                continue
            taken.append(run_id)
            if run_id not in self._read:
                with database_errors(self._path):
                    run = _decode_run(form)
                self._read[run_id] = self._with_offsets(run)
        return tuple(taken)

    def _with_offsets(self, run: RunTracking) -> RunTracking:
        """Return a run of the store with the offsets that its records have now."""
        if not self.changes.moved:
            return run
        return with_offsets(run, lambda file: self._offsets_in(file)[run.run_id])

    def _offsets_in(self, file: str) -> dict[str, int]:
        if file not in self._offsets:
            query = (
                "SELECT run_id, created_at, bytes FROM extent JOIN run USING (id) WHERE file = ?"
            )
            records = [
                record
                for record in self._ask(query, [file])
                if record[0] not in self.changed and record[0] not in self.gone
            ]
            records.extend(
                (run_id, run.created_at, byte_range.length)
                for run_id, run in self.changed.items()
                if (byte_range := byte_range_in(run, file)) is not None
            )
            self._offsets[file] = offsets_in(file, records)
        return self._offsets[file]

    def _marks(self, holds: Callable[[Rest], bool]) -> frozenset[int]:
        return frozenset(mark for mark, rest in self._index.marks.items() if holds(rest))

    def resting(self, request: ExportRequest | None) -> Set[str]:
        """Return the runs of the store that rest under a request and did not change."""
        marks = self._marks(lambda rest: request is None or rest.under(request))
        if marks not in self._resting:
            runs = zip(self._in_store, self._index.rests, strict=True)
            resting = frozenset(run_id for run_id, rest in runs if rest in marks)
            moved = self.changed.keys() | self.gone
            self._resting[marks] = resting - moved if moved else resting
        return self._resting[marks]

    def awake(self, request: ExportRequest | None) -> Iterable[tuple[str, RunTracking]]:
        """Return the runs that are not known to rest."""
        yield from self._without(self._marks(lambda rest: request is None or rest.under(request)))

    def notable(self, datasets: Collection[str]) -> Iterable[tuple[str, RunTracking]]:
        """Return the runs that are not known to rest with all rows of these datasets read."""
        yield from self._without(self._marks(lambda rest: rest.covers(datasets)))

    def _without(self, marks: frozenset[int]) -> Iterable[tuple[str, RunTracking]]:
        """Return the runs that have no rest with one of these marks."""
        if marks not in self._awake:
            listed = ", ".join(map(str, sorted(marks)))
            self._awake[marks] = self._take(f"WHERE rest IS NULL OR rest NOT IN ({listed})")
        yield from ((run_id, self._read[run_id]) for run_id in self._awake[marks])
        yield from self.changed.items()

    def everything(self) -> Mapping[str, RunTracking]:
        """Return all runs."""
        if self._whole is None:
            self._take("")
            self._whole = ChangedRuns(self._read, self.changed)
        return self._whole.everything()

    def total(self, file: str) -> Total:
        """Return the number of rows and bytes in a data file."""
        if file not in self._totals:
            stored = self._index.totals.get(file, Total(0, 0))
            moved = self._moved.get(file, Total(0, 0))
            now = sum_of(byte_range_in(run, file) for run in self.changed.values())
            self._totals[file] = Total(
                stored.rows - moved.rows + now.rows, stored.bytes - moved.bytes + now.bytes
            )
        return self._totals[file]

    @cached_property
    def _moved(self) -> Mapping[str, Total]:
        """Return what the store counts, by file, of runs that changed since or are gone."""
        in_store = self._in_store
        moved = [in_store[run] for run in self.changed.keys() | self.gone if run in in_store]
        if not moved:
            return {}
        query = (
            "SELECT file, SUM(rows), SUM(bytes) FROM extent "
            f"WHERE id IN ({', '.join(map(str, moved))}) GROUP BY file"
        )
        return {file: Total(rows, length) for file, rows, length in self._ask(query)}
