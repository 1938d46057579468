"""Leave out files that are copies of others of the same run.

Rules
- Only files that may have been begun at the same moment are compared, and by their bytes.
- A verdict is remembered: two files that did not change, or of which the longer one has only
  grown, are not compared again.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dr_wandb.core.offline.copies import is_copy
from dr_wandb.shell.sources.offline.files import mapped
from dr_wandb.shell.sources.offline.found import StartedFile
from dr_wandb.shell.sources.offline.index import ComparedFile, Comparison, digest_of_tail


class Copy(NamedTuple):
    """A file that holds nothing but what another one holds too."""

    file: StartedFile
    of: StartedFile


class Sorted(NamedTuple):
    """The files of a run that are no copies, and those that are; what was found out about them.

    alike: files that were begun at the moment of another one, and are none of its copies.
    """

    kept: Sequence[StartedFile]
    copies: Sequence[Copy]
    alike: Sequence[Copy]
    comparisons: Sequence[Comparison]


Remembered = Mapping[tuple[str, str], Comparison]
"""Verdicts by the names of the two files, that of the possible copy first."""


def by_names(comparisons: Sequence[Comparison]) -> Remembered:
    """Return verdicts by the names of the files."""
    return {(seen.part.name, seen.whole.name): seen for seen in comparisons}


def sort_out(starts: Sequence[StartedFile], before: Remembered) -> Sorted:
    """Sort the files of one run. The longest of several copies is kept."""
    kept: list[StartedFile] = []
    copies: list[Copy] = []
    alike: list[Copy] = []
    comparisons: list[Comparison] = []

    def holds(whole: StartedFile, part: StartedFile) -> bool:
        verdict = _compare(part, whole, before)
        if verdict is not None:
            comparisons.append(verdict)
        return verdict is not None and verdict.copy

    for start in sorted(starts, key=_longest_first):
        candidates = [other for other in kept if _may_be_copies(start, other)]
        of = next((other for other in candidates if holds(other, start)), None)
        if of is not None:
            copies.append(Copy(start, of))
            continue
        for other in candidates:
            if holds(start, other):  # a longer one that is damaged
                kept.remove(other)
                copies.append(Copy(other, start))
            elif other.begun == start.begun is not None:
                alike.append(Copy(start, other))
        kept.append(start)
    return Sorted(kept, copies, alike, comparisons)


def _longest_first(start: StartedFile) -> tuple[int, bool, str]:
    return -start.file.size, start.begun is None, start.file.name


def _may_be_copies(one: StartedFile, other: StartedFile) -> bool:
    return one.begun is None or other.begun is None or one.begun == other.begun


def _compare(part: StartedFile, whole: StartedFile, before: Remembered) -> Comparison | None:
    """Say whether a file is a copy, None if one of them cannot be read: that is told elsewhere."""
    names = part.file.name, whole.file.name
    seen = before.get(names)
    try:
        if seen is not None and seen.part == _seen(part) and _is_still(seen, whole):
            return seen
        with mapped(part.file) as (short, free_one), mapped(whole.file) as (long, free_other):

            def release() -> None:
                free_one()
                free_other()

            copy = is_copy(short, long, release)
    except OSError:
        return None
    return Comparison(part=_seen(part), whole=_seen(whole), copy=copy)


def _is_still(seen: Comparison, whole: StartedFile) -> bool:
    """Say whether a file is the one that was compared; a copy stays one when the other grows."""
    if seen.whole == _seen(whole):
        return True
    if not seen.copy or whole.file.size <= seen.whole.size:
        return False
    with mapped(whole.file) as (data, _):
        return digest_of_tail(data, seen.whole.size) == seen.whole.tail


def _seen(start: StartedFile) -> ComparedFile:
    return ComparedFile(
        name=start.file.name,
        size=start.file.size,
        modified_ns=start.file.modified_ns,
        tail=start.tail,
    )
