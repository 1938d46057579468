"""What the judge makes of answers that are capped, or samples, and how they are planned."""

from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import CONSOLE, DATASETS, SYSTEM, Counts
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import ByteRange, PartTracking
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.row_forms import form_of
from dr_wandb.core.contract.selection import EVERYTHING
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.sync.advance import PartOutcome, RunOutcome, advance_run
from dr_wandb.core.sync.case import Answer
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.judge import judge
from dr_wandb.core.sync.plan import plan_sync
from dr_wandb.core.sync.plan_kinds import FetchKind
from dr_wandb.core.sync.row_pairs import compare_rows
from dr_wandb.core.sync.verdict import Judged, Keep, ReadWhole, Rejected, Verdict

NOW = "2026-01-01T00:00:00Z"
DAY_LATER = "2026-01-02T00:00:01Z"


def request(dataset: str) -> ExportRequest:
    return ExportRequest(
        entity="e", project="p", name="n", extra_datasets=(dataset,), mode="metadata"
    )


def listing_of(dataset: str, count: int | None, *, state: str = "finished") -> RunListing:
    counts = Counts(line_count=count, mark=state)
    return RunListing(
        run_id="r",
        state=state,
        created_at=NOW,
        heartbeat_at=NOW,
        fingerprint="f",
        other_counts={dataset: counts},
    )


def lines(dataset: str, numbers: list[int]) -> list[bytes]:
    raw: list[dict[str, Any]] = [{"_step": number, "line": "x"} for number in numbers]
    if dataset == SYSTEM:
        raw = [{"_timestamp": number, "system.cpu": 1} for number in numbers]
    return form_of(dataset).encode(raw, "r").lines.splitlines(keepends=True)


class Export:
    """One part of one run, in memory."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.held: list[bytes] = []
        self.tracking: RunTracking | None = None
        self.verdict: Verdict | None = None

    def read(
        self,
        numbers: list[int],
        listing: RunListing,
        *,
        now: str = NOW,
        source: str = "api",
        start: int | None = None,
    ) -> Verdict:
        """Judge an answer, and hold what the verdict says."""
        came = lines(self.dataset, numbers)
        comparison = None
        if self.tracking is not None and self.held:
            held = [
                line for line in self.held if start is None or line in lines_from(self.held, start)
            ]
            comparison = compare_rows(held, came)
        without = len(came) if self.dataset == SYSTEM else 0
        received = Received(
            rows=len(came),
            last_step=None if without or not came else numbers[-1],
            boundary_rows=0 if without else 1,
            without_step=without,
        )
        answer = Answer(
            dataset=self.dataset,
            window=FetchWindow(start=start),
            tail=start is not None,
            received=received,
            rows=len(came),
            digest=digest(*came),
            begins_as_before=True,
            comparison=comparison,
        )
        verdict = judge(
            listing, answer, self.tracking, selection=EVERYTHING, source=source, now=now
        )
        self.verdict = verdict
        if isinstance(verdict, Judged):
            kept = {
                Keep.HELD: self.held,
                Keep.RECEIVED: came,
                Keep.BOTH: sorted({*self.held, *came}),
                Keep.RECEIVED_AND_BELOW: [*self.held[: start or 0], *came],
            }[verdict.keep]
            outcome = RunOutcome(listing=listing, parts={self.dataset: PartOutcome(judged=verdict)})
            after = advance_run(request(self.dataset), self.tracking, outcome, source, now)
            self.held = kept
            stored = ByteRange(
                offset=0, length=sum(map(len, kept)), rows=len(kept), digest=digest(*kept)
            )
            part = replace(after.part(self.dataset), stored=stored if kept else None)
            self.tracking = replace(after, parts={self.dataset: part}, fingerprint="f")
        return verdict

    @property
    def part(self) -> PartTracking:
        assert self.tracking is not None
        return self.tracking.part(self.dataset)

    def plan(self, listing: RunListing, now: str | None = None) -> PartFetch | None:
        """Return what the next sync reads."""
        assert self.tracking is not None
        state = ExportState(name="n", entity="e", project="p", runs={"r": self.tracking})
        (run,) = plan_sync(request(self.dataset), state, [listing], now=now).runs
        return run.fetches.get(self.dataset)


def lines_from(held: list[bytes], start: int) -> list[bytes]:
    return held[start:]


def judged(verdict: Verdict) -> Judged:
    assert isinstance(verdict, Judged)
    return verdict


@pytest.mark.parametrize("rows", [10_000, 100_000, 100_001])
def test_capped_console_is_accepted_at_once(rows: int) -> None:
    export = Export(CONSOLE)
    verdict = judged(export.read([*range(rows)], listing_of(CONSOLE, 200_000)))
    assert verdict.standing == Standing.ACCEPTED
    assert f"W&B gives {rows:,} lines of 200,000" in verdict.reason
    assert export.part.short_by == 200_000 - rows
    assert export.part.capped_from(DATASETS[CONSOLE]) == 200_000
    assert export.part.capped_from(DATASETS[SYSTEM]) is None
    assert export.plan(listing_of(CONSOLE, 200_000)) is None


def test_lines_that_a_server_drops_stay_beside_the_ones_that_come() -> None:
    export = Export(CONSOLE)
    export.read([*range(10_000)], listing_of(CONSOLE, 10_000))
    verdict = judged(export.read([*range(5_000, 15_000)], listing_of(CONSOLE, 15_000)))
    assert verdict.keep == Keep.BOTH
    assert (verdict.standing, verdict.reason) == (Standing.PROVEN, "")
    assert len(export.held) == 15_000
    verdict = judged(export.read([*range(15_000, 25_000)], listing_of(CONSOLE, 30_000)))
    assert verdict.standing == Standing.ACCEPTED
    assert export.part.short_by == 5_000


def test_answer_below_the_cap_is_short() -> None:
    export = Export(CONSOLE)
    assert judged(export.read([*range(9_999)], listing_of(CONSOLE, 20_000))).standing == "short"
    assert export.part.capped_from(DATASETS[CONSOLE]) is None


def test_tail_of_a_console_counts_the_lines_below_it() -> None:
    export = Export(CONSOLE)
    export.read([*range(1000)], listing_of(CONSOLE, 1000))
    listing = listing_of(CONSOLE, 1005)
    fetch = export.plan(listing)
    assert fetch is not None
    assert (fetch.kind, fetch.window.start) == (FetchKind.TAIL, 999 - 256)
    start = fetch.window.start
    assert start is not None
    verdict = judged(export.read([*range(start, 1005)], listing, start=start))
    assert (verdict.standing, verdict.keep) == (Standing.PROVEN, Keep.RECEIVED_AND_BELOW)
    assert verdict.position is not None
    assert verdict.position.rows == len(export.held) == 1005


def test_tail_that_misses_a_line_is_read_in_full() -> None:
    export = Export(CONSOLE)
    export.read([*range(1000)], listing_of(CONSOLE, 1000))
    verdict = export.read([*range(800, 1005)], listing_of(CONSOLE, 1005), start=743)
    assert isinstance(verdict, ReadWhole)


def test_short_console_has_no_tail() -> None:
    export = Export(CONSOLE)
    export.read([*range(257)], listing_of(CONSOLE, 257))
    fetch = export.plan(listing_of(CONSOLE, 258))
    assert fetch is not None
    assert fetch.window.whole


def test_console_is_read_again_when_the_run_moved() -> None:
    export = Export(CONSOLE)
    export.read([*range(5)], listing_of(CONSOLE, 5, state="running"))
    assert export.plan(listing_of(CONSOLE, 5, state="running")) is None
    assert export.plan(listing_of(CONSOLE, 5)) is not None
    assert export.plan(listing_of(CONSOLE, 0, state="running")) is not None


def test_sample_is_held_with_the_ones_before_it() -> None:
    export = Export(SYSTEM)
    verdict = judged(export.read([1, 3, 5], listing_of(SYSTEM, 9)))
    assert (verdict.standing, verdict.short) == (Standing.SAMPLED, None)
    assert export.part.short_by is None
    assert export.part.sampled_from == 9
    assert export.tracking is not None
    assert export.tracking.sampled
    verdict = judged(export.read([2, 3, 6], listing_of(SYSTEM, 9)))
    assert (verdict.keep, verdict.standing) == (Keep.BOTH, Standing.SAMPLED)
    assert len(export.held) == 5


def test_samples_that_are_all_rows_together_are_proven() -> None:
    export = Export(SYSTEM)
    export.read([1, 2], listing_of(SYSTEM, 3))
    assert judged(export.read([3], listing_of(SYSTEM, 3))).standing == Standing.PROVEN
    assert export.part.sampled_from is None


def test_sample_takes_no_row_from_a_whole_answer() -> None:
    export = Export(SYSTEM)
    export.read([1, 2, 3], listing_of(SYSTEM, 3))
    verdict = judged(export.read([1], listing_of(SYSTEM, 3)))
    assert (verdict.keep, verdict.standing) == (Keep.BOTH, Standing.PROVEN)
    assert len(export.held) == 3


def test_whole_answer_takes_the_place_of_samples() -> None:
    export = Export(SYSTEM)
    export.read([1, 3], listing_of(SYSTEM, 4))
    verdict = judged(export.read([10, 20, 30, 40], listing_of(SYSTEM, 4)))
    assert (verdict.keep, verdict.standing) == (Keep.RECEIVED, Standing.PROVEN)


def test_empty_answer_is_no_sample() -> None:
    export = Export(SYSTEM)
    assert judged(export.read([], listing_of(SYSTEM, 4))).standing == "short"


def test_sample_of_another_source_takes_no_row() -> None:
    export = Export(SYSTEM)
    export.read([1, 2, 3], listing_of(SYSTEM, None), source="offline")
    assert isinstance(export.read([4], listing_of(SYSTEM, 3)), Rejected)
    assert export.held == lines(SYSTEM, [1, 2, 3])


def test_sample_is_looked_at_again_after_a_day() -> None:
    export = Export(SYSTEM)
    export.read([1], listing_of(SYSTEM, 4))
    assert export.plan(listing_of(SYSTEM, 4), "2026-01-01T00:30:00Z") is None
    fetch = export.plan(listing_of(SYSTEM, 4), DAY_LATER)
    assert fetch is not None
    assert fetch.kind == FetchKind.LOOK
    export.read([1], listing_of(SYSTEM, 4), now="2026-01-15T00:00:00Z")
    assert export.plan(listing_of(SYSTEM, 4), "2026-03-01T00:00:00Z") is None


def test_sample_of_a_run_that_is_alive_is_never_the_last() -> None:
    export = Export(SYSTEM)
    alive = listing_of(SYSTEM, 4, state="running")
    export.read([1], alive, now="2026-02-01T00:00:00Z")
    assert export.plan(alive, "2026-03-01T00:00:00Z") is not None


def test_sample_is_read_again_when_the_run_moved() -> None:
    export = Export(SYSTEM)
    export.read([1], listing_of(SYSTEM, 4, state="running"))
    assert export.plan(listing_of(SYSTEM, 4)) is not None


@pytest.mark.parametrize(
    ("dataset", "count", "requests"),
    [
        (CONSOLE, 0, 0),
        (CONSOLE, 1, 1),
        (CONSOLE, 10_000, 1),
        (CONSOLE, 10_001, 2),
        (CONSOLE, None, 1),
        (SYSTEM, 60_000, 1),
        (SYSTEM, None, 1),
    ],
)
def test_plan_says_how_many_requests_a_dataset_takes(
    dataset: str, count: int | None, requests: int
) -> None:
    state = ExportState(name="n", entity="e", project="p")
    listing = listing_of(dataset, count)
    plan = plan_sync(request(dataset), state, [listing], listed_with=1)
    assert plan.requests == 1 + requests


def test_tail_of_a_console_takes_one_request() -> None:
    export = Export(CONSOLE)
    export.read([*range(1000)], listing_of(CONSOLE, 1000))
    assert export.tracking is not None
    state = ExportState(name="n", entity="e", project="p", runs={"r": export.tracking})
    plan = plan_sync(request(CONSOLE), state, [listing_of(CONSOLE, 1005)], listed_with=1)
    assert (plan.requests, plan.rows) == (2, 5)
