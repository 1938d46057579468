"""Laws of the pace, and what it costs against a server that counts requests in fixed windows."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import assume, example, given
from hypothesis import strategies as st

from dr_wandb.core.sync.pace import (
    LONGEST_HOLD,
    LONGEST_INTERVAL,
    TRIAL_SECONDS,
    Pace,
    note_answer,
    note_refusal,
    take_turn,
    wait_seconds,
)

WORKERS = 8
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["turn", "answer", "refusal"]),
        st.floats(0, 100) | st.floats(0, 0.1),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=60,
)
RATES = st.none() | st.floats(0.01, 1000)


@dataclass
class Walk:
    """A pace after some events: requests are sent when it is their turn, and answered in order."""

    pace: Pace
    now: float = 0.0
    turns: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)

    def turn(self) -> None:
        self.now += wait_seconds(self.pace, self.now)
        assert wait_seconds(self.pace, self.now) <= 1e-9
        self.pace = take_turn(self.pace, self.now)
        self.turns.append(self.now)
        self.sent.append(self.now)

    def follow(self, events: list[tuple[str, float, float]]) -> None:
        for kind, seconds, chance in events:
            self.now += seconds
            if kind == "turn":
                self.turn()
            elif self.sent:
                sent = self.sent.pop(0)
                if kind == "answer":
                    self.pace = note_answer(self.pace, sent, self.now)
                else:
                    self.pace = note_refusal(self.pace, sent, self.now, chance)

    def answer_everything(self) -> None:
        for sent in self.sent:
            self.pace = note_answer(self.pace, sent, self.now)
        self.sent.clear()


@given(EVENTS, st.floats(0.01, 1000))
def test_turns_are_never_closer_than_the_highest_rate(
    events: list[tuple[str, float, float]], max_rate: float
) -> None:
    walk = Walk(Pace(max_rate=max_rate))
    walk.follow(events)
    for earlier, later in pairwise(walk.turns):
        assert later - earlier >= (1 / max_rate) * (1 - 1e-9) - 1e-9


@given(EVENTS, RATES, st.floats(0, 100), st.floats(0, 1, exclude_max=True))
def test_refusal_never_makes_the_next_turn_earlier(
    events: list[tuple[str, float, float]], max_rate: float | None, late: float, chance: float
) -> None:
    walk = Walk(Pace(max_rate=max_rate))
    walk.follow([*events, ("turn", 0.0, 0.0)])
    walk.now += late
    before = wait_seconds(walk.pace, walk.now)
    for sent in walk.sent:
        walk.pace = note_refusal(walk.pace, sent, walk.now, chance)
        after = wait_seconds(walk.pace, walk.now)
        assert after >= before
        before = after


@given(EVENTS, RATES)
def test_refusals_of_what_was_on_its_way_are_one_hold(
    events: list[tuple[str, float, float]], max_rate: float | None
) -> None:
    """Eight refusals at once must not double the hold eight times."""
    walk = Walk(Pace(max_rate=max_rate))
    walk.follow([*events, *[("turn", 0.0, 0.0)] * WORKERS])
    held = note_refusal(walk.pace, walk.sent[-1], walk.now, 0.0)
    later = held
    for sent in walk.sent:
        later = note_refusal(later, sent, walk.now + 0.5, 0.9)
    assert later == held


@given(EVENTS, RATES)
def test_pace_never_stops_for_ever(
    events: list[tuple[str, float, float]], max_rate: float | None
) -> None:
    walk = Walk(Pace(max_rate=max_rate))
    walk.follow(events)
    waited = wait_seconds(walk.pace, walk.now)
    slowest = max(LONGEST_INTERVAL, 1 / max_rate if max_rate else 0.0)
    assert waited <= max(1.1 * LONGEST_HOLD, TRIAL_SECONDS, slowest) + 1e-9


@given(EVENTS, RATES)
def test_pace_is_what_it_was_after_enough_answers(
    events: list[tuple[str, float, float]], max_rate: float | None
) -> None:
    walk = Walk(Pace(max_rate=max_rate))
    walk.follow(events)
    walk.answer_everything()
    for _ in range(20_000):
        if not walk.pace.held and walk.pace.interval == 0:
            break
        walk.turn()
        walk.answer_everything()
    assert not walk.pace.held
    assert walk.pace.gap == Pace(max_rate=max_rate).gap


def test_pace_without_a_limit_makes_nobody_wait() -> None:
    walk = Walk(Pace())
    for _ in range(100):
        walk.turn()
    assert walk.now == 0.0


@dataclass
class Simulated:
    """What some requests cost."""

    seconds: float = 0.0
    refused: int = 0
    turns: list[float] = field(default_factory=list)


class FixedWindow:
    """Admits so many requests a window; windows begin by the clock, or with a first request."""

    def __init__(self, allowed: int, seconds: float, phase: float | None) -> None:
        self.allowed, self.seconds, self.phase = allowed, seconds, phase
        self.began, self.used, self.refused = -math.inf, 0, 0

    def admits(self, now: float) -> bool:
        if now - self.began >= self.seconds:
            began = now
            if self.phase is not None:
                began = (now + self.phase) // self.seconds * self.seconds - self.phase
            self.began, self.used = began, 0
        self.used += 1
        self.refused += self.used > self.allowed
        return self.used <= self.allowed


def simulate(
    server: FixedWindow, requests: int, latency: float, max_rate: float | None = None
) -> Simulated:
    """Let eight workers send requests until so many have passed.

    wandb-core asks once more, a second later, before it tells of a refusal.
    """
    pace = Pace(max_rate=max_rate)
    result = Simulated()
    events: list[tuple[float, int, str, float, int]] = []
    number, idle, left, under_way, woken_at = 0, WORKERS, requests, 0, -1.0

    def add(at: float, kind: str, sent: float = 0.0, tries: int = 0) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (at, number, kind, sent, tries))

    add(0.0, "wake")
    while left:
        now, _, kind, sent, tries = heapq.heappop(events)
        if kind == "arrive":
            if server.admits(now):
                add(now + latency / 2, "answer", sent)
            elif tries:
                add(now + latency / 2, "refusal", sent)
            else:
                add(now + latency + 1.0, "arrive", sent, 1)
        elif kind != "wake":
            idle, under_way = idle + 1, under_way - 1
            if kind == "answer":
                left -= 1
                result.seconds = now
                pace = note_answer(pace, sent, now)
            else:
                pace = note_refusal(pace, sent, now, 0.5)
        while idle and under_way < left:
            wait = wait_seconds(pace, now)
            if wait > 1e-9:
                if woken_at != now + wait:
                    woken_at = now + wait
                    add(woken_at, "wake")
                break
            pace = take_turn(pace, now)
            result.turns.append(now)
            idle, under_way = idle - 1, under_way + 1
            add(now + latency / 2, "arrive", now)
    result.refused = server.refused
    return result


@given(
    allowed=st.integers(3, 500),
    window=st.sampled_from([2.0, 10.0, 60.0, 300.0]) | st.floats(2, 600),
    windows=st.floats(0.1, 12),
    latency=st.sampled_from([0.01, 0.1, 0.5]),
    phase=st.none() | st.floats(0, 1),
)
@example(allowed=100, window=60.0, windows=6.0, latency=0.1, phase=None)
@example(allowed=100, window=60.0, windows=6.0, latency=0.1, phase=0.5)
@example(allowed=50, window=60.0, windows=10.0, latency=0.1, phase=0.9)
@example(allowed=3, window=60.0, windows=12.0, latency=0.1, phase=None)
@example(allowed=3, window=45.0, windows=5.0, latency=0.5, phase=None)
@example(allowed=3, window=22.183866809472807, windows=5.327604916630998, latency=0.1, phase=None)
def test_throttled_server_costs_little_more_than_it_must(
    allowed: int, window: float, windows: float, latency: float, phase: float | None
) -> None:
    requests = max(1, int(allowed * windows))
    assume(requests <= 3000)
    server = FixedWindow(allowed, window, None if phase is None else phase * window)
    result = simulate(server, requests, latency)
    ideal = requests / allowed * window
    unthrottled = requests * latency / WORKERS
    assert result.seconds <= 1.2 * max(ideal, unthrottled) + 1.1 * LONGEST_HOLD + TRIAL_SECONDS
    passed = result.seconds / window
    assert (
        result.refused
        <= 2 * WORKERS + 2 * WORKERS * (1 + passed) + 2 * result.seconds / LONGEST_HOLD
    )


@given(requests=st.integers(1, 300), max_rate=st.floats(0.1, 50), allowed=st.integers(3, 100))
def test_highest_rate_holds_against_a_throttled_server(
    requests: int, max_rate: float, allowed: int
) -> None:
    result = simulate(FixedWindow(allowed, 10.0, None), requests, 0.05, max_rate)
    for earlier, later in pairwise(result.turns):
        assert later - earlier >= (1 / max_rate) * (1 - 1e-6)


@given(after=st.integers(0, 400), latency=st.sampled_from([0.02, 0.1, 0.3]))
def test_single_refusal_costs_only_seconds(after: int, latency: float) -> None:
    """A single 429 must not throttle the rest of the sync to a crawl."""

    class Stray(FixedWindow):
        def admits(self, now: float) -> bool:
            self.used += 1
            if self.used == after + 1:
                self.began = now
            self.refused += (refuses := self.began <= now < self.began + 1.5)
            return not refuses

    server = Stray(1, 1.0, None)
    result = simulate(server, 2000, latency)
    assert server.refused > 1
    assert result.seconds <= 2000 * latency / WORKERS + 20
