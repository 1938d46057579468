"""What the judge makes of the answers that W&B gives for one run, one story each.

Each story says what the run did, syncs, and looks at what is held and how it stands. In all of them
the sync is planned, judged and merged in memory.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.codec import locate
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Difference, Standing
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from dr_wandb.core.contract.state import FIRST_SOURCE, RunTracking, with_part
from dr_wandb.core.contract.unproven_runs import ShortKind
from dr_wandb.core.sync import case
from dr_wandb.core.sync.judge import judge
from dr_wandb.core.sync.plan_kinds import FetchKind
from dr_wandb.core.sync.verdict import ReadWhole
from tests.support.judged_export import JudgedExport, Synced
from tests.support.real_server import START, Answer, RealServer

WHOLE = (None, None)
MINUTE = 60.0
APART = 11 * MINUTE
"""Long enough after a read for the next one to be a second witness."""
HOUR = 60 * MINUTE

FROM_3 = HistorySelection(window=HistoryWindow(min_step=3))
TO_2 = HistorySelection(window=HistoryWindow(max_step=2))
TO_100 = HistorySelection(window=HistoryWindow(max_step=100))
LOSS = HistorySelection(keys=("loss",))

PROVEN = Synced(0, [WHOLE], "proven")
WAITING = Synced(3, [WHOLE], "waiting")
SHORT = Synced(3, [WHOLE], "short")
FAILED = Synced(3, [WHOLE], "failed")
ACCEPTED = Synced(0, [WHOLE], "accepted")


@dataclass
class Run(RealServer):
    """A run on a server that leaves the rows of the steps `left_out` out of its answers."""

    left_out: Iterable[int] = field(default=())

    def read(self, window_start: int | None = None, window_stop: int | None = None) -> Answer:
        whole = super().read(window_start, window_stop)
        return Answer(
            [
                ([row for row in rows if row.get("_step") not in {*self.left_out}], live, file)
                for rows, live, file in whole.batches
            ]
        )


def held_run(rows: int = 6, **more: Any) -> tuple[Run, JudgedExport]:
    """Return a run with steps from 0 on, and an export that proved it eleven minutes ago."""
    run, export = Run(**more), JudgedExport()
    run.happen(("log", rows, 1))
    assert export.sync(run).standing == "proven"
    run.wait(APART)
    return run, export


def read_whole(export: JudgedExport, run: Run, *, after: float = 0.0) -> Synced:
    """Sync so that the run is read whole, though nothing may have changed."""
    run.wait(after)
    return export.sync(run, reconcile=True)


@dataclass
class WithoutLastStep(Run):
    """A run of which the listing names no last step any more, once it is told to."""

    names_step: bool = True

    def listing(self) -> RunListing:
        listing = super().listing()
        return listing if self.names_step else replace(listing, last_step=None)


def later(export: JudgedExport, run: Run, after: float = APART) -> Synced:
    """Sync some time later."""
    run.wait(after)
    return export.sync(run)


def steps(export: JudgedExport) -> list[int | None]:
    """Return the steps of the rows that are in the file."""
    return [locate(line)[1] for line in export.lines]


def proven_step(export: JudgedExport) -> int | None:
    """Return the last step of the position, None if nothing is proven yet."""
    assert export.tracking is not None
    position = export.tracking.part(HISTORY).position
    return position.last_step if position is not None else None


def kind(export: JudgedExport) -> str:
    """Return the kind of what a run waits for."""
    assert export.tracking is not None
    evidence = export.tracking.part(HISTORY).evidence
    assert evidence is not None
    return evidence.kind


def short_by(export: JudgedExport) -> int | None:
    """Return by how many rows the run is named as short, None if it is not."""
    assert export.tracking is not None
    return export.tracking.short_by


def short_kind(export: JudgedExport) -> ShortKind | None:
    """Return in which way the last answer was short, None if it was not."""
    return export.came.judged.short if export.came.judged is not None else None


def failure_kind(export: JudgedExport) -> RunFailureKind:
    """Return the kind of the failure of the last sync, which the tracking has too."""
    assert export.tracking is not None
    assert export.came.failure is not None
    assert export.tracking.failed == export.came.failure
    return export.came.failure.kind


def settled(export: JudgedExport, run: Run) -> bool:
    """Say whether an incremental sync need not look at the run again, if its heart is still."""
    tracking = export.tracking
    assert tracking is not None
    assert tracking.seen is not None
    stored = replace(
        tracking,
        snapshot=ByteRange(offset=0, length=1, rows=1, digest=""),
        fingerprint=tracking.seen.fingerprint,
        seen=replace(tracking.seen, heartbeat_at=START.isoformat()),
    )
    request = ExportRequest(entity="team", project="project", name="name", mode=ExportMode.HISTORY)
    return stored.settled(request, run.now.isoformat())


# Proven


def test_run_is_proven_when_a_whole_answer_has_all_that_is_listed() -> None:
    run, export = Run(), JudgedExport()

    # Three rows are logged and all of them come.
    run.happen(("log", 3, 1))
    assert export.sync(run) == PROVEN
    assert export.lines == run.expected()
    assert proven_step(export) == 2

    # Nothing is logged, so nothing is read.
    assert later(export, run) == Synced(0, [], "proven")


def test_rows_without_a_step_reach_step_0() -> None:
    # The count is too low by one.
    run, export = Run(offset=-1), JudgedExport()
    run.happen(("log", 1, 1))
    run.happen(("stepless",))

    # The row with the listed step does not come, and the other one stands at that step.
    run.left_out = [0]
    assert export.sync(run) == PROVEN
    assert steps(export) == [None]


def test_tail_begins_at_the_last_proven_step_and_proves_what_was_logged_since() -> None:
    run, export = held_run(4)

    # The run logs two more rows, and one more at the step at which the tail begins.
    run.happen(("late", 3))
    run.happen(("log", 2, 1))

    # One read from that step on brings all of them.
    assert export.sync(run) == Synced(0, [(3, 6)], "proven")
    assert steps(export) == [0, 1, 2, 3, 3, 4, 5]
    assert export.lines == run.expected()
    assert proven_step(export) == 5


def test_run_with_a_row_without_a_step_is_read_whole_as_no_tail_brings_that_row() -> None:
    run, export = held_run()
    run.happen(("stepless",))
    assert later(export, run).standing == "behind"
    assert later(export, run) == Synced(0, [(5, 6), WHOLE], "proven")
    assert export.lines == run.expected()

    # The row is given up while a page is lost: as many rows as are listed, but not all.
    run.happen(("log", 3, 1))
    run.happen(("forget",))
    run.fail("middle")
    assert later(export, run) == FAILED
    assert later(export, run) == WAITING
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()


def test_run_is_read_whole_at_once_when_a_held_row_is_missing_in_its_tail() -> None:
    run, export = held_run(4)

    # The tail comes without the row at its first step, though there are as many as are listed.
    run.happen(("rewind", 2))
    run.happen(("log", 2, 1))

    # The run is read whole in the same sync, and waits for a second witness.
    assert export.sync(run) == Synced(3, [(3, 5), WHOLE], "waiting")
    assert export.why == [FetchKind.TAIL, FetchKind.TAIL_REWRITTEN]


def test_ended_run_is_read_whole_at_once_when_its_tail_does_not_account() -> None:
    run, export = held_run(4)

    # A second process logs below the last step, and the run ends.
    run.happen(("late", 1))
    run.happen(("log", 1, 1))
    run.happen(("state", "finished"))

    # No tail brings that row; the whole read after it does.
    assert export.sync(run) == Synced(0, [(3, 5), WHOLE], "proven")
    assert export.why == [FetchKind.TAIL, FetchKind.TAIL_SHORT]
    assert steps(export) == [0, 1, 1, 2, 3, 4]


# Behind


def test_live_run_is_behind_when_its_rows_come_later_than_its_count() -> None:
    run, export = held_run(4)

    # Two rows are logged; the server counts them at once, and gives them ten seconds later.
    run.happen(("lag", 0, 10))
    run.happen(("log", 2, 1))

    # Nothing is wrong with that. The position stays.
    assert export.sync(run) == Synced(0, [(3, 6)], "behind")
    assert steps(export) == [0, 1, 2, 3]
    assert proven_step(export) == 3

    # Three more are logged, and one of them comes with the first two. The listing of before was
    # the target: the position moves to its last step.
    run.wait(MINUTE)
    run.happen(("log", 1, 1))
    run.wait(MINUTE)
    run.happen(("log", 2, 1))
    assert export.sync(run) == Synced(0, [(3, 9)], "behind")
    assert steps(export) == [0, 1, 2, 3, 4, 5, 6]
    assert proven_step(export) == 5

    # The run rests, and the rest comes with a tail from there.
    assert later(export, run, MINUTE) == Synced(0, [(5, 9)], "proven")
    assert export.lines == run.expected()


def test_rows_of_a_run_that_is_behind_are_held_at_once() -> None:
    run, export = held_run(4)

    # Three rows are logged, and the one in the middle does not come.
    run.happen(("log", 3, 1))
    run.left_out = [5]

    # What came is in the file, and the position stays before the gap.
    assert export.sync(run) == Synced(0, [(3, 7)], "behind")
    assert steps(export) == [0, 1, 2, 3, 4, 6]
    assert proven_step(export) == 3

    # The missing row comes with the next tail.
    run.left_out = []
    run.happen(("log", 1, 1))
    assert export.sync(run) == Synced(0, [(3, 8)], "proven")
    assert export.lines == run.expected()


def test_target_stays_the_same_until_it_is_reached() -> None:
    run, export = held_run(4)

    # Rows come a hundred seconds late, and one more is logged every minute.
    run.happen(("lag", 0, 100))
    run.happen(("log", 2, 1))
    assert export.sync(run).standing == "behind"
    run.wait(MINUTE)
    run.happen(("log", 1, 1))
    assert export.sync(run).standing == "behind"
    assert proven_step(export) == 3

    # The first two rows are all that the first listing waits for.
    run.wait(MINUTE)
    run.happen(("log", 1, 1))
    assert export.sync(run) == Synced(0, [(3, 8)], "behind")
    assert steps(export) == [0, 1, 2, 3, 4, 5]
    assert proven_step(export) == 5


def test_tail_that_does_not_reach_the_last_step_is_behind_whatever_its_count() -> None:
    # The count is too low by one.
    run, export = held_run(4, offset=-1)

    # The last row that is logged does not come, and there are as many rows as are listed.
    run.happen(("log", 2, 1))
    run.left_out = [5]
    assert export.sync(run) == Synced(0, [(3, 6)], "behind")
    assert steps(export) == [0, 1, 2, 3, 4]
    assert proven_step(export) == 3


def test_run_is_read_whole_when_it_is_behind_a_listing_that_has_not_moved() -> None:
    run, export = held_run(4)

    # A row is logged below the last step. It is not in the tail, so the run is behind.
    run.happen(("late", 1))
    assert export.sync(run) == Synced(0, [(3, 4)], "behind")

    # The next listing says the same: there is nothing to wait for.
    assert later(export, run, MINUTE) == Synced(0, [(3, 4), WHOLE], "proven")
    assert export.why == [FetchKind.TAIL, FetchKind.STALLED]
    assert export.lines == run.expected()


def test_run_is_read_whole_when_it_missed_one_target_in_three_syncs() -> None:
    run, export = held_run(4)

    # The server stops giving rows, but goes on counting them.
    run.happen(("lag", 0, HOUR))
    run.wait(2 * HOUR)
    for misses in (1, 2):
        run.happen(("log", 1, 1))
        assert export.sync(run) == Synced(0, [(3, 4 + misses)], "behind")

    # At the third sync the run is read whole: it is short, which a live run may be, too.
    run.happen(("log", 1, 1))
    assert export.sync(run) == Synced(3, [(3, 7), WHOLE], "short")
    assert export.why == [FetchKind.TAIL, FetchKind.STALLED]
    assert steps(export) == [0, 1, 2, 3]


# Waiting


def test_reset_run_keeps_its_rows_until_a_second_read_is_empty_too() -> None:
    run, export = held_run(4)

    # The run is reset: it lists no rows, and gives none.
    run.happen(("reset",))
    assert export.sync(run) == WAITING
    assert kind(export) == "emptied"
    assert steps(export) == [0, 1, 2, 3]

    # Ten minutes later it still does.
    assert later(export, run) == PROVEN
    assert export.lines == []

    # It is not asked again.
    assert later(export, run) == Synced(0, [], "proven")


def test_rewound_run_keeps_its_rows_for_ten_minutes() -> None:
    run, export = held_run(6)

    # The run is rewound to step 3. The count fell, and the rows lie beyond the last step.
    run.happen(("rewind", 3))
    assert export.sync(run) == WAITING
    assert kind(export) == "shrunk"
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # A read nine minutes later is no second witness.
    assert later(export, run, 9 * MINUTE) == WAITING
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # Ten minutes count from the first read without the rows, not from the last one.
    assert later(export, run, MINUTE) == PROVEN
    assert steps(export) == [0, 1, 2, 3]
    assert proven_step(export) == 3


def test_rewritten_run_keeps_its_rows_unmixed_until_a_second_read_is_without_them() -> None:
    run, export = held_run(4)
    before = export.lines

    # The run is rewound and logs steps 2 and 3 again. Both sides have other rows there.
    run.happen(("rewind", 1))
    run.happen(("log", 2, 1))
    assert read_whole(export, run) == WAITING
    assert kind(export) == "rewritten"
    assert export.lines == before

    # A second read gives the same.
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()


def test_waiting_run_gets_the_rows_that_came_when_no_step_conflicts() -> None:
    run, export = held_run(4)

    # The run is rewound to step 2 and goes on at step 5: as many rows as before, one other.
    run.happen(("rewind", 2))
    run.happen(("log", 1, 3))
    assert read_whole(export, run) == WAITING
    assert kind(export) == "rewritten"
    assert steps(export) == [0, 1, 2, 3, 5]

    # The count that fell is not seen any more, but the run waits already: that needs no witness.
    assert later(export, run) == PROVEN
    assert steps(export) == [0, 1, 2, 5]


def test_waiting_run_keeps_all_rows_when_the_second_read_brings_them() -> None:
    run, export = held_run(6)

    # The server answers from an hour ago, and lists what it had then.
    run.happen(("log", 2, 1))
    assert export.sync(run).standing == "proven"
    run.wait(MINUTE)
    run.happen(("lag", 5 * MINUTE, 5 * MINUTE))
    assert export.sync(run) == WAITING
    assert steps(export) == [0, 1, 2, 3, 4, 5, 6, 7]

    # Then it has all rows again.
    run.become_honest()
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()


def test_waiting_begins_again_when_the_state_does_not_say_which_rows_are_missing() -> None:
    run, export = held_run(4)
    run.happen(("reset",))
    assert export.sync(run) == WAITING

    # The state was written by a build with other names for these, which are ignored.
    assert export.tracking is not None
    part = export.tracking.part(HISTORY)
    assert part.evidence is not None
    evidence = replace(part.evidence, missing_digest="", missing_rows=0)
    export.tracking = with_part(export.tracking, HISTORY, replace(part, evidence=evidence))
    assert later(export, run) == WAITING
    assert steps(export) == [0, 1, 2, 3]

    # The rows go when two reads from then on agree.
    assert later(export, run) == PROVEN
    assert export.lines == []


def test_waiting_begins_again_when_other_rows_are_missing_in_the_second_read() -> None:
    run, export = held_run(6)

    # The run is rewound to step 4, and before the next sync to step 2.
    run.happen(("rewind", 4))
    assert export.sync(run) == WAITING
    run.happen(("rewind", 2))
    assert later(export, run) == WAITING
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # Only then do two reads agree.
    assert later(export, run) == PROVEN
    assert steps(export) == [0, 1, 2]


def test_waiting_begins_again_when_a_short_answer_comes_between() -> None:
    run, export = held_run(6)

    # The run is rewound, and the second answer does not even bring all that is left.
    run.happen(("rewind", 3))
    assert export.sync(run) == WAITING
    run.left_out = [1]
    assert later(export, run) == SHORT

    # The third answer is the first of two again.
    run.left_out = []
    assert later(export, run) == WAITING
    assert steps(export) == [0, 1, 2, 3, 4, 5]
    assert later(export, run) == PROVEN
    assert steps(export) == [0, 1, 2, 3]


def test_waiting_goes_on_when_a_narrower_selection_is_wanted() -> None:
    run, export = held_run(6)

    # The run is rewound, and then other rows are wanted: those that wait keep their selection.
    run.happen(("rewind", 3))
    assert export.sync(run) == WAITING
    run.wait(APART)
    assert export.sync(run, TO_2) == PROVEN
    assert steps(export) == [0, 1, 2, 3]

    # Nothing waits any more.
    assert export.sync(run, TO_2) == PROVEN
    assert steps(export) == [0, 1]


def test_waiting_outlasts_an_error() -> None:
    run, export = held_run(6)

    # The run is rewound, and the second read fails.
    run.happen(("rewind", 3))
    assert export.sync(run) == WAITING
    run.fail("error")
    assert later(export, run) == FAILED
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # The next answer is the second one.
    assert later(export, run) == PROVEN
    assert steps(export) == [0, 1, 2, 3]


def test_run_is_short_when_rows_are_missing_and_nothing_that_is_listed_speaks_for_it() -> None:
    # The count is too low by two: four are listed, six came.
    run, export = held_run(6, offset=-2)

    # An answer of four rows has as many as are listed. But two are missing and there are no others.
    run.left_out = [2, 3]
    assert read_whole(export, run) == SHORT
    assert short_kind(export) == ShortKind.HELD_ROWS
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # The next one has all.
    run.left_out = []
    assert later(export, run) == PROVEN
    assert short_kind(export) is None
    assert steps(export) == [0, 1, 2, 3, 4, 5]


# Short


def test_first_answer_is_in_the_file_after_the_first_sync_when_the_count_is_too_high() -> None:
    # Two more are listed than the run has: lines of the parent that a fork does not give.
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))

    # All that came is held, and named as short. It is no proof.
    assert export.sync(run) == SHORT
    assert export.lines == run.expected()
    assert short_by(export) == 2
    assert short_kind(export) == ShortKind.FEWER_ROWS
    assert proven_step(export) is None


def test_short_answer_with_every_held_row_is_stored_and_moves_no_position() -> None:
    run, export = held_run(4)

    # Of three new rows one does not come, in two whole reads.
    run.happen(("log", 3, 1))
    run.left_out = [5]
    assert read_whole(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 6]
    assert proven_step(export) == 3
    assert short_by(export) == 1

    # A short run is read whole next time, though nothing was logged.
    run.left_out = []
    assert later(export, run) == PROVEN
    assert steps(export) == [0, 1, 2, 3, 4, 5, 6]
    assert proven_step(export) == 6


def test_short_answer_without_a_new_row_leaves_what_is_held() -> None:
    run, export = held_run(6)
    before = export.lines

    # A page in the middle is missing in one answer.
    run.fail("middle")
    assert read_whole(export, run) == SHORT
    assert export.lines == before
    assert proven_step(export) == 5


def test_answer_that_does_not_reach_the_last_step_is_short_whatever_its_count() -> None:
    # The count is too low by two, so that four rows would account for it.
    run, export = held_run(6, offset=-2)

    # The end of the answer is cut off.
    run.fail("cut")
    assert read_whole(export, run) == SHORT
    assert short_kind(export) == ShortKind.LAST_STEP
    assert steps(export) == [0, 1, 2, 3, 4, 5]


def test_answer_with_steps_is_short_when_no_step_is_listed_any_more() -> None:
    run, export = held_run()
    before = export.lines

    # The run is reset, and the answer is an old one.
    run.happen(("reset",))
    run.fail("stale", 1, APART)
    assert export.sync(run) == SHORT
    assert export.lines == before

    # The rows go after two empty answers, as always.
    assert later(export, run) == WAITING
    assert later(export, run) == PROVEN
    assert export.lines == []


def test_short_answers_that_fit_are_united() -> None:
    run, export = held_run(4)

    # Two rows are logged. The answer has them, and one that is held is missing.
    run.happen(("log", 2, 1))
    run.left_out = [1]
    assert read_whole(export, run) == SHORT
    assert export.lines == run.expected()
    assert proven_step(export) == 3


def test_run_fails_when_held_and_received_rows_conflict() -> None:
    run, export = held_run(6)
    before = export.lines

    # The run is rewound and logs steps 4 and 5 again, and a page is missing.
    run.happen(("rewind", 3))
    run.happen(("log", 2, 1))
    run.left_out = [1]
    assert read_whole(export, run) == FAILED
    assert failure_kind(export) == RunFailureKind.CONFLICT
    assert export.lines == before
    assert proven_step(export) == 5
    assert export.tracking is not None
    assert export.tracking.part(HISTORY).standing == Standing.FAILED


def test_run_fails_when_a_union_would_have_more_rows_than_are_listed() -> None:
    run, export = held_run(6)
    before = export.lines

    # The run is rewound and goes on above all held steps, and a page is missing.
    run.happen(("rewind", 3))
    run.happen(("log", 2, 5))
    run.left_out = [1]
    assert read_whole(export, run) == FAILED
    assert export.lines == before


def test_run_fails_when_rows_under_a_selection_would_have_to_be_united() -> None:
    run, export = Run(), JudgedExport()
    run.happen(("log", 4, 1))
    assert export.sync(run, TO_100) == PROVEN
    before = export.lines

    # An answer has two new rows and a held one is missing: so may rows that a selection dropped.
    run.happen(("log", 2, 1))
    run.left_out = [1]
    assert export.sync(run, TO_100, reconcile=True) == FAILED
    assert export.lines == before


def as_from_files(tracking: RunTracking) -> RunTracking:
    part = replace(tracking.part(HISTORY), rows_from="offline")
    return replace(with_part(tracking, HISTORY, part), source="offline")


def test_run_fails_when_rows_that_another_source_gave_are_missing() -> None:
    run, export = held_run(4)
    before = export.lines

    # The rows that are held came from a file, and the server has fewer.
    assert export.tracking is not None
    export.tracking = as_from_files(export.tracking)
    run.happen(("rewind", 2))
    assert export.sync(run) == FAILED
    assert failure_kind(export) == RunFailureKind.OTHER_SOURCE

    # No second read changes that.
    assert later(export, run) == FAILED
    assert export.lines == before


def test_rows_of_an_export_that_lost_its_hidden_files_count_as_those_of_w_and_b() -> None:
    """Files that have fewer rows do not say which rows of W&B are gone."""
    run, export = held_run(4)
    before = export.lines
    assert export.tracking is not None
    part = replace(export.tracking.part(HISTORY), rows_from="")
    export.tracking = replace(with_part(export.tracking, HISTORY, part), source="")
    export.source = "offline"
    run.happen(("rewind", 2))
    assert export.sync(run) == FAILED
    assert failure_kind(export) == RunFailureKind.OTHER_SOURCE
    assert export.lines == before
    export.source = FIRST_SOURCE
    assert export.sync(run) == WAITING
    assert later(export, run) == PROVEN
    assert len(export.lines) < len(before)


def test_rows_that_another_source_gave_are_replaced_when_all_of_them_came() -> None:
    run, export = held_run(4)

    # The rows that are held came from a file, and the server has more.
    assert export.tracking is not None
    export.tracking = as_from_files(export.tracking)
    run.happen(("log", 2, 1))
    assert read_whole(export, run) == PROVEN
    assert export.lines == run.expected()
    assert export.tracking.part(HISTORY).rows_from == "api"


# Three answers in a row


def test_short_run_is_accepted_when_three_syncs_left_the_same_difference() -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))

    # The first two syncs say that rows are missing.
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT

    # The third changes nothing about that. It is accepted, and named as short for ever.
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 2, 3]
    assert proven_step(export) == 3
    assert short_by(export) == 2

    # From now on the run costs nothing.
    assert later(export, run) == Synced(0, [], "accepted")


def test_accepted_run_keeps_its_deficit_in_tails_and_whole_reads() -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))
    for _ in range(3):
        later(export, run)
    assert short_by(export) == 2

    # Three rows are logged. A tail that brings them accounts for the count but for two.
    run.happen(("log", 3, 1))
    assert later(export, run) == Synced(0, [(3, 7)], "accepted")
    assert proven_step(export) == 6
    assert short_by(export) == 2

    # So does a whole read.
    assert read_whole(export, run, after=APART) == ACCEPTED
    assert short_by(export) == 2

    # One row less than that is not accepted.
    run.happen(("log", 3, 1))
    run.left_out = [8]
    assert later(export, run) == Synced(0, [(6, 10)], "behind")
    assert proven_step(export) == 6


def test_accepted_run_is_read_whole_and_short_by_less_when_its_count_falls() -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))
    for _ in range(3):
        later(export, run)
    assert short_by(export) == 2

    # The server counts one line less.
    run.offset = 1
    assert later(export, run) == ACCEPTED
    assert short_by(export) == 1

    # It counts right, and a row is logged.
    run.offset = 0
    run.happen(("log", 1, 1))
    assert read_whole(export, run, after=APART) == PROVEN
    assert short_by(export) is None


def test_acceptance_begins_again_when_the_difference_changes() -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT

    # Before the third sync the count grows by a row that does not come.
    run.offset = 3
    assert later(export, run) == SHORT
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED
    assert short_by(export) == 3


def test_acceptance_begins_again_when_a_row_of_the_answer_before_is_missing() -> None:
    run, export = held_run(6)

    # One row is missing in each answer, in the first another one than in the others.
    run.left_out = [1]
    assert read_whole(export, run) == SHORT
    run.left_out = [2]
    assert later(export, run) == SHORT
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED

    # All held rows stay: nothing spoke against them.
    assert steps(export) == [0, 1, 2, 3, 4, 5]


def test_acceptance_begins_again_when_an_answer_reaches_the_last_step_at_last() -> None:
    run, export = held_run(6)

    # The first answer ends early. The others begin like it, and have the last step.
    run.left_out = [4, 5]
    assert read_whole(export, run) == SHORT
    run.left_out = [4]
    assert later(export, run) == SHORT
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 2, 3, 4, 5]


def test_cut_answers_are_accepted_and_take_no_row_away() -> None:
    run, export = held_run(6)

    # Three answers in a row end early. They say nothing of the rows beyond.
    run.left_out = [4, 5]
    assert read_whole(export, run) == SHORT
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 2, 3, 4, 5]
    assert short_by(export) == 0


def test_cut_answers_take_no_row_away_though_the_count_fell() -> None:
    run, export = held_run(6)

    # The run is rewound to step 4, and that step does not come.
    run.happen(("rewind", 4))
    run.left_out = [4]
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 2, 3, 4, 5]


def test_third_short_answer_replaces_what_is_held_when_it_has_a_witness() -> None:
    run, export = held_run(6)

    # The run is rewound, and one of the rows that are left never comes.
    run.happen(("rewind", 3))
    run.left_out = [1]
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # Three answers agree, and the count fell: they are believed.
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 2, 3]
    assert short_by(export) == 1


def test_third_short_answer_takes_no_row_away_when_one_is_without_a_row_of_another() -> None:
    run, export = held_run(6)

    # The run is rewound. The first answer is without another of the rows that are left.
    run.happen(("rewind", 4))
    run.left_out = [1]
    assert export.sync(run) == SHORT
    run.left_out = [2]
    assert later(export, run) == SHORT
    assert later(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # Now three of them agree.
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 3, 4]


def test_third_short_answer_replaces_what_is_held_when_it_has_as_many_rows_as_listed() -> None:
    run, export = held_run(6, offset=-2)

    # Two rows are given up, and the count was too low by two.
    run.left_out = [2, 3]
    assert read_whole(export, run) == SHORT
    assert later(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 4, 5]
    assert short_by(export) == 0


def test_third_short_answer_replaces_what_is_held_when_it_conflicts() -> None:
    run, export = held_run(6)

    # The run is rewound and logs again, and a page is missing, in three answers.
    run.happen(("rewind", 3))
    run.happen(("log", 2, 1))
    run.left_out = [1]
    assert read_whole(export, run) == FAILED
    assert later(export, run) == FAILED
    assert later(export, run) == ACCEPTED
    assert export.lines == [line for line in run.expected() if locate(line)[1] != 1]


def test_third_short_answer_counts_as_adding_rows_that_came_with_the_first() -> None:
    run, export = held_run(4)

    # Two rows come that were not held, and one is missing. The union holds all of them.
    run.happen(("log", 2, 1))
    run.left_out = [1]
    assert read_whole(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # For the later answers these rows are held; they were not, before the first.
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 2, 3, 4, 5]


def test_third_short_answer_takes_no_row_away_within_ten_minutes_of_the_first() -> None:
    run, export = held_run(6)

    # Four answers come in nine minutes.
    run.happen(("rewind", 3))
    run.left_out = [1]
    assert export.sync(run) == SHORT
    for _ in range(3):
        assert later(export, run, 3 * MINUTE) == SHORT
        assert steps(export) == [0, 1, 2, 3, 4, 5]

    # The fifth is ten minutes after the first.
    assert later(export, run, MINUTE) == ACCEPTED
    assert steps(export) == [0, 2, 3]


def test_short_answers_are_counted_from_one_again_after_a_proof() -> None:
    run, export = held_run(6, offset=-2)

    # The same rows are missing in two answers, and a third has all of them.
    run.left_out = [2, 3]
    assert read_whole(export, run) == SHORT
    assert later(export, run) == SHORT
    run.left_out = []
    assert later(export, run) == PROVEN

    # The next one without them is the first of three.
    run.left_out = [2, 3]
    assert read_whole(export, run, after=APART) == SHORT
    assert later(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 4, 5]


def test_short_answers_are_counted_from_one_again_after_an_acceptance() -> None:
    run, export = held_run(6)

    # A row is missing in three answers and stays, as nothing speaks against it.
    run.left_out = [2]
    assert read_whole(export, run) == SHORT
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED

    # The fourth brings a row that was not held, which would be a reason to believe three of them.
    run.happen(("log", 2, 1))
    run.left_out = [2, 6]
    assert read_whole(export, run, after=APART) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5, 7]
    assert later(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5, 7]

    # It was the first of these three.
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 3, 4, 5, 7]


# A count that is not known


def test_unknown_count_is_proven_when_no_held_row_is_missing() -> None:
    run, export = held_run(4, counted=False)

    # Two rows are logged. No tail could be checked, so the run is read whole.
    run.happen(("log", 2, 1))
    assert export.sync(run) == PROVEN
    assert export.lines == run.expected()
    assert short_by(export) is None


def test_unknown_count_is_short_when_a_held_row_is_missing() -> None:
    run, export = held_run(4, counted=False)

    # Two rows are logged, and one that is held does not come: both sides are held.
    run.happen(("log", 2, 1))
    run.left_out = [1]
    assert export.sync(run) == SHORT
    assert export.lines == run.expected()

    # It never comes again. Nothing speaks against it, and it stays.
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED
    assert export.lines == run.expected()


def test_unknown_count_lets_rows_go_after_three_answers_when_they_are_beyond_the_last_step() -> (
    None
):
    run, export = held_run(6, counted=False)
    run.happen(("rewind", 3))
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1, 2, 3]


def test_unknown_count_lets_rows_go_after_three_answers_when_others_came_at_their_steps() -> None:
    run, export = held_run(4, counted=False)
    before = export.lines

    # The run is rewound and logs steps 3 and 4: the last step grows, and nothing is counted.
    run.happen(("rewind", 2))
    run.happen(("log", 2, 1))
    assert export.sync(run) == FAILED
    assert later(export, run) == FAILED
    assert export.lines == before
    assert later(export, run) == ACCEPTED
    assert export.lines == run.expected()


def test_unknown_count_of_a_reset_run_is_not_zero() -> None:
    run, export = held_run(4, counted=False)

    # Nothing comes and nothing is listed, but that there are no rows is not said.
    run.happen(("reset",))
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT
    assert steps(export) == [0, 1, 2, 3]
    assert later(export, run) == ACCEPTED
    assert export.lines == []


# Other selections


def test_other_selection_replaces_the_old_one_when_it_is_proven() -> None:
    run, export = held_run(6)

    # Fewer rows are wanted.
    assert export.sync(run, FROM_3) == PROVEN
    assert steps(export) == [3, 4, 5]

    # All are wanted again.
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()


def test_other_selection_leaves_what_is_held_when_its_first_answer_is_short() -> None:
    run, export = held_run(6)

    # Fewer rows are wanted, and one of them is missing in the answer.
    run.left_out = [4]
    assert export.sync(run, FROM_3) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # A proof comes.
    run.left_out = []
    run.wait(APART)
    assert export.sync(run, FROM_3) == PROVEN
    assert steps(export) == [3, 4, 5]


def test_wider_selection_leaves_what_is_held_until_it_is_accepted() -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 6, 1))
    for _ in range(3):
        run.wait(APART)
        export.sync(run, FROM_3)
    assert short_by(export) == 2

    # All rows are wanted, and one less comes than before.
    run.left_out = [1]
    assert later(export, run) == SHORT
    assert later(export, run) == SHORT
    assert steps(export) == [3, 4, 5]
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 2, 3, 4, 5]
    assert short_by(export) == 3


def test_other_keys_are_not_mixed_with_what_is_held() -> None:
    run, export = held_run(6)
    before = export.lines

    # Only one metric is wanted, and the answer is short.
    run.left_out = [4]
    assert export.sync(run, LOSS) == SHORT
    assert export.lines == before

    # The proof brings that metric of all rows.
    run.left_out = []
    run.wait(APART)
    assert export.sync(run, LOSS) == PROVEN
    assert export.lines == run.expected(LOSS)


def test_fewer_rows_are_a_sign_when_they_look_like_those_of_the_old_selection() -> None:
    # Rows without a step are known by their content, of which only one metric is held. The count is
    # too low by three.
    run, export = Run(offset=-3), JudgedExport()
    for _ in range(6):
        run.happen(("stepless",))
    assert export.sync(run, LOSS) == PROVEN
    before = export.lines

    # All metrics are wanted, and a page is missing.
    run.fail("middle")
    assert later(export, run) == WAITING
    assert export.lines == before
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()


# The second look


def test_unexplained_difference_is_looked_at_ten_minutes_later_and_a_day_after() -> None:
    # One line less is listed than there are rows.
    run, export = Run(offset=-1), JudgedExport()
    run.happen(("log", 4, 1))
    run.happen(("state", "finished"))
    assert export.sync(run) == PROVEN

    # Nine minutes later it is too early, after ten the run is read whole once more.
    assert later(export, run, 9 * MINUTE) == Synced(0, [], "proven")
    assert later(export, run, MINUTE) == PROVEN

    # The difference is confirmed. It costs nothing, but the run is not settled before a last look.
    assert later(export, run, 23 * HOUR) == Synced(0, [], "proven")
    assert not settled(export, run)
    assert later(export, run, HOUR) == PROVEN
    assert settled(export, run)

    # Then it is not read again.
    assert later(export, run, 48 * HOUR) == Synced(0, [], "proven")


def test_run_without_a_difference_is_not_looked_at_again() -> None:
    # The time in the summary differs from that of the last row by less than a microsecond.
    run, export = Run(summary="ulp"), JudgedExport()
    run.happen(("log", 4, 1))
    run.happen(("state", "finished"))
    assert export.sync(run) == PROVEN
    assert later(export, run, 25 * HOUR) == Synced(0, [], "proven")
    assert settled(export, run)


def test_second_look_is_left_out_when_the_listing_catches_up() -> None:
    run, export = Run(), JudgedExport()
    run.happen(("log", 4, 1))

    # Two rows are logged after the listing, and come with the read.
    assert export.sync(run, before_read=[lambda: run.happen(("log", 2, 1))]) == PROVEN
    assert steps(export) == [0, 1, 2, 3, 4, 5]

    # The next listing shows them: there is no difference any more.
    assert later(export, run) == Synced(0, [], "proven")


def test_second_look_begins_again_when_it_finds_another_difference() -> None:
    # The summary is ahead of the last row, the count is too low, and a row does not come.
    run, export = Run(offset=-1, summary="later"), JudgedExport()
    run.happen(("log", 6, 1))
    run.left_out = [2]
    assert export.sync(run) == PROVEN
    assert steps(export) == [0, 1, 3, 4, 5]

    # The look brings that row, which leaves another difference. So there is another look.
    run.left_out = []
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()
    assert later(export, run) == PROVEN
    assert later(export, run) == Synced(0, [], "proven")


def test_confirmed_difference_costs_nothing_while_it_is_constant() -> None:
    run, export = Run(offset=-1), JudgedExport()
    run.happen(("log", 4, 1))
    assert export.sync(run) == PROVEN
    assert later(export, run) == PROVEN

    # The run grows, and the count stays one too low: tails are enough.
    for first in (3, 5, 7):
        run.happen(("log", 2, 1))
        assert later(export, run) == Synced(0, [(first, first + 3)], "proven")
        assert later(export, run) == Synced(0, [], "proven")
    assert export.lines == run.expected()


def test_tail_is_no_second_look() -> None:
    run, export = held_run(4, offset=-1)

    # The run grows before the second look: the difference stays, and nobody looked at it.
    run.happen(("log", 2, 1))
    assert export.sync(run) == Synced(0, [(3, 6)], "proven")
    assert later(export, run) == PROVEN
    assert later(export, run) == Synced(0, [], "proven")


def test_second_look_comes_ten_minutes_after_a_tail_that_left_the_difference_too() -> None:
    run, export = held_run(4, offset=-1)
    run.happen(("log", 2, 1))
    assert export.sync(run) == Synced(0, [(3, 6)], "proven")
    assert later(export, run, 1 * MINUTE) == Synced(0, [], "proven")
    assert later(export, run) == PROVEN

    # So does the one a day after a confirmation.
    run.wait(25 * HOUR)
    run.happen(("log", 1, 1))
    assert export.sync(run) == Synced(0, [(5, 7)], "proven")
    assert later(export, run, 1 * MINUTE) == Synced(0, [], "proven")
    assert later(export, run) == PROVEN
    assert later(export, run, 25 * HOUR) == Synced(0, [], "proven")


def test_difference_is_confirmed_when_three_looks_are_only_without_held_rows() -> None:
    # The summary is ahead of the last row.
    run, export = held_run(6, summary="later")
    before = export.lines

    # Two rows that are held are missing in each look, without a reason.
    run.left_out = [2, 3]
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT
    assert later(export, run) == ACCEPTED

    # They stay, and the run is looked at once more a day later.
    assert export.lines == before
    assert later(export, run) == Synced(0, [], "accepted")
    assert later(export, run, 24 * HOUR).reads == [WHOLE]
    assert export.lines == before


def test_accepted_difference_is_looked_at_once_more_a_day_later() -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))
    run.happen(("state", "finished"))
    for _ in range(3):
        later(export, run)
    assert export.tracking is not None
    look = export.tracking.part(HISTORY).look
    assert look is not None
    assert look.difference == Difference(rows=2)

    # Acceptance confirms the difference: no look after ten minutes, one after 24 hours.
    assert later(export, run, 23 * HOUR) == Synced(0, [], "accepted")
    assert not settled(export, run)
    assert later(export, run, HOUR) == ACCEPTED
    assert settled(export, run)
    assert later(export, run, 48 * HOUR) == Synced(0, [], "accepted")


# Made anew


def test_rows_of_a_run_that_was_made_again_replace_the_old_ones_when_they_are_proven() -> None:
    run, export = held_run(4)

    # The run is deleted, and another one has its id. It is read whole, and there is no waiting.
    run.happen(("anew",))
    run.happen(("log", 2, 1))
    assert export.sync(run) == PROVEN
    assert export.lines == run.expected()
    assert steps(export) == [0, 1]


def test_rows_of_a_run_that_was_made_again_are_never_united_with_the_old_ones() -> None:
    run, export = held_run(4)
    before = export.lines

    # The new run has other steps, and one of its rows does not come: nothing is mixed.
    run.happen(("anew",))
    run.happen(("log", 3, 11))
    run.left_out = [11]
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT
    assert export.lines == before

    # What is accepted as short takes the place of the old rows.
    assert later(export, run) == ACCEPTED
    assert steps(export) == [10, 12]
    assert short_by(export) == 1


def test_old_rows_stay_until_a_run_that_was_made_again_is_empty_twice() -> None:
    run, export = held_run(4)

    # The new run has no rows yet.
    run.happen(("anew",))
    assert export.sync(run) == WAITING
    assert kind(export) == "emptied"
    assert later(export, run, 5 * MINUTE) == WAITING
    assert steps(export) == [0, 1, 2, 3]

    # It has none ten minutes after the first read either.
    assert later(export, run, 5 * MINUTE) == PROVEN
    assert export.lines == []


def test_cut_answers_of_a_run_that_was_made_again_replace_the_old_rows_when_accepted() -> None:
    run, export = held_run(4)
    before = export.lines

    # The last row of the new run never comes.
    run.happen(("anew",))
    run.happen(("log", 3, 1))
    run.left_out = [2]
    assert export.sync(run) == SHORT
    assert later(export, run) == SHORT
    assert export.lines == before
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 1]


def test_old_rows_stay_for_ten_minutes_when_a_run_that_was_made_again_is_short() -> None:
    run, export = held_run(4)
    before = export.lines

    # Three short answers come in two minutes.
    run.happen(("anew",))
    run.happen(("log", 3, 1))
    run.left_out = [1]
    for _ in range(3):
        assert later(export, run, MINUTE / 2) == SHORT
        assert export.lines == before
    assert later(export, run) == ACCEPTED
    assert steps(export) == [0, 2]


def test_waiting_begins_again_when_the_run_is_made_a_second_time() -> None:
    run, export = held_run(4)

    # Two new runs have no rows, one after the other.
    run.happen(("anew",))
    assert export.sync(run) == WAITING
    run.happen(("anew",))
    assert later(export, run) == WAITING
    assert steps(export) == [0, 1, 2, 3]

    # The second one is empty twice.
    assert later(export, run) == PROVEN
    assert export.lines == []


def test_old_rows_stay_when_a_run_that_was_made_again_cannot_be_read() -> None:
    run, export = held_run(4)
    before = export.lines

    # The first read of the new run fails.
    run.happen(("anew",))
    run.happen(("log", 2, 1))
    run.fail("error")
    assert export.sync(run) == FAILED
    assert export.lines == before

    # The next one does not.
    assert later(export, run, MINUTE) == PROVEN
    assert export.lines == run.expected()


# Files that begin later


def held_files(rows: int = 4) -> tuple[Run, JudgedExport]:
    """Return a run of files that was proven eleven minutes ago, and whose first file is gone."""
    run, export = Run(), JudgedExport(source="offline")
    run.happen(("log", rows, 1))
    assert export.sync(run) == PROVEN
    run.wait(APART)
    run.happen(("anew",))
    return run, export


@pytest.mark.parametrize("reconcile", [False, True], ids=["incremental", "full reconcile"])
@pytest.mark.parametrize("rows", [0, 2, 6])
def test_rows_go_by_two_reads_when_the_files_of_a_run_begin_later(
    rows: int, reconcile: bool
) -> None:
    """Its first file may lie in another folder: then its rows were gone after one sync."""
    run, export = held_files()
    run.happen(("log", rows, 1))
    before = export.lines
    for _ in range(3):
        assert export.sync(run, reconcile=reconcile).standing == "waiting"
        assert kind(export) == "begins_later"
        assert export.lines == before
        run.wait(4 * MINUTE)
    assert export.sync(run, reconcile=reconcile).standing == "proven"
    assert export.lines == run.expected()


def test_run_whose_first_file_is_there_again_is_as_it_was() -> None:
    run, export = Run(), JudgedExport(source="offline")
    run.happen(("log", 4, 1))
    assert export.sync(run) == PROVEN
    before, began = export.lines, run.created_at
    later_files = copy.deepcopy(run)
    later_files.happen(("anew",))
    later_files.happen(("log", 2, 1))
    assert export.sync(later_files) == WAITING
    run.wait(APART)
    assert run.created_at == began
    assert export.sync(run) == PROVEN
    assert export.lines == before


def test_waiting_begins_again_when_the_files_of_a_run_begin_later_still() -> None:
    run, export = held_files()
    before = export.lines
    run.happen(("log", 2, 1))
    assert export.sync(run) == WAITING
    run.wait(APART)
    run.happen(("anew",))
    run.happen(("log", 1, 1))
    assert export.sync(run) == WAITING
    assert export.lines == before
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()


def test_rows_of_another_source_stay_when_the_files_of_a_run_begin_later() -> None:
    run, export = held_files()
    assert export.tracking is not None
    part = replace(export.tracking.part(HISTORY), rows_from="api")
    export.tracking = with_part(export.tracking, HISTORY, part)
    run.happen(("log", 2, 1))
    before = export.lines
    for _ in range(2):
        assert export.sync(run) == FAILED
        assert export.lines == before
        run.wait(APART)


# Failed


def test_failed_run_keeps_its_rows_and_is_read_whole_next_time() -> None:
    run, export = held_run(4)
    before = export.lines

    # Two rows are logged, and the tail fails.
    run.happen(("log", 2, 1))
    run.fail("error")
    assert export.sync(run) == Synced(3, [(3, 6)], "failed")
    assert export.lines == before
    assert proven_step(export) == 3
    assert export.tracking is not None
    assert export.tracking.failed == RunFailure(
        kind=RunFailureKind.UNEXPECTED, reason="the server did not answer"
    )

    # The next sync does not trust a tail.
    assert later(export, run, MINUTE) == PROVEN
    assert export.lines == run.expected()
    assert export.tracking.failure is None


def test_failed_run_is_read_next_time_when_the_listing_is_the_one_of_its_position_again() -> None:
    run, export = held_run(4)

    # The listing shows two rows that cannot be read. Then it is as it was.
    run.happen(("log", 2, 1))
    run.fail("error")
    assert export.sync(run).standing == "failed"
    run.happen(("rewind", 3))
    assert later(export, run, MINUTE) == PROVEN
    assert steps(export) == [0, 1, 2, 3]


def test_run_that_was_behind_is_read_whole_when_its_last_read_failed() -> None:
    run, export = held_run(4)

    # The run is behind, and its next tail fails.
    run.happen(("lag", 0, 10))
    run.happen(("log", 2, 1))
    assert export.sync(run) == Synced(0, [(3, 6)], "behind")
    run.wait(MINUTE)
    run.happen(("log", 1, 1))
    run.fail("error")
    assert export.sync(run) == Synced(3, [(3, 7)], "failed")

    # The next sync does not trust a tail.
    assert later(export, run, MINUTE) == PROVEN
    assert export.lines == run.expected()


def test_first_read_that_fails_holds_nothing_and_is_made_again() -> None:
    run, export = Run(), JudgedExport()
    run.happen(("log", 2, 1))
    run.fail("error")
    assert export.sync(run) == FAILED
    assert export.lines == []
    assert later(export, run, MINUTE) == PROVEN
    assert export.lines == run.expected()


# A count that was wrong comes true


def test_rows_come_when_an_accepted_count_came_true() -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))
    for _ in range(3):
        later(export, run)

    # The server counts right.
    run.offset = 0
    assert later(export, run) == PROVEN
    assert short_by(export) is None

    # Three rows are logged, and two of them are missing in the answer.
    run.happen(("log", 3, 1))
    run.left_out = [4, 5]
    later(export, run)
    run.left_out = []
    for _ in range(3):
        later(export, run)
    assert export.lines == run.expected()


@pytest.mark.parametrize("whole", [False, True])
def test_short_answer_is_not_accepted_at_once_after_an_accepted_tail_or_read(whole: bool) -> None:
    run, export = Run(offset=2), JudgedExport()
    run.happen(("log", 4, 1))
    for _ in range(3):
        later(export, run)

    # The run grows, and what came is accepted as before.
    run.happen(("log", 2, 1))
    assert later(export, run) == Synced(0, [(3, 6)], "accepted")
    if whole:
        assert read_whole(export, run, after=APART) == ACCEPTED

    # An answer ends early. It is the first one that does.
    run.left_out = [4, 5]
    assert read_whole(export, run, after=APART) == SHORT
    assert steps(export) == [0, 1, 2, 3, 4, 5]


# The judge as other tools may call it


def test_tail_of_which_no_beginning_is_known_is_read_whole() -> None:
    listing = RunListing(run_id="run", history_line_count=3, last_step=2)
    answer = case.Answer(
        window=FetchWindow(start=2), tail=True, received=Received(rows=1, last_step=2)
    )
    verdict = judge(
        listing, answer, None, selection=EVERYTHING, source="api", now="2026-01-01T00:00:00Z"
    )
    assert verdict == ReadWhole(
        kind=FetchKind.NO_POSITION, reason="there is nothing to continue from"
    )


def test_rows_count_as_read_if_no_last_step_is_listed_any_more_but_just_as_many_lines() -> None:
    run, export = WithoutLastStep(), JudgedExport()
    run.happen(("log", 4, 1))
    assert export.sync(run) == PROVEN

    # Rows are logged, no step is listed any more, and other rows are asked for.
    run.happen(("log", 2, 1))
    run.names_step = False
    assert export.sync(run, TO_100, reconcile=True) == PROVEN
    assert export.lines == run.expected()

    # A row that is listed does not come: the answer may be from before a reset.
    run, export = WithoutLastStep(left_out=(3,)), JudgedExport()
    run.left_out = ()
    run.happen(("log", 4, 1))
    assert export.sync(run) == PROVEN
    run.left_out, run.names_step = (3,), False
    assert read_whole(export, run, after=APART) == SHORT
    assert len(export.lines) == 4


def test_rewound_run_of_which_no_step_is_listed_loses_its_rows_by_two_reads() -> None:
    run, export = WithoutLastStep(), JudgedExport()
    run.happen(("log", 3, 1))
    assert export.sync(run) == PROVEN
    run.happen(("rewind", 0))
    run.names_step = False
    assert read_whole(export, run, after=APART) == WAITING
    assert kind(export) == "shrunk"
    assert later(export, run) == PROVEN
    assert export.lines == run.expected()
