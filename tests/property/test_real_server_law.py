"""The law of convergence against a server that behaves as real servers do.

Rules
- The laws come from the text of the design. They know the server, what is held, which windows were
  read and how a sync ended; nothing of how the judge decides.
- Every sync of every law is watched: no row is doubled, no single answer takes a row away, and what
  a first answer brought is kept.
- An exception is a predicate with the number that docs/sync.md gives it, computed from what the
  model server did. Whatever no predicate covers is a violation.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import decode_row
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from tests.support.judged_export import JudgedExport, Synced
from tests.support.real_server import (
    EXPORTS,
    FAULTS,
    LOSSY_FAULTS,
    SUMMARIES,
    Event,
    Given,
    RealServer,
    RowId,
    row_id,
)

EXAMPLES = int(os.environ.get("LAW_EXAMPLES", "0")) or settings().max_examples

QUIET = 25 * 3600.0
TWO_READS_APART = timedelta(minutes=10)

LOSS = HistorySelection(keys=("loss",))
LAST = HistorySelection(window=HistoryWindow(max_records=3))
FROM = HistorySelection(window=HistoryWindow(min_step=3))
UNTIL = HistorySelection(window=HistoryWindow(max_step=5))
BETWEEN = HistorySelection(keys=("acc",), window=HistoryWindow(min_step=2, max_step=6))
SELECTIONS = (EVERYTHING, LOSS, LAST, FROM, UNTIL, BETWEEN)


@dataclass(frozen=True)
class Setup:
    """How a server is from the beginning: its count is off by `offset`, or not known at all."""

    offset: int = 0
    counted: bool = True
    summary: str = "exact"

    def watched(self) -> "Watched":
        """Return such a server with no rows, and an empty export of it."""
        return Watched(RealServer(offset=self.offset, counted=self.counted, summary=self.summary))


@dataclass(frozen=True)
class Round:
    """What happens until the next sync is done.

    `meanwhile` happens between the listing and the first read, `seconds` pass before the sync.
    """

    events: tuple[Event, ...] = ()
    seconds: float = 660.0
    meanwhile: tuple[Event, ...] = ()
    reconcile: bool = False
    selection: HistorySelection = EVERYTHING


@dataclass
class Watched:
    """A server and an export of it. Every sync is checked against the laws that always hold."""

    server: RealServer = field(default_factory=RealServer)
    export: JudgedExport = field(default_factory=JudgedExport)
    selection: HistorySelection = EVERYTHING
    held_under: HistorySelection = EVERYTHING
    between: bool = False
    standing: str = ""
    created_at: str | None = None
    made_anew_at: int | None = None
    selected: bool = False

    def play(self, rounds: Iterable[Round]) -> None:
        """Let each round happen and sync after it."""
        for one in rounds:
            for event in one.events:
                self.server.happen(event)
            self.server.wait(one.seconds)
            self.sync(one.selection, reconcile=one.reconcile, meanwhile=one.meanwhile)

    def quiet(self, syncs: int, seconds: float = QUIET) -> list[Synced]:
        """Sync with an honest server to which nothing happens."""
        self.server.become_honest()
        ended = []
        for _ in range(syncs):
            self.server.wait(seconds)
            ended.append(self.sync(self.selection))
        return ended

    def sync(
        self,
        selection: HistorySelection,
        *,
        reconcile: bool = False,
        meanwhile: Sequence[Event] = (),
    ) -> Synced:
        """Sync once and check the sync."""
        before = _rows(self.export.lines)
        under = self._kept_selection(selection)
        self.between = changed = self.between or under != self.held_under
        answers = len(self.server.given)
        before_read = [_happening(self.server, event) for event in meanwhile]
        synced = self.export.sync(
            self.server, selection, reconcile=reconcile, before_read=before_read
        )
        after = _rows(self.export.lines)
        self.selection = selection
        self.standing = synced.standing
        self.selected = self.selected or under != EVERYTHING
        self._see_who_it_is(before, answers)
        assert synced.exit_code in (0, 3)
        assert_none_doubled(after)
        if self.made_anew_at is None:
            assert_none_taken_by_one_answer(self.server, under, changed, before, after)
            if not self.selected:
                assert_what_came_is_kept(self.server, answers, before, after)
        else:
            assert_old_run_stays(self.server, self.made_anew_at, before, after)
        if synced.exit_code == 0:
            self.made_anew_at, self.held_under, self.between = None, under, False
        return synced

    def _kept_selection(self, selection: HistorySelection) -> HistorySelection:
        """Return the selection under which rows are read: unproven ones keep a wider one."""
        if self.export.tracking is None:
            return selection
        return self.export.tracking.part(HISTORY).selection_for(selection, narrower=True)

    @property
    def reads_under(self) -> HistorySelection:
        """Return the selection under which the last sync read, or would have."""
        return self._kept_selection(self.selection)

    def _see_who_it_is(self, before: Sequence[HistoryRow], answers: int) -> None:
        """Remember from which answer on the rows held are those of a run that was made anew."""
        assert self.server.listed is not None
        created_at = self.server.listed.created_at
        if before and created_at != self.created_at:
            self.made_anew_at = answers
        self.created_at = created_at


def _happening(server: RealServer, event: Event) -> Callable[[], None]:
    return lambda: server.happen(event)


def _rows(lines: Iterable[bytes]) -> list[HistoryRow]:
    return [decode_row(line).unwrap() for line in lines]


def assert_none_doubled(rows: Sequence[HistoryRow]) -> None:
    """Hold that no two rows are the same row, whichever way each of them came."""
    names = [row_id(row) for row in rows]
    assert len({*names}) == len(names), "a row is doubled"
    stepped = [row for row in rows if row.step is not None]
    timeless = {(row.step, str(row.metrics)) for row in stepped if row.timestamp is None}
    timed = {(row.step, str(row.metrics)) for row in stepped if row.timestamp is not None}
    assert not timeless & timed, "a row is doubled, with and without its time"


def assert_none_taken_by_one_answer(
    server: RealServer,
    selection: HistorySelection,
    changed: bool,
    before: Sequence[HistoryRow],
    after: Sequence[HistoryRow],
) -> None:
    """Hold that a row that went was missing in two whole answers at least 10 minutes apart."""
    kept = {row_id(row): row for row in after}
    for row in before:
        name = row_id(row)
        if name in kept:
            if not changed:
                assert row.metrics.keys() <= kept[name].metrics.keys(), "a row lost a value"
            continue
        if _selection_drops(selection, changed, row, after):
            continue
        assert _row_may_go(server, name), "one answer took a row away"


def _selection_drops(
    selection: HistorySelection, changed: bool, row: HistoryRow, after: Sequence[HistoryRow]
) -> bool:
    if changed and selection.keys is not None:
        return True
    if (changed or selection.keys is not None) and (row.step is None or row.timestamp is None):
        return True
    last = selection.bounds.max_records
    return not selection.bounds.admits_step(row.step) or (last is not None and len(after) == last)


def _row_may_go(server: RealServer, name: RowId) -> bool:
    """Say whether two whole answers 10 minutes apart, and all between, were without a row."""
    without: list[Given] = []
    for answer in server.given:
        if name in answer.rows:
            without.clear()
        elif answer.whole:
            without.append(answer)
    return _twice(without)


def _twice(answers: Sequence[Given]) -> bool:
    return bool(answers) and answers[-1].at - answers[0].at >= TWO_READS_APART


def assert_old_run_stays(
    server: RealServer, since: int, before: Sequence[HistoryRow], after: Sequence[HistoryRow]
) -> None:
    """Hold that the rows of a run that was made anew go only when the new one is proven.

    An empty new run is proven by two answers, a short one accepted after three, 10 minutes apart.
    """
    answers = [answer for answer in server.given[since:] if answer.whole]
    proven = any(answer.accounts and answer.rows for answer in answers)
    if not (proven or _twice(answers)):
        assert {row_id(row) for row in before} <= {row_id(row) for row in after}


def assert_what_came_is_kept(
    server: RealServer, answers: int, before: Sequence[HistoryRow], after: Sequence[HistoryRow]
) -> None:
    """Hold that a whole answer with every held row is kept, however short it is."""
    given = server.given[answers:]
    if given and given[-1].whole and {row_id(row) for row in before} <= given[-1].rows:
        assert given[-1].rows <= {row_id(row) for row in after}, "what came was not kept"


# The numbered exceptions


def x1_count_hides(server: RealServer, missing: set[RowId]) -> bool:
    """X1: a count that is too low by b hides at most b missing rows."""
    return len(missing) <= server.hidden


def x2_missing_alike(server: RealServer, name: RowId) -> bool:
    """X2: a row was missing in three whole answers in a row, and in one a day after the third."""
    lost_at: list[Given] = []
    longest: list[Given] = []
    for answer in server.given:
        if not answer.whole:
            continue
        lost_at = [*lost_at, answer] if name in answer.lost else []
        longest = max(longest, lost_at, key=len)
    return len(longest) >= 4 and longest[-1].at - longest[2].at >= timedelta(days=1)


def x4_agreed_by_chance(server: RealServer, name: RowId) -> bool:
    """X4: an answer that was stale in this row had count, last step and time of the listing."""
    return any(
        answer.agreed and answer.fault == "stale" and name in answer.rows ^ _ids_now(server)
        for answer in server.given
    )


def x5_given_up_is_kept(watched: Watched, row: HistoryRow) -> bool:
    """X5: with a count that is too high, rows that the server gave up are kept, mostly as short.

    Nothing that is listed speaks for their being gone: a row without a step lies beyond no step,
    and of a run that was short before it was rewound nobody knows how many rows it should have.
    """
    name = row_id(row)
    marked = watched.standing in ("accepted", "short")
    allowed = marked or row.step is None
    return watched.server.surplus > 0 and name in watched.server.past and allowed


def x6_not_seen(server: RealServer, name: RowId) -> bool:
    """X6: a rewrite of this row kept count, last step and last time."""
    return name in server.unseen


def _ids_now(server: RealServer) -> set[RowId]:
    return {*server.truth_ids()}


def exceptions(watched: Watched) -> set[str]:
    """Return the numbers of the exceptions that what is held needs; fail if none covers a row.

    X3 is no exception here: its rows return when the listing moves, as it does when the server
    becomes honest.
    """
    server, selection = watched.server, watched.reads_under
    expected = server.expected(selection)
    if [*watched.export.lines] == expected or _differs_in_spelling(watched.export.lines, expected):
        return set()
    held = {row_id(row): row for row in _rows(watched.export.lines)}
    wanted = {row_id(row): row for row in _rows(expected)}
    missing, extra = {*wanted} - {*held}, {*held} - {*wanted}
    needed: set[str] = set()
    if selection.bounds.max_records is not None:
        extra -= _ids_now(server)
    for name in extra:
        needed.add(_exception_of(watched, name, held[name]))
    unexplained = set()
    for name in missing:
        try:
            needed.add(_exception_of(watched, name, None))
        except AssertionError:
            unexplained.add(name)
    if unexplained:
        assert x1_count_hides(server, unexplained), f"rows are missing: {unexplained}"
        needed.add("X1")
    for name in {*held} & {*wanted}:
        assert held[name].metrics == wanted[name].metrics, "a row has other values"
    return needed


def _exception_of(watched: Watched, name: RowId, extra: HistoryRow | None) -> str:
    server = watched.server
    if x6_not_seen(server, name):
        return "X6"
    if x4_agreed_by_chance(server, name):
        return "X4"
    if extra is not None:
        assert x5_given_up_is_kept(watched, extra), f"a row is held that is gone: {name!r}"
        return "X5"
    assert x2_missing_alike(server, name), f"a row is missing: {name!r}"
    return "X2"


def _differs_in_spelling(held: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Say whether the rows differ only in how an export spells times, less than 1 µs apart."""
    return [_without_time(row) for row in _rows(held)] == [
        _without_time(row) for row in _rows(expected)
    ]


def _without_time(row: HistoryRow) -> tuple[object, ...]:
    moment = None if row.timestamp is None else round(float(row.timestamp), 5)
    return (row.step, moment, row.runtime, row.metrics, row.extra)


def assert_converged(watched: Watched) -> None:
    """Hold that the export equals the server but for X1 to X6, and that a reconcile mends these."""
    needed = exceptions(watched)
    if needed - {"X5"}:
        for _ in range(3):
            watched.server.wait(660)
            watched.sync(watched.selection, reconcile=True)
        left = exceptions(watched)
        nothing_listed = not watched.server.counted_lines and watched.server.last_step is None
        assert left <= {"X5"} or nothing_listed, f"a full reconcile left {left}"


# What can happen

STEPS = st.integers(0, 8)


def _events(kind: str) -> st.SearchStrategy[Event]:
    arguments: dict[str, tuple[st.SearchStrategy[object], ...]] = {
        "log": (st.integers(1, 4), st.integers(1, 3)),
        "late": (STEPS,),
        "rewind": (STEPS,),
        "state": (st.sampled_from(("running", "finished", "crashed")),),
        "export": (st.sampled_from(EXPORTS),),
        "lag": (st.sampled_from((0.0, 2.0, 9.0)), st.sampled_from((0.0, 2.0, 9.0))),
        "fork": (st.integers(1, 5), st.sampled_from((0, 2, 6))),
        "summary": (st.sampled_from(SUMMARIES),),
        "rewrite": (STEPS,),
        "recount": (st.integers(-2, 3),),
        "wait": (st.sampled_from((1.0, 60.0)),),
        "fault": (
            st.sampled_from(FAULTS),
            st.integers(1, 4),
            st.sampled_from((2.0, 30.0, 700.0, 4000.0, 100_000.0)),
        ),
    }
    return st.tuples(st.just(kind), *arguments.get(kind, ()))


def some(*kinds: str) -> st.SearchStrategy[Event]:
    """Return events of these kinds; a kind that is named more often comes more often."""
    return st.sampled_from(kinds).flatmap(_events)


USUAL = ("log", "log", "log", "log", "rewind", "rewind", "reset", "state", "fault", "fault", "lag")
SELDOM = ("late", "stepless", "forget", "anew", "fork", "export", "summary", "wait", "untimed")
RARE = ("twin", "rewrite", "recount")
ANY_EVENT = some(*USUAL, *USUAL, *USUAL, *SELDOM, *SELDOM, *RARE)
SECONDS = st.sampled_from((1.0, 60.0, 660.0, 660.0, 3600.0, QUIET))

ALL_ROWS = st.just(EVERYTHING)

SETUPS = st.builds(
    Setup,
    offset=st.sampled_from((0, 0, 0, 0, -1, -2, 1, 3)),
    summary=st.sampled_from(("exact", "exact", *SUMMARIES)),
)


def rounds(
    event: st.SearchStrategy[Event] = ANY_EVENT,
    selection: st.SearchStrategy[HistorySelection] = ALL_ROWS,
) -> st.SearchStrategy[list[Round]]:
    """Return what happens in up to eight syncs."""
    one = st.builds(
        Round,
        events=st.lists(event, max_size=4).map(tuple),
        seconds=SECONDS,
        meanwhile=st.one_of(st.just(()), st.just(()), st.lists(event, max_size=2).map(tuple)),
        reconcile=st.sampled_from((False,) * 7 + (True,)),
        selection=selection,
    )
    return st.lists(one, min_size=1, max_size=8)


def log(count: int, gap: int = 1) -> Event:
    """Return the event that rows are logged."""
    return ("log", count, gap)


def fault(kind: str, reads: int = 1, seconds: float = 30.0) -> Event:
    """Return the event that the next reads go wrong."""
    return ("fault", kind, reads, seconds)


FIRST = Round((log(5),))
FINISHED = ("state", "finished")

NASTY: dict[str, tuple[Setup, list[Round]]] = {}
"""Known sequences that are hard for a judge, each with the server that it happens to."""


def _nasty(name: str, *happened: Round, **setup: Any) -> None:
    NASTY[name] = (Setup(**setup), [*happened])


_nasty("rewound to what was listed", FIRST, Round((("rewind", 2), log(2))))
_nasty(
    "rewound during the sync to what was listed",
    FIRST,
    Round((log(2),), meanwhile=(("rewind", 2), log(4))),
)
_nasty("rewound between listing and read", FIRST, Round((log(3),), meanwhile=(("rewind", 1),)))
_nasty("reset and grown past the old count", FIRST, Round((("reset",), log(7))))
_nasty("reset and grown to the old count", FIRST, Round((("reset",), log(5))))
_nasty("reset and left empty", FIRST, Round((("reset",), FINISHED)))
_nasty("reset, then an empty answer, then grown", FIRST, Round((("reset",),)), Round((log(3),)))
_nasty("a late row with a count too low", FIRST, Round((("late", 1),)), offset=-1)
_nasty("a late row and one lost row", FIRST, Round((("late", 1), fault("middle")), 660), offset=-1)
_nasty("a fork with parent rows in its count", Round((("fork", 4, 5), log(3), FINISHED)))
_nasty("a fork that is rewound", Round((("fork", 1, 3), log(5))), Round((("rewind", 4), log(1))))
_nasty("counts late at the finish", Round((("lag", 9.0, 0.0), log(4), FINISHED), 1), Round((), 660))
_nasty("rows late at the finish", FIRST, Round((("lag", 0.0, 9.0), log(4), FINISHED), 1), Round())
_nasty(
    "a page lost while the count fell", Round((log(8),)), Round((("rewind", 5), fault("middle")))
)
_nasty(
    "a page lost twice while the count fell",
    Round((log(8),)),
    Round((("rewind", 5), fault("middle", 2))),
)
_nasty("a page lost at first", Round((log(6), fault("middle"))), Round())
_nasty("made again with as many rows", FIRST, Round((("anew",), log(5))))
_nasty("made again and empty", FIRST, Round((("anew",),)), Round())
_nasty(
    "made again, then an empty answer", FIRST, Round((("anew",), log(3), fault("empty"))), Round()
)
_nasty(
    "made again, then a short answer", FIRST, Round((("anew",), log(6), fault("cut", 2))), Round()
)
_nasty("empty answers at first", Round((log(4), fault("empty", 2))), Round(), Round())
_nasty(
    "one empty answer of a finished run",
    Round((log(4), FINISHED)),
    Round((fault("empty"),), reconcile=True),
)
_nasty(
    "a stale answer after a rewind", FIRST, Round((("rewind", 2), log(3), fault("stale", 1, 700.0)))
)
_nasty(
    "two stale answers in step with the listing",
    FIRST,
    Round((log(3), ("lag", 700.0, 700.0)), 60),
    Round((), 630),
)
_nasty(
    "rewound over a gap with a count too high",
    Round((log(3),), 660),
    Round(),
    Round(),
    Round((("rewind", 1), log(1, 2))),
    offset=2,
)
_nasty(
    "a stepless row given up with a count too high",
    Round((("stepless",), log(3))),
    Round(),
    Round(),
    Round((("forget",), log(1))),
    offset=2,
)
_nasty(
    "a stepless row given up while a page is lost",
    Round((log(1, 3), ("stepless",))),
    Round((log(2), fault("middle"), ("forget",)), 1),
)
_nasty("a stepless row comes late", FIRST, Round((("stepless",), log(1))), Round((FINISHED,)))
_nasty(
    "all rows exported with other spellings",
    FIRST,
    Round((("export", "drift"), log(2))),
    Round((FINISHED,)),
)
_nasty(
    "columns split over two files",
    Round((log(6), ("export", "split"), log(2))),
    Round((("export", "timeless"),)),
)
_nasty(
    "rows live and exported",
    Round((log(6), ("export", "both"), fault("doubled"))),
    Round((log(2),)),
)
_nasty(
    "three short answers, then the truth",
    Round((log(6), fault("cut", 3))),
    Round(),
    Round(),
    Round(),
)
_nasty("errors at first", Round((log(6), fault("error", 3))), Round(), Round(), Round())
_nasty("rewound, then grown", FIRST, Round((("rewind", 2),)), Round((log(1),)))
_nasty(
    "the summary ahead of the last row",
    FIRST,
    Round((FINISHED,)),
    Round((), QUIET),
    summary="later",
)
_nasty("equal rows without step and time", Round((("twin",), ("twin",), log(2))), Round((log(1),)))
_nasty("a middle row logged again", FIRST, Round((("rewrite", 1),)), Round((log(1),)))


_nasty(
    "a new fork with a count too high is rewound over a gap",
    Round((("fork", 1, 2),)),
    Round((("rewind", 0), log(1), log(1, 3))),
)
_nasty(
    "a wrong answer comes before three right ones without a row",
    Round((log(2),), 1.0),
    Round((fault("middle"), ("rewind", 0)), 1.0),
    offset=1,
)
_nasty(
    "a wrong answer follows three that were accepted as short",
    Round(),
    Round(),
    Round((log(1),)),
    Round((log(3), fault("middle", 2)), 1.0),
    Round((log(1), fault("middle")), 1.0),
    offset=1,
)
_nasty(
    "a wrong answer follows two that were proven",
    Round(),
    Round((log(1),)),
    Round((log(1),)),
    Round((("twin",), ("rewind", 0), fault("cut", 2, 2.0)), 1.0),
)
_nasty(
    "the count falls by a row that no tail reads",
    Round((log(1, 2), ("twin",))),
    Round((("forget",),)),
)
_nasty(
    "an error while the selection changes",
    FIRST,
    Round((fault("error"),), selection=BETWEEN),
    Round(selection=BETWEEN),
)


def nasty(**more: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add every nasty sequence to the examples of a law that takes a setup and rounds."""

    def with_examples(test: Callable[..., None]) -> Callable[..., None]:
        for setup, happened in NASTY.values():
            test = example(setup=setup, happened=happened, **more)(test)
        return test

    return with_examples


@nasty()
@settings(max_examples=EXAMPLES)
@given(setup=SETUPS, happened=rounds())
def test_export_equals_the_server_after_five_quiet_syncs(
    setup: Setup, happened: list[Round]
) -> None:
    """After five quiet syncs of an honest server the export equals it, but for X1 to X6.

    Every sync on the way is watched: no row is doubled, no single answer takes one away.
    """
    watched = setup.watched()
    watched.play(happened)
    watched.quiet(5)
    assert_converged(watched)


@nasty()
@settings(max_examples=EXAMPLES)
@given(
    setup=SETUPS,
    happened=rounds(selection=st.sampled_from((*SELECTIONS, EVERYTHING, EVERYTHING))),
)
def test_selections_converge_too(setup: Setup, happened: list[Round]) -> None:
    """Keys, bounds and a number of rows, changed between syncs, converge to what they select."""
    watched = setup.watched()
    watched.play(happened)
    watched.quiet(5)
    assert_converged(watched)


@nasty(seconds=660.0)
@settings(max_examples=EXAMPLES)
@given(setup=SETUPS, happened=rounds(), seconds=st.sampled_from((660.0, 3600.0, QUIET)))
def test_exit_is_0_within_three_syncs_after_the_last_change(
    setup: Setup, happened: list[Round], seconds: float
) -> None:
    """Exit 0 within three syncs after the last change.

    A second look that finds something counts as a change: it takes its own three syncs.
    """
    watched = setup.watched()
    watched.play(happened)
    codes = [synced.exit_code for synced in watched.quiet(9, seconds)]
    assert 0 in codes[:3], codes
    assert "333" not in "".join(map(str, codes)), codes
    assert not any(codes[6:]), codes


@nasty()
@settings(max_examples=EXAMPLES)
@given(setup=SETUPS, happened=rounds())
def test_quiet_syncs_after_convergence_read_nothing(setup: Setup, happened: list[Round]) -> None:
    """A sync that finds nothing new reads nothing and changes nothing.

    Eight quiet syncs are enough for every second look and for the read of the day after.
    """
    watched = setup.watched()
    watched.play(happened)
    watched.quiet(8)
    held = [*watched.export.lines]
    ended = watched.quiet(3)
    assert [synced.reads for synced in ended] == [[], [], []]
    assert [*watched.export.lines] == held


@nasty()
@settings(max_examples=EXAMPLES)
@given(setup=SETUPS, happened=rounds())
def test_unknown_count_loses_nothing(setup: Setup, happened: list[Round]) -> None:
    """A count that is not known proves nothing: what came of a run that only grows is held."""
    watched = Setup(counted=False, summary=setup.summary).watched()
    watched.play(happened)
    codes = [synced.exit_code for synced in watched.quiet(5)]
    assert 0 in codes[:3]
    assert not codes[4]
    held = {row_id(row) for row in _rows(watched.export.lines)}
    came = {name for answer in watched.server.given for name in answer.rows}
    if not watched.selected and came <= {*watched.server.truth_ids()}:
        assert came <= held


@settings(max_examples=EXAMPLES)
@given(
    setup=SETUPS,
    before=st.integers(2, 6),
    syncs=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3),
            st.sampled_from((60.0, 660.0, 3600.0, QUIET)),
        ),
        min_size=1,
        max_size=8,
    ),
    lag=st.tuples(st.sampled_from((0.0, 4.0, 30.0)), st.sampled_from((0.0, 4.0, 30.0))),
    within=st.sampled_from((0.0, 2.0, 40.0)),
)
def test_live_run_that_grows_costs_one_tail_a_sync(
    setup: Setup,
    before: int,
    syncs: list[tuple[list[tuple[int, int]], float]],
    lag: tuple[float, float],
    within: float,
) -> None:
    """A live run that only grows costs one tail a sync, though counts and rows come late."""
    watched = Setup(offset=setup.offset, summary=setup.summary).watched()
    watched.server.happen(log(before))
    watched.server.wait(60)
    first = [watched.sync(EVERYTHING) for _ in range(3 if setup.offset > 0 else 1)]
    assert first[-1].exit_code == 0
    watched.server.happen(("lag", *lag))
    shown = watched.server.listing().counts_of(HISTORY)
    for grown, seconds in syncs:
        watched.server.wait(seconds)
        for count, gap in grown:
            watched.server.happen(log(count, gap))
        watched.server.wait(within)
        listed = watched.server.listing().counts_of(HISTORY)
        synced = watched.sync(EVERYTHING)
        if listed != shown:
            assert len(synced.reads) == 1, synced.reads
            ((start, stop),) = synced.reads
            assert start is not None
            assert start > 0
            assert stop is None or stop > start
        else:
            assert synced.reads in ([], [(None, None)]), "more than a second look"
        assert synced.exit_code == 0
        shown = listed


@settings(max_examples=EXAMPLES)
@given(
    setup=SETUPS,
    logged=st.lists(
        some("log", "log", "stepless", "late", "export", "fork", "untimed"), max_size=6
    ),
    wrong=st.one_of(st.none(), st.sampled_from((*LOSSY_FAULTS, "doubled"))),
)
@example(setup=Setup(offset=4), logged=[log(5)], wrong=None)
@example(setup=Setup(), logged=[("fork", 4, 6), log(5)], wrong=None)
@example(setup=Setup(), logged=[log(6)], wrong="middle")
def test_first_export_keeps_whatever_came(
    setup: Setup, logged: list[Event], wrong: str | None
) -> None:
    """Whatever a first answer brings is in the file after the first sync, counted right or not."""
    watched = setup.watched()
    for event in logged:
        watched.server.happen(event)
    if wrong is not None:
        watched.server.fail(wrong, 1, 1.0)
    watched.sync(EVERYTHING)
    if not watched.server.given:  # nothing is listed, so nothing was asked for
        assert len(watched.server.truth()) <= watched.server.hidden
        return
    (answer,) = watched.server.given
    assert {row_id(row) for row in _rows(watched.export.lines)} == answer.rows
    if wrong in (None, "doubled"):
        assert [*watched.export.lines] == watched.server.expected()


@settings(max_examples=EXAMPLES)
@given(
    setup=SETUPS,
    happened=rounds(some(*USUAL, *SELDOM)),
    wrong=st.sampled_from(LOSSY_FAULTS),
    age=st.sampled_from((2.0, 700.0, 100_000.0)),
    reconcile=st.booleans(),
)
def test_single_wrong_answer_takes_no_row_away(
    setup: Setup, happened: list[Round], wrong: str, age: float, reconcile: bool
) -> None:
    """A single short or empty answer never takes a row away, of a run that was held whole."""
    watched = setup.watched()
    watched.play(happened)
    watched.quiet(5)
    held = {row_id(row) for row in _rows(watched.export.lines)} & {*watched.server.truth_ids()}
    watched.server.fail(wrong, 1, age)
    watched.server.wait(QUIET)
    watched.sync(EVERYTHING, reconcile=reconcile)
    assert held <= {row_id(row) for row in _rows(watched.export.lines)}
