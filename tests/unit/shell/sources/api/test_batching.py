"""Pages of several runs share a request, and one run never harms another by that."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError, KeyRefused
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.live_pages import (
    FIRST_CAP,
    IN_FLIGHT,
    LEAST_ROWS,
    MOST_RUNS,
    PAGE_BYTES,
)
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.batching import MOST_FAILURES, TailBatcher
from dr_wandb.shell.sources.api.pacing import Pacer, PassingError, ThrottledError
from dr_wandb.shell.sources.api.tail_pages import TailPage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON = 10.0
ROWS = 50
"""Rows that a page asks for, unless a test says otherwise."""


def page_of(run_id: str, rows: int = ROWS) -> TailPage:
    return TailPage(run_id=run_id, min_step=10, max_step=30, most_rows=rows)


def run_of(run_id: str, *rows: str) -> dict[str, Any]:
    return {"name": run_id, "history": list(rows or (f"row of {run_id}",))}


def alone(run_id: str) -> dict[str, Any]:
    """Return what a run is answered that is asked for alone."""
    return {"project": {"run": {"history": [f"row of {run_id}, alone"]}}}


class Sent:
    """A request that is on its way until the test answers it."""

    def __init__(self, runs: list[str], variables: dict[str, Any] | None) -> None:
        self.runs = runs
        self.variables = variables or {}
        self.together = variables is not None
        self.outcome: Future[Any] = Future()

    def answer(self, **instead: Any) -> None:
        """Answer all runs as they should be, but for these aliases."""
        if not self.together:
            self.outcome.set_result(alone(self.runs[0]))
            return
        runs = {f"r{number}": run_of(run_id) for number, run_id in enumerate(self.runs)}
        known = {key: run for key, run in {**runs, **instead}.items() if run != "missing"}
        self.outcome.set_result({"project": known})

    def fail(self, error: BaseException) -> None:
        self.outcome.set_exception(error)


class Session:
    """Passes requests on to the test. pace: sends a request as a pacer does."""

    def __init__(self, pace: Callable[[Any], Any] = lambda request: request()) -> None:
        self.send = pace
        self._sent: queue.SimpleQueue[Sent] = queue.SimpleQueue()

    def next(self) -> Sent:
        """Wait for the next request."""
        return self._sent.get(timeout=SOON)

    def attempt(self, document: str, variables: dict[str, Any]) -> Callable[[], Any]:
        assert variables["entity"] == "e"
        count = document.count("history(")
        assert len(variables) == 1 + 4 * count
        return lambda: self._pass([variables[f"run{n}"] for n in range(count)], variables)

    def ask_alone(self, run_id: str) -> Callable[[], Any]:
        return lambda: self._pass([run_id], None)

    def _pass(self, runs: list[str], variables: dict[str, Any] | None) -> Any:
        sent = Sent(runs, variables)
        self._sent.put(sent)
        return sent.outcome.result(SOON)


class Callers:
    """Threads that ask a batcher."""

    def __init__(self, session: Session, **options: Any) -> None:
        self.session = session
        self.batcher = TailBatcher(session, {"entity": "e"}, **options)  # type: ignore[arg-type]
        self.pool = ThreadPoolExecutor(100)

    def ask(self, run_id: str, rows: int = ROWS) -> Future[Any]:
        """Ask for a page; comes back once the caller waits, or its request is on its way."""
        before = len(self.batcher._waiting)
        asked = self.pool.submit(
            self.batcher.send, page_of(run_id, rows), self.session.ask_alone(run_id)
        )
        self.wait_until(
            lambda: len(self.batcher._waiting) > before or not self.session._sent.empty()
        )
        return asked

    def wait_until(self, condition: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(2000):
            if condition():
                return
            pause.wait(SOON / 2000)
        pytest.fail("nothing happened")

    def occupy(self) -> list[Sent]:
        """Ask for one run after the other until as many requests are out as may be."""
        out = []
        for number in range(IN_FLIGHT):
            self.ask(f"first-{number}")
            out.append(self.session.next())
        assert [(one.together, len(one.runs)) for one in out] == [(False, 1)] * IN_FLIGHT
        return out

    def wait_in_line(self, *run_ids: str, rows: int = ROWS) -> dict[str, Future[Any]]:
        return {run_id: self.ask(run_id, rows) for run_id in run_ids}


@contextmanager
def callers_of(session: Session, **options: Any) -> Iterator[Callers]:
    callers = Callers(session, **options)
    try:
        yield callers
    finally:
        callers.batcher.close()
        callers.pool.shutdown(wait=False, cancel_futures=True)


def answer_all_alone(session: Session, count: int) -> list[str]:
    """Answer requests for single runs; return which they were."""
    sent = [session.next() for _ in range(count)]
    assert not any(one.together for one in sent)
    for one in sent:
        one.answer()
    return sorted(one.runs[0] for one in sent)


def test_first_callers_ask_at_once_with_their_own_requests() -> None:
    session = Session()
    with callers_of(session) as callers:
        asked = callers.ask("a")
        session.next().answer()
        assert asked.result(SOON) == alone("a")
        callers.occupy()


def test_callers_that_arrive_while_requests_are_out_are_sent_together() -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "b", "c")
        assert session._sent.empty()
        out[1].answer()
        together = session.next()
        assert together.together
        assert sorted(together.runs) == ["a", "b", "c"]
        number = together.runs.index("b")
        assert together.variables[f"minStep{number}"] == 10
        assert together.variables[f"maxStep{number}"] == 30
        assert together.variables[f"pageSize{number}"] == ROWS
        together.answer()
        for run_id, answer in asked.items():
            assert answer.result(SOON) == {"project": {"run": run_of(run_id)}}


@pytest.mark.parametrize(
    ("rows", "fitting"),
    [(20, MOST_RUNS), (FIRST_CAP // 5, 5), (FIRST_CAP // 2, 2)],
    ids=["runs", "rows", "half of the rows"],
)
def test_request_is_bounded_by_runs_and_by_rows(rows: int, fitting: int) -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        callers.wait_in_line(*(f"run-{number}" for number in range(20)), rows=rows)
        out[0].answer()
        assert len(session.next().runs) == fitting


def test_large_page_is_asked_for_alone_and_never_waits() -> None:
    session = Session()
    with callers_of(session) as callers:
        callers.occupy()
        asked = callers.ask("large", rows=FIRST_CAP // 2 + 1)
        session.next().answer()
        assert asked.result(SOON) == alone("large")


def test_large_rows_make_the_next_requests_smaller() -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        callers.wait_in_line("a", "b")
        out[0].answer()
        together = session.next()
        large = "x" * (PAGE_BYTES // 100)
        together.answer(r0=run_of(together.runs[0], large), r1=run_of(together.runs[1], large))
        callers.wait_until(lambda: callers.batcher._most_rows == 100)
        callers.ask("d", rows=51)
        assert session.next().runs == ["d"], "more than half of what fits is asked for alone"
        assert callers.batcher._most_rows >= LEAST_ROWS


def test_page_that_may_be_cut_off_is_asked_for_alone() -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "b", rows=20)
        out[0].answer()
        together = session.next()
        full = together.runs.index("a")
        together.answer(**{f"r{full}": run_of("a", *["row"] * 20)})
        assert answer_all_alone(session, 1) == ["a"]
        assert asked["a"].result(SOON) == alone("a")
        assert asked["b"].result(SOON) == {"project": {"run": run_of("b")}}
        assert callers.batcher._failures == 0


ODD: dict[str, Any] = {
    "another run": run_of("elsewhere"),
    "no name": {"history": ["row"]},
    "null": None,
    "missing": "missing",
    "text": "run",
    "null history": {"name": "a", "history": None},
    "null row": {"name": "a", "history": [None]},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
def test_each_run_is_asked_for_alone_when_the_answer_for_one_is_odd(odd: Any) -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "b", "c")
        out[0].answer()
        together = session.next()
        together.answer(**{f"r{together.runs.index('a')}": odd})
        assert answer_all_alone(session, 3) == ["a", "b", "c"]
        for run_id, answer in asked.items():
            assert answer.result(SOON) == alone(run_id)


@pytest.mark.parametrize("answer", [{}, {"project": None}, {"project": []}], ids=str)
def test_each_run_is_asked_for_alone_when_there_is_no_project(answer: Any) -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        callers.wait_in_line("a", "b")
        out[0].answer()
        session.next().outcome.set_result(answer)
        assert answer_all_alone(session, 2) == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        SourceError("errors", RunFailureKind.SERVER_ERROR),
        PassingError("HTTP 504", RunFailureKind.SERVER_ERROR),
    ],
    ids=repr,
)
def test_error_of_one_run_stays_its_own(error: SourceError) -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "bad", "c")
        out[0].answer()
        session.next().fail(error)
        own = SourceError("of this run", RunFailureKind.NOT_FOUND, retryable=False)
        for sent in [session.next() for _ in range(3)]:
            sent.fail(own) if sent.runs == ["bad"] else sent.answer()
        assert asked["bad"].exception(SOON) is own
        assert asked["a"].result(SOON) == alone("a")
        assert asked["c"].result(SOON) == alone("c")


def test_no_more_batches_are_sent_after_some_have_failed(caplog: pytest.LogCaptureFixture) -> None:
    session = Session()
    with caplog.at_level(logging.DEBUG), callers_of(session) as callers:
        out = callers.occupy()
        for failure in range(MOST_FAILURES):
            callers.wait_in_line(f"a-{failure}", f"b-{failure}")
            out.pop().answer()
            session.next().fail(SourceError("cannot do this", RunFailureKind.SERVER_ERROR))
            answer_all_alone(session, 2)
            if failure < MOST_FAILURES - 1:
                callers.ask("again")
                out.append(session.next())
        assert "each tail of this project gets a request of its own" in caplog.text
        callers.wait_in_line("c")
        callers.wait_in_line("d")
        assert answer_all_alone(session, 2) == ["c", "d"], "although a request is still out"


def test_callers_in_line_ask_alone_once_batches_are_given_up() -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        callers.wait_in_line("a", "b", "c", "d", "e", "f", rows=FIRST_CAP // 2)
        out[0].answer()
        first = session.next()
        out[1].answer()
        second = session.next()
        first.fail(SourceError("cannot do this", RunFailureKind.SERVER_ERROR))
        third = [one for one in (session.next() for _ in range(3)) if one.together]
        assert [len(one.runs) for one in (first, second, *third)] == [2, 2, 2]
        asked = callers.wait_in_line("g")
        second.fail(SourceError("cannot do this", RunFailureKind.SERVER_ERROR))
        assert answer_all_alone(session, 3) == sorted([*second.runs, "g"])
        assert asked["g"].result(SOON) == alone("g")


def test_throttled_batch_is_sent_again_and_is_no_failure() -> None:
    times = itertools.count()
    session = Session(Pacer(clock=lambda: float(next(times)), wait=lambda *_: None).send)
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "b")
        out[0].answer()
        session.next().fail(ThrottledError("HTTP 429"))
        again = session.next()
        assert sorted(again.runs) == ["a", "b"]
        again.answer()
        assert asked["a"].result(SOON) == {"project": {"run": run_of("a")}}
        assert callers.batcher._failures == 0


REFUSED = [
    SourceError("throttled by W&B for 900 s", RunFailureKind.THROTTLED, retryable=False),
    DrWandbError(KeyRefused(host="h")),
]


@pytest.mark.parametrize("error", REFUSED, ids=["throttled to the end", "key refused"])
def test_refusal_of_all_requests_concerns_all_runs_of_a_batch(error: Exception) -> None:
    """Each of sixteen runs would wait again for a quarter of an hour."""

    def pace(request: Callable[[], Any]) -> Any:
        try:
            return request()
        except ThrottledError as throttled:
            raise error from throttled

    session = Session(pace)
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "b", "c")
        out[0].answer()
        refusal = ThrottledError("HTTP 429") if isinstance(error, SourceError) else error
        session.next().fail(refusal)
        assert [one.exception(SOON) for one in asked.values()] == [error] * 3
        assert (callers.batcher._failures, session._sent.empty()) == (0, True)


@pytest.mark.parametrize(
    "death", [KeyboardInterrupt(), MemoryError(), RuntimeError("bug")], ids=repr
)
def test_leader_that_dies_leaves_nobody_waiting(death: BaseException) -> None:
    session = Session()
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "b", "c")
        out[0].answer()
        session.next().fail(death)
        rest = answer_all_alone(session, 2)
        (leader,) = {"a", "b", "c"} - set(rest)
        assert asked[leader].exception(SOON) is death
        for run_id in rest:
            assert asked[run_id].result(SOON) == alone(run_id)
        callers.ask("next")
        assert session.next().runs == ["next"], "the dead one takes nobody's turn"


def test_waits_end_at_once_when_the_session_ends() -> None:
    session = Session()
    with callers_of(session, held_back_seconds=1000) as callers:
        callers.occupy()
        asked = callers.wait_in_line("a", "b")
        callers.batcher.close()
        for answer in asked.values():
            error = answer.exception(SOON)
            assert isinstance(error, SourceError)
            assert (str(error), error.retryable) == ("the session has ended", False)


def test_requests_without_an_answer_hold_others_back_for_some_seconds_only() -> None:
    now = 0.0
    session = Session()
    with callers_of(session, held_back_seconds=0.01, clock=lambda: now) as callers:
        callers.occupy()
        callers.wait_in_line("a", "b")
        assert session._sent.empty()
        now = 0.02
        assert sorted(session.next().runs) == ["a", "b"]


def test_leader_that_is_tried_again_alone_holds_nobody_back() -> None:
    """A broken run is tried five times; the tails of others waited for it."""
    waits = threading.Event()

    def pace(request: Callable[[], Any]) -> Any:
        try:
            return request()
        except PassingError:
            waits.wait(SOON)
            return request()

    session = Session(pace)
    with callers_of(session) as callers:
        out = callers.occupy()
        asked = callers.wait_in_line("a", "b")
        out[0].fail(PassingError("HTTP 503", RunFailureKind.SERVER_ERROR))
        together = session.next()
        assert sorted(together.runs) == ["a", "b"]
        callers.wait_in_line("c")
        waits.set()
        again = session.next()
        assert (again.runs, again.together) == (out[0].runs, False), "it takes nobody along"
        together.answer()
        assert asked["a"].result(SOON) == {"project": {"run": run_of("a")}}


def test_leader_takes_along_who_waits_when_its_turn_comes() -> None:
    """A session that may send once a second would send one run a second."""
    turns = threading.Semaphore(0)

    def pace(request: Callable[[], Any]) -> Any:
        assert turns.acquire(timeout=SOON)
        return request()

    session = Session(pace)
    with callers_of(session) as callers:
        leaders = [
            callers.pool.submit(
                callers.batcher.send, page_of(f"leader-{n}"), session.ask_alone(f"leader-{n}")
            )
            for n in range(IN_FLIGHT)
        ]
        callers.wait_until(lambda: len(callers.batcher._out) == IN_FLIGHT)
        asked = callers.wait_in_line("a", "b", "c")
        turns.release()
        together = session.next()
        assert {"a", "b", "c"} < set(together.runs)
        assert len(together.runs) == 4
        together.answer()
        assert asked["a"].result(SOON) == {"project": {"run": run_of("a")}}
        assert sum(one.done() for one in leaders) <= 1
        for _ in range(IN_FLIGHT):
            turns.release()


def test_everybody_gets_their_own_rows() -> None:
    session = Session()
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            try:
                session._sent.get(timeout=0.05).answer()
            except queue.Empty:
                continue

    servers = [threading.Thread(target=serve, daemon=True) for _ in range(4)]
    for one in servers:
        one.start()
    with callers_of(session) as callers:

        def ask(number: int) -> Any:
            run_id = f"run-{number}"
            return callers.batcher.send(page_of(run_id), session.ask_alone(run_id))

        answers = list(callers.pool.map(ask, range(1000)))
    stopped.set()
    rows = [answer["project"]["run"]["history"] for answer in answers]
    assert [row.removesuffix(", alone") for (row,) in rows] == [
        f"row of run-{number}" for number in range(1000)
    ]
