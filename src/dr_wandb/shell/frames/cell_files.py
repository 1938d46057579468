"""Read the cells of some keys and runs from a Parquet file of the history, column by column.

Rules
- A column of a group is read only if it is needed: `row` if a key is not in every row, `text` if a
  cell has one, `step` and `timestamp` if rows of the group are wanted. Groups that cannot hold
  anything wanted, as their statistics say, are not read.
- Cells of one key in one run are a slice of a group, because a file is sorted by run and key.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import (
    KINDS,
    NOWHERE,
    ROW,
    Doubles,
    Integers,
    KeyCells,
)
from dr_wandb.core.columnar.metric_types import ANY_TYPE, types_of
from dr_wandb.core.columnar.run_rows import RunRows, gathered, ranges
from dr_wandb.shell.frames.cell_slices import (
    Group,
    Segments,
    SlicedCells,
    joined_cells,
    may_have_texts,
    of_chosen_runs,
    with_texts,
)
from dr_wandb.shell.frames.wanted import Found, Wanted
from dr_wandb.shell.store.arrow_memory import numbers_of, validity_of
from dr_wandb.shell.store.cell_columns import DICTIONARIES
from dr_wandb.shell.store.checked_parquet import DescribedFile, reading
from dr_wandb.shell.store.parquet_files import may_hold_any, rows_of_part

_RUN_ID, _KEY = 0, 4
"""Columns with statistics."""


MOST_CELLS = 4_000_000
"""How many cells of a file are looked at, before what was found of their runs is given."""


def read_file(file: DescribedFile, wanted: Wanted) -> Iterator[Found]:
    """Read what is wanted of a file, some runs at a time.

    Raises DrWandbError if it is not the described one.
    """
    with (
        reading(file),
        pq.ParquetFile(file.path, read_dictionary=DICTIONARIES, pre_buffer=False) as parquet,
    ):
        yield from _FileReader(file, parquet, wanted).read()


def read_keys(file: DescribedFile) -> set[str]:
    """Return the keys in a file. Raises DrWandbError if it is not the described one."""
    with (
        reading(file),
        pq.ParquetFile(file.path, read_dictionary=DICTIONARIES, pre_buffer=False) as parquet,
    ):
        groups = (
            parquet.read_row_group(number, columns=["key"], use_threads=False)
            for number in range(parquet.num_row_groups)
        )
        chunks = (chunk for group in groups for chunk in group.column(0).chunks)
        return {word for chunk in chunks for word in chunk.dictionary.to_pylist()}


class _FileReader:
    """Reads one file. Of the runs, only those are known that were not given yet."""

    def __init__(self, file: DescribedFile, parquet: pq.ParquetFile, wanted: Wanted) -> None:
        self._file = file
        self._parquet = parquet
        self._wanted = wanted
        self._run_ids: list[str] = []
        self._keys: set[str] = set()

    def read(self) -> Iterator[Found]:
        """Give what is wanted, some runs at a time."""
        numbers = [*filter(self._may_be_wanted, range(self._parquet.num_row_groups))]
        groups: list[Group] = []
        cells = rows = 0
        for number in numbers:
            groups.append(self._group(number))
            cells += self._parquet.metadata.row_group(number).num_rows
            last = len(self._run_ids) - 1
            if cells >= MOST_CELLS and last > 0:
                counts = self._counts(groups)
                rows += int(counts[:last].sum())
                yield self._found(groups, counts, last)
                groups = [group.from_run(last) for group in groups]
                groups = [group for group in groups if len(group.markers.starts) or group.keys]
                self._run_ids = self._run_ids[last:]
                cells = 0
        counts = self._counts(groups)
        rows += int(counts.sum())
        if len(numbers) == self._parquet.num_row_groups and rows != self._file.described.lines:
            raise ValueError(f"it has {rows:,} rows, not {self._file.described.lines:,}")
        yield self._found(groups, counts, len(self._run_ids))

    def _may_be_wanted(self, number: int) -> bool:
        """Say whether a group may hold wanted runs, or cells whose types are needed."""
        group = self._parquet.metadata.row_group(number)
        run_ids, keys = self._wanted.run_ids, self._wanted.keys
        if run_ids is None or may_hold_any(group.column(_RUN_ID).statistics, run_ids):
            return True
        if not self._wanted.types:
            return False
        return keys is None or may_hold_any(group.column(_KEY).statistics, keys)

    def _counts(self, groups: Sequence[Group]) -> Integers:
        """Return the number of rows of each run."""
        counts = np.zeros(len(self._run_ids), np.int64)
        for group in groups:
            np.add.at(counts, group.markers.runs, group.markers.lengths)
        return counts

    def _found(self, groups: Sequence[Group], counts: Integers, before: int) -> Found:
        """Return what is wanted of the runs before one, in groups with all of their cells."""
        chosen = np.array([self._wanted.has_run(run_id) for run_id in self._run_ids], np.bool_)
        chosen[before:] = False
        types: dict[str, int] = {}
        pieces: dict[str, list[tuple[int, SlicedCells]]] = {}
        for group in groups:
            for key, cells in self._cells(group, chosen):
                if self._wanted.types:
                    left = types_of(joined_cells(NOWHERE, [cells]))
                    types[key] = types.get(key, ANY_TYPE) & left
                kept = of_chosen_runs(cells, chosen)
                if len(kept.at.starts):
                    pieces.setdefault(key, []).append((group.number, kept))
        borders = np.concatenate([[0], np.cumsum(counts * chosen)])
        first = rows_of_part(self._file.path).start if self._file.digest else 0
        rows = RunRows(
            [run_id for run_id, one in zip(self._run_ids, chosen, strict=True) if one],
            [first] * int(chosen.sum()),
            np.concatenate([[0], np.cumsum(counts[chosen])]),
            *self._rows(groups, chosen),
            {key: self._column(found, counts, borders, first) for key, found in pieces.items()},
        )
        return Found(rows, types, frozenset(self._keys))

    def _column_of(self, group: int, name: str) -> pa.Array:
        found = self._parquet.read_row_group(group, columns=[name], use_threads=False).column(0)
        return found.chunk(0) if found.num_chunks == 1 else found.combine_chunks()

    def _group(self, number: int) -> Group:
        """Find the slices of a group."""
        run_ids, keys, kinds = (self._column_of(number, name) for name in DICTIONARIES)
        run_codes, key_codes, kind_codes = map(_codes, (run_ids, keys, kinds))
        changes = np.ones(len(run_codes), np.bool_)
        changes[1:] = run_codes[1:] != run_codes[:-1]
        for codes in (key_codes, kind_codes):
            changes[1:] |= codes[1:] != codes[:-1]
        starts = np.flatnonzero(changes)
        kind_of = np.array([KINDS.index(word) for word in kinds.dictionary.to_pylist()], np.uint8)
        segments = Segments(
            starts,
            np.diff(starts, append=len(run_codes)),
            self._numbers_of_runs(run_ids.dictionary.to_pylist(), run_codes[starts]),
            kind_of[kind_codes[starts]],
        )
        is_marker = segments.kinds == ROW
        words = keys.dictionary.to_pylist()
        self._keys.update(words)
        codes = key_codes[starts]
        codes = np.where(is_marker, -1, codes)
        found = {
            word: segments.only(codes == code)
            for code, word in enumerate(words)
            if self._wanted.has_key(word)
        }
        return Group(number, segments.only(is_marker), found)

    def _numbers_of_runs(self, words: Sequence[str], codes: NDArray[np.int32]) -> Integers:
        """Return the number of the run of each slice, and take up the runs of a group."""
        first = np.flatnonzero(np.diff(codes, prepend=-1))
        found = [words[code] for code in codes[first].tolist()]
        goes_on = bool(self._run_ids) and self._run_ids[-1] == found[0]
        before = len(self._run_ids) - goes_on
        self._run_ids += found[goes_on:]
        lengths = np.diff(first, append=len(codes))
        return np.repeat(np.arange(before, before + len(found)), lengths)

    def _cells(self, group: Group, chosen: NDArray[np.bool_]) -> Iterator[tuple[str, SlicedCells]]:
        """Give the cells of each key whose values are needed."""
        needed = {
            key: at for key, at in group.keys.items() if self._wanted.types or chosen[at.runs].any()
        }
        if not needed:
            return
        column = self._column_of(group.number, "value")
        values, valid = numbers_of(column), None
        if column.null_count != int(group.markers.lengths.sum()):
            valid = validity_of(column)
        texts: pa.Array | None = None
        for key, at in needed.items():
            found = gathered(values, at.starts, at.lengths)
            if valid is not None:
                found = np.where(gathered(valid, at.starts, at.lengths), found, np.nan)
            cells = SlicedCells(at, found, NOWHERE, ())
            if may_have_texts(cells):
                texts = self._column_of(group.number, "text") if texts is None else texts
                cells = with_texts(cells, texts)
            yield key, cells

    def _column(
        self,
        found: Sequence[tuple[int, SlicedCells]],
        counts: Integers,
        borders: Integers,
        first: int,
    ) -> KeyCells:
        """Return the wanted cells of a key with the positions of their rows."""
        held = np.zeros(len(counts), np.int64)
        for _, cells in found:
            np.add.at(held, cells.at.runs, cells.at.lengths)
        runs = np.flatnonzero(held)
        if np.array_equal(held, np.diff(borders)):  # each row has one
            rows = np.arange(int(borders[-1]))
        elif np.array_equal(held[runs], counts[runs]):  # each row of the runs that have one
            rows = ranges(borders[runs], counts[runs])
        else:
            rows = np.concatenate(
                [self._rows_of(group, cells.at, borders, first) for group, cells in found]
            )
        return joined_cells(rows, [cells for _, cells in found])

    def _rows_of(self, group: int, at: Segments, borders: Integers, first: int) -> Integers:
        row = numbers_of(self._column_of(group, "row"))
        before: Integers = np.repeat(borders[at.runs] - first, at.lengths)
        before += gathered(row, at.starts, at.lengths)
        return before

    def _rows(
        self, groups: Sequence[Group], chosen: NDArray[np.bool_]
    ) -> tuple[Integers, NDArray[np.bool_], Doubles]:
        """Return step and timestamp of each wanted row."""
        steps: list[Integers] = [NOWHERE]
        has_step: list[NDArray[np.bool_]] = [np.zeros(0, np.bool_)]
        timestamps: list[Doubles] = [np.zeros(0, np.float64)]
        for group in groups:
            at = group.markers.only(chosen[group.markers.runs])
            if not len(at.starts):
                continue
            step, time = (self._column_of(group.number, name) for name in ("step", "timestamp"))
            found, valid = (
                gathered(one, at.starts, at.lengths)
                for one in (numbers_of(step), validity_of(step))
            )
            steps.append(np.where(valid, found, 0) if step.null_count else found)
            has_step.append(valid)
            moments = gathered(numbers_of(time), at.starts, at.lengths)
            if time.null_count:
                moments[~gathered(validity_of(time), at.starts, at.lengths)] = np.nan
            timestamps.append(moments)
        return np.concatenate(steps), np.concatenate(has_step), np.concatenate(timestamps)


def _codes(column: pa.DictionaryArray) -> NDArray[Any]:
    """Return the codes of words; that of null is any number."""
    return numbers_of(column.indices)
