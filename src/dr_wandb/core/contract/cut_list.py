"""Long lists for people: headed, counted, and cut.

Rules
- A list has a head with the number of its members, then a line for each of at most `MOST_LISTED`,
  then the number of the others and how to see them.
- Without a way to see the rest, nothing is cut.
- Only lists for people are cut, never what programs read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dr_wandb.core.contract.wording import count

_M = TypeVar("_M")

MOST_LISTED = 10
"""The most members of a list that have a line each."""


def headed(
    title: str,
    members: Sequence[_M],
    describe: Callable[[_M], str],
    rest: str | None,
    *,
    most: int = MOST_LISTED,
    noun: str = "run",
) -> Iterator[str]:
    """Give the lines of a list of runs. Without members there is only the head.

    rest: how to see the members that are cut, such as `--all`; if None, none is cut. most: 0 for a
    list that is only counted. noun: what a member is.
    """
    head = f"{title}: {count(len(members), noun)}"
    if rest is not None and members and not most:
        yield f"{head}; {rest}"
        return
    yield head
    listed = members if rest is None else members[:most]
    yield from (f"  {describe(member)}" for member in listed)
    if cut := len(members) - len(listed):
        yield f"  ... and {cut:,} more; {rest}"
