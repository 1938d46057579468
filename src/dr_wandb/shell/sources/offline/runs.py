"""From a folder of `.wandb` files to runs: read new content, join the files of each run.

Rules
- A file that was read before and is unchanged is not read again; one that has grown is read on.
- Files of one run are joined in the order of their start times. Of copies the longest is read.
- Every problem of a file is reported, and only the damaged records are lost.
- A run fails if its files together have fewer rows than before, for any reason.
"""

from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.contract.wording import count
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.run import state_of
from dr_wandb.core.offline.scan_report import FileNotice, FolderContent, NoticeKind
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.sources import EarlyRows
from dr_wandb.shell.sources.offline.copies import by_names, by_run, gone_file, sort_out
from dr_wandb.shell.sources.offline.discovery import OutOfReach, discover, links_in, why
from dr_wandb.shell.sources.offline.forms import RunFile
from dr_wandb.shell.sources.offline.found import (
    FoundFile,
    FoundRun,
    FoundRuns,
    StartedFile,
    apart,
    may_be_one,
    on_disk,
)
from dr_wandb.shell.sources.offline.index import (
    Comparison,
    Known,
    KnownFile,
)
from dr_wandb.shell.sources.offline.losses import losses_of
from dr_wandb.shell.sources.offline.order import in_order
from dr_wandb.shell.sources.offline.reader import FileReader, RowsMissingError
from dr_wandb.shell.sources.offline.run_files import run_id_of
from dr_wandb.shell.sources.offline.wanted import ANY, Wanted

HOLLOW = "is a run folder without its .wandb file: there is nothing to export"
NOTHING_WRITTEN = "holds no record: there is nothing to export; its process ended too early"


class FolderScan:
    """Reads the run files below a folder.

    executor: reads some of them, if that saves time, and writes their rows to the folder of
    `early`.
    """

    def __init__(
        self,
        folder: Path,
        known: Known,
        wanted: Wanted = ANY,
        now_ns: int | None = None,
        *,
        executor: SharedExecutor | None = None,
        early: EarlyRows | None = None,
    ) -> None:
        self._folder = folder
        self._before = known.files
        self._compared_before = by_names(known.comparisons)
        self._missing = known.missing
        self._of_run = by_run(known.files)
        self._named_before = {name for name, file in known.files.items() if file.named is not None}
        self._known_of_run: dict[str, dict[str, KnownFile]] = defaultdict(dict)
        for name, file in known.files.items():
            named = file.named.run_id if file.named is not None else ""
            self._known_of_run[named or run_id_of(name)][name] = file
        self._wanted = wanted
        self._now_ns = now_ns
        self._executor = executor
        self._early = early
        self._left_out: set[tuple[str, str]] = set()
        self._reader = FileReader(known.files, wanted)
        self._comparisons: list[Comparison] = []
        self._notices: list[FileNotice] = []
        self._unread: dict[str, RunFailure] = {}
        self._closed: list[str] = []

    def scan(self) -> FoundRuns:
        """Read all files. Raises InvalidRequestError if there is no folder or nothing can be read.

        The latter only if a folder cannot be listed and there is no run to fail for it.
        """
        files, missed, hollow = discover(self._folder)
        for found in missed:
            self._miss(found)
        if self._closed and not files and not self._unread:
            raise InvalidRequestError(self._closed)
        if hollow:
            others = f", like {len(hollow) - 1:,} more" if len(hollow) > 1 else ""
            name = hollow[0] or clean_text(str(self._folder))
            self._report(name, NoticeKind.HOLLOW, f"{HOLLOW}{others}")
        elif not files and not missed:
            links = ", ".join(links_in(self._folder)) if self._folder.is_dir() else ""
            unfollowed = f"; links to folders are not followed, give their targets: {links}"
            text = f"holds no .wandb file and no older run folder{unfollowed if links else ''}"
            self._report(clean_text(str(self._folder)), NoticeKind.NO_RUN_FILE, text)
        runs: dict[str, list[StartedFile]] = defaultdict(list)
        called = Counter(file.run_id for file in files)
        alone = [file for file in files if called[file.run_id] == 1]
        if self._executor is not None:
            self._reader.read_ahead(alone, self._executor, self._early)
        for file in files:
            start = self._look_at(file, alone=called[file.run_id] == 1)
            if start is not None and self._is_wanted(start.run_id, *start.owner):
                runs[start.run_id].append(start)
        read = [
            run
            for run_id, starts in runs.items()
            for together in apart(starts)
            if (run := self._read_run(run_id, together)) is not None
            and run_id not in self._unread
            and self._is_wanted(run_id, *run.owner)
        ]
        return FoundRuns(
            runs=read,
            unread=self._unread,
            notices=self._notices,
            known=Known(
                files=self._reader.known,
                comparisons=tuple(self._comparisons),
                missing=self._missing,
            ),
            left_out=self._left_out,
        )

    def _is_wanted(self, run_id: str, entity: str, project: str) -> bool:
        """Say whether a run is wanted; the project may come later than the run's first record."""
        if self._wanted.admits(entity, project):
            return True
        self._left_out.add((run_id, "/".join(filter(None, (entity, project)))))
        return False

    def _report(self, name: str, kind: NoticeKind, text: str, *, serious: bool = True) -> None:
        self._notices.append(FileNotice(name=name, kind=kind, text=text, serious=serious))

    def _miss(self, found: OutOfReach) -> None:
        """Fail the run of a file that is out of reach; of a folder, all runs read in it before."""
        reason = f"{found.shown} {found.reason}"
        inside = f"{found.name}/" if found.name else ""
        known = [name for name in self._before if name.startswith(inside) or name == found.name]
        for name in known:
            self._fail(name, run_id_of(name), reason)
        if not known and found.run_id is not None:
            self._fail(found.name, found.run_id, reason)
        elif not known:
            self._closed.append(reason)
            self._report(found.shown, NoticeKind.OUT_OF_REACH, found.reason)

    def _fail(
        self, name: str, run_id: str, reason: str, kind: RunFailureKind = RunFailureKind.UNREADABLE
    ) -> None:
        """Fail the run of a file, if it is wanted. run_id: the one in the name of the file."""
        known = self._before.get(name)
        named = known.named if known is not None else None
        if named is None or self._is_wanted(named.run_id, named.entity, named.project):
            failed = run_id if named is None else named.run_id or run_id
            self._unread[failed] = RunFailure(kind=kind, reason=reason)
        self._reader.keep(name)

    def _look_at(self, file: RunFile, *, alone: bool) -> StartedFile | None:
        """Find the run of a file; None if it has none, or cannot be read."""
        try:
            found = self._reader.look_at(file, alone=alone)
        except OSError as error:
            reason = clean_text(f"{file.shown} {why(error)}")
            self._fail(file.name, file.run_id, reason, _kind_of(error))
            return None
        if isinstance(found, StartedFile):
            return found
        known = self._before.get(file.name)
        if found.elsewhere is not None:
            self._fail(file.name, file.run_id, f"{file.shown} {found.elsewhere}")
        elif known is not None and known.reading.fold.rows:
            reason = (
                f"{file.shown} {found.problem}: the rows that it had are missing; restore the file"
            )
            self._fail(file.name, file.run_id, reason, RunFailureKind.FILES_MISSING)
        else:
            self._report(file.name, NoticeKind.NOT_A_RUN, found.problem)
        return None

    def _read_run(self, run_id: str, starts: list[StartedFile]) -> FoundRun | None:
        files: list[FoundFile] = []
        together = self._without_copies(starts)
        gone = gone_file(starts, together, self._of_run.get(run_id, ()), self._named_before)
        if gone is not None:
            what = "is the last file of" if gone.is_last else "is continued by other files of"
            reason = f"{gone.name} {what} this run and is missing; restore it and sync again"
            self._unread[run_id] = _missing(reason)
            for name in (gone.name, *(start.file.name for start in together)):
                self._reader.keep(name)
            return None
        for start in together:
            before = files[-1].reading if files else None
            try:
                reading = self._reader.read(start, before)
            except OSError as error:
                reason = clean_text(f"{start.file.shown} {why(error)}")
                self._unread[run_id] = RunFailure(kind=_kind_of(error), reason=reason)
                self._reader.keep(start.file.name)
                return None
            is_written_to = self._is_written_to(start.file, reading)
            self._notices += losses_of(start.file, reading, before, is_written_to)
            if start.named is None and reading.fold.run is None and reading.fold.records:
                text = "names no project; exported anyway"
                self._report(start.file.name, NoticeKind.NO_PROJECT, text)
            if reading.fold.records > (before.fold.records if before is not None else 0):
                rows = self._reader.rows.get(start.file.name)
                files.append(
                    FoundFile(file=start.file, named=start.named, reading=reading, rows=rows)
                )
            else:
                self._report(start.file.name, NoticeKind.NOTHING_WRITTEN, NOTHING_WRITTEN)
        for point in files[-1].reading.fold.branch_points if files else ():
            text = f"is of a run that was forked from {point.run_id}, which has the earlier rows"
            self._report(files[-1].file.name, NoticeKind.FORKED, text, serious=False)
        read = files[-1].reading.fold.rows if files else 0
        missing = self._rows_before(run_id, starts[0].owner) - read
        if missing > 0:
            had = f"{count(missing, 'row')} that its files had"
            self._unread[run_id] = _missing(f"{had} are missing; restore the files")
            self._keep_run(run_id)
            return None
        return FoundRun(run_id=run_id, files=tuple(files)) if files else None

    def _rows_before(self, run_id: str, owner: tuple[str, str]) -> int:
        """Return how many rows the files of a run had together before, 0 if that is not known."""
        rows = (
            known.reading.fold.rows
            for known in self._known_of_run.get(run_id, {}).values()
            if known.named is None or may_be_one(owner, (known.named.entity, known.named.project))
        )
        return max(rows, default=0)

    def _keep_run(self, run_id: str) -> None:
        """Keep the earlier readings of the files of a run that fails."""
        for name in self._known_of_run.get(run_id, {}):
            self._reader.keep(name)

    def _without_copies(self, starts: list[StartedFile]) -> list[StartedFile]:
        """Return the files of a run without copies, in the order of their start times."""
        found = sort_out(starts, self._compared_before)
        self._comparisons += found.comparisons
        for start, of in found.copies:
            self._reader.forget(start.file.name)
            text = f"skipped: a copy of {of.file.name}, or of the beginning of it"
            self._report(start.file.name, NoticeKind.COPY, text, serious=False)
        for start, other in found.alike:
            text = f"started at the same time as {other.file.name} but differs: both are read"
            self._report(start.file.name, NoticeKind.SAME_START, text, serious=False)
        for start, of in found.repairing:
            for file in (start.file, of.file):
                self._reader.forget(file.name)
            text = f"is a copy of {of.file.name} with other damage: both are read as one file"
            self._report(start.file.name, NoticeKind.DAMAGED_COPY, text)
        return in_order(found.kept)

    def _is_written_to(self, file: RunFile, reading: FileReading) -> bool:
        if self._now_ns is None:
            return False
        return state_of(reading.fold, file.written_ns / 1e9, self._now_ns / 1e9) == "running"


def _kind_of(error: OSError) -> RunFailureKind:
    missing = isinstance(error, RowsMissingError)
    return RunFailureKind.FILES_MISSING if missing else RunFailureKind.UNREADABLE


def _missing(reason: str) -> RunFailure:
    return RunFailure(kind=RunFailureKind.FILES_MISSING, reason=reason)


def look_into(folder: Path, now_ns: int) -> FolderContent:
    """Read all runs below a folder and describe them. Raises InvalidRequestError without one."""
    with closing(SharedExecutor()) as executor:
        found = FolderScan(folder, Known(), now_ns=now_ns, executor=executor).scan()
    runs = sorted(
        (on_disk(run, now_ns) for run in found.runs),
        key=lambda run: (run.created_at or "", run.run_id),
    )
    return FolderContent(
        folder=clean_text(str(folder)),
        runs=tuple(runs),
        unread=dict(found.unread),
        notices=tuple(found.notices),
    )
