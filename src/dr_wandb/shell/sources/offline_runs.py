"""From a folder of `.wandb` files to runs: read what is new, join what belongs together.

Rules
- A file that was read before and is the same is not read again; one that has grown is read on.
- Files of one run are joined in the order in which they were begun. Of several files that were
  begun by one process at one moment, which are copies, the longest is read.
- Whatever is wrong with a file is told, and costs nothing but what is in that place.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from dr_wandb.core.offline.folding import behind
from dr_wandb.core.offline.found import FileNotice, FolderContent
from dr_wandb.core.offline.framing import header_problem
from dr_wandb.core.offline.reading import FileReading, identify, read_file
from dr_wandb.core.offline.run import state_of
from dr_wandb.core.words import count
from dr_wandb.shell.sources.offline_found import (
    FoundFile,
    FoundRun,
    FoundRuns,
    StartedFile,
    apart,
    lost_in,
    on_disk,
    start_of,
)
from dr_wandb.shell.sources.offline_index import (
    KnownFile,
    digest_of_fold,
    digest_of_tail,
    is_as_known,
)
from dr_wandb.shell.sources.run_files import RunFile, find_run_files, mapped

NOTHING_WRITTEN = "holds no record: there is nothing to export; its process ended very early"
STILL_WRITTEN = "is still being written; what is missing at its end comes with the next sync"


def _beginning(start: StartedFile, before: FileReading | None) -> FileReading:
    """Return what is known before a file is read: what the files of its run before it say."""
    if before is None:
        return FileReading()
    resumes = start.named is not None and start.named.resumes
    return FileReading(fold=behind(before.fold), numbered_on=resumes)


Wanted = Callable[[str, str], bool]
"""Says whether files of this entity and project are wanted; "" where a file names none."""


class FolderScan:
    """Reads the `.wandb` files below a folder."""

    def __init__(
        self,
        folder: Path,
        known: Mapping[str, KnownFile],
        wanted: Wanted = lambda entity, project: True,
        now_ns: int | None = None,
    ) -> None:
        self._folder = folder
        self._before = known
        self._wanted = wanted
        self._now_ns = now_ns
        self._left_out: dict[str, str] = {}
        self._known: dict[str, KnownFile] = {}
        self._notices: list[FileNotice] = []
        self._unread: dict[str, str] = {}

    def scan(self) -> FoundRuns:
        """Read all files. Raises DrWandbError where there is no folder."""
        files = find_run_files(self._folder, self._tell_error)
        if not files:
            self._tell(str(self._folder), "holds no .wandb file")
        runs: dict[str, list[StartedFile]] = defaultdict(list)
        for file in files:
            start = self._look_at(file)
            if start is not None and self._is_wanted(start.run_id, *start.place):
                runs[start.run_id].append(start)
        found = [
            run
            for run_id, starts in runs.items()
            for together in apart(starts)
            if (run := self._read_run(run_id, together)) is not None
            and run_id not in self._unread
            and self._is_wanted(run_id, *run.place)
        ]
        ids = {run.run_id for run in found}
        return FoundRuns(
            runs=found,
            unread=self._unread,
            notices=self._notices,
            known=self._known,
            left_out={run: place for run, place in self._left_out.items() if run not in ids},
        )

    def _is_wanted(self, run_id: str, entity: str, project: str) -> bool:
        """Say whether a run is wanted; a name may come later than the first record of it."""
        if self._wanted(entity, project):
            return True
        self._left_out[run_id] = "/".join(filter(None, (entity, project)))
        return False

    def _tell(self, name: str, text: str, *, serious: bool = True) -> None:
        self._notices.append(FileNotice(name=name, text=text, serious=serious))

    def _tell_error(self, error: OSError) -> None:
        self._tell(str(error.filename), f"cannot be read: {error.strerror or error}")

    def _look_at(self, file: RunFile) -> StartedFile | None:
        """Find out whose file it is; None where it is nobody's."""
        known = self._before.get(file.name)
        try:
            with mapped(file) as (data, _):
                if known is not None and is_as_known(file, data, known):
                    return start_of(file, known.named or identify(data), data)
                problem = header_problem(data)
                if problem is not None:
                    self._tell(file.name, problem)
                    return None
                return start_of(file, identify(data), data)
        except OSError as error:
            self._unread[file.run_id] = f"{file.path} cannot be read: {error.strerror or error}"
            return None

    def _read_run(self, run_id: str, starts: list[StartedFile]) -> FoundRun | None:
        files: list[FoundFile] = []
        for start in self._without_copies(starts):
            before = files[-1].reading if files else None
            try:
                reading = self._read(start, before)
            except OSError as error:
                path = start.file.path
                self._unread[run_id] = f"{path} cannot be read: {error.strerror or error}"
                return None
            self._tell_losses(start.file, reading, before)
            if reading.fold.records > (before.fold.records if before is not None else 0):
                files.append(FoundFile(file=start.file, named=start.named, reading=reading))
            else:
                self._tell(start.file.name, NOTHING_WRITTEN)
        for point in files[-1].reading.fold.branch_points if files else ():
            text = f"is of a run that was forked from {point.run_id}: rows before that are there"
            self._tell(files[-1].file.name, text, serious=False)
        return FoundRun(run_id=run_id, files=tuple(files)) if files else None

    def _without_copies(self, starts: list[StartedFile]) -> list[StartedFile]:
        """Return the files in the order in which they were begun, each one once."""
        kept: dict[str, StartedFile] = {}
        for start in sorted(starts, key=lambda start: (-start.file.size, start.file.name)):
            first = kept.setdefault(start.mark, start)
            if first is not start:
                text = f"is a copy of {first.file.name}, or of the beginning of it: left out"
                self._tell(start.file.name, text, serious=False)
        return sorted(kept.values(), key=lambda s: (s.begun is None, s.begun or (), s.file.name))

    def _read(self, start: StartedFile, before: FileReading | None) -> FileReading:
        """Read a file behind those of the same run that were begun before it."""
        file = start.file
        base = "" if before is None else digest_of_fold(before)
        known = self._before.get(file.name)
        with mapped(file) as (data, release):
            if known is None or known.base != base or not is_as_known(file, data, known):
                reading = read_file(data, _beginning(start, before), release)
            elif file.size == known.size:
                reading = known.reading
            else:
                reading = read_file(data, known.reading, release)
            self._known[file.name] = KnownFile(
                size=file.size,
                modified_ns=file.modified_ns,
                tail=digest_of_tail(data, reading.end),
                base=base,
                named=start.named,
                reading=reading,
            )
        return reading

    def _tell_losses(self, file: RunFile, reading: FileReading, before: FileReading | None) -> None:
        for lost in lost_in(reading):
            if lost.torn and self._is_written_to(file, reading):
                self._tell(file.name, STILL_WRITTEN, serious=False)
                continue
            records = f": {count(lost.records, 'record')} or more lost" if lost.records else ""
            text = f"at byte {lost.offset}: {lost.reason} ({lost.length} bytes{records})"
            self._tell(file.name, text)
        unreadable = reading.fold.unreadable - (before.fold.unreadable if before else 0)
        if unreadable:
            self._tell(file.name, f"{count(unreadable, 'record')} cannot be decoded")

    def _is_written_to(self, file: RunFile, reading: FileReading) -> bool:
        if self._now_ns is None:
            return False
        return state_of(reading.fold, (self._now_ns - file.modified_ns) / 1e9) == "running"


def look_into(folder: Path, now_ns: int) -> FolderContent:
    """Read all that lies below a folder, and say what it is. Raises DrWandbError without one."""
    found = FolderScan(folder, {}, now_ns=now_ns).scan()
    runs = sorted(
        (on_disk(run, now_ns) for run in found.runs),
        key=lambda run: (run.created_at or "", run.run_id),
    )
    return FolderContent(
        folder=str(folder),
        runs=tuple(runs),
        unread=dict(found.unread),
        notices=tuple(found.notices),
    )
