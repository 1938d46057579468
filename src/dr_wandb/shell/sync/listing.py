"""List the runs of a project, and check that the listing is complete.

Rules
- An answer is complete if its distinct ids equal the source's count; if not, the query is sent
  again.
- If the source's count of all runs in scope disagrees with the tracked runs, all are listed.
- A run whose node does not read is requested again by itself, then reported; the others continue.
- Snapshots are written to disk as they come; only their listings stay in memory.
- Whether a run is in scope is checked again here, as far as its listing says. A run out of scope
  stays only if it is tracked.
- A held run keeps the stored values of fields that the source does not know (left_out.py).
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.codec import encode_run, fingerprint_encoded
from dr_wandb.core.contract.dataset import counts_in
from dr_wandb.core.contract.failures import AccessRefused, DrWandbError, Failure, Unreachable
from dr_wandb.core.contract.identity import is_another_run
from dr_wandb.core.contract.listing import EveryRun, ListingQuery, RunListing, RunsById, list_run
from dr_wandb.core.contract.normalize import normalize_what_reads
from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.contract.unproven_runs import FailedRun, failed_run
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.left_out import with_stored
from dr_wandb.core.sync.listing_plan import (
    Answer,
    by_id,
    count_as_asked,
    count_missing,
    everything_is_due,
    judge_answer,
    plan_listing,
)
from dr_wandb.core.sync.unmatched import SeenNames, find_unmatched, unmatched_scope
from dr_wandb.shell.background import prefetch_next
from dr_wandb.shell.progress import LOGGER, ProgressCallback, log_wait, say_nothing
from dr_wandb.shell.sources import RawRun, RunPage, Source, SourceError
from dr_wandb.shell.sync.listed_runs import ListedRunsFile
from dr_wandb.shell.sync.project_listing import ProjectListing

ATTEMPTS = 3

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What the node of a run may raise that is no node of a run."""

PAGES_OF_NAMES = 3
"""Pages of runs outside the scope that are listed for suggestions if it has no run."""

UNKNOWN_SCOPE_FIELDS = (
    "%s does not know %s of a run: only its own filter decides which runs are in scope"
)

Pause = Callable[[int], None]
"""Waits before a further attempt; takes the number of attempts made."""

FindStored = Callable[[str], WandbRun | None]
"""Returns the stored run with this id, None if there is none."""


def pause(attempts: int) -> None:
    """Wait a second, then two: three attempts are over within about ten seconds."""
    time.sleep(float(attempts))


class _ListedRun(NamedTuple):
    """A run in an answer: its listing, whether it is in scope, and why a part does not read.

    listing: None if the run is out of scope, or if nothing of it reads.
    """

    listing: RunListing | None
    inside: bool = True
    broken: RunFailure | None = None


class _ListingSession:
    """The answers to the queries of one sync."""

    def __init__(
        self,
        source: Source,
        request: ExportRequest,
        state: ExportState,
        listed: ListedRunsFile,
        find_stored: FindStored,
        wait: Pause,
        progress: ProgressCallback,
    ) -> None:
        self.source = source
        self.request = request
        self.state = state
        self.listed = listed
        self.find_stored = find_stored
        self.wait = wait
        self.progress = progress
        self.seen: set[str] = set()
        self.runs: dict[str, RunListing] = {}
        self.broken: dict[str, RunFailure] = {}
        self.inside: set[str] = set()
        self.total: int | None = None
        self.everything = False
        self.unseen: set[str] = set()
        self.names = SeenNames()
        self.pages = 0

    def ask(self, query: ListingQuery) -> int | None:
        """Send a query until the answer is complete. Returns how many counted runs are missing.

        None if the source does not count: then nothing proves that an answer is complete.
        """
        answered: dict[str, _ListedRun] = {}
        missing: int | None = None
        for attempt in range(1, ATTEMPTS + 1):
            listed: dict[str, _ListedRun] = {}
            try:
                pages = [(page.matching, page.disturbed) for page in self._pages(query, listed)]
            except SourceError as error:
                if attempt == ATTEMPTS or not error.retryable:
                    raise DrWandbError(self._why_not_listed(error)) from error
                answered |= listed
                self.pause(attempt, str(error))
                continue
            answer = judge_answer(pages, len(listed))
            if answer != Answer.INCOMPLETE:
                answered, missing = listed, 0 if answer == Answer.COMPLETE else None
                break
            answered |= listed
            missing = count_missing(pages, len(answered))
            if attempt < ATTEMPTS:
                self.pause(attempt, "runs are missing in the listing")
        self._keep(answered)
        if isinstance(query, EveryRun):
            self._everything_is_listed(answered, certain=missing == 0)
        return missing

    def pause(self, attempts: int, reason: str) -> None:
        """Wait before a further attempt."""
        log_wait(reason, attempts)
        self.wait(attempts)

    def _why_not_listed(self, error: SourceError) -> Failure:
        if error.refused:
            entity, project = self.request.entity, self.request.project
            return AccessRefused(entity=entity, project=project, detail=str(error))
        host = self.source.address
        return Unreachable(host=host, detail=str(error), answered=error.answered)

    def _pages(self, query: ListingQuery, listed: dict[str, _ListedRun]) -> Iterator[RunPage]:
        """Read an answer page by page; `listed` gets its runs."""
        for page in prefetch_next(self.source.list_runs(query)):
            self.pages += 1
            for raw_run in page.runs:
                run_id, run = self._take(raw_run, query, page.left_out)
                listed[run_id] = run
            for run_id, why in page.unread.items():
                listed[run_id] = _ListedRun(None, broken=why)
            if not isinstance(query, RunsById):
                self.total = page.total if page.total is not None else self.total
            self.seen |= listed.keys()
            total = self.total or 0
            self.progress(Progress(stage=Stage.LISTING, done=len(self.seen), total=total))
            yield page

    def _take(
        self, raw_run: RawRun, query: ListingQuery, left_out: Collection[str]
    ) -> tuple[str, _ListedRun]:
        run_id = str(raw_run.get("name"))
        address = {"entity": self.request.entity, "project": self.request.project}
        try:
            run, unread = normalize_what_reads(raw_run, **address)
        except UNREADABLE as error:
            return run_id, _ListedRun(None, broken=_unreadable(str(error) or type(error).__name__))
        logged_at = list_run(run, "").last_logged_at if unread else None
        if left_out or unread:
            run = self._with_stored(run, {*left_out, *unread})
        inside = self._in_scope(run, query, left_out)
        if self.request.is_selective:
            self.names.add(run, inside=inside)
        if not inside and run.run_id not in self.state.runs:
            return run.run_id, _ListedRun(None, inside=False)
        encoded = encode_run(run)
        self.listed.put(run.run_id, encoded)
        listing = list_run(run, fingerprint_encoded(encoded, run))
        if self.request.extra_datasets:
            counts = counts_in(raw_run, self.request.extra_datasets)
            listing = replace(listing, other_counts=counts)
        if unread:  # a stored summary says nothing about the present rows
            listing = replace(listing, last_logged_at=logged_at)
        broken = _unreadable("; ".join(unread.values())) if unread else None
        return run.run_id, _ListedRun(listing, inside=inside, broken=broken)

    def _with_stored(self, run: WandbRun, left_out: Collection[str]) -> WandbRun:
        """Return a run with the stored values of the fields that the source does not know."""
        tracking = self.state.runs.get(run.run_id)
        if tracking is None or is_another_run(tracking, list_run(run, ""), self.source.kind):
            return run
        stored = self.find_stored(run.run_id)
        return run if stored is None else with_stored(run, stored, left_out)

    def _in_scope(self, run: WandbRun, query: ListingQuery, left_out: Collection[str]) -> bool:
        """Say whether a run is in scope; by the query if only W&B can judge."""
        scope = self.request.scope
        unseen = scope.unseen(left_out) if scope is not None else ()
        if new := [field for field in unseen if field not in self.unseen]:
            LOGGER.warning(UNKNOWN_SCOPE_FIELDS, self.source.address, ", ".join(new))
            self.unseen.update(new)
        if scope is None or not scope.without(unseen).admits(run):
            return scope is None
        judged_here = scope.filters is None and not unseen
        if judged_here or not isinstance(query, RunsById) or run.run_id in self.inside:
            return True
        known = self.state.runs.get(run.run_id)
        return not self.everything and known is not None and not known.out_of_scope_since

    def _keep(self, answered: Mapping[str, _ListedRun]) -> None:
        """Store the runs of an answer; the last answer about a run counts."""
        for run_id, run in answered.items():
            self.broken.pop(run_id, None)
            self.runs.pop(run_id, None)
            self.inside.discard(run_id)
            if run.listing is not None:
                self.runs[run_id] = run.listing
            if run.broken and (run.inside or run.listing is not None):
                self.broken[run_id] = run.broken
            if run.inside:
                self.inside.add(run_id)

    def _everything_is_listed(self, answered: Mapping[str, _ListedRun], *, certain: bool) -> None:
        """Apply W&B's filters as of now, also to runs that were assumed in scope by their ids."""
        self.everything = True
        scope = self.request.scope
        if certain and scope is not None and (scope.filters is not None or self.unseen):
            self.inside &= answered.keys()

    def ask_broken_again(self) -> None:
        """Request the runs that did not read by their ids, up to twice."""
        for attempt in range(1, ATTEMPTS):
            if not self.broken:
                return
            self.pause(attempt, f"{count(len(self.broken), 'run')} cannot be read in the listing")
            self.ask(RunsById(run_ids=tuple(sorted(self.broken))))

    def ask_all(self, queries: Iterable[ListingQuery]) -> tuple[int | None, set[str]]:
        """Send several queries. Returns how many runs are missing, and the ids that are certain.

        None if the source does not count. Certain ids were requested in a complete answer.
        """
        missing: int | None = 0
        certain: set[str] = set()
        for query in queries:
            unlisted = self.ask(query)
            missing = None if unlisted is None or missing is None else missing + unlisted
            if isinstance(query, RunsById) and unlisted == 0:
                certain.update(query.run_ids)
        return missing, certain

    def unmatched(self) -> tuple[str, ...]:
        """Describe what was asked for and no run has, if every run was listed."""
        every_run = self.everything or len(self.answered) >= len(self.state.runs)
        if not self.request.is_selective or not every_run:
            return ()
        if unmatched_scope(self.request.scope, self.names):
            self._look_outside()
        return find_unmatched(self.request, self.names)

    def _look_outside(self) -> None:
        """Collect the names of a few runs outside the scope, for suggestions."""
        address = {"entity": self.request.entity, "project": self.request.project}
        with suppress(SourceError, DrWandbError, *UNREADABLE):
            for page in islice(self.source.list_runs(EveryRun()), PAGES_OF_NAMES):
                self.pages += 1
                for raw_run in page.runs:
                    self.names.add(normalize_what_reads(raw_run, **address)[0], inside=False)

    @property
    def answered(self) -> set[str]:
        """Return the ids of the runs that an answer showed and that are to be followed."""
        return self.runs.keys() | self.broken.keys()


def list_project(
    source: Source,
    request: ExportRequest,
    state: ExportState,
    listed: ListedRunsFile,
    find_stored: FindStored,
    *,
    wait: Pause = pause,
    progress: ProgressCallback = say_nothing,
) -> ProjectListing:
    """List the runs that the listing plan names, and all runs if the counts disagree.

    find_stored: returns the stored runs, for fields that the source does not know.

    Raises DrWandbError if the source gives no listing.
    """
    session = _ListingSession(source, request, state, listed, find_stored, wait, progress)
    everything = EveryRun(scope=request.scope)
    queries = (everything,) if source.lists_at_once else plan_listing(request, state).queries
    missing, asked = session.ask_all(queries)
    if not session.everything and everything_is_due(
        request,
        state,
        total=session.total,
        asked=asked,
        answered=session.answered,
        inside=session.inside,
    ):
        missing, _ = session.ask_all([everything])
    session.ask_broken_again()
    if session.everything:
        asked = set(state.runs) if missing == 0 else set()
        if request.scope is not None:
            _, asked = session.ask_all(by_id(state.runs.keys() - session.answered))
    unmatched = session.unmatched()
    return ProjectListing(
        runs=tuple(session.runs.values()),
        failures=tuple(_failures(session.broken, session.runs)),
        unread={run_id: why for run_id, why in session.broken.items() if run_id in session.runs},
        asked=count_as_asked(
            state, asked, session.broken.keys() - session.runs.keys(), source.kind
        ),
        outside=frozenset(session.runs.keys() - session.inside),
        unlisted=missing or 0,
        unmatched=unmatched,
        pages=session.pages,
    )


def _failures(broken: Mapping[str, RunFailure], listed: Collection[str]) -> Iterator[FailedRun]:
    """Yield the runs of which nothing reads."""
    for run_id in sorted(broken.keys() - listed):
        yield failed_run(run_id, broken[run_id])


def _unreadable(reason: str) -> RunFailure:
    return RunFailure(kind=RunFailureKind.UNREADABLE, reason=reason)
