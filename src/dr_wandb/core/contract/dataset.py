"""Datasets: the kinds of rows that runs have, each described by one value.

Rules
- Rows of every dataset are treated in the same way; a `Dataset` says what is particular to one. A
  source that has a dataset has a method `read_<name>` (see shell/sources).
- The rows of a dataset are lines of one data file, by run id, then in the order of `codec.row_key`.
- A source gives a row as a flat object: `_step` (an integer) and `_timestamp` (seconds) order
  the rows of a run, and all other keys are metrics. `normalize_row` stores it.
- Each part of a run is decided on by itself.

CONTRIBUTING.md lists the files to edit for a new dataset.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dr_wandb.core.contract.records import Record


class Counts(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What a listing shows of the rows of a dataset; if it changes, so did the rows.

    Of the history, `line_count` is `historyLineCount`, `last_step` is `historyKeys.lastStep` (None
    if there is none), `last_logged_at` is the summary's `_timestamp` as text. Each may be stale on
    the server (wandb 0.31.0); `line_count` is the freshest.
    """

    line_count: int | None = None
    last_step: int | None = None
    last_logged_at: str | None = None


class Dataset(Record, frozen=True, kw_only=True):
    """What is particular to one dataset.

    `file` is the name of its data file. `selects`: a request may ask for part of its rows. `counts`
    reads the counts of this dataset from a raw run of a listing; None for the history, for which a
    listing has fields of its own.
    """

    name: str
    file: str
    selects: bool = False
    counts: Callable[[Mapping[str, Any]], Counts] | None = None


HISTORY = "history"
"""What runs log, row by row."""

DATASETS: dict[str, Dataset] = {
    HISTORY: Dataset(name=HISTORY, file="history.jsonl", selects=True),
}
"""All datasets, in the order in which a commit renames their files."""


def counts_in(raw_run: Mapping[str, Any], names: Iterable[str]) -> dict[str, Counts]:
    """Return the counts of datasets other than the history from a raw listed run, by name."""
    counts = ((name, DATASETS[name].counts) for name in names)
    return {name: count(raw_run) for name, count in counts if count is not None}
