"""Work on a few threads, in lanes that do not wait for each other."""

from __future__ import annotations

import threading

import pytest

from dr_wandb.shell.threads import in_lanes, in_threads

SOON = 10.0


def test_lanes_have_their_own_threads_and_give_all_answers() -> None:
    met = threading.Barrier(4)

    def work(job: int) -> int:
        met.wait(SOON)
        return job * job

    lanes = [([1, 2, 3], 3), ([4], 16), ([], 5)]
    assert sorted(in_lanes(lanes, work)) == [(1, 1), (2, 4), (3, 9), (4, 16)]
    assert list(in_lanes([], work)) == []


def test_work_of_all_lanes_that_was_not_begun_is_dropped_after_an_error() -> None:
    begun: list[int] = []
    ended = threading.Event()

    def work(job: int) -> None:
        begun.append(job)
        if job == 0:
            raise ValueError("broken")
        ended.wait(SOON)

    with pytest.raises(ValueError, match="broken"):
        list(in_lanes([(range(100), 1), (range(100, 200), 1)], work))
    ended.set()
    threading.Event().wait(0.05)
    assert len(begun) <= 4


def test_threads_are_one_lane() -> None:
    assert sorted(in_threads(range(50), str)) == [(n, str(n)) for n in range(50)]
