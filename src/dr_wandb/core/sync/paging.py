"""How many runs to ask for in the next page of a listing.

Rules
- The first page is small, as the size of the runs is unknown. Then the bytes of the last page
  decide: at most `PAGE_BYTES` a page, and at most `GROWTH` times as many runs as an earlier page
  had.
- A page brings the last run of the page before once more. If two runs are too large for a page, it
  asks for one run *alone*: of the run before it then brings only the name.
- A page that could not be served is asked for again with half as many runs, down to one alone.
- After that the size that was served stays for some pages, then it doubles page by page. Each time
  that a page again cannot be served it stays for twice as many pages, so that a server with a limit
  is asked beyond it more and more rarely.
- A run that cannot be served even alone is not read; after `MOST_UNREAD` of them in a row the runs
  are not the cause.

Everything here is total and pure.
"""

from msgspec.structs import replace

from dr_wandb.core.contract.records import Record

FIRST_RUNS = 2
"""Runs in the first page of a session. Nothing else bounds it: 60 runs with 2 MB of config each, in
one page, took 1.3 GB in this process and wandb-core. With two, `GROWTH` leads to full pages in two
steps, with one in three."""

PAGE_BYTES = 4_000_000
"""The intended size of the answer to a page. This process and wandb-core need about eight times as
much together (wandb 0.31.0), and larger pages do not speed up a slow listing."""

GROWTH = 16
"""A page has at most this many times the runs of an earlier one: runs may have become larger."""

LONGEST_STAY = 64
"""The most pages before a larger size is tried again, however often it could not be served."""

MOST_UNREAD = 3
"""The listing ends after this many runs in a row that cannot be served even alone."""


class PageSize(Record, frozen=True, kw_only=True):
    """How many runs the next page asks for, and what earlier pages have shown.

    most: the largest page that may be asked for. runs: of the next page, beside the last run of the
    page before. alone: the page asks for one run, and only the name of the run before. stay: the
    number of further pages that must not be larger. patience: the number of pages that the size
    stayed for after the last page that could not be served; 0 if all were. falling: the last page
    could not be served.
    """

    most: int
    runs: int
    alone: bool = False
    stay: int = 0
    patience: int = 0
    falling: bool = False


def first_page(most: int) -> PageSize:
    """Return the size of the first page of a session, at most `most` runs."""
    return PageSize(most=most, runs=min(most, FIRST_RUNS))


def note_served(size: PageSize, runs: int, answer_bytes: int) -> PageSize:
    """Return the size of the next page after an answer with `runs` runs, of this many bytes.

    Further runs are assumed to be as large as these.
    """
    if size.stay:
        wanted, alone = size.runs, size.alone
    else:
        growth = 2 if size.patience else GROWTH
        wanted, alone = min(size.most, max(size.runs, growth * min(runs, size.runs))), False
    if runs > 0 and answer_bytes > 0:
        fitting = PAGE_BYTES * runs // answer_bytes - 1
        wanted, alone = max(1, min(wanted, fitting)), alone or fitting < 1
    return replace(size, runs=wanted, alone=alone, stay=max(0, size.stay - 1), falling=False)


def note_refused(size: PageSize) -> PageSize | None:
    """Return the size to ask for after a page that could not be served; None after a run alone."""
    if size.alone:
        return None
    patience = size.patience
    if not size.falling:
        patience = min(LONGEST_STAY, max(1, 2 * patience))
    return replace(
        size,
        runs=max(1, size.runs // 2),
        alone=size.runs == 1,
        stay=patience,
        patience=patience,
        falling=True,
    )


def note_capped(size: PageSize) -> PageSize:
    """Return the size to ask for after a page that brought only the run that was asked for again.

    Such a server gives one run a page, so the next ones are asked for alone.
    """
    return replace(size, runs=1, alone=True, stay=LONGEST_STAY, falling=False)
