"""Work that is done ahead: what it gives, what it raises, and that nobody waits for it in vain."""

import threading
import time
from collections.abc import Iterator

import pytest

from dr_wandb.shell.ahead import begin, one_ahead

SOON = 10.0
"""Seconds after which a test gives up."""


def test_work_gives_its_result_when_it_is_asked_for() -> None:
    assert begin(lambda: 7)() == 7


def test_work_raises_where_its_result_is_asked_for() -> None:
    result = begin(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        result()


def test_work_goes_on_while_the_caller_does_something_else() -> None:
    begun = threading.Event()
    result = begin(begun.set)
    assert begun.wait(SOON)
    result()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_iterator_one_ahead_gives_the_same_in_the_same_order(count: int) -> None:
    assert list(one_ahead(iter(range(count)))) == list(range(count))


def test_next_one_is_made_while_the_last_one_is_worked_on() -> None:
    """Listings took the time of W&B and ours one after the other."""
    made = [threading.Event() for _ in range(4)]

    def pages() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = one_ahead(pages())
    for number in range(3):
        assert next(ahead) == number
        assert made[number + 1].wait(SOON)
        assert not any(event.is_set() for event in made[number + 2 :]), "more than one ahead"


def test_one_thread_makes_all_of_an_iterator_and_then_ends() -> None:
    """Each page had a thread of its own, and the memory of one is not used by the next."""
    makers: list[threading.Thread] = []

    def pages() -> Iterator[int]:
        for number in range(5):
            makers.append(threading.current_thread())
            yield number

    assert list(one_ahead(pages())) == [0, 1, 2, 3, 4]
    assert len({*makers}) == 1
    makers[0].join(SOON)
    assert not makers[0].is_alive()


def test_thread_ends_when_the_iterator_is_left_early() -> None:
    makers: list[threading.Thread] = []

    def pages() -> Iterator[int]:
        makers.append(threading.current_thread())
        yield from range(5)

    ahead = one_ahead(pages())
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    makers[0].join(SOON)
    assert not makers[0].is_alive()


def test_error_comes_after_all_that_was_given_before_it() -> None:
    def pages() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    ahead = one_ahead(pages())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_iterator_that_is_left_early_lets_nobody_wait() -> None:
    """An interrupt would hang until W&B answered."""
    answered = threading.Event()

    def pages() -> Iterator[int]:
        yield 1
        answered.wait(SOON)
        yield 2

    ahead = one_ahead(pages())
    assert next(ahead) == 1
    started = time.monotonic()
    ahead.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < SOON / 2
    answered.set()
