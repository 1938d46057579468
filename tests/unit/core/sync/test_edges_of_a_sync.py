"""What a sync decides and says of the rare case."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.changes import ChangedRun, FieldChange, RowCount, SyncChanges
from dr_wandb.core.contract.dataset import HISTORY, Counts
from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.sync.advance import RunOutcome, advance_run
from dr_wandb.core.sync.case import Answer, Case
from dr_wandb.core.sync.combine_changes import combine_changes
from dr_wandb.core.sync.describe import describe_changes, describe_plan, describe_unproven
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.judge import judge
from dr_wandb.core.sync.listing_plan import listed_as_before
from dr_wandb.core.sync.merge import steps_rise, times_rise
from dr_wandb.core.sync.plan import RunAction, RunPlan, SyncPlan
from dr_wandb.core.sync.plan_kinds import FetchKind, PlanKind
from dr_wandb.core.sync.row_pairs import Comparison
from dr_wandb.core.sync.summary import ExportSummary
from dr_wandb.core.sync.verdict import Judged, Keep

NOON = "2026-01-02T12:00:00Z"
REQUEST = ExportRequest(entity="team", project="p", name="n", mode=ExportMode.HISTORY)


# What is said of a plan


def plan_line(fetch: PartFetch, dataset: str = HISTORY) -> str:
    run = RunPlan(
        run_id="a",
        action=RunAction.REFRESH,
        kind=PlanKind.ROWS,
        reason="more rows are listed",
        fetches={dataset: fetch},
    )
    return describe_plan(SyncPlan(runs=(run,)))[1]


@pytest.mark.parametrize(
    ("window", "dataset", "said"),
    [
        (FetchWindow(), HISTORY, "the whole history"),
        (FetchWindow(), "console", "the whole console"),
        (FetchWindow(start=4), HISTORY, "steps 4 to the end"),
        (FetchWindow(start=4, stop=9), HISTORY, "steps 4 to 9"),
        (FetchWindow(stop=9), HISTORY, "steps 0 to 9"),
        (FetchWindow(start=4), "console", "console: steps 4 to the end"),
    ],
)
def test_plan_says_which_steps_are_read(window: FetchWindow, dataset: str, said: str) -> None:
    fetch = PartFetch(window=window, kind=FetchKind.TAIL, reason="more rows are listed", tail=True)
    named = "  'a': more rows are listed; "
    assert plan_line(fetch, dataset) == named + said
    other = replace(fetch, reason="it was behind")
    assert plan_line(other, dataset) == f"{named}{said} (it was behind)"


# What is said of changes


def test_run_that_ended_has_a_line_with_its_state() -> None:
    lines = describe_changes(SyncChanges(at=NOON, finished={"a": "crashed"}))
    assert lines == (f"{NOON}  1 finished", "  finished: a (crashed)")


def test_rows_of_a_new_run_have_no_line_of_their_own() -> None:
    rows = {"a": RowCount(before=0, after=4), "b": RowCount(before=2, after=5)}
    lines = describe_changes(SyncChanges(at=NOON, new=("a",), rows=rows))
    assert lines == (f"{NOON}  1 new, 7 rows added", "  new: a", "  rows: b: 2 -> 5")


# What is said of runs that did not come


def test_run_that_failed_has_a_line_and_all_that_failed_are_counted() -> None:
    failed = FailedRun(run_id="a", kind=RunFailureKind.SERVER_ERROR, reason="HTTP 503")
    summary = ExportSummary(
        name="n",
        entity="team",
        project="p",
        mode=ExportMode.HISTORY,
        sync_mode=SyncMode.INCREMENTAL,
        output_dir="data/n",
        state_path="data/n/state.json",
        manifest_path="data/n/manifest.json",
        runs_path="data/n/runs.jsonl",
        exported_at=NOON,
        failures=(failed,),
        unlisted_count=2,
    )
    assert list(describe_unproven(summary)) == [
        "run 'a' failed: HTTP 503",
        "3 runs could not be read; exported data stays, and the next sync tries again",
    ]


# Several changes as one


def config(name: str, old: object, new: object) -> SyncChanges:
    change = FieldChange(field=name, old=old, new=new)
    return SyncChanges(at=NOON, changed={"a": ChangedRun(fields=(change,))})


def reported(*lines: SyncChanges) -> list[tuple[str, Any, Any, bool]]:
    changed = combine_changes(lines, NOON).changed
    return [
        (one.field, one.old, one.new, one.large) for run in changed.values() for one in run.fields
    ]


def test_change_deep_inside_of_a_value_that_had_changed_is_reported_with_it() -> None:
    appeared = config("config.a", 1, {"b": {"c": 1, "d": 1}})
    moved = config("config.a.b.c", 1, 2)
    assert reported(appeared, moved) == [("config.a", 1, {"b": {"c": 2, "d": 1}}, False)]


def test_change_inside_of_what_the_lines_do_not_say_is_large() -> None:
    appeared = config("config.a", 1, {"b": 2})
    inside = config("config.a.b.c", 1, 2)
    unset = msgspec.UNSET
    assert reported(appeared, inside) == [("config.a", unset, unset, True)]


# What is known of a run afterwards


def test_run_without_lines_counts_as_read_when_its_rows_are_first_asked_for() -> None:
    listing = RunListing(run_id="a", state="finished", history_line_count=0)
    before = RunTracking(run_id="a", run_state="finished", seen=listing, source="api")
    outcome = RunOutcome(listing=listing)
    after = advance_run(REQUEST, before, outcome, "api", NOON)
    nothing = PartTracking(position=Position(listed=Counts(line_count=0)))
    assert after == replace(before, parts={HISTORY: nothing})
    assert advance_run(REQUEST, after, outcome, "api", NOON) is after


# What an answer says


def united(held_at: str | None, came_at: str | None) -> Position:
    """Return what is known of a row that was held, and one of the same step that came."""
    held = Position(rows=1, last_step=3, last_timestamp=held_at, boundary_rows=1)
    stored = ByteRange(offset=0, length=20, rows=1, digest="d")
    part = PartTracking(position=held, stored=stored)
    before = RunTracking(run_id="a", source="api", parts={HISTORY: part})
    received = Received(rows=1, last_step=3, last_timestamp=came_at, boundary_rows=1)
    answer = Answer(received=received, rows=1, comparison=Comparison(missing_rows=1, adds=1))
    return Case(RunListing(run_id="a"), answer, before, EVERYTHING, "api", NOON).united()


@pytest.mark.parametrize("unreadable", ["yesterday", None])
def test_rows_with_a_time_end_behind_those_whose_time_does_not_read(unreadable: str | None) -> None:
    assert united(held_at="1700000000", came_at=unreadable).last_timestamp == "1700000000"
    assert united(held_at=unreadable, came_at="1700000000").last_timestamp == "1700000000"


@pytest.mark.parametrize("target", [Counts(line_count=5), Counts(last_step=3)])
def test_run_behind_a_listing_that_did_not_say_all_has_not_caught_up_with_it(
    target: Counts,
) -> None:
    listing = RunListing(run_id="a", state="running", history_line_count=9, last_step=8)
    position = Position(rows=4, last_step=3, boundary_rows=1, listed=Counts(line_count=4))
    behind = Evidence(standing=Standing.BEHIND, target=target, misses=1)
    before = RunTracking(
        run_id="a", source="api", parts={HISTORY: PartTracking(position=position, evidence=behind)}
    )
    received = Received(rows=3, last_step=5, boundary_rows=1, rows_below=2)
    answer = Answer(
        window=FetchWindow(start=3), tail=True, received=received, rows=3, comparison=Comparison()
    )
    verdict = judge(listing, answer, before, selection=EVERYTHING, source="api", now=NOON)
    assert isinstance(verdict, Judged)
    assert verdict.position == position
    assert (verdict.evidence.target, verdict.evidence.misses) == (target, 2)


# What a source need not list again


def listed(
    request: ExportRequest, source: str, state: ExportState
) -> tuple[RunListing, ...] | None:
    return listed_as_before(request, state, source, "mark")


def test_source_has_to_be_asked_when_the_scope_or_the_source_is_another() -> None:
    seen = RunListing(run_id="a")
    runs = {"a": RunTracking(run_id="a", seen=seen, source="offline")}
    state = ExportState(name="n", entity="team", project="p", runs=runs, listing_mark="mark")
    assert listed(REQUEST, "offline", state) == (seen,)
    assert listed(REQUEST, "api", state) is None
    scope = RunScope(states=("finished",))
    assert listed(replace(REQUEST, scope=scope), "offline", state) is None
    never_seen = {"a": replace(runs["a"], seen=None)}
    assert listed(REQUEST, "offline", replace(state, runs=never_seen)) is None


# Steps


def test_no_steps_rise() -> None:
    assert steps_rise([], after=4)
    assert steps_rise([5, 6], after=4)
    assert not steps_rise([4, 5], after=4)


@pytest.mark.parametrize(
    ("times", "rise"),
    [
        (["5", "6.5"], True),
        (["4"], False),
        (["5", "5"], False),
        (["5", None], False),
        (["noon"], False),
        (["NaN"], False),
    ],
)
def test_times_rise_beyond_a_moment(times: list[str | None], rise: bool) -> None:
    assert times_rise(times, after=4) == rise


def test_no_time_is_before_the_first_one() -> None:
    assert not times_rise(["-Infinity"], after=float("-inf"))


def rows_of_files(held_from: str | None, came_from: str | None, **part: Any) -> Case:
    """Return a case of rows from files whose run was created at another time than the held one."""
    stored = ByteRange(offset=0, length=20, rows=1, digest="d")
    known = PartTracking(position=Position(rows=1, last_step=3), stored=stored, **part)
    before = RunTracking(run_id="a", source="offline", created_at=held_from, parts={HISTORY: known})
    listing = RunListing(run_id="a", created_at=came_from)
    answer = Answer(received=Received(rows=1, last_step=3), rows=1, digest="d")
    return Case(listing, answer, before, EVERYTHING, "offline", NOON)


def test_files_that_begin_later_are_those_of_a_later_time() -> None:
    first, later = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    assert rows_of_files(first, later).begins_later
    assert not rows_of_files(later, first).begins_later
    assert rows_of_files(later, first, of_earlier_run=True).begins_later


def test_rows_beyond_the_last_ones_that_are_wanted_are_received_anew() -> None:
    """Those that were held are the last ones; the same digest does not say that."""
    case = rows_of_files(None, None)
    assert case.keep_received == Keep.HELD
    last = HistorySelection(window=HistoryWindow(max_records=1))
    answer = replace(case.answer, rows=2)
    before = case.before
    limited = Case(case.listing, answer, before, last, "offline", NOON)
    assert limited.keep_received == Keep.RECEIVED
