"""The cuts of a data file into slices that are checked on their own."""

from bisect import bisect_right
from collections.abc import Sequence


def next_cut(start: int, size: int, ends: Sequence[int], most: int) -> int:
    """Return an offset at which the slice that begins at `start` may end.

    size: of the file. most: how long a slice is, unless a line is longer. ends: the offsets at
    which runs are said to end, in ascending order; a run that is not cut is digested once. The last
    one that fits is taken if the slice is at least half full. They may be wrong: the offset need
    not be the end of a line, nor of a run.
    """
    furthest = start + most
    if furthest >= size:
        return size
    fitting = bisect_right(ends, furthest)
    end = ends[fitting - 1] if fitting else 0
    return end if 2 * (end - start) >= most else furthest
