"""The rows of many runs with the cells of some keys, as they were read, in pieces.

A piece has the rows of one run after those of another. Pieces are put in the order of
`history.jsonl` without copying their cells: each gets the positions that its rows have then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import CellBatch, Doubles, Integers, KeyCells, without

_MOST_SLICES = 32
"""Slices are joined one by one if they have this number of values on average."""


class RunRows(NamedTuple):
    """The rows of some runs. Each run is there once, with consecutive rows.

    firsts: the number of the first row in its run, counted from 0. borders: the position of the
    first row of each run, and the number of all rows. steps: 0 for a row without one. timestamps:
    NaN for a row without one. columns: cells by key; their rows are counted from that of the piece.
    """

    run_ids: Sequence[str]
    firsts: Sequence[int]
    borders: Integers
    steps: Integers
    has_step: NDArray[np.bool_]
    timestamps: Doubles
    columns: Mapping[str, KeyCells]

    @property
    def row_count(self) -> int:
        """Return how many rows there are."""
        return len(self.steps)


def rows_of_batch(run_id: str, batch: CellBatch) -> RunRows:
    """Return the rows of one run as a piece."""
    return RunRows(
        [run_id],
        [batch.first],
        np.array([0, batch.row_count]),
        batch.steps,
        batch.has_step,
        batch.timestamps,
        {key: cells for key, cells in batch.columns.items() if key is not None},
    )


def of_runs(piece: RunRows, has_run: Callable[[str], bool]) -> RunRows:
    """Return the rows of some runs of a piece."""
    chosen = np.array([has_run(run_id) for run_id in piece.run_ids], np.bool_)
    if chosen.all():
        return piece
    lengths = np.diff(piece.borders)
    kept = np.repeat(chosen, lengths)
    before: Integers = np.cumsum(kept) - kept
    columns = {
        key: left._replace(rows=before[left.rows])
        for key, cells in piece.columns.items()
        if len((left := without(cells, ~kept[cells.rows])).rows)
    }
    return RunRows(
        [run_id for run_id, one in zip(piece.run_ids, chosen, strict=True) if one],
        [first for first, one in zip(piece.firsts, chosen, strict=True) if one],
        np.concatenate([[0], np.cumsum(lengths[chosen])]),
        piece.steps[kept],
        piece.has_step[kept],
        piece.timestamps[kept],
        columns,
    )


def by_run(piece: RunRows) -> Iterator[RunRows]:
    """Divide a piece into its runs."""
    borders = zip(piece.run_ids, piece.firsts, pairwise(piece.borders.tolist()), strict=True)
    for run_id, first, (start, stop) in borders:
        cut = {key: cells.between(start, stop) for key, cells in piece.columns.items()}
        yield RunRows(
            [run_id],
            [first],
            np.array([0, stop - start]),
            piece.steps[start:stop],
            piece.has_step[start:stop],
            piece.timestamps[start:stop],
            {key: cells for key, cells in cut.items() if len(cells.rows)},
        )


class OrderedRows:
    """Pieces, and the position of each of their runs among all rows, by run and row.

    run_ids: all runs, sorted. Each has `counts` rows, of which the first has the number in
    `firsts`. starts: of each run of each piece.
    """

    def __init__(
        self,
        pieces: Sequence[RunRows],
        starts: Sequence[Integers],
        run_ids: Sequence[str],
        firsts: Integers,
        counts: Integers,
    ) -> None:
        self.pieces = pieces
        self.run_ids = run_ids
        self.firsts = firsts
        self.counts = counts
        self._starts = starts
        self._positions: dict[int, Integers] = {}

    @property
    def row_count(self) -> int:
        """Return how many rows there are."""
        return int(self.counts.sum())

    def positions(self, number: int) -> Integers:
        """Return the position of each row of a piece."""
        if number not in self._positions:
            piece = self.pieces[number]
            offsets = self._starts[number] - piece.borders[:-1]
            rows = np.arange(piece.row_count)
            self._positions[number] = np.repeat(offsets, np.diff(piece.borders)) + rows
        return self._positions[number]

    def put(self, target: NDArray[Any], number: int, values: NDArray[Any]) -> None:
        """Put a value for each row of a piece into its position."""
        piece = self.pieces[number]
        if len(piece.run_ids) * _MOST_SLICES > piece.row_count:
            target[self.positions(number)] = values
            return
        borders = pairwise(piece.borders.tolist())
        for start, (first, stop) in zip(self._starts[number].tolist(), borders, strict=True):
            target[start : start + stop - first] = values[first:stop]


def in_order(pieces: Sequence[RunRows], *, from_row_0: bool = True) -> OrderedRows:
    """Put the rows of pieces in order.

    from_row_0: each run has to begin with its first row. Raises ValueError if the rows of a run do
    not follow each other, each there once.
    """
    spans = sorted(
        (run_id, first, number, index)
        for number, piece in enumerate(pieces)
        for index, (run_id, first) in enumerate(zip(piece.run_ids, piece.firsts, strict=True))
    )
    starts = [np.zeros(len(piece.run_ids), np.int64) for piece in pieces]
    lengths = [np.diff(piece.borders) for piece in pieces]
    run_ids: list[str] = []
    firsts: list[int] = []
    counts: list[int] = []
    position = 0
    for run_id, first, number, index in spans:
        if not run_ids or run_ids[-1] != run_id:
            run_ids.append(run_id)
            firsts.append(0 if from_row_0 else first)
            counts.append(0)
        if first != firsts[-1] + counts[-1]:
            raise ValueError(f"run {run_id!r} has {counts[-1]} rows before its row {first}")
        starts[number][index] = position
        rows = int(lengths[number][index])
        counts[-1] += rows
        position += rows
    numbers = np.array(firsts, np.int64), np.array(counts, np.int64)
    return OrderedRows(pieces, starts, run_ids, *numbers)


def gathered(values: NDArray[Any], starts: Integers, lengths: Integers) -> NDArray[Any]:
    """Return slices of an array, one after another."""
    total = int(lengths.sum())
    if 0 < len(starts) * _MOST_SLICES <= total:
        slices = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
        return np.concatenate([values[start:stop] for start, stop in slices])
    return values[ranges(starts, lengths)]


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """Return the numbers of ranges, one after another."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
