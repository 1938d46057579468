"""Convergence at the level of the core: a server that is a list of rows, synced again and again.

The sync is plan_sync, a fetch from the list, judge, and the merge of lines. Whatever happens
between and during syncs, an accepted sync that nothing raced with holds what the server holds.
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import (
    EVERYTHING,
    ExportMode,
    ExportRequest,
    HistorySelection,
    HistoryWindow,
    SyncMode,
)
from dr_wandb.core.contract.select import select_rows
from dr_wandb.core.contract.state import ByteRange, RunTracking, is_another_run, see
from dr_wandb.core.contract.values import spell_number
from dr_wandb.core.sync.accept import SHORT_SYNCS, ReadWhole, Rejected, judge
from dr_wandb.core.sync.advance import RunOutcome, advance_run
from dr_wandb.core.sync.codec import encode_line, place_of, row_key
from dr_wandb.core.sync.copies import ReceivedRow
from dr_wandb.core.sync.merge import Tally, merge_lines, outside
from dr_wandb.core.sync.plan import RunAction, plan_sync
from tests.arrived_rows import joined_rows, lines_of, received
from tests.property import strategies as some

KEYS = HistorySelection(keys=("loss",))
LAST = HistorySelection(window=HistoryWindow(max_records=3))
FROM = HistorySelection(window=HistoryWindow(min_step=3))
UNTIL = HistorySelection(window=HistoryWindow(max_step=5))
BETWEEN = HistorySelection(keys=("acc",), window=HistoryWindow(min_step=2, max_step=6))
SELECTIONS = (EVERYTHING, KEYS, LAST, FROM, UNTIL, BETWEEN)

NOW = "2026-01-02T00:00:00Z"


@dataclass
class Server:
    """One run: its rows, a clock, and a line count that may be off by a constant."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    clock: float = 1000.0
    state: str = "running"
    storage: int = 0
    offset: int = 0
    clipped: bool = False

    @property
    def last_step(self) -> int | None:
        return max((row["_step"] for row in self.rows if "_step" in row), default=None)

    def append(self, **columns: Any) -> None:
        self.clock += 0.5
        name = "loss" if int(self.clock * 2) % 3 else "acc"
        self.rows.append({"_timestamp": self.clock, name: self.clock, **columns})

    def happen(self, event: tuple[Any, ...]) -> None:
        kind, *arguments = event
        last = -1 if self.last_step is None else self.last_step
        match kind:
            case "log":
                count, gap = arguments
                for number in range(count):
                    self.append(_step=last + gap + number)
            case "late":
                self.append(_step=min(arguments[0], max(last, 0)))
            case "stepless":
                self.append()
            case "rewind":
                self.rows = [row for row in self.rows if row.get("_step", 0) <= arguments[0]]
            case "state":
                self.state = arguments[0]
            case "recreate":
                self.rows, self.storage, self.state = [], self.storage + 1, "running"
            case _:
                raise AssertionError(kind)

    def listing(self) -> RunListing:
        logged = max((row["_timestamp"] for row in self.rows), default=None)
        self.clipped = self.clipped or len(self.rows) + self.offset < 0
        return RunListing(
            run_id="run",
            storage_id=str(self.storage),
            state=self.state,
            history_line_count=max(0, len(self.rows) + self.offset),
            last_step=self.last_step,
            fingerprint="f",
            last_logged_at=None if logged is None else spell_number(logged),
        )

    def scan(self, window: FetchWindow) -> list[HistoryRow]:
        low, high = window.start or 0, window.stop
        return [
            normalize_row(row, "run")
            for row in self.rows
            if row.get("_step", 0) >= low and (high is None or row.get("_step", 0) < high)
        ]

    def expected(self, selection: HistorySelection) -> list[bytes]:
        rows = sorted(
            (normalize_row(row, "run") for row in self.rows),
            key=lambda row: (row_key(row.step, row.timestamp), encode_line(row)),
        )
        return [encode_line(row) for row in select_rows(rows, selection)]


@dataclass
class Export:
    """What is held of the run: its lines, and what is known of it."""

    lines: list[bytes] = field(default_factory=list)
    tracking: RunTracking | None = None
    fetches: int = 0

    def sync(
        self,
        server: Server,
        selection: HistorySelection,
        *,
        during: tuple[tuple[Any, ...], ...] = (),
        fault: str = "",
        reconcile: bool = False,
    ) -> bool:
        """Sync once; events in `during` happen between listing and fetch. True where accepted."""
        request = ExportRequest(
            entity="team",
            project="project",
            name="name",
            mode=ExportMode.HISTORY,
            sync_mode=SyncMode.FULL_RECONCILE if reconcile else SyncMode.INCREMENTAL,
            history_selection=selection,
        )
        listing = server.listing()
        state = some.state_of([] if self.tracking is None else [self.tracking])
        (plan,) = plan_sync(request, state, [listing]).runs
        if self.tracking is None or is_another_run(self.tracking, listing):
            assert plan.action == RunAction.NEW
            assert plan.history is not None or not self.lines
        seen = see(self.tracking, listing, "test")
        for event in during:
            server.happen(event)
        if plan.history is None:
            self._advance(request, RunOutcome(listing=listing))
            return True
        window, tail = plan.history.window, plan.history.tail
        answered, verdict = self._fetch(server, window, listing, tail, selection, seen, fault)
        if isinstance(verdict, ReadWhole):
            window = FetchWindow()
            answered, verdict = self._fetch(server, window, listing, False, selection, seen, fault)
        assert not isinstance(verdict, ReadWhole)
        if isinstance(verdict, Rejected):
            failed = RunOutcome(listing=listing, failure=verdict.reason, short=verdict.short)
            self._advance(request, failed)
            return False
        fetched = lines_of(answered, selection)
        merged = list(merge_lines(outside(self.lines, window), fetched))
        admitted = [line for line in merged if selection.bounds.admits_step(_step(line))]
        last = selection.bounds.max_records
        self.lines = admitted if last is None else admitted[-last:]
        self._advance(request, RunOutcome(listing=listing, accepted=verdict))
        return True

    def _advance(self, request: ExportRequest, outcome: RunOutcome) -> None:
        tracking = advance_run(request, self.tracking, outcome, "test", NOW)
        size = sum(len(line) for line in self.lines)
        held = ByteRange(offset=0, length=size, rows=len(self.lines), digest="d")
        self.tracking = replace(tracking, history=held if self.lines else None)

    def _fetch(
        self,
        server: Server,
        window: FetchWindow,
        listing: RunListing,
        tail: bool,
        selection: HistorySelection,
        before: RunTracking,
        fault: str,
    ) -> tuple[list[ReceivedRow], Any]:
        self.fetches += 1
        rows = server.scan(window)
        if fault == "empty":
            rows = []
        elif fault == "cut":
            rows = rows[: len(rows) // 2]
        elif fault == "hole":
            rows = rows[: len(rows) // 2] + rows[len(rows) // 2 + 1 :]
        elif fault == "twice":
            rows = [*rows, *reversed(rows)]
        answered = joined_rows(map(received, rows))
        count = Tally(window)
        for row in answered:
            count.add(row)
        answer: Received = count.received()
        verdict = judge(window, listing, answer, tail=tail, selection=selection, before=before)
        return answered, verdict


def _step(line: bytes) -> int | None:
    _, (missing, step, _, _) = place_of(line)
    return None if missing else step


logs = st.tuples(st.just("log"), st.integers(1, 4), st.integers(1, 2))
events = st.one_of(
    logs,
    logs,
    st.tuples(st.just("late"), st.integers(0, 6)),
    st.just(("stepless",)),
    st.tuples(st.just("rewind"), st.integers(-1, 6)),
    st.tuples(st.just("state"), st.sampled_from(["running", "finished", "crashed"])),
)
histories = st.lists(events, max_size=4).map(tuple)
rounds = st.lists(
    st.tuples(histories, histories | st.just(()), st.booleans()), min_size=1, max_size=5
)
selections = st.sampled_from(SELECTIONS)


def settle(export: Export, server: Server, selection: HistorySelection) -> None:
    """Sync until accepted; a count that is off by a constant may take three syncs."""
    for _ in range(SHORT_SYNCS + 1):
        if export.sync(server, selection):
            break
    else:
        raise AssertionError(f"never accepted: {export.tracking}")
    assert export.lines == server.expected(selection)


def undisturbed(export: Export, server: Server, selection: HistorySelection) -> None:
    """A sync that nothing races with ends in what the server holds, or says that it failed."""
    if export.sync(server, selection):
        assert export.lines == server.expected(selection)


REWOUND_TO_WHAT_WAS_LISTED = [
    ((("log", 4, 1),), (("log", 2, 1),), False),
    ((("rewind", 3),), (), False),
]


@given(rounds, selections)
@example(REWOUND_TO_WHAT_WAS_LISTED, EVERYTHING)
@example([((("log", 4, 1),), (), False), ((("rewind", 1), ("log", 2, 1)), (), False)], EVERYTHING)
@example([((("log", 4, 1),), (), False), ((("late", 1),), (("log", 1, 1),), False)], EVERYTHING)
def test_an_export_converges_whatever_happens_between_and_during_syncs(
    happening: list[Any], selection: HistorySelection
) -> None:
    server, export = Server(), Export()
    for before, during, recreate in happening:
        if recreate:
            server.happen(("recreate",))
        for event in before:
            server.happen(event)
        if during:
            export.sync(server, selection, during=during)
        else:
            undisturbed(export, server, selection)
    settle(export, server, selection)


@given(rounds, st.lists(selections, min_size=5, max_size=5))
def test_an_export_converges_whatever_was_selected_before(
    happening: list[Any], chosen: list[HistorySelection]
) -> None:
    server, export = Server(), Export()
    for (before, during, _), selection in zip(happening, chosen, strict=False):
        for event in before:
            server.happen(event)
        export.sync(server, selection, during=during)
    settle(export, server, chosen[-1])


@given(rounds, selections, st.integers(-3, 3))
@example([((("log", 2, 1),), (), False), ((("log", 3, 1),), (), True)], EVERYTHING, 1)
@example([((("late", 0),), (("log", 1, 1),), False), ((("late", 0),), (), False)], EVERYTHING, -1)
def test_an_export_converges_where_the_count_is_off_by_a_constant(
    happening: list[Any], selection: HistorySelection, offset: int
) -> None:
    """A count below zero is none: then the offset would not be constant.

    A count that is too low by b cannot show up to b missing rows: a row that comes late, below the
    last step, may hide behind one that the count left out. The next whole read brings it.

    Where a run was rewound and its count is too high, nothing says that the rows held are gone.
    They are kept, and the run is reported as failed.
    """
    server, export = Server(offset=offset), Export()
    for before, during, recreate in happening:
        if recreate:
            server.happen(("recreate",))
        for event in before:
            server.happen(event)
        export.sync(server, selection, during=during)
    server.happen(("log", 4, 1))  # beyond an undercount that says "nothing logged"
    held = list(export.lines)
    accepted = [export.sync(server, selection) for _ in range(3 * SHORT_SYNCS)]
    assume(not server.clipped)
    if accepted[-1]:
        hidden = len(server.expected(selection)) - len(export.lines)
        assert hidden <= max(0, -offset)
        if offset < 0:
            assert export.sync(server, selection, reconcile=True)
        assert export.lines == server.expected(selection)
    else:
        assert offset > 0
        assert not any(accepted)
        assert export.lines == held
        assert export.tracking is not None
        assert export.tracking.failure is not None
        assert export.tracking.position is not None
        assert export.tracking.position.rows > len(server.rows)


faults = st.lists(st.sampled_from(["empty", "cut", "twice", "hole"]), min_size=1, max_size=2)


@given(rounds, st.sampled_from([EVERYTHING, KEYS, LAST]), faults, st.integers(0, 4))
def test_bad_answers_never_leave_fewer_rows_and_are_healed_by_the_next_good_one(
    happening: list[Any], selection: HistorySelection, bad: list[str], place: int
) -> None:
    server, export = Server(), Export()
    for number, (before, _, _) in enumerate(happening):
        for event in before:
            server.happen(event)
        if number < place or not bad:
            undisturbed(export, server, selection)
            continue
        held = list(export.lines)
        if export.sync(server, selection, fault=bad.pop()):
            assert export.lines == server.expected(selection)
        else:
            assert export.lines == held
    settle(export, server, selection)


@given(rounds, selections, st.sampled_from(["empty", "cut", "hole"]))
def test_a_failed_sync_leaves_lines_and_position_as_they_were(
    happening: list[Any], selection: HistorySelection, fault: str
) -> None:
    server, export = Server(), Export()
    for before, _, _ in happening:
        for event in before:
            server.happen(event)
        held, known = list(export.lines), export.tracking
        if not export.sync(server, selection, fault=fault):
            assert export.lines == held
            assert export.tracking is not None
            assert export.tracking.failure
            assert export.tracking.position == (known.position if known else None)


@given(rounds, selections)
def test_a_sync_that_finds_nothing_new_fetches_nothing(
    happening: list[Any], selection: HistorySelection
) -> None:
    server, export = Server(), Export()
    for before, _, _ in happening:
        for event in before:
            server.happen(event)
        assert export.sync(server, selection)
    fetches, lines, tracking = export.fetches, list(export.lines), export.tracking
    assert export.sync(server, selection)
    assert (export.fetches, export.lines, export.tracking) == (fetches, lines, tracking)


@given(st.lists(logs, min_size=2, max_size=5), selections)
@settings(max_examples=20)
def test_growth_is_read_as_tails(happening: list[Any], selection: HistorySelection) -> None:
    """Each sync of a run that only grows takes one fetch, and ends in what the server holds."""
    server, export = Server(), Export()
    for number, event in enumerate(happening, 1):
        server.happen(event)
        undisturbed(export, server, selection)
        if selection.bounds.min_step is None and selection.bounds.max_step is None:
            assert export.fetches == number
