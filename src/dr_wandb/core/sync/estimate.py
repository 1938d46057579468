"""Estimate what a sync costs before it reads anything: requests, rows and bytes.

Rules
- A request is one GraphQL request to W&B: to open the session, for a page of the listing, for the
  list of a run's exported files, for a page of live rows, or for a metadata file. The download of a
  file is none. A request that fails and is sent again counts each time; an estimate expects none.
- A run that ended `EXPORTED_AFTER` ago is expected to be exported to Parquet completely, any other
  one not at all.
- A run that is read whole brings all listed rows, a tail those that are not held.
- Rows of another dataset take a request for each `rows_per_answer` of it, see `Dataset`.
- The records of a project take the requests of their listing, which a sync sends again, and those
  for the links of runs and for addresses of content, see `ProjectDataset`.
- Bytes are those of the rows as lines: of the size of the held ones, else of `ROW_BYTES`.

Everything here is total and pure.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple

from dr_wandb.core.contract.dataset import DATASETS, HISTORY, Counts, ProjectDataset
from dr_wandb.core.contract.known_runs import total
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.live_pages import (
    fits_with_others,
    pages_of_run,
    pages_of_tail,
    shared_requests,
    tail_rows,
)
from dr_wandb.core.sync.paging import first_page, note_served

EXPORTED_AFTER = timedelta(hours=4)
"""W&B exports a run some time after its end: it names four hours, others saw days, or minutes."""

ROW_BYTES = 300
"""The assumed length of a line of an export that holds none: that of a row with six metrics."""

WITHOUT_REQUESTS = frozenset({"offline", "replay"})
"""Kinds of sources that read files."""

OPENING = 1
"""Requests that open a session with W&B."""


class Reading(NamedTuple):
    """Rows that are read of one run. `start` is the step at which a tail begins, None for all rows.

    `exported`: all rows are in files. `held`: rows of the run that are held. `other_keys`: the held
    rows have other metrics.
    """

    counts: Counts
    exported: bool
    row_bytes: int
    dataset: str = HISTORY
    start: int | None = None
    held: int = 0
    other_keys: bool = False

    @property
    def rows(self) -> int:
        """Return about how many rows come."""
        listed = self.counts.line_count or 0
        return listed if self.start is None else max(0, listed - self.held)

    @property
    def bytes(self) -> int:
        """Return about how many bytes they take as lines."""
        return self.rows * (max(self.row_bytes, ROW_BYTES) if self.other_keys else self.row_bytes)

    @property
    def requests(self) -> int:
        """Return about how many requests they take, without those of other runs."""
        if self.dataset != HISTORY:
            most = DATASETS[self.dataset].rows_per_answer
            return 1 if most is None else max(1, -(-self.rows // most))
        if self.start is not None:
            return pages_of_tail(self.rows, self.row_bytes)
        return 1 if self.exported else 1 + pages_of_run(self.rows, self.row_bytes)

    @property
    def shared_rows(self) -> int | None:
        """Return how many rows a request shared with other runs asks for, None if it is alone."""
        count, last = self.counts.line_count, self.counts.last_step
        if self.dataset != HISTORY or self.start is None:
            return None
        if count is None or last is None or self.requests > 1:
            return None
        most = tail_rows(count, last, max(0, last + 1 - self.start))
        return most if fits_with_others(most) else None


class Estimate(NamedTuple):
    """What readings cost together."""

    requests: int
    rows: int
    bytes: int


def is_exported(run: RunListing, now: str | None) -> bool:
    """Say whether to expect that W&B has exported all rows of a run. now: None if not known."""
    at, last = instant(now), instant(run.heartbeat_at)
    if at is None or last is None:
        return run.terminal
    return run.terminal and at - last >= EXPORTED_AFTER


def estimate(readings: Iterable[Reading]) -> Estimate:
    """Estimate what readings of several runs cost together."""
    requests = rows = size = 0
    shared = []
    for reading in readings:
        rows += reading.rows
        size += reading.bytes
        together = reading.shared_rows
        if together is None:
            requests += reading.requests
        else:
            shared.append(together)
    return Estimate(requests + shared_requests(shared), rows, size)


def row_bytes_in(runs: Mapping[str, RunTracking], dataset: str) -> int:
    """Return the average length of a held line, `ROW_BYTES` if none is held."""
    held = total(runs, dataset)
    return max(1, held.bytes // held.rows) if held.rows else ROW_BYTES


def listing_requests(runs: int, runs_per_page: int) -> int:
    """Return about how many requests one listing of this many runs takes, opening included.

    Pages grow from a small one, see `paging`; runs are assumed to be small.
    """
    size, requests = first_page(max(1, runs_per_page)), OPENING
    while True:
        requests += 1
        runs -= size.runs
        if runs <= 0:
            return requests
        larger = note_served(size, size.runs, 0)
        if larger.runs == size.runs:
            return requests + -(-runs // size.runs)
        size = larger


def record_requests(
    dataset: ProjectDataset, source: str, *, listed_with: int, runs: int, contents: int
) -> int:
    """Return about how many requests the records of a dataset take.

    source: the kind of source. runs: those that are asked for their links. contents: how many
    records have content that never changes and that is not held.
    """
    if source in WITHOUT_REQUESTS:
        return 0
    further = ((runs, dataset.runs_per_request), (contents, dataset.contents_per_request))
    return listed_with + sum(-(-number // most) for number, most in further if most is not None)


def space_needed(new_bytes: int, held_bytes: int) -> int:
    """Return about how much free space a sync needs that fetches rows of `new_bytes` bytes.

    Fetched rows are on disk once as they came, and once in the new file, which has the held ones
    as well; the old file stays until the new one is complete.
    """
    return 2 * new_bytes + held_bytes if new_bytes else 0
