"""Order the files of a run by their start times.

Rules
- If a file has no start time, the times in the names of the folders decide, if all folders have
  one.
- Of files with the same start time, one that resumes the run comes later. Otherwise the first
  steps of their rows decide, then the paths. Only such files are opened.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from dr_wandb.shell.sources.offline.found import StartedFile
from dr_wandb.shell.sources.offline.run_files import mapped


def in_order(starts: Sequence[StartedFile]) -> list[StartedFile]:
    """Return the files of a run in the order of its sessions."""
    if len(starts) == 1:
        return list(starts)
    some_without = any(start.started_at is None for start in starts)
    by_name = some_without and all(start.file.named_time for start in starts)

    def moment(start: StartedFile) -> tuple[Any, ...]:
        if by_name:
            return (start.file.named_time,)
        return (start.started_at is None, start.started_at or ())

    ordered: list[StartedFile] = []
    for _, together in groupby(sorted(starts, key=moment), key=moment):
        same = list(together)
        ordered += same if len(same) == 1 else sorted(same, key=_by_steps)
    return ordered


def _by_steps(start: StartedFile) -> tuple[bool, bool, int, str]:
    resumes = start.named is not None and start.named.resumes
    step = _first_step(start)
    return resumes, step is None, step or 0, start.file.name


def _first_step(start: StartedFile) -> int | None:
    """Return the step of the first row of a file, None if it cannot be read."""
    try:
        with mapped(start.file) as (data, _):
            return start.file.decoder.first_step(data)
    except OSError:
        return None
