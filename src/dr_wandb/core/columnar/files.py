"""Which file holds the cells of a run. It depends on the run alone, not on the order of syncs.

Rules
- The runs of one month of creation are in 16 packs, by the first hex digit of their digest.
- A run of at least `MOST_CELLS` cells or `MOST_TEXT_BYTES` of text has files of its own, its parts.
- A part is cut after the last row with which neither limit is exceeded, from row 0 on. So more rows
  at the end of a run change its last part alone. A row that exceeds a limit by itself is a part.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise
from typing import NamedTuple

import numpy as np

from dr_wandb.core.columnar.cells import CellBatch, Integers, joined, sizes_of

MOST_CELLS = 131_072
"""The most cells of a part, and of a group of a file: as little as readers read fast."""

MOST_TEXT_BYTES = 16 << 20
"""The most bytes of text beside them: a part, and a run of a pack, are held in memory."""

UNKNOWN_MONTH = "unknown"

_TIME = re.compile(r"(?P<month>[0-9]{4}-(?:0[1-9]|1[0-2]))-[0-9]{2}T[0-9:.]+Z")


class Size(NamedTuple):
    """How large the rows of a run are as cells."""

    cells: int
    text_bytes: int

    @property
    def has_own_files(self) -> bool:
        """Say whether a run of this size is not in a pack."""
        return self.cells >= MOST_CELLS or self.text_bytes >= MOST_TEXT_BYTES


NOTHING = Size(0, 0)


def pack_name(run_id: str, created_at: str | None) -> str:
    """Return the name of the pack that holds a run without files of its own."""
    return f"{month_of(created_at)}-{_digest(run_id)[0]}.parquet"


def part_name(run_id: str, created_at: str | None, number: int) -> str:
    """Return the name of a run's own file. number: of the part, counted from 0."""
    return f"{month_of(created_at)}-run-{_digest(run_id)[:32]}-{number:04d}.parquet"


def month_of(created_at: str | None) -> str:
    """Return the month of a normalized time in UTC, `unknown` if it is not a time."""
    found = _TIME.fullmatch(created_at or "")
    return UNKNOWN_MONTH if found is None else found["month"]


def _digest(run_id: str) -> str:
    return hashlib.sha256(run_id.encode()).hexdigest()


def size_of(batch: CellBatch) -> Size:
    """Return how large a batch is."""
    cells, text_bytes = sizes_of(batch)
    return Size(int(cells.sum()), int(text_bytes.sum()))


def cut_parts(batches: Iterable[CellBatch]) -> Iterator[CellBatch]:
    """Cut the rows of a run into parts, however they are divided into batches.

    A run without files of its own is a single part. Holds the cells of a part, and of one batch.
    """
    held: list[CellBatch] = []
    used = NOTHING
    for batch in batches:
        stops, used = cuts(*sizes_of(batch), used)
        for start, stop in pairwise([0, *stops, batch.row_count]):
            if stop > start:
                held.append(batch.between(start, stop))
            if stop < batch.row_count:
                yield joined(held)
                held = []
    if held:
        yield joined(held)


def files_of_run(
    run_id: str, created_at: str | None, batches: Iterable[CellBatch], below: int = 0
) -> Iterator[tuple[str, CellBatch]]:
    """Give the file names of a run, each with the cells that the file holds of it.

    That is its pack, or each of its own files. below: the number of parts that come before these
    batches and are not given. Holds two parts at most.
    """
    parts = cut_parts(batches)
    beginning = [*islice(parts, 2)]
    if not below and len(beginning) == 1 and not size_of(beginning[0]).has_own_files:
        yield pack_name(run_id, created_at), beginning[0]
        return
    for number, part in enumerate(chain(beginning, parts), below):
        yield part_name(run_id, created_at, number), part


def cuts(
    cells: Integers, text_bytes: Integers, used: Size, limits: Size | None = None
) -> tuple[list[int], Size]:
    """Divide items into groups within both limits; an item that exceeds one is a group by itself.

    cells, text_bytes: how large each item is. used: the size of the group that the first item may
    still belong to. limits: those of a part if they are not given. Returns the items that begin
    another group, and the size of the last group.
    """
    if not len(cells):
        return [], used
    limits = limits or Size(MOST_CELLS, MOST_TEXT_BYTES)
    total = Size(used.cells + int(cells.sum()), used.text_bytes + int(text_bytes.sum()))
    if total.cells <= limits.cells and total.text_bytes <= limits.text_bytes:
        return [], total
    ends = np.cumsum(cells), np.cumsum(text_bytes)
    stops: list[int] = []
    start = 0
    while True:
        before = [int(end[start - 1]) if start else 0 for end in ends]
        stop = min(
            int(np.searchsorted(end, begin + most - size, side="right"))
            for end, begin, most, size in zip(ends, before, limits, used, strict=True)
        )
        stop = max(stop, start + (used == NOTHING))
        if stop >= len(cells):
            rest = (int(end[-1]) - begin for end, begin in zip(ends, before, strict=True))
            return stops, Size(*map(sum, zip(used, rest, strict=True)))
        stops.append(stop)
        start, used = stop, NOTHING
