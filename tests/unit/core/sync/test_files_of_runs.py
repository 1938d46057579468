"""What is planned and judged of the files of a run, one story each."""

from copy import copy
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import CONSOLE, DATASETS, FILES, Counts
from dr_wandb.core.contract.encoded_rows import received_row
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.file_choice import EVERY_FILE, NO_FILE, FileChoice
from dr_wandb.core.contract.known_runs import rest_of
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import ByteRange, PartTracking
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.row_forms import form_of
from dr_wandb.core.contract.selection import EVERYTHING
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.unproven_runs import ShortKind
from dr_wandb.core.inspect.shortfalls import shortage_in
from dr_wandb.core.sync.advance import PartOutcome, RunOutcome, advance_run
from dr_wandb.core.sync.case import Answer
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.judge import judge
from dr_wandb.core.sync.merge import Tally
from dr_wandb.core.sync.plan import plan_sync
from dr_wandb.core.sync.plan_kinds import FetchKind
from dr_wandb.core.sync.row_pairs import compare_rows
from dr_wandb.core.sync.verdict import Judged, Keep

NOW, LATER, DAYS_LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:11:00Z", "2026-01-09T00:00:00Z"
SHA = "a" * 64


def request(**fields: Any) -> ExportRequest:
    known = {"extra_datasets": (FILES,), "mode": "metadata"}
    return ExportRequest(entity="e", project="p", name="n", **{**known, **fields})


def listing(count: int | None, version: str = "1") -> RunListing:
    return RunListing(
        run_id="r",
        state="finished",
        created_at=NOW,
        heartbeat_at=NOW,
        fingerprint="f",
        other_counts={FILES: Counts(line_count=count, version=version)},
    )


def lines(files: dict[str, str | None]) -> list[bytes]:
    rows = [
        {"name": name, "sha256": None if absent else SHA, "absent": absent}
        for name, absent in sorted(files.items())
    ]
    return form_of(FILES).encode(rows, "r").lines.splitlines(keepends=True)


class Export:
    """The files of one run, in memory."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.tracking: RunTracking | None = None

    def read(
        self,
        found: dict[str, str | None],
        listed: RunListing,
        /,
        *,
        left_out: int = 0,
        now: str = NOW,
        **fields: Any,
    ) -> Judged:
        """Judge an answer, and hold what the verdict says. found: by path, why bytes are absent."""
        came = lines(found)
        wanting = sum(absent is not None for absent in found.values())
        answer = Answer(
            dataset=FILES,
            received=Received(
                rows=len(came), without_step=len(came), left_out=left_out, wanting=wanting
            ),
            rows=len(came),
            digest=digest(*came),
            begins_as_before=True,
            comparison=None if self.tracking is None else compare_rows(self.held, came),
        )
        verdict = judge(listed, answer, self.tracking, selection=EVERYTHING, source="api", now=now)
        assert isinstance(verdict, Judged)
        if verdict.keep != Keep.HELD:
            self.held = came
        outcome = RunOutcome(listing=listed, parts={FILES: PartOutcome(judged=verdict)})
        after = advance_run(request(**fields), self.tracking, outcome, "api", now)
        stored = ByteRange(
            offset=0,
            length=sum(map(len, self.held)),
            rows=len(self.held),
            digest=digest(*self.held),
        )
        part = replace(after.part(FILES), stored=stored if self.held else None)
        byte_range = ByteRange(offset=0, length=1, rows=1, digest="d")
        self.tracking = replace(after, parts={FILES: part}, fingerprint="f", snapshot=byte_range)
        return verdict

    @property
    def part(self) -> PartTracking:
        assert self.tracking is not None
        return self.tracking.part(FILES)

    def plan(self, listed: RunListing, *, now: str = LATER, **fields: Any) -> PartFetch | None:
        """Return what the next sync reads."""
        assert self.tracking is not None
        state = ExportState(name="n", entity="e", project="p", runs={"r": self.tracking})
        (run,) = plan_sync(request(**fields), state, [listed], now=now).runs
        return run.fetches.get(FILES)


def kind(fetch: PartFetch | None) -> FetchKind | None:
    return None if fetch is None else fetch.kind


HELD: dict[str, str | None] = {"a": None, "b": None}


def test_files_are_proven_by_their_number_without_those_that_are_none() -> None:
    export = Export()
    verdict = export.read(HELD, listing(3), left_out=1)
    assert verdict.standing == Standing.PROVEN
    assert export.plan(listing(3)) is None
    assert export.part.looked_at(Counts(line_count=3, version="1"))
    assert export.part.short_by is None


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (listing(2), None),
        (listing(2, "2"), FetchKind.REPLACED),
        (listing(1, "2"), FetchKind.REPLACED),
        (listing(3), FetchKind.STEPLESS),
        (listing(1), FetchKind.SHRANK),
    ],
)
def test_files_are_listed_again_if_anything_moved(
    listed: RunListing, expected: FetchKind | None
) -> None:
    export = Export()
    export.read(HELD, listing(2))
    assert kind(export.plan(listed)) == expected


def test_every_run_is_listed_if_changes_are_looked_for() -> None:
    export = Export()
    export.read(HELD, listing(2))
    assert kind(export.plan(listing(2), sync_mode="detect_changes")) == FetchKind.SILENT


def test_other_bytes_are_fetched_once_they_are_wanted() -> None:
    export = Export()
    some = FileChoice(patterns=("a",))
    export.read(HELD, listing(2), files=some)
    assert export.part.contents == some
    assert export.plan(listing(2), files=some) is None
    assert export.plan(listing(2), files=NO_FILE) is None
    fetch = export.plan(listing(2))
    assert fetch is not None
    assert (fetch.kind, fetch.reason) == (FetchKind.CONTENTS, "wanted now: every file")
    export.read(HELD, listing(2))
    assert export.part.contents == EVERY_FILE
    assert export.plan(listing(2), files=some) is None


def test_run_without_files_is_read_under_any_choice() -> None:
    export = Export()
    empty = listing(0)
    outcome = RunOutcome(listing=empty)
    for _ in range(2):
        export.tracking = advance_run(request(), export.tracking, outcome, "api", NOW)
        assert export.part.contents == EVERY_FILE
        assert export.plan(empty) is None
    part = replace(export.part, contents=None)
    tracking = replace(export.tracking, parts={FILES: part}) if export.tracking else None
    again = advance_run(request(), tracking, outcome, "api", NOW)
    assert again.part(FILES).contents == EVERY_FILE


def test_bytes_that_do_not_come_are_tried_in_three_syncs() -> None:
    export = Export()
    files: dict[str, str | None] = {"a": "gone", "b": None}
    for tries in (1, 2, 3):
        verdict = export.read(files, listing(2))
        assert export.part.short_by == 1
        assert (export.plan(listing(2)) is None) == (tries == 3)
    assert verdict.standing == Standing.ACCEPTED
    assert verdict.reason == "accepted as short: the content of 1 file did not come"
    assert export.tracking is not None
    shortage = shortage_in(export.tracking, FILES)
    assert shortage is not None
    assert (shortage.kind, shortage.short_by) == (ShortKind.WITHOUT_CONTENT, 1)
    assert export.read(files, listing(2, "2")).standing == Standing.ACCEPTED
    assert export.read(HELD, listing(2, "3")).standing == Standing.PROVEN


@pytest.mark.parametrize("count", [2, None])
def test_bytes_that_did_not_come_are_tried_once_more_a_day_later(count: int | None) -> None:
    """An outage of two minutes, seen by three syncs, left a file without bytes for ever."""
    export, listed = Export(), listing(count)
    files: dict[str, str | None] = {"a": "failed", "b": None}
    for _ in range(3):
        verdict = export.read(files, listed)
    assert verdict.standing == Standing.ACCEPTED
    assert export.plan(listed) is None
    assert not export.part.looked_at(listed.counts_of(FILES))
    assert kind(export.plan(listed, now=DAYS_LATER)) == FetchKind.LOOK
    again = copy(export)
    assert again.read(HELD, listed, now=DAYS_LATER).standing == Standing.PROVEN
    assert again.part.looked_at(listed.counts_of(FILES))
    export.read(files, listed, now=DAYS_LATER)
    assert export.part.looked_at(listed.counts_of(FILES))
    assert export.plan(listed, now="2026-02-01T00:00:00Z") is None
    assert export.part.short_by == 1


def test_file_that_is_missing_counts_beside_one_without_bytes() -> None:
    export = Export()
    verdict = export.read({"a": "gone"}, listing(2))
    assert verdict.short == ShortKind.FEWER_ROWS
    assert export.part.short_by == 2


def test_bytes_that_do_not_come_count_though_the_number_of_files_is_not_known() -> None:
    export = Export()
    assert export.read(HELD, listing(None)).standing == Standing.PROVEN
    export = Export()
    assert export.read({"a": "failed"}, listing(None)).standing == Standing.SHORT


def test_run_rests_under_requests_for_the_same_bytes() -> None:
    export = Export()
    export.read(HELD, listing(2), files=FileChoice(media=False))
    rest = rest_of(export.tracking, DAYS_LATER) if export.tracking else None
    assert rest is not None
    assert rest.under(request(files=FileChoice(media=False, max_bytes=3)))
    assert rest.under(request(files=NO_FILE))
    assert not rest.under(request())
    assert export.tracking is not None
    assert not export.tracking.complete(request())
    assert export.tracking.complete(request(files=FileChoice(media=False)))
    export.read(HELD, listing(2), files=NO_FILE)
    rest = rest_of(export.tracking, DAYS_LATER)
    assert rest is not None
    assert rest.under(request(files=NO_FILE))
    assert not rest.under(request())


def test_tally_counts_what_is_no_row_and_what_is_not_whole() -> None:
    tally = Tally()
    for line in lines({"a": None, "b": "gone"}):
        tally.add(received_row(line, live=True))
    tally.note_wanting()
    tally.leave_out()
    assert tally.received() == Received(rows=2, without_step=2, left_out=1, wanting=1)


def test_row_is_identified_by_its_number_or_its_name() -> None:
    identified = {name for name, dataset in DATASETS.items() if dataset.identified}
    assert identified == {CONSOLE, FILES}
