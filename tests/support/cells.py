"""Compare cells to the last bit, and divide lines into batches."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from dr_wandb.core.columnar.cells import CellBatch, joined
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.values import json_safe
from tests.support.strategies import (
    RUN_ID,
    clean_texts,
    finite_numbers,
    metric_names,
    rows_as_received,
    runs_of_rows,
)


def exactly(batch: CellBatch) -> Any:
    """Return a value that is equal for equal cells: NaN too, and 0.0 is not -0.0."""
    columns = [
        (key, *(one.tobytes() for one in cells[:4]), list(cells.texts))
        for key, cells in batch.columns.items()
    ]
    own = [one.tobytes() for one in (batch.steps, batch.has_step, batch.timestamps)]
    return batch.first, own, columns


def lines_of_rows(rows: Sequence[HistoryRow]) -> bytes:
    """Return rows as lines."""
    return b"".join(map(encode_line, rows))


def cells_of_rows(rows: Sequence[HistoryRow], first: int = 0) -> CellBatch:
    """Return rows as one batch of cells."""
    return joined(list(cells_of_lines([lines_of_rows(rows)], first)))


def divided(rows: Sequence[Any], cuts: Sequence[int]) -> list[Sequence[Any]]:
    """Divide rows at positions that may be beyond their end."""
    borders = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    return [rows[start:stop] for start, stop in pairwise(borders)]


cuts_of_rows = st.lists(st.integers(0, 8), max_size=4)

_own_values = finite_numbers | clean_texts | st.booleans() | st.lists(st.integers(), max_size=2)
_own_names = st.sampled_from(
    ["_step", "_timestamp", "_runtime", "_wandb", "_wandb.a", "_", "_own", "own", "", 'a"b', "\\"]
)
_joined_objects = st.dictionaries(_own_names | metric_names, _own_values, max_size=4).map(json_safe)

joined_rows = st.builds(
    HistoryRow,
    run_id=st.just(RUN_ID),
    step=st.none() | st.integers(-1, 6) | st.integers(),
    timestamp=st.none()
    | st.sampled_from(["1", "1.0", "1e3", "1.5", "NaN", "x", "", "9007199254740993", "-0", "1e999"])
    | st.floats(0, 4e9).map(str),
    runtime=st.none() | st.integers() | st.floats(0.1, 0.9),
    wandb_metadata=_joined_objects,
    metrics=_joined_objects,
    extra=_joined_objects,
)
"""Rows that no source gives, as several copies of a row or other tools may leave them."""

any_rows = runs_of_rows | st.lists(rows_as_received | joined_rows, max_size=6)
