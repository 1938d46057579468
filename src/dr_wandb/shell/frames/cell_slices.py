"""Cells of a Parquet file by run and key: slices of its groups, because it is sorted by both."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import JSON, TEXT, Doubles, Integers, KeyCells
from dr_wandb.core.columnar.run_rows import ranges
from dr_wandb.core.contract.values import EXACT_INTEGERS
from dr_wandb.shell.store.arrow_memory import numbers_to_arrow, validity_of


class Segments(NamedTuple):
    """Slices of a group, each of one run, key and kind. runs: counted in the file."""

    starts: NDArray[Any]
    lengths: NDArray[Any]
    runs: NDArray[Any]
    kinds: NDArray[Any]

    def only(self, chosen: NDArray[np.bool_]) -> "Segments":
        """Return some of the slices."""
        return Segments(*(one[chosen] for one in self))


class Group(NamedTuple):
    """A group of a file, its markers, and the slices of each wanted key in it."""

    number: int
    markers: Segments
    keys: Mapping[str, Segments]

    def from_run(self, run: int) -> "Group":
        """Return the group without the slices of the runs before one, which gets the number 0."""
        keys = {key: _from_run(at, run) for key, at in self.keys.items()}
        kept = {key: at for key, at in keys.items() if len(at.starts)}
        return Group(self.number, _from_run(self.markers, run), kept)


def _from_run(at: Segments, run: int) -> Segments:
    kept = at.only(at.runs >= run)
    return kept._replace(runs=kept.runs - run)


class SlicedCells(NamedTuple):
    """Cells of a key in a group."""

    at: Segments
    values: Doubles
    text_at: Integers
    texts: Sequence[str]


def may_have_texts(cells: SlicedCells) -> bool:
    """Say whether a cell may have a text: a text, JSON, or the digits of a large integer."""
    kinds = cells.at.kinds
    if (kinds == TEXT).any() or (kinds == JSON).any():
        return True
    values = cells.values
    with np.errstate(invalid="ignore"):
        return bool((values != values).any() or (np.abs(values) >= EXACT_INTEGERS).any())


def with_texts(cells: SlicedCells, column: pa.Array) -> SlicedCells:
    """Return cells with their texts. column: `text` of their group."""
    at = ranges(cells.at.starts, cells.at.lengths)
    text_at = np.flatnonzero(validity_of(column)[at])
    taken = column.take(numbers_to_arrow(at[text_at]))
    return cells._replace(text_at=text_at, texts=taken.to_pylist())


def of_chosen_runs(cells: SlicedCells, chosen: NDArray[np.bool_]) -> SlicedCells:
    """Return the cells of the chosen runs."""
    segments = chosen[cells.at.runs]
    if segments.all():
        return cells
    kept = np.repeat(segments, cells.at.lengths)
    texts = [text for text, at in zip(cells.texts, cells.text_at.tolist(), strict=True) if kept[at]]
    before: Integers = np.cumsum(kept) - kept
    text_at: Integers = before[cells.text_at[kept[cells.text_at]]]
    return SlicedCells(cells.at.only(segments), cells.values[kept], text_at, texts)


def joined_cells(rows: Integers, found: Sequence[SlicedCells]) -> KeyCells:
    """Return the cells of a key in groups that follow each other."""
    kinds = [_kinds(cells.at) for cells in found]
    if len(found) == 1:
        [one] = found
        return KeyCells(rows, kinds[0], one.values, one.text_at, one.texts)
    offsets = np.cumsum([0, *(len(cells.values) for cells in found)])
    return KeyCells(
        rows,
        np.concatenate(kinds),
        np.concatenate([cells.values for cells in found]),
        np.concatenate(
            [cells.text_at + start for cells, start in zip(found, offsets, strict=False)]
        ),
        [text for cells in found for text in cells.texts],
    )


def _kinds(at: Segments) -> NDArray[np.uint8]:
    return np.repeat(at.kinds, at.lengths)
