"""Skip files that are copies of others of the same run, and notice missing files.

Rules
- Only files that may have been started at the same moment are compared, by their bytes.
- A verdict is remembered: two files are not compared again if they did not change, or if only the
  longer one has grown.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from dr_wandb.shell.sources.offline.found import StartedFile, may_be_one
from dr_wandb.shell.sources.offline.index import ComparedFile, Comparison, KnownFile, digest_of_tail
from dr_wandb.shell.sources.offline.run_files import Repair, mapped


class Copy(NamedTuple):
    """A file whose content is all in another one."""

    file: StartedFile
    of: StartedFile


class Sorted(NamedTuple):
    """The files of a run that are not copies, those that are, and the comparisons made.

    alike: files that were started at the same moment as another one, and are not its copies.
    repairing: damaged copies of damaged files, which are read together with these.
    """

    kept: Sequence[StartedFile]
    copies: Sequence[Copy] = ()
    alike: Sequence[Copy] = ()
    repairing: Sequence[Copy] = ()
    comparisons: Sequence[Comparison] = ()


Remembered = Mapping[tuple[str, str], Comparison]
"""Verdicts by the names of the two files, the possible copy first."""


def by_names(comparisons: Sequence[Comparison]) -> Remembered:
    """Return verdicts by the names of the files."""
    return {(seen.part.name, seen.whole.name): seen for seen in comparisons}


def sort_out(starts: Sequence[StartedFile], before: Remembered) -> Sorted:
    """Sort the files of one run. The longest of several copies is kept."""
    if len(starts) == 1:
        return Sorted(starts)
    kept: list[StartedFile] = []
    copies: list[Copy] = []
    alike: list[Copy] = []
    repairing: list[Copy] = []
    repairs: dict[str, list[Repair]] = defaultdict(list)
    comparisons: list[Comparison] = []

    def compared(whole: StartedFile, part: StartedFile) -> Comparison | None:
        verdict = _compare(part, whole, before)
        if verdict is not None:
            comparisons.append(verdict)
        return verdict

    def holds(whole: StartedFile, part: StartedFile) -> bool:
        verdict = compared(whole, part)
        return verdict is not None and verdict.copy

    for start in sorted(starts, key=_longest_first):
        candidates = [other for other in kept if _may_be_copies(start, other)]
        verdicts = [(other, compared(other, start)) for other in candidates]
        found = [(other, seen) for other, seen in verdicts if seen is not None]
        of = next((other for other, seen in found if seen.copy), None)
        if of is not None:
            copies.append(Copy(start, of))
            continue
        longer = [other for other in candidates if holds(start, other)]  # and damaged
        copies += [Copy(other, start) for other in longer]
        kept = [other for other in kept if other not in longer]
        base = next(((other, seen) for other, seen in found if seen.repairs), None)
        if base is not None and not longer:
            repairing.append(Copy(start, base[0]))
            repairs[base[0].file.name].append(_repair(start, base[1]))
            continue
        alike += [
            Copy(start, other)
            for other in candidates
            if other not in longer and other.started_at == start.started_at is not None
        ]
        kept.append(start)
    whole = [_repaired(start, repairs.get(start.file.name, ())) for start in kept]
    return Sorted(whole, copies, alike, repairing, comparisons)


def _repair(start: StartedFile, seen: Comparison) -> Repair:
    file = start.file
    copy = f"{file.name} {file.size} {file.modified_ns} {file.changed_ns}"
    return Repair(location=file.location, copy=copy, ranges=seen.repairs)


def _repaired(start: StartedFile, repairs: Sequence[Repair]) -> StartedFile:
    if not repairs:
        return start
    return start._replace(file=replace(start.file, repairs=tuple(repairs)))


def _longest_first(start: StartedFile) -> tuple[int, bool, bool, str]:
    """Order files by size; of equal ones, one in a run folder with W&B's other files is first."""
    return (
        -start.file.size,
        start.started_at is None,
        start.file.named_time is None,
        start.file.name,
    )


def _may_be_copies(one: StartedFile, other: StartedFile) -> bool:
    if type(one.file) is not type(other.file):
        return False
    return one.started_at is None or other.started_at is None or one.started_at == other.started_at


def _compare(part: StartedFile, whole: StartedFile, before: Remembered) -> Comparison | None:
    """Compare two files; None if one cannot be read, which is reported elsewhere."""
    names = part.file.name, whole.file.name
    seen = before.get(names)
    try:
        if seen is not None and seen.part == _seen(part) and _is_still(seen, whole):
            return seen
        one, other = _seen(part), _seen(whole)
        with mapped(part.file) as (short, free_one), mapped(whole.file) as (long, free_other):

            def release() -> None:
                free_one()
                free_other()

            copy = part.file.decoder.is_copy(short, long, release)
            may_repair = not copy and part.named == whole.named is not None
            may_repair = may_repair and _longest_first(whole) < _longest_first(part)
            ranges = part.file.decoder.repairs(short, long, release) if may_repair else ()
    except OSError:
        return None
    return Comparison(part=one, whole=other, copy=copy, repairs=ranges)


def _is_still(seen: Comparison, whole: StartedFile) -> bool:
    """Say whether a comparison still holds; a copy stays one if the other file grows."""
    if whole.file.size == seen.whole.size:
        return seen.whole == _seen(whole)
    if not seen.copy or whole.file.size < seen.whole.size:
        return False
    return _tail(whole, seen.whole.size) == seen.whole.tail


def _seen(start: StartedFile) -> ComparedFile:
    return ComparedFile(
        name=start.file.name,
        size=start.file.size,
        modified_ns=start.file.modified_ns,
        tail=_tail(start, start.file.size),
    )


def _tail(start: StartedFile, end: int) -> str:
    with mapped(start.file) as (data, _):
        return digest_of_tail(data, end)


class Part(NamedTuple):
    """A file of a run that was read before: its name, start time and project."""

    name: str
    started_at: tuple[int, int]
    owner: tuple[str, str]


def by_run(known: Mapping[str, KnownFile]) -> Mapping[str, Sequence[Part]]:
    """Return the files that were read before, by run id."""
    found: dict[str, list[Part]] = defaultdict(list)
    for name, file in known.items():
        if file.named is not None and file.named.started_at is not None:
            owner = (file.named.entity, file.named.project)
            found[file.named.run_id].append(Part(name, file.named.started_at, owner))
    return found


class GoneFile(NamedTuple):
    """A missing file of a run. is_last: it was started after all others that exist."""

    name: str
    is_last: bool


def gone_file(
    starts: Sequence[StartedFile],
    kept: Sequence[StartedFile],
    parts: Sequence[Part],
    known: Collection[str],
) -> GoneFile | None:
    """Return a missing file of a run that still has others, None if none is missing.

    Its rows are in the export; without the file they would seem to be gone. A file that was moved
    has another name and the same start time. kept: the files of the run that are not copies.
    parts: those that it had before. known: the names of the files that were read before and named
    their run.
    """
    names, owner = {start.file.name for start in starts}, starts[0].owner
    missing = [part for part in parts if part.name not in names and may_be_one(part.owner, owner)]
    if not missing:
        return None
    moved = Counter(start.started_at for start in kept if start.file.name not in known)
    for part in missing:
        if not moved[part.started_at]:
            is_last = all(
                start.started_at is not None and start.started_at < part.started_at
                for start in kept
            )
            return GoneFile(part.name, is_last)
        moved[part.started_at] -= 1
    return None
