"""Give the rows of a history in order, some at a time, whatever files they are in.

A pack holds runs of any ids. So its runs go through a temporary file, and are read back by id.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile

from dr_wandb.core.columnar.run_rows import OrderedRows, RunRows, by_run
from dr_wandb.shell.frames.history import History

MOST_ROWS = 65_536
"""How many rows are given at once, roughly."""


def rows_in_order(
    history: History, keys: Sequence[str], run_ids: frozenset[str] | None
) -> Iterator[OrderedRows]:
    """Give rows of some runs, with the cells of some keys.

    Raises DrWandbError if a run is not there exactly once.
    """
    pieces = history.pieces(keys, run_ids)
    if len(history.files) > 1:
        pieces = _sorted(pieces)
    last, rows = "", 0
    for some in _together(pieces):
        ordered = history.in_order(some, from_row_0=False)
        first = ordered.run_ids[0]
        history.require_first(first, int(ordered.firsts[0]), rows if first == last else 0)
        for run_id, number in zip(ordered.run_ids[1:], ordered.firsts[1:].tolist(), strict=True):
            history.require_first(run_id, number, 0)
        last, rows = ordered.run_ids[-1], int(ordered.firsts[-1] + ordered.counts[-1])
        yield ordered


def _sorted(pieces: Iterable[RunRows]) -> Iterator[RunRows]:
    with TemporaryFile() as held:
        found = []
        for piece in pieces:
            for run in by_run(piece):
                found.append((run.run_ids[0], run.firsts[0], held.tell()))
                pickle.dump(run, held, pickle.HIGHEST_PROTOCOL)
        for *_, begin in sorted(found):
            held.seek(begin)
            yield pickle.load(held)


def _together(pieces: Iterable[RunRows]) -> Iterator[list[RunRows]]:
    """Gather pieces that are given at once."""
    together: list[RunRows] = []
    rows = 0
    for piece in pieces:
        together.append(piece)
        rows += piece.row_count
        if rows >= MOST_ROWS:
            yield together
            together, rows = [], 0
    if together:
        yield together
