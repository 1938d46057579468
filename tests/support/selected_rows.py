"""What a selection keeps of the rows of one run, by the place of each row."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import HistorySelection


def selected_by_place(
    run: Sequence[HistoryRow], selection: HistorySelection
) -> dict[int, HistoryRow]:
    """Return the rows that a selection keeps, by their places in the run."""
    unlimited = replace(selection, window=replace(selection.bounds, max_records=None))
    kept = {
        place: selected
        for place, row in enumerate(run)
        if (selected := select_row(row, unlimited)) is not None
    }
    last = selection.bounds.max_records
    places = list(kept) if last is None else list(kept)[-last:]
    return {place: kept[place] for place in places}


def leaves_of(row: HistoryRow) -> set[tuple[str, bytes]]:
    """Return the single values of a row's metrics, each with its dotted name."""
    return {leaf for key, value in row.metrics.items() for leaf in _leaves(value, key)}


def _leaves(value: Any, name: str) -> list[tuple[str, bytes]]:
    if isinstance(value, Mapping) and value:
        return [leaf for key, member in value.items() for leaf in _leaves(member, f"{name}.{key}")]
    return [(name, msgspec.json.encode(value, order="sorted"))]
