"""List the runs of a project, and know whether the listing is complete.

Rules
- A query is complete when its distinct ids equal the source's count; if not it is asked again.
- If the source's count of all runs disagrees with what is tracked, everything is listed.
- A run whose node does not read is asked for again by itself, then reported; the others go on.
- Snapshots are spooled to disk as they come; only their listings stay in memory.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from dr_wandb.core.codec import fingerprint
from dr_wandb.core.failures import DrWandbError, FailedRun, Unreachable
from dr_wandb.core.listing import EveryRun, ListingQuery, RunListing, RunsById, list_run
from dr_wandb.core.normalize import normalize_run
from dr_wandb.core.plan import plan_listing
from dr_wandb.core.records import Record, WandbRun
from dr_wandb.core.request import ExportRequest
from dr_wandb.core.state import ExportState
from dr_wandb.shell.sources import RawRun, RunPage, Source, SourceError

ATTEMPTS = 3

Pause = Callable[[int], None]
"""Waits before a further attempt; takes the number of attempts made."""

_ENCODER = msgspec.json.Encoder(order="sorted")
_RUN = msgspec.json.Decoder(WandbRun)


def pause(attempts: int) -> None:
    """Wait a second, then two: three attempts are over within about ten seconds."""
    time.sleep(float(attempts))


class SnapshotSpool:
    """Runs as they were listed, on disk, to be fetched by id."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w+b")
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, run: WandbRun) -> None:
        """Keep a run; the last one of an id counts."""
        encoded = _ENCODER.encode(run)
        offset = self._stream.seek(0, 2)
        self._stream.write(encoded)
        self._places[run.run_id] = (offset, len(encoded))

    def get(self, run_id: str) -> WandbRun:
        """Return a run that was put."""
        offset, length = self._places[run_id]
        self._stream.seek(offset)
        return _RUN.decode(self._stream.read(length))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class ProjectListing(Record, frozen=True, kw_only=True):
    """What the listing of a sync brought.

    `asked` are the tracked runs that would have been listed if they were there; `unlisted` is how
    many runs the source counts but did not list, however often it was asked.
    """

    runs: tuple[RunListing, ...]
    failures: tuple[FailedRun, ...] = ()
    asked: frozenset[str] = frozenset()
    unlisted: int = 0


class _Survey:
    """The answers to the queries of one sync."""

    def __init__(
        self, source: Source, request: ExportRequest, spool: SnapshotSpool, wait: Pause
    ) -> None:
        self.source = source
        self.request = request
        self.spool = spool
        self.wait = wait
        self.runs: dict[str, RunListing] = {}
        self.broken: dict[str, str] = {}
        self.total: int | None = None

    def ask(self, query: ListingQuery) -> int | None:
        """Ask until the answer is complete. Returns how many runs of the source's count lack.

        None where the source does not count: then nothing says that an answer is complete.
        """
        answered: dict[str, RunListing | str] = {}
        lacking: int | None = None
        for attempt in range(1, ATTEMPTS + 1):
            told: dict[str, RunListing | str] = {}
            try:
                pages = [(page.matching, page.disturbed) for page in self._pages(query, told)]
            except SourceError as error:
                if attempt == ATTEMPTS or not error.retryable:
                    raise DrWandbError(
                        Unreachable(host=self.source.address, detail=str(error))
                    ) from error
                answered |= told
                self.wait(attempt)
                continue
            counts = {matching for matching, _ in pages}
            if None in counts or not counts:
                answered, lacking = told, None
                break
            if counts == {len(told)} and not any(disturbed for _, disturbed in pages):
                answered, lacking = told, 0
                break
            answered |= told
            lacking = max(0, max(count or 0 for count in counts) - len(answered))
            if attempt < ATTEMPTS:
                self.wait(attempt)
        self._keep(answered)
        return lacking

    def _pages(self, query: ListingQuery, told: dict[str, RunListing | str]) -> Iterator[RunPage]:
        """Read an answer; `told` gets each run's listing, or why it does not read."""
        for page in self.source.list_runs(query):
            for raw_run in page.runs:
                run_id, what = self._take(raw_run)
                told[run_id] = what
            self.total = page.total if page.total is not None else self.total
            yield page

    def _take(self, raw_run: RawRun) -> tuple[str, RunListing | str]:
        run_id = str(raw_run.get("name"))
        try:
            run = normalize_run(raw_run, entity=self.request.entity, project=self.request.project)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return run_id, str(error) or type(error).__name__
        self.spool.put(run)
        return run.run_id, list_run(run, fingerprint(run))

    def _keep(self, answered: Mapping[str, RunListing | str]) -> None:
        """Take over the runs of an answer; what was said last of a run counts."""
        for run_id, what in answered.items():
            if isinstance(what, str):
                self.broken[run_id] = what
                self.runs.pop(run_id, None)
            else:
                self.runs[run_id] = what
                self.broken.pop(run_id, None)

    def ask_broken_again(self) -> None:
        """Ask for each run that did not read by itself, twice more."""
        for attempt in range(1, ATTEMPTS):
            if not self.broken:
                return
            self.wait(attempt)
            self.ask(RunsById(run_ids=tuple(sorted(self.broken))))


def list_project(
    source: Source,
    request: ExportRequest,
    state: ExportState,
    spool: SnapshotSpool,
    *,
    wait: Pause = pause,
) -> ProjectListing:
    """Ask what the plan for the listing says, and everything where the counts disagree.

    Raises DrWandbError where the source cannot be asked at all.
    """
    survey = _Survey(source, request, spool, wait)
    asked: set[str] = set()
    lacking, counted = 0, True
    queries = plan_listing(request, state).queries
    for query in queries:
        lacks = survey.ask(query)
        lacking += lacks or 0
        counted = counted and lacks is not None
        if isinstance(query, RunsById) and lacks == 0:
            asked.update(query.run_ids)
    everything = EveryRun() in queries
    gone = asked - survey.runs.keys() - survey.broken.keys()
    known = (state.present.keys() | survey.runs.keys() | survey.broken.keys()) - gone
    if not everything and survey.total is not None and survey.total != len(known):
        everything = True
        lacks = survey.ask(EveryRun())
        lacking, counted = lacks or 0, lacks is not None
    survey.ask_broken_again()
    if everything:
        asked = set(state.runs) if counted and not lacking else set()
    return ProjectListing(
        runs=tuple(survey.runs.values()),
        failures=tuple(_failures(survey.broken)),
        asked=frozenset(
            run_id
            for run_id in asked - survey.broken.keys()
            if run_id in state.runs and state.runs[run_id].source in ("", source.kind)
        ),
        unlisted=lacking,
    )


def _failures(broken: dict[str, str]) -> Iterator[FailedRun]:
    for run_id, reason in sorted(broken.items()):
        yield FailedRun(run_id=run_id, reason=reason)
