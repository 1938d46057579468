"""An export of one run at the level of the core: what is planned, judged and merged, in memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest, run_and_key
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.identity import holds_another_run
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.state import RunTracking, with_part
from dr_wandb.core.sync.advance import PartOutcome, RunOutcome, advance_run
from dr_wandb.core.sync.case import Answer
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.judge import judge
from dr_wandb.core.sync.merge import Tally, merge_lines, outside
from dr_wandb.core.sync.plan import plan_sync
from dr_wandb.core.sync.plan_kinds import FetchKind
from dr_wandb.core.sync.row_pairs import Comparison, admitted_rows, compare_rows, unite_rows
from dr_wandb.core.sync.verdict import Judged, Keep, ReadWhole, Rejected, Verdict
from tests.support import strategies as some
from tests.support.arrived_rows import joined_rows, received, selected_lines

SOURCE = "api"

Batches = Iterable[tuple[Sequence[dict[str, Any]], bool, int]]


class AnyAnswer(Protocol):
    """What a server gives for a read: batches of raw rows, each live or of a numbered file."""

    @property
    def batches(self) -> Iterable[Any]:
        """Return the batches in their order."""
        ...


class AnyServer(Protocol):
    """A server of one run."""

    now: datetime

    def listing(self) -> RunListing:
        """List the run."""
        ...

    def read(self, window_start: int | None = None, window_stop: int | None = None) -> AnyAnswer:
        """Give the rows of a window."""
        ...


@dataclass(frozen=True)
class Synced:
    """How a sync ended: the code of the command, the windows that were read, and the standing."""

    exit_code: int
    reads: list[tuple[int | None, int | None]]
    standing: str


@dataclass
class JudgedExport:
    """What is held of the run, and what is known of it. source: the kind that reads it.

    came: what came of its rows in the last sync that asked for them. why: the kinds of its reads.
    """

    source: str = SOURCE
    lines: list[bytes] = field(default_factory=list)
    tracking: RunTracking | None = None
    came: PartOutcome = field(default_factory=PartOutcome)
    why: list[FetchKind] = field(default_factory=list)

    def sync(
        self,
        server: AnyServer,
        selection: HistorySelection = EVERYTHING,
        *,
        reconcile: bool = False,
        before_read: Iterable[Callable[[], object]] = (),
    ) -> Synced:
        """Sync once. before_read: what happens between the listing and the first read."""
        request = ExportRequest(
            entity="team",
            project="project",
            name="name",
            mode=ExportMode.HISTORY,
            sync_mode=SyncMode.FULL_RECONCILE if reconcile else SyncMode.INCREMENTAL,
            history_selection=selection,
            allow_narrower=True,
        )
        now = server.now.isoformat()
        listing = server.listing()
        state = some.state_of([] if self.tracking is None else [self.tracking])
        (plan,) = plan_sync(request, state, [listing], source=self.source, now=now).runs
        for happen in before_read:
            happen()
        reads: list[tuple[int | None, int | None]] = []
        self.why = []
        outcome = RunOutcome(listing=listing)
        if HISTORY in plan.fetches:
            outcome = self._read(server, listing, plan.fetches[HISTORY], now, reads)
            self.came = outcome.parts[HISTORY]
        self._advance(request, outcome, now)
        assert self.tracking is not None
        failed = outcome.failure is not None
        known = self.tracking.part(HISTORY).standing
        standing = "failed" if failed else str(known)
        unproven = known in (Standing.SHORT, Standing.WAITING)
        return Synced(3 if failed or unproven else 0, reads, standing)

    def _read(
        self,
        server: AnyServer,
        listing: RunListing,
        fetch: PartFetch,
        now: str,
        reads: list[tuple[int | None, int | None]],
    ) -> RunOutcome:
        while True:
            reads.append((fetch.window.start, fetch.window.stop))
            self.why.append(fetch.kind)
            try:
                answer = server.read(fetch.window.start, fetch.window.stop)
            except Exception as error:
                return _outcome(listing, PartOutcome(failure=_unexpected(error)))
            lines, verdict = self._judge(answer.batches, listing, fetch, now)
            match verdict:
                case ReadWhole(kind=kind, reason=reason):
                    fetch = replace(fetch, window=WHOLE_RUN, kind=kind, reason=reason, tail=False)
                case Rejected(failure=failure, evidence=evidence):
                    return _outcome(listing, PartOutcome(failure=failure, evidence=evidence))
                case Judged(keep=keep):
                    self._keep(keep, lines, fetch)
                    return _outcome(listing, PartOutcome(judged=verdict))

    def _judge(
        self,
        batches: Batches,
        listing: RunListing,
        fetch: PartFetch,
        now: str,
    ) -> tuple[list[bytes], Verdict]:
        before = self.tracking
        evidence = before.part(HISTORY).evidence if before is not None else None
        rows = joined_rows(
            received(normalize_row(row, listing.run_id), live=live, file=file)
            for batch, live, file in batches
            for row in batch
        )
        target = evidence.target if evidence is not None else None
        tally = Tally(target.last_step if target is not None else None)
        for row in rows:
            tally.add(row)
        lines = selected_lines(rows, fetch.selection)
        known = 0 if evidence is None else evidence.answer_rows
        answer = Answer(
            window=fetch.window,
            tail=fetch.tail,
            received=tally.received(),
            rows=len(lines),
            digest=_digest(lines),
            begins_as_before=evidence is not None
            and known <= len(lines)
            and (not known or _digest(lines[:known]) == evidence.answer_digest),
            comparison=self._compare(lines, listing, fetch),
            stored=None,
        )
        verdict = judge(
            listing, answer, before, selection=fetch.selection, source=self.source, now=now
        )
        return lines, verdict

    def _compare(
        self, lines: list[bytes], listing: RunListing, fetch: PartFetch
    ) -> Comparison | None:
        before, selection = self.tracking, fetch.selection
        if before is None or before.part(HISTORY).stored is None:
            return Comparison(adds=len(lines)) if fetch.tail else None
        if holds_another_run(before, HISTORY, listing, self.source):
            return None
        held = list(self.lines)
        rows = before.part(HISTORY).rows
        under = rows.selection if rows is not None else EVERYTHING
        if under != selection:
            held = list(admitted_rows(held, under, selection))
        if fetch.tail:
            below = FetchWindow(start=fetch.window.start)
            held = [line for line in held if line not in {*outside(held, below)}]
        most = selection.bounds.max_records
        return compare_rows(held, lines, last_step=listing.last_step, most_held=most)

    def _keep(self, keep: Keep, lines: list[bytes], fetch: PartFetch) -> None:
        match keep:
            case Keep.RECEIVED:
                self.lines = lines
            case Keep.RECEIVED_AND_BELOW:
                self.lines = list(merge_lines(outside(self.lines, fetch.window), lines))
            case Keep.BOTH:
                self.lines = list(unite_rows(self.lines, lines))
            case Keep.HELD:
                return
        last = fetch.selection.bounds.max_records
        self.lines = self.lines if last is None else self.lines[-last:]
        assert self.lines == sorted(self.lines, key=lambda line: (run_and_key(line)[1], line))

    def _advance(self, request: ExportRequest, outcome: RunOutcome, now: str) -> None:
        tracking = advance_run(request, self.tracking, outcome, self.source, now)
        held = ByteRange(
            offset=0,
            length=sum(map(len, self.lines)),
            rows=len(self.lines),
            digest=_digest(self.lines),
        )
        part = replace(tracking.part(HISTORY), stored=held if self.lines else None)
        self.tracking = with_part(tracking, HISTORY, part)


def _unexpected(error: Exception) -> RunFailure:
    return RunFailure(kind=RunFailureKind.UNEXPECTED, reason=str(error))


def _outcome(listing: RunListing, part: PartOutcome) -> RunOutcome:
    return RunOutcome(listing=listing, parts={HISTORY: part})


def _digest(lines: Sequence[bytes]) -> str:
    return digest(b"".join(lines))
